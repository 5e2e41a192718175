"""Who waits for what in an exporter: the callers of `publish_signal` and `initialize_and_wait`, and their news."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from state_signals.exceptions import Closed, PublisherIdInUse, RunAborted
from state_signals.protocol.events import (
    CaughtUp,
    ClaimHeld,
    Event,
    OutcomeKnown,
    RoundCompleted,
    SignalRefused,
    SignalSent,
    SignalUnsent,
    SubscriptionCompleted,
)
from state_signals.results import Report

__all__ = ["CLAIM", "READ", "SUBSCRIPTION", "End", "Waiter", "Waiters"]

End = PublisherIdInUse | Closed | RunAborted
"""Why nothing will come any more."""

SUBSCRIPTION = "subscription"
"""Key of whoever waits in `initialize_and_wait`; no signal id looks like it."""

READ = "read"
"""Key of whoever waits until everything is read that was said before."""

CLAIM = "claim"
"""Key of whoever waits for the `publisher_id`."""

_KEYS: Mapping[type, str] = {SubscriptionCompleted: SUBSCRIPTION, ClaimHeld: CLAIM, CaughtUp: READ}

_OF_A_SIGNAL = (RoundCompleted, OutcomeKnown, SignalSent, SignalUnsent, SignalRefused)


class _Queue(Protocol):
    def put_nowait(self, item: Event | End, /) -> None: ...


_AnyQueue = TypeVar("_AnyQueue", bound=_Queue)


@dataclass(slots=True)
class Waiter(Generic[_AnyQueue]):
    """Where a caller is told what it waits for, and nothing else: it would be woken for that."""

    news: _AnyQueue
    on_outcome: Callable[[str, Report], object] | None
    is_for_round: bool

    def wants(self, event: Event) -> bool:
        """Whether an event is worth being woken for."""
        if isinstance(event, OutcomeKnown):
            return self.on_outcome is not None
        return not (self.is_for_round and isinstance(event, SignalSent))


class Waiters(Generic[_AnyQueue]):
    """The callers that wait, by signal id.

    Args:
        new_queue: makes the queue that a caller waits on, of threads or of tasks.
    """

    def __init__(self, new_queue: Callable[[], _AnyQueue]) -> None:
        self._new_queue = new_queue
        self._waiters: dict[str, Waiter[_AnyQueue]] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    def add(
        self, key: str, on_outcome: Callable[[str, Report], object] | None = None, *, is_for_round: bool = False
    ) -> Waiter[_AnyQueue]:
        """Return the waiter for a signal id (that it is sent, or for the end of its round), or for another key."""
        waiter = self._waiters[key] = Waiter(self._new_queue(), on_outcome, is_for_round)
        return waiter

    def remove(self, key: str) -> None:
        """Forget a waiter, if it is known."""
        self._waiters.pop(key, None)

    def tell(self, event: Event) -> None:
        """Pass an event on to whoever waits for it."""
        key = event.signal_id if isinstance(event, _OF_A_SIGNAL) else _KEYS.get(type(event))
        waiter = None if key is None else self._waiters.get(key)
        if waiter is not None and waiter.wants(event):
            waiter.news.put_nowait(event)

    def fail(self, error: End) -> None:
        """Tell all that nothing will come any more."""
        for waiter in list(self._waiters.values()):
            waiter.news.put_nowait(error)
