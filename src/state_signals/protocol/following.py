"""The exporters that a responder follows, and how it comes to know of them."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from state_signals.arguments import SHORTEST_TTL
from state_signals.limits import Limits
from state_signals.messages import SHUTDOWN, Envelope, Signal
from state_signals.protocol.feed import LOOK_AGAIN, Arrival, Feed
from state_signals.requests import CatchUp, Discover, Discovered, Introduce, Introduced, Look, ResponderRequest

__all__ = ["Following", "Replay"]

Replay = Literal["state", "none", "all"]

_PAGE = 64
"""Entries of a journal that are read at once, unless that takes too long."""

_TOGETHER = 2.5
"""Seconds by which looks into journals are made earlier, so that they come with others or with a proof of life."""

_LIVE_WITHIN = 86_400.0
"""Seconds since its last proof of life within which an exporter may count as live; its record says more."""


class Following:
    """The feeds of a responder.

    Attributes:
        can_read: whether the server lets us read journals.
        looks: whether to look after exporters that are silent.

    Args:
        replay: what to take of exporters that were live when we came: `"state"` their initialization, `"all"` their
            whole journal, `"none"` nothing.
        limits: how many exporters are followed, and how much is held back for each.
    """

    def __init__(self, replay: Replay, limits: Limits) -> None:
        self.can_read = True
        self.looks = True
        self._only: str | None = None
        self._replay = replay
        self._limits = limits
        self._feeds: OrderedDict[str, Feed] = OrderedDict()
        self._began: float | None = None
        self._subscribed_at: float | None = None
        self._must_discover = False
        self._seen: Mapping[str, float] = {}
        self._server_time = 0.0
        self._to_introduce: dict[str, float] = {}
        # Those that were silent, and whose journals are to be looked at.
        self._silent: dict[str, None] = {}
        self._page = _PAGE
        self._is_reading = False

    # What is to be asked

    def next_query(self, now: float) -> ResponderRequest | None:
        """Return what to ask the server; None: nothing."""
        if not self.can_read:
            return None
        if self._must_discover:
            return Discover(_LIVE_WITHIN)
        for publisher_id, moment in self._to_introduce.items():
            if now >= moment:
                return Introduce(publisher_id)
        for publisher_id, feed in self._feeds.items():
            if now >= feed.wanted_at:
                self._is_reading = True
                return CatchUp(publisher_id, feed.reads_after, self._page, feed.beyond)
        return None

    def next_deadline(self) -> float:
        """Return when `next_query` has something to ask; infinite: never."""
        if not self.can_read:
            return math.inf
        if self._must_discover:
            return -math.inf
        moments = (feed.wanted_at for feed in self._feeds.values())
        return min(*self._to_introduce.values(), *moments, math.inf, math.inf)

    def next_look(self, now: float) -> Look | None:
        """Return a look at the journal of an exporter that has been silent, the same until `looked`; None: not now."""
        if not self._silent and now >= self.look_at:
            self._look_now(now)
        return Look(next(iter(self._silent))) if self._silent and self.looks else None

    @property
    def look_at(self) -> float:
        """When `next_look` has something to do; infinite: never."""
        if not self.looks:
            return math.inf
        if self._silent:
            return -math.inf
        return min((feed.look_at for feed in self._feeds.values()), default=math.inf) if self.can_read else math.inf

    # What has happened

    def beaten(self, now: float) -> None:
        """Take note of a proof of life: looks that are due soon are made with it, for we are awake."""
        if self.look_at <= now + _TOGETHER:
            self._look_now(now)

    def page_read(self) -> None:
        """Take note that a page of a journal was read in time: the next may be larger."""
        self._is_reading = False
        self._page = min(2 * self._page, _PAGE)

    def looked(self, publisher_id: str, newest: Envelope | None, now: float) -> None:
        """Take what a look has shown."""
        self._silent.pop(publisher_id, None)
        feed = self._feeds.get(publisher_id)
        if feed is not None:
            feed.looked(newest, now)

    def not_looked(self, publisher_id: str, now: float) -> None:
        """Take note that there is no look at a journal now."""
        self._silent.pop(publisher_id, None)
        feed = self._feeds.get(publisher_id)
        if feed is not None:
            feed.put_off(now)

    def connection_lost(self) -> None:
        """Take note that there is no reply. If it was to be a page of a journal, that may have been too large."""
        if self._is_reading:
            self._is_reading = False
            self._page = max(1, self._page // 2)

    def clock_read(self, server_time: float) -> None:
        """Take the server's time from before we subscribe for the first time: whoever begins later comes after us."""
        if self._subscribed_at is None:
            self._began = server_time

    def subscribed(self, now: float) -> None:
        """Ask what was missed: of those we follow, and of those that came meanwhile."""
        if self._subscribed_at is None:
            self._subscribed_at = now
        for feed in self._feeds.values():
            if not feed.is_ended:
                feed.doubt(now)
        self._must_discover = True

    def lock(self, publisher_id: str) -> None:
        """Follow one exporter only."""
        self._only = publisher_id
        for name in [name for name in self._feeds if name != publisher_id]:
            del self._feeds[name]

    def unlock(self) -> None:
        """Follow all again, from now on."""
        if self._only is not None:
            self._only, self._began, self._must_discover = None, None, True
            self._subscribed_at = None

    def discovered(self, reply: Discovered, now: float) -> None:
        """Take who is there."""
        self._must_discover = False
        before, self._seen, self._server_time = self._seen, reply.seen, reply.server_time
        for name, score in reply.seen.items():
            feed = self._feeds.get(name)
            if feed is None:
                # Also if nothing of what was there before is wanted: it has to be known where that ends.
                if self._only in (None, name):
                    self._to_introduce[name] = -math.inf
            elif feed.is_dormant and score != before.get(name):
                self._to_introduce[name] = -math.inf
            elif feed.is_ended:
                # It has not closed: it may have begun again.
                feed.doubt(now)
        if self._began is None:
            since = 0.0 if self._subscribed_at is None else now - self._subscribed_at
            self._began = reply.server_time - since

    def introduced(self, reply: Introduced, newest: Envelope | None, now: float) -> bool:
        """Take what is known about an exporter. Return whether its initialization is to be handed out now."""
        name, info = reply.publisher_id, _info(reply.record)
        self._to_introduce.pop(name, None)
        feed, score = self._feeds.get(name), self._seen.get(name)
        if feed is not None and feed.is_introduced:
            return False
        has_begun = b"info" in reply.record or newest is not None
        if feed is not None and not has_begun and feed.has_patience(now):
            # It was heard, and nobody knows it: the server has lost data, which will be put back.
            self._to_introduce[name] = now + LOOK_AGAIN
            return False
        # One that was heard just now is live, whatever was found when we asked: it may have been out of touch then.
        was_heard = feed is not None and not feed.is_dormant
        is_live = was_heard or (score is not None and score + info.get("ttl", 0.0) >= self._server_time)
        came_after_us = self._began is not None and info.get("began", -math.inf) > self._began
        is_whole = came_after_us or (is_live and self._replay == "all")
        feed = feed or self._add(name, Feed(None, self._limits.max_ahead, now))
        if feed.last is None or is_whole:
            # What comes before that is somebody else's, who had the same name and has ended.
            after = 0 if self._replay == "all" else _after(info)
            _begin(feed, newest, after if is_whole else None)
        feed.is_dormant = not is_live
        feed.is_introduced = is_live or came_after_us or not has_begun
        feed.want(now)
        return is_live and self._replay == "state" and not is_whole

    def arrived(self, arrival: Arrival, now: float) -> Feed | None:
        """Return the feed that a broadcast signal is for; None: it was handed out long ago."""
        name, envelope = arrival.signal.publisher_id, arrival.envelope
        feed = self._feeds.get(name)
        if feed is None or not feed.is_journaled:
            knows = (envelope.seq == 1 and not envelope.again) or not self.can_read
            feed = feed or self._add(name, Feed(None, self._limits.max_ahead, now))
            feed.take_note(is_journaled=True)
            feed.begin_after(envelope.seq - 1 if knows else None)
            feed.is_introduced = knows
        self.woken(name, feed)
        if feed.last is not None and envelope.seq <= feed.last:
            if envelope.sent <= feed.sent:
                return None
            # Its journal is gone, and it has begun again.
            feed.begin_anew(now)
        self._feeds.move_to_end(name)
        return feed

    def woken(self, name: str, feed: Feed) -> None:
        """Take note that an exporter was heard: it has not gone."""
        feed.is_dormant = False
        if not feed.is_introduced:
            self._to_introduce[name] = -math.inf

    def unjournaled(self, publisher_id: str, now: float) -> tuple[list[Arrival], int]:
        """Take note of an exporter without a journal. Return what was held back, and how many are missing before it."""
        feed = self._feeds.get(publisher_id) or self._add(publisher_id, Feed(None, self._limits.max_ahead, now))
        feed.take_note(is_journaled=False)
        return feed.without_journal()

    def handed_out(self, signal: Signal, envelope: Envelope) -> bool:
        """Take note of a signal that the user gets. Return whether proofs of life have to come more often now."""
        before, feed = self.shortest_ttl(), self._feeds.get(signal.publisher_id)
        if feed is not None:
            feed.handed_out(envelope, is_shutdown=signal.event == SHUTDOWN)
        return self.shortest_ttl() < before

    def answered(self, publisher_id: str, envelope: Envelope) -> bool:
        """Take note of an answer. Return whether proofs of life have to come more often now."""
        before, feed = self.shortest_ttl(), self._feeds.get(publisher_id)
        if feed is not None:
            feed.ttl = envelope.ttl
        return self.shortest_ttl() < before

    def subscribed_to(self, publisher_id: str, announcement: Envelope) -> None:
        """Remember which initialization was answered."""
        feed = self._feeds.get(publisher_id)
        if feed is not None and not feed.is_ended:
            feed.announcement = announcement

    def without_journals(self) -> Iterator[tuple[str, list[Arrival], int]]:
        """Pass over what no journal can tell: yield what each feed has held back, and how many are missing."""
        self._must_discover = False
        for name in list(self._feeds):
            yield name, *self.without_journal(name)
        self._to_introduce.clear()
        self._silent.clear()

    def without_journal(self, publisher_id: str) -> tuple[list[Arrival], int]:
        """Pass over what the journal of one exporter does not tell; see `Feed.read`."""
        self._to_introduce.pop(publisher_id, None)
        self._silent.pop(publisher_id, None)
        feed = self._feeds.get(publisher_id)
        if feed is None:
            return [], 0
        feed.is_introduced = True
        return feed.without_journal()

    def not_discovered(self) -> None:
        """Take note that it cannot be asked now who is there."""
        self._must_discover = False

    # What is known

    @property
    def hears_of_the_first(self) -> bool:
        """Whether we want to know of exporters that were there before us."""
        return self._replay != "none"

    def feed(self, publisher_id: str) -> Feed | None:
        """Return the feed of an exporter; None: it is not followed."""
        return self._feeds.get(publisher_id)

    def subscriptions(self) -> list[tuple[str, Envelope]]:
        """Return the exporters on whose roster we are, each with the initialization that we answered."""
        return [(name, feed.announcement) for name, feed in self._feeds.items() if feed.announcement is not None]

    def shortest_ttl(self) -> float:
        """Return the shortest time that proofs of life are to be good for, of those we answer; infinite: none says."""
        ttls = (feed.ttl for feed in self._feeds.values() if feed.ttl is not None and not feed.is_ended)
        return max(SHORTEST_TTL, min(ttls, default=math.inf))

    def _look_now(self, now: float) -> None:
        due = (name for name, feed in self._feeds.items() if feed.look_at <= now + _TOGETHER)
        self._silent = dict.fromkeys(due)

    def _add(self, name: str, feed: Feed) -> Feed:
        self._feeds[name] = feed
        while len(self._feeds) > self._limits.max_remembered:
            forgotten, _ = self._feeds.popitem(last=False)
            self._to_introduce.pop(forgotten, None)
        return feed


def _begin(feed: Feed, newest: Envelope | None, after: int | None) -> None:
    """Set where to begin with an exporter: after a position, else with what was heard, else after what is there."""
    first = feed.first_ahead()
    if after is not None:
        feed.begin_after(after)
    elif first is not None:
        feed.begin_after(first.envelope.seq - 1, math.nextafter(first.envelope.sent, -math.inf))
    elif newest is not None:
        feed.begin_after(newest.seq, newest.sent, newest.id)
    else:
        feed.begin_after(0)


def _info(record: Mapping[bytes, bytes]) -> dict[str, float]:
    """Return the numbers in an exporter's record, whoever may have written it."""
    try:
        facts: Any = json.loads(record.get(b"info", b"{}"))
        return {
            name: float(facts[name]) for name in ("ttl", "began", "after") if isinstance(facts.get(name), int | float)
        }
    except (ValueError, AttributeError, RecursionError, OverflowError):
        return {}


def _after(info: Mapping[str, float]) -> int:
    after = info.get("after", 0.0)
    return int(after) if 0.0 <= after < 2.0**63 else 0
