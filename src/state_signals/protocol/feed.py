"""The signals of one exporter as a responder gets them: each once, in order, none left out.

What is broadcast is the fast path. Its positions (`seq`) show when something is missing; then the journal is read from
there, and what is broadcast meanwhile is held back, or dropped if it is much: the journal has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from state_signals.messages import Envelope, Signal

__all__ = ["Arrival", "Feed"]

_GIVE_UP_AFTER = 5.0
"""Seconds after which a gap that the journal cannot fill is passed over: an exporter may be about to restore it."""

_LOOK_AGAIN = 0.25
"""Seconds between two looks for what the journal does not have yet."""


@dataclass(frozen=True, slots=True)
class Arrival:
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
        ttl: seconds that the exporter wants proofs of life to be good for.
        announcement: the initialization that was answered; None: none.
        heard_at: when something of it arrived last.

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
        self.ttl: float | None = None
        self.announcement: Envelope | None = None
        self.heard_at = now
        self._max_ahead = max_ahead
        self._ahead: dict[int, Arrival] = {}
        self._bytes_ahead = 0
        self._wanted_at = math.inf
        self._gap_since: float | None = None

    @property
    def wanted_at(self) -> float:
        """When the journal is to be read; infinite: not at all."""
        return self._wanted_at

    def want(self, now: float) -> None:
        """Have the journal read."""
        self._wanted_at = min(self._wanted_at, now)

    def first_ahead(self) -> int | None:
        """Return the first position that is held back; None: nothing is."""
        return min(self._ahead, default=None)

    def begin_after(self, last: int) -> None:
        """Set where to begin."""
        self.last = last

    def take(self, arrival: Arrival, now: float) -> list[Arrival]:
        """Take a broadcast signal. Return what is to be handed out now."""
        self.heard_at = now
        seq = arrival.envelope.seq
        if self.last is not None and seq == self.last + 1:
            return [self._pass(arrival), *self._drain()]
        if self.last is None or seq > self.last:
            self._hold(arrival)
            self.want(now)
        return []

    def read(self, arrivals: list[Arrival], *, is_whole: bool, now: float) -> tuple[list[Arrival], int]:
        """Take signals from the journal. Return what is to be handed out now, and how many are missing before it.

        `is_whole` says that the journal holds no more.
        """
        self._wanted_at = math.inf
        passed: list[Arrival] = []
        missed = 0
        for arrival in arrivals:
            last = self.last or 0
            if arrival.envelope.seq <= last:
                continue
            missed += arrival.envelope.seq - last - 1
            passed += [self._pass(arrival)]
        passed += self._drain()
        if not is_whole and passed:
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
        missed = self._skip()
        return self._drain(), missed

    def _skip_or_wait(self, now: float) -> int:
        """What was broadcast is ahead of the journal: wait for whoever restores that, but not for ever."""
        if self._gap_since is None:
            self._gap_since = now
        if now - self._gap_since < _GIVE_UP_AFTER:
            self._wanted_at = now + _LOOK_AGAIN
            return 0
        return self._skip()

    def _skip(self) -> int:
        first = self.first_ahead()
        self._gap_since = None
        if first is None:
            return 0
        missed = 0 if self.last is None else first - self.last - 1
        self.last = first - 1
        return missed

    def _hold(self, arrival: Arrival) -> None:
        if arrival.envelope.seq in self._ahead or self._bytes_ahead + arrival.size > self._max_ahead:
            return
        self._ahead[arrival.envelope.seq] = arrival
        self._bytes_ahead += arrival.size

    def _drain(self) -> list[Arrival]:
        passed = []
        for seq in [seq for seq in self._ahead if seq <= (self.last or 0)]:
            self._bytes_ahead -= self._ahead.pop(seq).size
        while self.last is not None and (arrival := self._ahead.pop(self.last + 1, None)) is not None:
            self._bytes_ahead -= arrival.size
            passed.append(self._pass(arrival))
        if not self._ahead:
            self._gap_since = None
            self._wanted_at = math.inf
        return passed

    def _pass(self, arrival: Arrival) -> Arrival:
        self.last = arrival.envelope.seq
        self.sent = arrival.envelope.sent
        return arrival
