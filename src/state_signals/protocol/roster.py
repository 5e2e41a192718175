"""Who an exporter waits for, and the wait for enough of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

from state_signals.limits import Limits
from state_signals.protocol.events import Event, ResponderSubscribed, SubscriptionCompleted

__all__ = ["ANNOUNCE_INTERVAL", "Roster", "spread_for"]

ANNOUNCE_INTERVAL = 1.0
"""Seconds between the announcements of a periodic initialization (version 1 behaviour)."""

_SHARE = 0.25
"""Part of the time that is waited for responders within which they are to answer."""


def spread_for(count: int, wait: float | None, limits: Limits) -> float | None:
    """Return the seconds over which responders are to spread their answers to an initialization; None: they need not.

    All at once, thousands would keep the server from everybody else for a while, and fill up the network on the way.

    Args:
        count: how many are expected.
        wait: seconds that they are waited for; None: for ever.
        limits: how many may answer at once, and how long it may take all.
    """
    if count <= limits.max_at_once:
        return None
    return min(count * limits.spread_each, limits.max_spread, math.inf if wait is None else wait * _SHARE)


@dataclass(slots=True)
class _Wait:
    """For how many, until when, and when to announce again; infinite: never."""

    count: int
    deadline: float
    announce_at: float


class Roster:
    """The roster of one exporter.

    Attributes:
        names: the responders on it; assignable.
        expected: those that were put there and may not have subscribed.

    Args:
        emit: takes the events.
    """

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self.names: set[str] = set()
        self.expected: set[str] = set()
        self._emit = emit
        self._wait: _Wait | None = None

    # Who is on it

    def expect(self, names: Collection[str]) -> None:
        """Put responders on it that have not subscribed."""
        self.names.update(names)
        self.expected.update(names)

    def joined(self, name: str) -> None:
        """Put somebody on it that has subscribed."""
        if name not in self.names or name in self.expected:
            self.names.add(name)
            self.expected.discard(name)
            self._emit(ResponderSubscribed(name))

    def left(self, name: str) -> None:
        """Take somebody off."""
        self.names.discard(name)
        self.expected.discard(name)
        self.check()

    def close(self) -> None:
        """Take everybody off, and end the wait."""
        if self._wait is not None:
            self._end_wait(enough=False)
        self.names = set()
        self.expected.clear()

    @property
    def absent(self) -> frozenset[str]:
        """Those that were expected and have not subscribed."""
        return frozenset(self.expected & self.names)

    # The wait for enough of them

    def wait(self, count: int, deadline: float, now: float, *, is_periodic: bool) -> None:
        """Wait for that many, and for all that are expected; `SubscriptionCompleted` ends it."""
        self._wait = _Wait(count, deadline, now + ANNOUNCE_INTERVAL if is_periodic else math.inf)
        self.check()

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits."""
        return self._wait is not None

    def abandon_wait(self) -> None:
        """Forget the wait."""
        self._wait = None

    def check(self) -> None:
        """End the wait if enough are there."""
        waiting = self._wait
        if waiting is not None and self.expected.isdisjoint(self.names) and len(self.names) >= waiting.count:
            self._end_wait(enough=True)

    def expire(self, now: float) -> None:
        """End the wait if its time is up."""
        if self._wait is not None and now >= self._wait.deadline:
            self._end_wait(enough=False)

    def is_to_be_announced(self, now: float) -> bool:
        """Return whether it is time to announce the initialization again. It is not, then, for a while."""
        if self._wait is None or now < self._wait.announce_at:
            return False
        self._wait.announce_at = now + ANNOUNCE_INTERVAL
        return True

    def next_deadline(self) -> float:
        """Return when `expire` or `is_to_be_announced` has something to do; infinite: never."""
        return math.inf if self._wait is None else min(self._wait.deadline, self._wait.announce_at)

    def _end_wait(self, *, enough: bool) -> None:
        self._wait = None
        self._emit(SubscriptionCompleted(enough=enough))
