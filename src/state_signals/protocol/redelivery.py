"""Signals that one responder gets again, because it may have died while it acted on them.

They are broadcast on a channel of the responder's, and a broadcast may go astray: so each is sent once more, less and
less often, as long as its answer is owed. Whoever has it already knows its identifier, and does not act twice.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from state_signals.requests import Redeliver

__all__ = ["Redeliveries"]

_FIRST_AFTER = 5.0
"""Seconds until a signal is sent again that is not answered; then twice as many, and so on."""


@dataclass(slots=True)
class _Delivery:
    encode: Callable[[], bytes]
    due: float = -math.inf
    wait: float = _FIRST_AFTER


class Redeliveries:
    """What is owed, by responder and signal.

    Args:
        most: how many there are, at the most; the oldest are forgotten first.
        is_owed: whether a responder has still to answer a signal.

    Attributes:
        can_send: whether the server lets us.
    """

    def __init__(self, most: int, is_owed: Callable[[str, str], bool]) -> None:
        self.can_send = True
        self._most = most
        self._is_owed = is_owed
        self._deliveries: dict[tuple[str, str], _Delivery] = {}
        # By when they are due. What is due at another time by now, or not owed any more, is dropped as it comes up.
        self._queue: list[tuple[float, int, tuple[str, str]]] = []
        self._numbers = itertools.count()

    def has_room_for(self, responder_id: str, signal_id: str) -> bool:
        """Whether a signal is not being sent to a responder yet, and can be without another being forgotten."""
        is_new = (responder_id, signal_id) not in self._deliveries
        return self.can_send and is_new and len(self._deliveries) < self._most

    def add(self, responder_id: str, signal_id: str, encode: Callable[[], bytes]) -> None:
        """Have a signal, which `encode` returns, sent to a responder as soon as possible, if that is allowed."""
        if self.can_send:
            self._schedule((responder_id, signal_id), _Delivery(encode))
            while len(self._deliveries) > self._most:
                del self._deliveries[next(iter(self._deliveries))]

    def next(self, now: float) -> Redeliver | None:
        """Return what is to be sent now, and the same again until it is `sent`; None: nothing."""
        while self._queue and self._queue[0][0] <= now:
            due, _, key = self._queue[0]
            delivery = self._deliveries.get(key)
            is_current = delivery is not None and delivery.due == due
            if delivery is not None and is_current and self._is_owed(*key):
                return Redeliver(*key, delivery.encode())
            heapq.heappop(self._queue)
            if is_current:
                del self._deliveries[key]
        return None

    def sent(self, request: Redeliver, now: float) -> None:
        """Take note that the server has broadcast one, or would not."""
        key = request.responder_id, request.signal_id
        delivery = self._deliveries.get(key)
        if delivery is not None:
            delivery.due = now + delivery.wait
            delivery.wait *= 2
            self._schedule(key, delivery)

    def are_off(self) -> None:
        """Send none any more."""
        self.can_send = False
        self._deliveries.clear()
        self._queue.clear()

    def next_deadline(self) -> float:
        """Return when there is something to send, unless it is answered before; infinite: never."""
        return self._queue[0][0] if self._queue else math.inf

    def _schedule(self, key: tuple[str, str], delivery: _Delivery) -> None:
        self._deliveries[key] = delivery
        heapq.heappush(self._queue, (delivery.due, next(self._numbers), key))
