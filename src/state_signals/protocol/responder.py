"""What a responder does: it hears signals, answers them, and shows that it lives."""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Literal

from state_signals.exceptions import InvalidType
from state_signals.limits import DEFAULT_LIMITS, Limits
from state_signals.messages import INITIALIZATION, Envelope, Receipt, Response, Signal
from state_signals.protocol.answers import Answers
from state_signals.protocol.events import Degraded, Event
from state_signals.protocol.following import Following, Replay
from state_signals.protocol.hearing import Hearing
from state_signals.protocol.refusals import is_permanent
from state_signals.requests import Answer, Leave, ResponderReply, ResponderRequest, ShowPresence

__all__ = ["ResponderProtocol"]

_NO_PRESENCE = "presence: if this responder dies, exporters wait for it until their deadline"


class ResponderProtocol:
    """The sans-I/O responder.

    Attributes:
        responder_id: the responder's identifier; assignable.
        counters: how often each kind of message arrived that was not a signal to act on.

    Args:
        reply_of: returns the key of the stream that collects the responses to an exporter.
        replay: what is heard of exporters that were there first: `"state"`, `"none"` or `"all"`, see `Following`.
        presence_ttl: seconds that our proofs of life are good for; None: we give none.
        chance: returns, for a signal's id, when in the time over which answers to it are spread ours is due: 0 to 1.
    """

    def __init__(
        self,
        responder_id: str,
        *,
        reply_of: Callable[[str], str],
        replay: Replay = "state",
        presence_ttl: float | None = None,
        limits: Limits = DEFAULT_LIMITS,
        chance: Callable[[str], float] = lambda _: random.random(),  # noqa: S311 - no secret
    ) -> None:
        self.responder_id = responder_id
        self.counters: Counter[str] = Counter()
        self._presence_ttl = presence_ttl
        self._limits = limits
        self._chance = chance
        self._events: deque[Event] = deque()
        self._following = Following(replay, limits)
        self._hearing = Hearing(
            self._following,
            reply_of=reply_of,
            limits=limits,
            counters=self.counters,
            events=self._events,
            repeated=self._repeated,
            hurried=self._hurried,
        )
        self._answers = Answers(limits)
        self._answers.ttl = presence_ttl
        self._beat_at = math.inf
        self._has_beaten = False
        self._refusals: list[str] = []
        self._is_leaving = False

    # What the user asks for

    def lock_id(self, publisher_id: str) -> None:
        """Listen to one exporter only. Raises InvalidType unless it is a text."""
        self._hearing.lock_id(publisher_id)

    def lock_tag(self, tag: str) -> None:
        """Listen to one tag only. Raises InvalidType unless it is a text."""
        self._hearing.lock_tag(tag)

    def unlock(self) -> None:
        """Listen to every exporter and every tag."""
        self._hearing.unlock()

    def respond(
        self, publisher_id: str, event: str, ras: int | None, message: str | None, *, now: float, sent: float
    ) -> None:
        """Answer the newest signal of that event from that exporter.

        Raises:
            InvalidType, InvalidArgument, MessageTooLarge: nothing is sent then.
        """
        response = Response(self.responder_id, publisher_id, event, ras, message)
        self._answer(response, self._hearing.newest(publisher_id, event), now, sent)

    def respond_to(
        self,
        signal: Signal,
        ras: int | None,
        message: str | None,
        *,
        state: Literal["working"] | None = None,
        now: float,
        sent: float,
    ) -> None:
        """Answer a signal; with a state, only report progress.

        Raises:
            InvalidType, InvalidArgument, MessageTooLarge: nothing is sent then.
        """
        if not isinstance(signal, Signal):
            raise InvalidType(f"signal must be a Signal, not {type(signal).__name__}")
        response = Response(self.responder_id, signal.publisher_id, signal.event, ras, message)
        # A signal that the user has rebuilt from its JSON has no envelope.
        envelope = signal.envelope or self._hearing.newest(signal.publisher_id, signal.event)
        if envelope is None and state is not None:
            # Version 1 has no word for it.
            return
        self._answer(response, envelope, now, sent, state)

    def leave(self, *, now: float, sent: float) -> None:
        """Say good-bye to the exporters that were subscribed to."""
        self._answers.release()
        for publisher_id, announcement in self._following.subscriptions():
            response = Response(self.responder_id, publisher_id, INITIALIZATION)
            self._answer(response, announcement, now, sent, "left")
        self._is_leaving = self._beat_at < math.inf
        self._following.looks = False
        self._beat_at = math.inf

    # What arrives

    def message_received(self, data: bytes | str, now: float) -> None:
        """Take a signal from the network, whatever it is."""
        self._hearing.message_received(data, now)

    # Time

    def next_deadline(self) -> float:
        """Return when `next_query` is due; infinite: not before something arrives, or a look has shown something."""
        return self._following.next_deadline()

    def next_upkeep(self) -> float:
        """Return when `next_request` or `next_aside` is due; infinite: not before something arrives or is answered."""
        if self._answers or self._is_leaving:
            return -math.inf
        return min(self._beat_at, self._answers.next_release(), self._following.look_at)

    # What the shell is to do

    def next_request(self, now: float, *, is_urgent: bool = False) -> ResponderRequest | None:
        """Return the answer or the proof of life to send, one at a time; None: there is nothing.

        With `is_urgent`, only the first proof of life and what exporters wait for.
        """
        if now >= self._beat_at and not (is_urgent and self._has_beaten):
            return ShowPresence((self.responder_id,))
        self._answers.release(now)
        answer = self._answers.next()
        if answer is None and self._is_leaving:
            return Leave((self.responder_id,))
        return answer

    def next_aside(self, now: float) -> ResponderRequest | None:
        """Return what to ask for beside that, whose order does not matter: looks; the same until there is a reply."""
        return self._following.next_look(now)

    def next_query(self, now: float) -> ResponderRequest | None:
        """Return what to ask the server for, so that no signal is missed; one at a time; None: nothing.

        To be asked for once there are no events any more: so what is read waits on the server, not in memory.
        """
        return self._following.next_query(now)

    def reply_received(self, request: ResponderRequest, reply: ResponderReply, now: float) -> None:
        """Take the reply to a request."""
        match request:
            case Answer():
                self._answers.sent()
            case ShowPresence():
                self._beaten(now)
            case Leave():
                self._is_leaving = False
            case _:
                self._hearing.reply_received(request, reply, now)

    def request_refused(self, request: ResponderRequest, kind: str, text: str, now: float) -> None:
        """Take note that the server refuses a request: do without, as far as that goes."""
        lasts = is_permanent(kind, text)
        match request:
            case Answer():
                self._answers.sent()
                self._refusals = [*self._refusals[-9:], text]
            case ShowPresence():
                self._beaten(now)
                if lasts:
                    self._beat_at, self._answers.ttl = math.inf, None
                    self._events.append(Degraded(_NO_PRESENCE, text))
            case Leave():
                self._is_leaving = False
            case _:
                self._hearing.request_refused(request, kind, text, now)

    def connection_lost(self) -> None:
        """Take note that nobody knows whether the last request was carried out."""
        self._answers.connection_lost()
        self._following.connection_lost()

    def connection_restored(self, now: float) -> None:
        """Take note that answers can be sent again: what may have got lost is repeated."""
        self._repeat_awaited(now)
        if self._beat_at < math.inf:
            self._beat_at = now

    def clock_read(self, server_time: float) -> None:
        """Take the server's time from before we subscribe for the first time: whoever begins later comes after us."""
        self._following.clock_read(server_time)

    def subscribed(self, now: float) -> None:
        """Take note that signals are received from now on, for the first time or again: ask what was missed."""
        self._following.subscribed(now)
        # An exporter may have asked again for answers that the server had lost while we could not hear it.
        self._repeat_awaited(now)

    def refusals(self) -> list[str]:
        """Return, once, why the server would not take answers."""
        refusals, self._refusals = self._refusals, []
        return refusals

    def next_event(self) -> Event | None:
        """Return the oldest event that was not returned yet."""
        return self._hearing.next_event()

    # How it is done

    def _repeat_awaited(self, now: float) -> None:
        subscriptions = [announcement for _, announcement in self._following.subscriptions()]
        self._answers.repeat_awaited(now, {each.id: self._moment_for(each, now) for each in subscriptions})

    def _moment_for(self, announcement: Envelope, now: float) -> float:
        """Return when to answer an initialization: many others may have heard it just now, too."""
        spread = min(announcement.spread or 0.0, self._limits.max_spread)
        return now + spread * self._chance(announcement.id) if spread else -math.inf

    def _repeated(self, signal: Signal, envelope: Envelope, now: float) -> None:
        self.counters["repeated"] += 1
        is_subscription = signal.event == INITIALIZATION
        if (is_subscription or envelope.wait is not None) and self._answers.was_given(envelope.id):
            self._answers.repeat(envelope.id, self._moment_for(envelope, now) if is_subscription else -math.inf)

    def _hurried(self, now: float) -> None:
        if self._answers.ttl is not None:
            self._beat_at = min(self._beat_at, now)

    def _answer(
        self,
        response: Response,
        envelope: Envelope | None,
        now: float,
        sent: float,
        state: Literal["working", "left"] | None = None,
    ) -> None:
        receipt = None
        received_at = now
        not_before = -math.inf
        if envelope is not None:
            received_at = self._hearing.received_at(envelope.id, now)
            receipt = Receipt(signal_id=envelope.id, sent=sent, took=now - received_at, state=state)
            if response.event == INITIALIZATION and state is None and not self._hearing.was_heard_alone(envelope.id):
                not_before = self._moment_for(envelope, now)
        is_released = self._answers.add(response, receipt, envelope, received_at, not_before)
        if envelope is None or state is not None:
            return
        is_hurried = self._following.answered(response.publisher_id, envelope)
        if response.event == INITIALIZATION:
            self._following.subscribed_to(response.publisher_id, envelope)
        if self._answers.ttl is not None and (
            self._beat_at == math.inf or is_hurried or is_released or response.event == INITIALIZATION
        ):
            # Who has just come to know us may want proofs of life more often than others do. It gets one first.
            self._beat_at = min(self._beat_at, max(now, not_before))

    def _beaten(self, now: float) -> None:
        self._has_beaten = True
        ttl = min(self._presence_ttl or math.inf, self._following.shortest_ttl())
        self._beat_at = now + ttl / 3
        self._following.beaten(now)
