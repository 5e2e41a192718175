"""What a responder does: which signals it takes, and how its answers find the signal that they are for."""

from __future__ import annotations

import math
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

from state_signals.codec import decode_signal
from state_signals.exceptions import InvalidType, MalformedMessage
from state_signals.limits import DEFAULT_LIMITS, Limits
from state_signals.messages import INITIALIZATION, Envelope, Receipt, Response, Signal
from state_signals.protocol.answers import Answers
from state_signals.protocol.events import Degraded, Event, MessageRefused, SignalReceived, SignalsMissed
from state_signals.protocol.feed import Arrival
from state_signals.protocol.following import Following, Replay
from state_signals.protocol.server_side import is_forbidden, is_permanent
from state_signals.requests import (
    Answer,
    CatchUp,
    CaughtUp,
    Discover,
    Discovered,
    Introduce,
    Introduced,
    Leave,
    Look,
    Looked,
    ResponderReply,
    ResponderRequest,
    ShowPresence,
)

__all__ = ["ResponderProtocol"]

_NO_PRESENCE = "presence: if this responder dies, exporters wait for it until their deadline"
_NO_JOURNAL = "the journal: signals that are published while this responder is disconnected are lost to it"


class ResponderProtocol:
    """The sans-I/O responder.

    Attributes:
        responder_id: the responder's identifier; assignable.
        locked_id: the only exporter that is listened to; None: all.
        locked_tag: the only tag that is listened to; None: all.
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
        self.locked_id: str | None = None
        self.locked_tag: str | None = None
        self.counters: Counter[str] = Counter()
        self._reply_of = reply_of
        self._presence_ttl = presence_ttl
        self._limits = limits
        self._chance = chance
        self._following = Following(replay, limits)
        self._received: OrderedDict[str, float] = OrderedDict()
        # Initializations that were kept for who comes late: nobody else hears of them at the same time.
        self._heard_alone: OrderedDict[str, None] = OrderedDict()
        self._newest: OrderedDict[tuple[str, str], Envelope | None] = OrderedDict()
        self._answers = Answers(limits)
        self._answers.ttl = presence_ttl
        self._beat_at = math.inf
        self._has_beaten = False
        self._refusals: list[str] = []
        self._is_leaving = False
        self._events: deque[Event] = deque()

    # What the user asks for

    def lock_id(self, publisher_id: str) -> None:
        """Listen to one exporter only. Raises InvalidType unless it is a text."""
        if not isinstance(publisher_id, str):
            raise InvalidType(f"publisher_id must be str, not {type(publisher_id).__name__}")
        self.locked_id = publisher_id
        self._following.lock(publisher_id)

    def lock_tag(self, tag: str) -> None:
        """Listen to one tag only. Raises InvalidType unless it is a text."""
        if not isinstance(tag, str):
            raise InvalidType(f"tag must be str, not {type(tag).__name__}")
        self.locked_tag = tag

    def unlock(self) -> None:
        """Listen to every exporter and every tag."""
        self.locked_id = self.locked_tag = None
        self._following.unlock()

    def respond(
        self, publisher_id: str, event: str, ras: int | None, message: str | None, *, now: float, sent: float
    ) -> None:
        """Answer the newest signal of that event from that exporter.

        Raises:
            InvalidType, InvalidArgument, MessageTooLarge: nothing is sent then.
        """
        response = Response(self.responder_id, publisher_id, event, ras, message)
        self._answer(response, self._newest.get((publisher_id, event)), now, sent)

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
        envelope = signal.envelope or self._newest.get((signal.publisher_id, signal.event))
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
        signal = self._decoded(data)
        if signal is None:
            return
        envelope = signal.envelope
        if self.locked_id not in (None, signal.publisher_id):
            self.counters["filtered"] += 1
        elif envelope is None:
            self._hand_out(signal, now)
        elif envelope.id in self._received:
            # Its exporter could not know that it went out, or our answer was lost. We do not act twice.
            self._repeated(signal, envelope, now)
        elif envelope.redelivered and signal.event == INITIALIZATION and not self._following.hears_of_the_first:
            self.counters["not-followed"] += 1
        elif envelope.redelivered:
            self._hand_out(signal, now)
        elif not envelope.journal:
            self._pass_over(signal.publisher_id, *self._following.unjournaled(signal.publisher_id, now), now)
            self._hand_out(signal, now)
        else:
            arrival = Arrival(signal, envelope, len(data))
            feed = self._following.arrived(arrival, now)
            if feed is None:
                self._repeated(signal, envelope, now)
            else:
                self._hand_out_all(feed.take(arrival, now), now)
                if not self._following.can_read:
                    self._pass_over(signal.publisher_id, *feed.without_journal(), now)

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
        match request, reply:
            case Answer(), _:
                self._answers.sent()
            case ShowPresence(), _:
                self._beaten(now)
            case Leave(), _:
                self._is_leaving = False
            case Discover(), Discovered():
                self._following.discovered(reply, now)
            case Introduce(), Introduced():
                self._introduced(reply, now)
            case Look(), Looked():
                self._following.looked(request.publisher_id, self._envelope_of(reply.newest), now)
            case CatchUp(), CaughtUp():
                self._caught_up(request, reply, now)

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
            case _ if is_forbidden(kind, text):
                for publisher_id, arrivals, missed in self._following.without_journals():
                    self._pass_over(publisher_id, arrivals, missed, now)
                self._following.can_read = False
                self._events.append(Degraded(_NO_JOURNAL, text))
            case Discover():
                self._following.not_discovered()
            case Look():
                self._following.not_looked(request.publisher_id, now)
            case _:
                # Whatever is wrong with this journal is no reason to give up on others.
                arrivals, missed = self._following.without_journal(request.publisher_id)
                self._pass_over(request.publisher_id, arrivals, missed, now)

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
        while self._events:
            event = self._events.popleft()
            if isinstance(event, SignalReceived):
                signal = event.signal
                if self._is_locked_out(signal):
                    # It came before the lock.
                    self.counters["filtered"] += 1
                    continue
                # From here on the user knows of it, and may mean it: not before.
                self._remember(self._newest, (signal.publisher_id, signal.event), signal.envelope)
            return event
        return None

    # How it is done

    def _decoded(self, data: bytes | str) -> Signal | None:
        try:
            signal = decode_signal(data, limits=self._limits)
        except MalformedMessage as error:
            self._refuse(error.reason, str(error))
            return None
        envelope = signal.envelope
        if envelope and envelope.reply not in (None, self._reply_of(signal.publisher_id)):
            # An answer is a write to the server: no signal may say where to.
            self._refuse("foreign-reply", f"{signal.publisher_id!r:.80} asks for answers to {envelope.reply!r:.80}")
            return None
        return signal

    def _envelope_of(self, data: bytes | None) -> Envelope | None:
        # Quietly: whoever only looks hands out nothing, and what is wrong is told when it is read.
        with suppress(MalformedMessage):
            return None if data is None else decode_signal(data, limits=self._limits).envelope
        return None

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

    def _introduced(self, reply: Introduced, now: float) -> None:
        announcement = reply.record.get(b"init")
        newest = None if reply.newest is None else self._decoded(reply.newest)
        is_due = self._following.introduced(reply, None if newest is None else newest.envelope, now)
        feed = self._following.feed(reply.publisher_id)
        signal = None if announcement is None else self._decoded(announcement)
        if feed is None or signal is None or signal.publisher_id != reply.publisher_id or signal.envelope is None:
            return
        self._remember(self._heard_alone, signal.envelope.id, None)
        if is_due:
            self._hand_out_all([Arrival(signal, signal.envelope, 0)], now)
        elif feed.is_introduced and feed.last == 0:
            # The journal begins with it, unless the server has lost that part.
            feed.retained = signal

    def _caught_up(self, request: CatchUp, reply: CaughtUp, now: float) -> None:
        self._following.page_read()
        feed = self._following.feed(request.publisher_id)
        if feed is None:
            return
        arrivals: list[Arrival] = []
        for data in reply.signals:
            signal = self._decoded(data)
            if signal is not None and signal.envelope is not None and signal.publisher_id == request.publisher_id:
                arrivals.append(Arrival(signal, signal.envelope, len(data)))
        if not feed.is_introduced and any(each.envelope.seq > (feed.last or 0) for each in arrivals):
            # It is back: first of all comes what it is up to.
            self._following.woken(request.publisher_id, feed)
            return
        is_whole = reply.is_whole
        found = feed.read(arrivals, is_whole=is_whole, now=now, last=reply.last)
        self._pass_over(request.publisher_id, *found, now)
        retained, feed.retained = feed.retained, None if is_whole else feed.retained
        if is_whole and retained is not None and retained.envelope is not None:
            self._hand_out_all([Arrival(retained, retained.envelope, 0)], now)

    def _pass_over(self, publisher_id: str, arrivals: list[Arrival], missed: int, now: float) -> None:
        """Hand signals out, and tell how many before them will never come."""
        if missed:
            self.counters["missed"] += missed
            self._events.append(SignalsMissed(publisher_id, missed))
        self._hand_out_all(arrivals, now)

    def _hand_out_all(self, arrivals: list[Arrival], now: float) -> None:
        for arrival in arrivals:
            if arrival.envelope.id not in self._received:
                self._hand_out(arrival.signal, now)

    def _hand_out(self, signal: Signal, now: float) -> None:
        envelope = signal.envelope
        if envelope is not None:
            self._remember(self._received, envelope.id, now)
            if self._following.handed_out(signal, envelope) and self._answers.ttl is not None:
                self._beat_at = min(self._beat_at, now)
        if self._is_locked_out(signal):
            self.counters["filtered"] += 1
            return
        self._events.append(SignalReceived(signal))

    def _is_locked_out(self, signal: Signal) -> bool:
        return self.locked_id not in (None, signal.publisher_id) or self.locked_tag not in (None, signal.tag)

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
            received_at = self._received.get(envelope.id, now)
            receipt = Receipt(signal_id=envelope.id, sent=sent, took=now - received_at, state=state)
            if response.event == INITIALIZATION and state is None and envelope.id not in self._heard_alone:
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

    def _remember(self, memory: OrderedDict[Any, Any], key: Any, value: Any) -> None:
        memory[key] = value
        memory.move_to_end(key)
        while len(memory) > self._limits.max_remembered:
            memory.popitem(last=False)

    def _refuse(self, reason: str, detail: str) -> None:
        self.counters[reason] += 1
        self._events.append(MessageRefused(reason, detail))
