"""What a responder hears: of all that arrives, what its user gets, each signal once and in order."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from state_signals.codec import decode_signal
from state_signals.exceptions import InvalidType, MalformedMessage
from state_signals.limits import Limits
from state_signals.messages import INITIALIZATION, Envelope, Signal
from state_signals.protocol.events import Degraded, Event, MessageRefused, SignalReceived, SignalsMissed
from state_signals.protocol.feed import Arrival
from state_signals.protocol.following import Following
from state_signals.protocol.refusals import is_forbidden
from state_signals.requests import (
    CatchUp,
    CaughtUp,
    Discover,
    Discovered,
    Introduce,
    Introduced,
    Look,
    Looked,
    Query,
    ResponderReply,
)

__all__ = ["Hearing"]

_NO_JOURNAL = "the journal: signals that are published while this responder is disconnected are lost to it"


class Hearing:
    """Signals from broadcasts and journals on their way to the user.

    Attributes:
        following: the exporters that are followed, and what is asked about them.
        locked_id: the only exporter that is listened to; None: all.
        locked_tag: the only tag that is listened to; None: all.

    Args:
        reply_of: returns the key of the stream that collects the responses to an exporter.
        limits: how much is remembered.
        counters: counts what is not handed out.
        events: takes the events.
        repeated: called with a signal that the user has, and which has come again, and the time.
        hurried: called with the time when proofs of life have to come more often.
    """

    def __init__(
        self,
        following: Following,
        *,
        reply_of: Callable[[str], str],
        limits: Limits,
        counters: Counter[str],
        events: deque[Event],
        repeated: Callable[[Signal, Envelope, float], None],
        hurried: Callable[[float], None],
    ) -> None:
        self.following = following
        self.locked_id: str | None = None
        self.locked_tag: str | None = None
        self._reply_of = reply_of
        self._limits = limits
        self._counters = counters
        self._events = events
        self._repeated = repeated
        self._hurried = hurried
        self._received: OrderedDict[str, float] = OrderedDict()
        # Initializations that were kept for who comes late: nobody else hears of them at the same time.
        self._heard_alone: OrderedDict[str, None] = OrderedDict()
        self._newest: OrderedDict[tuple[str, str], Envelope | None] = OrderedDict()

    # Whom it listens to

    def lock_id(self, publisher_id: str) -> None:
        """Listen to one exporter only. Raises InvalidType unless it is a text."""
        if not isinstance(publisher_id, str):
            raise InvalidType(f"publisher_id must be str, not {type(publisher_id).__name__}")
        self.locked_id = publisher_id
        self.following.lock(publisher_id)

    def lock_tag(self, tag: str) -> None:
        """Listen to one tag only. Raises InvalidType unless it is a text."""
        if not isinstance(tag, str):
            raise InvalidType(f"tag must be str, not {type(tag).__name__}")
        self.locked_tag = tag

    def unlock(self) -> None:
        """Listen to every exporter and every tag."""
        self.locked_id = self.locked_tag = None
        self.following.unlock()

    # What arrives

    def message_received(self, data: bytes | str, now: float) -> None:
        """Take a signal from the network, whatever it is."""
        signal = self._decoded(data)
        if signal is None:
            return
        envelope = signal.envelope
        if self.locked_id not in (None, signal.publisher_id):
            self._counters["filtered"] += 1
        elif envelope is None:
            self._hand_out(signal, now)
        elif envelope.id in self._received:
            # Its exporter could not know that it went out, or our answer was lost. We do not act twice.
            self._repeated(signal, envelope, now)
        elif envelope.redelivered and signal.event == INITIALIZATION and not self.following.hears_of_the_first:
            self._counters["not-followed"] += 1
        elif envelope.redelivered:
            self._hand_out(signal, now)
        elif not envelope.journal:
            self._pass_over(signal.publisher_id, *self.following.unjournaled(signal.publisher_id, now), now)
            self._hand_out(signal, now)
        else:
            arrival = Arrival(signal, envelope, len(data))
            feed = self.following.arrived(arrival, now)
            if feed is None:
                self._repeated(signal, envelope, now)
            else:
                self._hand_out_all(feed.take(arrival, now), now)
                if not self.following.can_read:
                    self._pass_over(signal.publisher_id, *feed.without_journal(), now)

    def reply_received(self, request: Query, reply: ResponderReply, now: float) -> None:
        """Take the reply to what was asked about exporters."""
        match request, reply:
            case Discover(), Discovered():
                self.following.discovered(reply, now)
            case Introduce(), Introduced():
                self._introduced(reply, now)
            case Look(), Looked():
                self.following.looked(request.publisher_id, self._envelope_of(reply.newest), now)
            case CatchUp(), CaughtUp():
                self._caught_up(request, reply, now)

    def request_refused(self, request: Query, kind: str, text: str, now: float) -> None:
        """Take note that the server refuses what was asked about exporters: do without, as far as that goes."""
        match request:
            case _ if is_forbidden(kind, text):
                for publisher_id, arrivals, missed in self.following.without_journals():
                    self._pass_over(publisher_id, arrivals, missed, now)
                self.following.can_read = False
                self._events.append(Degraded(_NO_JOURNAL, text))
            case Discover():
                self.following.not_discovered()
            case Look():
                self.following.not_looked(request.publisher_id, now)
            case _:
                # Whatever is wrong with this journal is no reason to give up on others.
                arrivals, missed = self.following.without_journal(request.publisher_id)
                self._pass_over(request.publisher_id, arrivals, missed, now)

    # What the user gets

    def next_event(self) -> Event | None:
        """Return the oldest event that was not returned yet."""
        while self._events:
            event = self._events.popleft()
            if isinstance(event, SignalReceived):
                signal = event.signal
                if self._is_locked_out(signal):
                    # It came before the lock.
                    self._counters["filtered"] += 1
                    continue
                # From here on the user knows of it, and may mean it: not before.
                self._remember(self._newest, (signal.publisher_id, signal.event), signal.envelope)
            return event
        return None

    def newest(self, publisher_id: str, event: str) -> Envelope | None:
        """Return the envelope of the newest signal of that event that the user knows of; None: it has none."""
        return self._newest.get((publisher_id, event))

    def received_at(self, signal_id: str, default: float) -> float:
        """Return when a signal has arrived; `default` if that is not known."""
        return self._received.get(signal_id, default)

    def was_heard_alone(self, signal_id: str) -> bool:
        """Whether a signal is an initialization that was kept for us, while others had heard it before."""
        return signal_id in self._heard_alone

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

    def _introduced(self, reply: Introduced, now: float) -> None:
        announcement = reply.record.get(b"init")
        newest = None if reply.newest is None else self._decoded(reply.newest)
        is_due = self.following.introduced(reply, None if newest is None else newest.envelope, now)
        feed = self.following.feed(reply.publisher_id)
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
        self.following.page_read()
        feed = self.following.feed(request.publisher_id)
        if feed is None:
            return
        arrivals: list[Arrival] = []
        for data in reply.signals:
            signal = self._decoded(data)
            if signal is not None and signal.envelope is not None and signal.publisher_id == request.publisher_id:
                arrivals.append(Arrival(signal, signal.envelope, len(data)))
        if not feed.is_introduced and any(each.envelope.seq > (feed.last or 0) for each in arrivals):
            # It is back: first of all comes what it is up to.
            self.following.woken(request.publisher_id, feed)
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
            self._counters["missed"] += missed
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
            if self.following.handed_out(signal, envelope):
                self._hurried(now)
        if self._is_locked_out(signal):
            self._counters["filtered"] += 1
            return
        self._events.append(SignalReceived(signal))

    def _is_locked_out(self, signal: Signal) -> bool:
        return self.locked_id not in (None, signal.publisher_id) or self.locked_tag not in (None, signal.tag)

    def _remember(self, memory: OrderedDict[Any, Any], key: Any, value: Any) -> None:
        memory[key] = value
        memory.move_to_end(key)
        while len(memory) > self._limits.max_remembered:
            memory.popitem(last=False)

    def _refuse(self, reason: str, detail: str) -> None:
        self._counters[reason] += 1
        self._events.append(MessageRefused(reason, detail))
