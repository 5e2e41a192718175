"""The signals of one exporter as a responder gets them: each once, in order, none left out.

What is broadcast is the fast path. Its positions (`seq`) show when something is missing; then the journal is read from
there, and what is broadcast meanwhile is held back, or dropped if it is much: the journal has it.

A server may have lost data, too, and an exporter that has died since cannot put it back: whoever resumes it gives the
same positions to other signals. So each look into the journal begins with the signal that was handed out last. If the
journal holds another one there, it is read from its beginning, and what was sent after that last one is new.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import msgspec

from state_signals.messages import Envelope, Signal

__all__ = ["LOOK_AGAIN", "Arrival", "Feed"]

_LOOK_EVERY = 5.0
"""Seconds of silence after which it is looked whether the journal of an exporter that is followed holds more."""

_LOOK_AT_LEAST_EVERY = 30.0
"""Seconds between two looks, at the most, however long it has been silent."""

_GIVE_UP_AFTER = 5.0
"""Seconds after which a gap that the journal cannot fill is passed over: an exporter may be about to restore it."""

LOOK_AGAIN = 0.25
"""Seconds between two looks for what the journal does not have yet."""


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """A signal with its envelope, and how large it was."""

    signal: Signal
    envelope: Envelope
    size: int


class Feed:
    """One exporter's signals.

    Attributes:
        last: position of the newest signal that was handed out; None: it is not known yet where to begin.
        sent: when that was sent, by the exporter's clock.
        is_journaled: whether there is a journal to read.
        is_ended: whether the exporter has shut down since.
        is_introduced: whether it is known what to take of what was there before us. Until then all is held back.
        is_dormant: whether the exporter seemed gone when we came, and was not heard since.
        ttl: seconds that the exporter wants our proofs of life to be good for; None: it has no answer of ours.
        announcement: the initialization that was answered; None: none.
        beyond: id of the last entry that was read of a journal of which there is more; None: begin with the first page.
        retained: the initialization that is kept beside the journal, which may have lost it; None: it was taken.

    Args:
        last: see there.
        max_ahead: bytes that may be held back.
        now: the time.
    """

    def __init__(self, last: int | None, max_ahead: int, now: float) -> None:
        self.last = last
        self.sent = -math.inf
        self.is_journaled = True
        self.is_ended = False
        self.is_introduced = False
        self.is_dormant = False
        self.ttl: float | None = None
        self.announcement: Envelope | None = None
        self.beyond: bytes | None = None
        self.retained: Signal | None = None
        # The place of the newest of all that the user has got, in whatever order.
        self._newest = -math.inf
        self._last_id: str | None = None
        self._max_ahead = max_ahead
        self._ahead: dict[int, Arrival] = {}
        self._bytes_ahead = 0
        # Positions of what has been held back since before the server was in doubt: that may have been lost there, and
        # its position come to be another signal's. So it waits for the journal, though not for ever.
        self._old: set[int] = set()
        self._wanted_at = math.inf
        self._look_every = _LOOK_EVERY
        self._look_at = now + _LOOK_EVERY
        self._gap_since: float | None = None
        self._is_doubtful = False
        self._is_compared = False
        # Signals up to that one, or sent before it, are known, whatever their positions are now; None: positions tell.
        self._known_until: float | None = None
        self._known_id: str | None = None

    # When to read the journal, and from where

    @property
    def wanted_at(self) -> float:
        """When the journal is to be read; infinite: not at all, or not before it is known where to begin."""
        return math.inf if self.last is None or not self.is_journaled else self._wanted_at

    @property
    def look_at(self) -> float:
        """When to look whether the journal holds more; infinite: never."""
        return math.inf if self.is_dormant or not self.is_journaled else self._look_at

    @property
    def reads_after(self) -> int:
        """The position to read after; the last one is read again, for it may have become another."""
        last = self.last or 0
        return last - 1 if last and self._last_id is not None else last

    def want(self, now: float) -> None:
        """Have the journal read."""
        self._wanted_at = min(self._wanted_at, now)

    def doubt(self, now: float) -> None:
        """Have the journal read before anything else is handed out: the server may have lost data."""
        self._is_doubtful = self._last_id is not None
        self.beyond = self._gap_since = None
        self._old = set(self._ahead)
        self.want(now)

    def put_off(self, now: float) -> None:
        """Look later; the longer the silence lasts, the less often."""
        if not self.is_ended:
            self._look_every = min(2 * self._look_every, _LOOK_AT_LEAST_EVERY)
        else:
            # It may never come back.
            self._look_every *= 2
        self._look_at = now + self._look_every

    def looked(self, newest: Envelope | None, now: float) -> None:
        """Have the journal read if it holds something else: in a silence, a broadcast may have gone astray.

        Args:
            newest: that of the newest signal in it; None: there is none.
            now: the time.
        """
        self.put_off(now)
        if (newest.seq if newest else 0) != (self.last or 0) or (newest and self._last_id not in (None, newest.id)):
            self.want(now)

    # What is known of it

    def take_note(self, *, is_journaled: bool) -> None:
        """Take note whether its exporter keeps a journal."""
        if is_journaled is not self.is_journaled:
            self.is_journaled, self._newest = is_journaled, -math.inf

    def handed_out(self, envelope: Envelope, *, is_shutdown: bool) -> None:
        """Take note of a signal that the user gets, in order or out of it."""
        # Without a journal, what it has begun again with may have been missed, or have come before that.
        place = envelope.seq if self.is_journaled else envelope.sent
        self.is_ended = is_shutdown and place >= self._newest
        self._newest = max(self._newest, place)
        if self.is_ended:
            self.announcement = None

    # Where to begin

    def first_ahead(self) -> Arrival | None:
        """Return what has the first position of all that is held back; None: nothing is."""
        return self._ahead[min(self._ahead)] if self._ahead else None

    def begin_after(self, last: int | None, sent: float = -math.inf, last_id: str | None = None) -> None:
        """Set where to begin: after the signal with that position, which was sent then; None: it is not known yet."""
        self.last, self.sent, self._last_id = last, sent, last_id

    def begin_anew(self, now: float) -> None:
        """Read the whole journal: positions have another meaning now."""
        self._known_until, self._known_id = self.sent, self._last_id or self._known_id
        self._is_doubtful, self._gap_since = False, None
        self.last, self._last_id, self.beyond = 0, None, None
        self._newest = -math.inf
        self._ahead.clear()
        self._old.clear()
        self._bytes_ahead = 0
        self.want(now)

    # What arrives

    def take(self, arrival: Arrival, now: float) -> list[Arrival]:
        """Take a broadcast signal. Return what is to be handed out now."""
        self._look_every = _LOOK_EVERY
        self._look_at = now + _LOOK_EVERY
        seq = arrival.envelope.seq
        if self.last is not None and seq == self.last + 1 and self._can_pass:
            return [self._pass(arrival), *self._drain()]
        if self.last is None or seq > self.last:
            self._hold(arrival)
            self.want(now)
        return []

    def read(
        self, arrivals: list[Arrival], *, is_whole: bool, now: float, last: bytes | None = None
    ) -> tuple[list[Arrival], int]:
        """Take a page of the journal. Return what is to be handed out now, and how many are missing before it.

        Args:
            arrivals: the signals in it.
            is_whole: whether the journal holds no more.
            now: the time.
            last: id of its last entry, if it holds more.
        """
        self._wanted_at = math.inf
        verdict = self._compare(arrivals)
        if verdict is False or (verdict is None and is_whole):
            self.beyond = None
            return self._anew_or_wait(now, is_behind=verdict is None)
        self.beyond = None if is_whole else last
        if verdict is None:
            self.want(now)
            return [], 0
        self._is_doubtful = False
        passed, missed = self._new(arrivals)
        passed += self._drain()
        if not is_whole:
            self.want(now)
        elif self._ahead:
            missed += self._skip_or_wait(now)
            passed += self._drain()
        else:
            self._gap_since = None
        return passed, missed

    def without_journal(self) -> tuple[list[Arrival], int]:
        """Give up on what is missing: the journal cannot be read. Returns as `read`."""
        self._wanted_at = math.inf
        self._is_doubtful, self._known_until, self.beyond = False, None, None
        missed = self._skip()
        return self._drain(), missed

    def has_patience(self, now: float) -> bool:
        """Whether to wait for somebody who may put back what is missing."""
        if self._gap_since is None:
            self._gap_since = now
        return now - self._gap_since < _GIVE_UP_AFTER

    # How it is done

    @property
    def _can_pass(self) -> bool:
        return self.is_introduced and not self._is_doubtful and self._known_until is None

    def _compare(self, arrivals: list[Arrival]) -> bool | None:
        """Whether the journal can be gone on with: it holds what was handed out last, or was cut off after that.

        None: it does not come as far as that on this page.
        """
        if self.beyond is None:
            self._is_compared = self._last_id is None
        if self._is_compared:
            return True
        last = self.last or 0
        found = next((each.envelope for each in arrivals if each.envelope.seq >= last), None)
        if found is None:
            return None
        self._is_compared = found.seq > last or found.id == self._last_id
        return self._is_compared

    def _anew_or_wait(self, now: float, *, is_behind: bool) -> tuple[list[Arrival], int]:
        """The journal ends before that, or has become another. In the first case its exporter may put things right."""
        if is_behind and self.has_patience(now):
            self._is_doubtful = True
            self._wanted_at = now + LOOK_AGAIN
            return [], 0
        passed: list[Arrival] = []
        missed = 0
        while is_behind and self._ahead:
            # Nobody else has these any more.
            missed += self._skip()
            passed += self._drain()
        self.begin_anew(now)
        return passed, missed

    def _new(self, arrivals: list[Arrival]) -> tuple[list[Arrival], int]:
        passed: list[Arrival] = []
        missed = 0
        for arrival in self._unknown(arrivals):
            last = self.last or 0
            if arrival.envelope.seq <= last:
                continue
            if self._known_until is None:
                missed += arrival.envelope.seq - last - 1
            self._known_until = None
            passed.append(self._pass(arrival))
        return passed, missed

    def _unknown(self, arrivals: list[Arrival]) -> list[Arrival]:
        """Return what comes after the signals that are known though positions do not tell."""
        if self._known_until is None:
            return arrivals
        until, ids = self._known_until, [each.envelope.id for each in arrivals]
        if self._known_id in ids:
            count, self._known_until = ids.index(self._known_id) + 1, None
        else:
            # Several may have been sent at that very time. Whoever has got one of them remembers it.
            count = len(list(itertools.takewhile(lambda each: each.envelope.sent < until, arrivals)))
        if count:
            self.last, self._last_id = arrivals[count - 1].envelope.seq, arrivals[count - 1].envelope.id
        return arrivals[count:]

    def _skip_or_wait(self, now: float) -> int:
        """What was broadcast is ahead of the journal: wait for whoever restores that, but not for ever."""
        if self.has_patience(now):
            self._wanted_at = now + LOOK_AGAIN
            return 0
        return self._skip()

    def _skip(self) -> int:
        first = self.first_ahead()
        self._gap_since = None
        self._old.clear()
        if first is None:
            return 0
        seq = first.envelope.seq
        missed = 0 if self.last is None else seq - self.last - 1
        self.last, self._last_id = seq - 1, None
        return missed

    def _hold(self, arrival: Arrival) -> None:
        if arrival.envelope.seq in self._old:
            self._let_go([arrival.envelope.seq])
        if arrival.envelope.seq in self._ahead or self._bytes_ahead + arrival.size > self._max_ahead:
            return
        self._ahead[arrival.envelope.seq] = arrival
        self._bytes_ahead += arrival.size

    def _let_go(self, seqs: Iterable[int]) -> None:
        for seq in tuple(seqs):
            self._bytes_ahead -= self._ahead.pop(seq).size
            self._old.discard(seq)

    def _drain(self) -> list[Arrival]:
        passed = []
        self._let_go(seq for seq, each in self._ahead.items() if seq <= (self.last or 0) or self._is_outdated(each))
        while self.last is not None and (arrival := self._ahead.get(self.last + 1)) is not None:
            if self.last + 1 in self._old:
                break
            self._let_go([self.last + 1])
            passed.append(self._pass(arrival))
        if not self._ahead:
            self._gap_since = None
            self._wanted_at = math.inf
        return passed

    def _is_outdated(self, held_back: Arrival) -> bool:
        """Whether somebody has given positions before its own to signals that came after it."""
        return held_back.envelope.seq in self._old and held_back.envelope.sent < self.sent

    def _pass(self, arrival: Arrival) -> Arrival:
        self.last, self._last_id = arrival.envelope.seq, arrival.envelope.id
        self.sent = arrival.envelope.sent
        return arrival
