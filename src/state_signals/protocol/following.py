"""The exporters that a responder follows, and how it comes to know of them."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from state_signals.limits import Limits
from state_signals.messages import INITIALIZATION, SHUTDOWN, Envelope, Signal
from state_signals.protocol.feed import Arrival, Feed
from state_signals.requests import CatchUp, Discover, Discovered, Introduce, Introduced, ResponderRequest

__all__ = ["Following", "Replay"]

Replay = Literal["state", "none", "all"]

_PAGE = 64
"""Signals of a journal that are read at once."""

_LOOK_EVERY = 5.0
"""Seconds of silence after which the journal of an exporter that is followed is looked at."""

_LIVE_WITHIN = 86_400.0
"""Seconds since its last proof of life within which an exporter may count as live; its record says more."""


class Following:
    """The feeds of a responder.

    Attributes:
        can_read: whether the server lets us read journals.

    Args:
        replay: what to take of exporters that were live when we came: `"state"` their initialization, `"all"` their
            whole journal, `"none"` nothing.
        limits: how many exporters are followed, and how much is held back for each.
    """

    def __init__(self, replay: Replay, limits: Limits) -> None:
        self.can_read = True
        self._only: str | None = None
        self._replay = replay
        self._limits = limits
        self._feeds: OrderedDict[str, Feed] = OrderedDict()
        self._began: float | None = None
        self._must_discover = False
        self._seen: Mapping[str, float] = {}
        self._server_time = 0.0
        self._to_introduce: dict[str, None] = {}

    # What is to be asked

    def next_query(self, now: float) -> ResponderRequest | None:
        """Return what to ask the server; None: nothing."""
        if not self.can_read:
            return None
        if self._must_discover:
            return Discover(_LIVE_WITHIN)
        if self._to_introduce:
            return Introduce(next(iter(self._to_introduce)))
        for publisher_id, feed in self._feeds.items():
            if feed.is_journaled and feed.last is not None and now >= feed.wanted_at:
                return CatchUp(publisher_id, feed.last, _PAGE)
        return None

    def next_deadline(self) -> float:
        """Return when `next_query` or `look` has something to do; infinite: never."""
        if not self.can_read:
            return math.inf
        if self._must_discover or self._to_introduce:
            return -math.inf
        moments = (min(feed.wanted_at, feed.heard_at + _LOOK_EVERY) for feed in self._live() if feed.is_journaled)
        return min(moments, default=math.inf)

    def look(self, now: float) -> None:
        """Have the journals read of exporters that have been silent."""
        for feed in self._live():
            if feed.is_journaled and now >= feed.heard_at + _LOOK_EVERY:
                feed.heard_at = now
                feed.want(now)

    # What has happened

    def subscribed(self, now: float) -> None:
        """Ask what was missed: of those we follow, and of those that came meanwhile."""
        for feed in self._live():
            feed.want(now)
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

    def discovered(self, reply: Discovered) -> None:
        """Take who is there."""
        self._must_discover = False
        self._seen, self._server_time = reply.seen, reply.server_time
        if self._began is not None or self._replay != "none":
            unknown = (name for name in reply.seen if name not in self._feeds and self._only in (None, name))
            self._to_introduce |= dict.fromkeys(unknown)
        self._began = reply.server_time if self._began is None else self._began

    def introduced(self, reply: Introduced, newest: int | None, now: float) -> bool:
        """Take what is known about an exporter. Return whether its initialization is to be handed out."""
        name = reply.publisher_id
        self._to_introduce.pop(name, None)
        info = _info(reply.record)
        feed = self._feeds.get(name)
        score = self._seen.get(name)
        is_live = score is not None and score + info.get("ttl", 0.0) >= self._server_time
        if feed is not None and feed.last is not None:
            return False
        if feed is None and not is_live:
            return False
        feed = feed or self._add(name, Feed(None, self._limits.max_ahead, now))
        came_after_us = self._began is not None and info.get("began", -math.inf) > self._began
        if came_after_us or (self._replay == "all" and is_live):
            feed.begin_after(0)
            feed.want(now)
            return False
        first = feed.first_ahead()
        feed.begin_after((newest or 0) if first is None else first - 1)
        feed.want(now)
        return is_live and self._replay == "state"

    def arrived(self, arrival: Arrival, now: float) -> Feed | None:
        """Return the feed that a broadcast signal is for; None: it was handed out long ago."""
        name, envelope = arrival.signal.publisher_id, arrival.envelope
        feed = self._feeds.get(name)
        if feed is not None and feed.last is not None and envelope.seq <= feed.last:
            if envelope.sent <= feed.sent:
                return None
            # Its journal is gone, and it has begun again.
            feed = None
        if feed is None:
            knows = envelope.seq == 1 or not self.can_read
            feed = self._add(name, Feed(envelope.seq - 1 if knows else None, self._limits.max_ahead, now))
            if not knows:
                # It may have come while we were away.
                self._to_introduce[name] = None
        self._feeds.move_to_end(name)
        return feed

    def unjournaled(self, publisher_id: str, now: float) -> None:
        """Take note of an exporter without a journal."""
        feed = self._feeds.get(publisher_id)
        if feed is None or feed.is_journaled:
            self._add(publisher_id, Feed(None, 0, now)).is_journaled = False

    def handed_out(self, signal: Signal, envelope: Envelope) -> None:
        """Take note of a signal that the user gets."""
        feed = self._feeds.get(signal.publisher_id)
        if feed is None:
            return
        feed.ttl = envelope.ttl
        if signal.event == SHUTDOWN:
            feed.is_ended = True
            feed.announcement = None
        elif signal.event == INITIALIZATION:
            feed.is_ended = False

    def subscribed_to(self, publisher_id: str, announcement: Envelope) -> None:
        """Remember which initialization was answered."""
        feed = self._feeds.get(publisher_id)
        if feed is not None and not feed.is_ended:
            feed.announcement = announcement

    def without_journal(self) -> Iterator[tuple[list[Arrival], int, str]]:
        """Pass over what no journal can tell: yield what each feed has held back, and how many are missing."""
        self._must_discover = False
        self._to_introduce.clear()
        for name, feed in self._feeds.items():
            arrivals, missed = feed.without_journal()
            yield arrivals, missed, name

    # What is known

    def feed(self, publisher_id: str) -> Feed | None:
        """Return the feed of an exporter; None: it is not followed."""
        return self._feeds.get(publisher_id)

    def subscriptions(self) -> list[tuple[str, Envelope]]:
        """Return the exporters on whose roster we are, each with the initialization that we answered."""
        return [(name, feed.announcement) for name, feed in self._feeds.items() if feed.announcement is not None]

    def shortest_ttl(self) -> float:
        """Return the shortest time that an exporter wants proofs of life to be good for; infinite: none says."""
        return min((feed.ttl for feed in self._live() if feed.ttl is not None), default=math.inf)

    def _live(self) -> Iterator[Feed]:
        return (feed for feed in self._feeds.values() if not feed.is_ended)

    def _add(self, name: str, feed: Feed) -> Feed:
        self._feeds[name] = feed
        while len(self._feeds) > self._limits.max_remembered:
            self._feeds.popitem(last=False)
        return feed


def _info(record: Mapping[bytes, bytes]) -> dict[str, float]:
    """Return the numbers in an exporter's record, whoever may have written it."""
    try:
        facts: Any = json.loads(record.get(b"info", b"{}"))
        return {name: float(facts[name]) for name in ("ttl", "began") if isinstance(facts.get(name), int | float)}
    except (ValueError, AttributeError, RecursionError, OverflowError):
        return {}
