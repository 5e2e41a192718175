"""What a responder does: which signals it takes, and how its answers find the signal that they are for."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from state_signals.codec import decode_signal, encode_response
from state_signals.exceptions import InvalidType, MalformedMessage
from state_signals.limits import DEFAULT_LIMITS, Limits
from state_signals.messages import Envelope, Receipt, Response, Signal
from state_signals.protocol.events import Event, MessageRefused, SignalReceived

__all__ = ["Answer", "ResponderProtocol"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A response to send: to the stream `reply`, or to the version 1 channel if that is None."""

    data: bytes
    reply: str | None


class ResponderProtocol:
    """The sans-I/O responder.

    Attributes:
        responder_id: the responder's identifier; assignable.
        locked_id: the only exporter that is listened to; None: all.
        locked_tag: the only tag that is listened to; None: all.
        counters: how often each kind of message arrived that was not a signal to act on.
    """

    def __init__(
        self,
        responder_id: str,
        *,
        reply_of: Callable[[str], str],
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.responder_id = responder_id
        self.locked_id: str | None = None
        self.locked_tag: str | None = None
        self.counters: Counter[str] = Counter()
        self._reply_of = reply_of
        self._limits = limits
        self._received: OrderedDict[str, float] = OrderedDict()
        self._newest: OrderedDict[tuple[str, str], Envelope | None] = OrderedDict()
        self._outbox: list[Answer] = []
        self._events: deque[Event] = deque()

    # What the user asks for

    def lock_id(self, publisher_id: str) -> None:
        """Listen to one exporter only. Raises InvalidType unless it is a text."""
        if not isinstance(publisher_id, str):
            raise InvalidType(f"publisher_id must be str, not {type(publisher_id).__name__}")
        self.locked_id = publisher_id

    def lock_tag(self, tag: str) -> None:
        """Listen to one tag only. Raises InvalidType unless it is a text."""
        if not isinstance(tag, str):
            raise InvalidType(f"tag must be str, not {type(tag).__name__}")
        self.locked_tag = tag

    def unlock(self) -> None:
        """Listen to every exporter and every tag."""
        self.locked_id = self.locked_tag = None

    def respond(
        self, publisher_id: str, event: str, ras: int | None, message: str | None, *, now: float, sent: float
    ) -> None:
        """Answer the newest signal of that event from that exporter.

        Raises:
            InvalidType, InvalidArgument, MessageTooLarge: nothing is sent then.
        """
        response = Response(self.responder_id, publisher_id, event, ras, message)
        self._answer(response, self._newest.get((publisher_id, event)), now, sent)

    def respond_to(self, signal: Signal, ras: int | None, message: str | None, *, now: float, sent: float) -> None:
        """Answer a signal.

        Raises:
            InvalidType, InvalidArgument, MessageTooLarge: nothing is sent then.
        """
        if not isinstance(signal, Signal):
            raise InvalidType(f"signal must be a Signal, not {type(signal).__name__}")
        response = Response(self.responder_id, signal.publisher_id, signal.event, ras, message)
        # A signal that the user has rebuilt from its JSON has no envelope.
        envelope = signal.envelope or self._newest.get((signal.publisher_id, signal.event))
        self._answer(response, envelope, now, sent)

    # What arrives

    def message_received(self, data: bytes | str, now: float) -> None:
        """Take a signal from the network, whatever it is."""
        try:
            signal = decode_signal(data, limits=self._limits)
        except MalformedMessage as error:
            self._refuse(error.reason, str(error))
            return
        envelope = signal.envelope
        if envelope and envelope.reply not in (None, self._reply_of(signal.publisher_id)):
            # An answer is a write to the server: no signal may say where to.
            self._refuse("foreign-reply", f"{signal.publisher_id!r:.80} asks for answers to {envelope.reply!r:.80}")
            return
        if self.locked_id not in (None, signal.publisher_id) or self.locked_tag not in (None, signal.tag):
            self.counters["filtered"] += 1
            return
        if envelope and envelope.id in self._received:
            # The exporter could not know that the first one went out.
            self.counters["repeated"] += 1
            return
        if envelope:
            self._remember(self._received, envelope.id, now)
        self._remember(self._newest, (signal.publisher_id, signal.event), envelope)
        self._events.append(SignalReceived(signal))

    # What the shell is to do

    def messages_to_send(self) -> list[Answer]:
        """Return the answers to send, oldest first, once."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def next_event(self) -> Event | None:
        """Return the oldest event that was not returned yet."""
        return self._events.popleft() if self._events else None

    # How it is done

    def _answer(self, response: Response, envelope: Envelope | None, now: float, sent: float) -> None:
        receipt, reply = None, None
        if envelope is not None:
            reply = envelope.reply
            receipt = Receipt(signal_id=envelope.id, sent=sent, took=now - self._received.get(envelope.id, now))
        self._outbox.append(Answer(encode_response(response, receipt, limits=self._limits), reply))

    def _remember(self, memory: OrderedDict[Any, Any], key: Any, value: Any) -> None:
        memory[key] = value
        memory.move_to_end(key)
        while len(memory) > self._limits.max_remembered:
            memory.popitem(last=False)

    def _refuse(self, reason: str, detail: str) -> None:
        self.counters[reason] += 1
        self._events.append(MessageRefused(reason, detail))
