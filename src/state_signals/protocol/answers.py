"""A responder's answers on their way, and in memory: each reaches its exporter, also through a lost connection."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from state_signals.codec import encode_response
from state_signals.limits import Limits
from state_signals.messages import INITIALIZATION, Envelope, Receipt, Response
from state_signals.requests import Answer

__all__ = ["Answers"]

_REPEATED = 64
"""Answers that are sent again after a connection was lost, at the most; the newest."""

_ROOM = 32
"""Bytes by which an answer may grow when it is sent again."""


class _Given(msgspec.Struct, frozen=True, gc=False):
    """An answer, until when somebody waits for it, and how it is sent; without bytes, it is encoded then."""

    response: Response
    receipt: Receipt | None
    reply: str | None
    awaited_until: float
    data: bytes = b""


class Answers:
    """The queue and the memory of answers.

    Args:
        limits: how many answers are remembered, and how many wait to be sent.

    Attributes:
        ttl: seconds that our proofs of life are good for, told with each subscription; None: we give none.
    """

    def __init__(self, limits: Limits) -> None:
        self.ttl: float | None = None
        self._limits = limits
        self._queue: deque[_Given] = deque()
        self._given: OrderedDict[str, _Given] = OrderedDict()
        self._attempted: _Given | None = None
        # Not to be sent before a moment; one for each exporter, at the most.
        self._held_back: dict[str, tuple[float, _Given]] = {}

    def __len__(self) -> int:
        return len(self._queue)

    def add(
        self,
        response: Response,
        receipt: Receipt | None,
        envelope: Envelope | None,
        received_at: float,
        not_before: float = -math.inf,
    ) -> bool:
        """Queue an answer, or hold it back until a moment: others answer at the same time.

        Return whether an earlier one to the same exporter, which was held back, goes out before it.

        Raises:
            InvalidArgument, MessageTooLarge: if it cannot be sent; it is not queued then.
        """
        wait = 0.0 if envelope is None or envelope.wait is None else envelope.wait
        if response.event == INITIALIZATION:
            wait = math.inf
        data = self._encoded(response, receipt)
        # Until a subscription goes out, it may turn out that there are no proofs of life.
        kept = b"" if response.event == INITIALIZATION else data
        given = _Given(response, receipt, envelope.reply if envelope else None, received_at + wait, kept)
        if len(data) > self._limits.max_payload - _ROOM:
            # It must not become too large when it is sent again.
            self._encoded(response, _again(given).receipt)
        # In the order in which the answers were given: who has not subscribed is not waited for.
        is_released = self._release(response.publisher_id)
        if not_before > -math.inf:
            self._hold_back(not_before, given)
        else:
            self._queue.insert(self._place_for(given), given)
            self._forget_oldest()
        if receipt is not None and receipt.state is None:
            self._given[receipt.signal_id] = given
            self._given.move_to_end(receipt.signal_id)
            while len(self._given) > self._limits.max_remembered:
                self._given.popitem(last=False)
        return is_released

    def next(self) -> Answer | None:
        """Return the answer to send, and the same again until it is `sent`; None: there is none."""
        if not self._queue:
            return None
        self._attempted = self._queue[0]
        given = self._attempted
        return Answer(given.data or self._encoded(given.response, given.receipt), given.reply)

    def sent(self) -> None:
        """Take note that the server has the answer under way, or will not have it."""
        if self._queue and self._queue[0] is self._attempted:
            self._queue.popleft()
        self._attempted = None

    def was_given(self, signal_id: str) -> bool:
        """Whether a signal was answered, as far as is remembered."""
        return signal_id in self._given

    def release(self, now: float = math.inf) -> None:
        """Queue what was held back until now."""
        if self._held_back:
            for publisher_id in [name for name, (moment, _) in self._held_back.items() if moment <= now]:
                self._release(publisher_id)

    def next_release(self) -> float:
        """Return when `release` has something to do; infinite: never."""
        return min(moment for moment, _ in self._held_back.values()) if self._held_back else math.inf

    def repeat(self, signal_id: str, not_before: float = -math.inf) -> None:
        """Queue an answer again, or hold it back until a moment, unless that was done."""
        given = self._given[signal_id]
        held_back = self._held_back.get(given.response.publisher_id)
        if held_back is not None and _answers(held_back[1], signal_id):
            return
        if any(_answers(each, signal_id) for each in self._queue):
            return
        if not_before > -math.inf:
            self._hold_back(not_before, _again(given))
        else:
            self._queue.append(_again(given))
            self._forget_oldest()

    def connection_lost(self) -> None:
        """Take note that the answer under way may have arrived, and may not."""
        if self._attempted is not None:
            self._queue[0] = _again(self._attempted)
            self._attempted = None

    def repeat_awaited(self, now: float, subscriptions: Mapping[str, float]) -> None:
        """Queue again what somebody may wait for: the server that had it may have lost it.

        `subscriptions` are the initializations whose exporters are followed, and when to answer them.
        """
        queued = {each.receipt.signal_id for each in self._queue if each.receipt is not None}
        repeated = {name: moment for name, moment in subscriptions.items() if name in self._given}
        awaited = [
            name for name, given in self._given.items() if now < given.awaited_until < math.inf or _for_ever(given)
        ]
        for signal_id in awaited[-_REPEATED:]:
            repeated.setdefault(signal_id, -math.inf)
        for signal_id, moment in repeated.items():
            if signal_id not in queued:
                self.repeat(signal_id, moment)

    def _hold_back(self, moment: float, given: _Given) -> None:
        self._release(given.response.publisher_id)
        while len(self._held_back) >= self._limits.max_remembered:
            self._release(next(iter(self._held_back)))
        self._held_back[given.response.publisher_id] = (moment, given)

    def _release(self, publisher_id: str) -> bool:
        """Queue what is held back for an exporter. Return whether there was something."""
        held_back = self._held_back.pop(publisher_id, None)
        if held_back is None:
            return False
        self._queue.insert(self._place_for(held_back[1]), held_back[1])
        self._forget_oldest()
        return True

    def _place_for(self, given: _Given) -> int:
        """Return where in the queue a new answer goes: it is waited for, and what is only repeated may be much."""
        end = len(self._queue)
        if given.receipt is not None and given.receipt.state == "left":
            return end
        under_way = self._attempted is not None
        return next((place for place, each in enumerate(self._queue) if place >= under_way and _is_again(each)), end)

    def _forget_oldest(self) -> None:
        """Keep the queue within bounds: without a connection, nobody waits any more for what is oldest."""
        while len(self._queue) > self._limits.max_remembered:
            del self._queue[0 if self._attempted is None else 1]

    def _encoded(self, response: Response, receipt: Receipt | None) -> bytes:
        if receipt is not None and response.event == INITIALIZATION:
            receipt = replace(receipt, ttl=self.ttl)
        return encode_response(response, receipt, limits=self._limits)


def _again(given: _Given) -> _Given:
    return given if given.receipt is None else replace(given, receipt=replace(given.receipt, again=True), data=b"")


def _answers(given: _Given, signal_id: str) -> bool:
    return given.receipt is not None and given.receipt.signal_id == signal_id and given.receipt.state is None


def _is_again(given: _Given) -> bool:
    return given.receipt is not None and given.receipt.again


def _for_ever(given: _Given) -> bool:
    """Whether a signal's exporter waits without end. An initialization is not that, see `subscriptions`."""
    return math.isinf(given.awaited_until) and given.response.event != INITIALIZATION
