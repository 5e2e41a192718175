"""Signals that one responder gets again, because it may have died while it acted on them.

They are broadcast on a channel of the responder's, and a broadcast may go astray: so each is sent once more, less and
less often, as long as its answer is owed. Whoever has it already knows its identifier, and does not act twice.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from state_signals.requests import Redeliver

__all__ = ["Redeliveries"]

_FIRST_AFTER = 5.0
"""Seconds until a signal is sent again that is not answered; then twice as many, and so on."""


@dataclass(slots=True)
class _Delivery:
    data: bytes
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
        self._deliveries: OrderedDict[tuple[str, str], _Delivery] = OrderedDict()

    def add(self, responder_id: str, signal_id: str, data: bytes) -> None:
        """Have a signal sent to a responder, as soon as possible."""
        self._deliveries[responder_id, signal_id] = _Delivery(data)
        while len(self._deliveries) > self._most:
            self._deliveries.popitem(last=False)

    def next(self, now: float) -> Redeliver | None:
        """Return what is to be sent now, and the same again until it is `sent`; None: nothing."""
        for key, delivery in list(self._deliveries.items()):
            if not self._is_owed(*key):
                del self._deliveries[key]
            elif now >= delivery.due:
                return Redeliver(*key, delivery.data)
        return None

    def sent(self, request: Redeliver, now: float) -> None:
        """Take note that the server has broadcast one, or would not."""
        delivery = self._deliveries.get((request.responder_id, request.signal_id))
        if delivery is not None:
            delivery.due = now + delivery.wait
            delivery.wait *= 2

    def are_off(self) -> None:
        """Send none any more."""
        self.can_send = False
        self._deliveries.clear()

    def next_deadline(self) -> float:
        """Return when there is something to send, unless it is answered before; infinite: never."""
        return min((delivery.due for delivery in self._deliveries.values()), default=math.inf)
