"""What an exporter does: its roster, its rounds, and whose answer counts for what."""

from __future__ import annotations

import uuid
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from state_signals.arguments import check_count, check_events, check_min_success, check_names, seconds
from state_signals.codec import WireResponse, decode_response, encode_signal
from state_signals.exceptions import Closed, IllegalEvent, InvalidArgument, InvalidType, MalformedMessage
from state_signals.limits import DEFAULT_LIMITS, Limits
from state_signals.messages import INITIALIZATION, NO_TAG, RESERVED_EVENTS, SHUTDOWN, Envelope, Signal
from state_signals.protocol.events import (
    Event,
    LateResponse,
    MessageRefused,
    OutcomeKnown,
    ResponderSubscribed,
    RoundCompleted,
    SubscriptionCompleted,
)
from state_signals.protocol.rounds import Round
from state_signals.protocol.states import EXPORTER, ExporterAction, ExporterState
from state_signals.results import PublishResult

__all__ = ["ANNOUNCE_INTERVAL", "ExporterProtocol"]

ANNOUNCE_INTERVAL = 1.0
"""Seconds between the announcements of a periodic initialization (version 1 behaviour)."""


@dataclass(slots=True)
class _Subscription:
    """The wait of `initialize_and_wait`: for how many, until when, and when to announce again."""

    count: int
    deadline: float | None
    next_announcement: float | None
    tag: str | None


class ExporterProtocol:
    """The sans-I/O exporter.

    Attributes:
        publisher_id: the exporter's identifier.
        process_name: what it calls itself.
        runner_host: host that it says it runs on.
        subs: the roster; assignable.
        legal_events: the events that may be published; None before `initialize`.
        tag: the tag of the last `initialize`; None if it had none.
        counters: how often each kind of message arrived that was not a first answer to an open round.
    """

    def __init__(
        self,
        publisher_id: str,
        process_name: str,
        runner_host: str,
        *,
        reply: str | None = None,
        strict_v1: bool = False,
        limits: Limits = DEFAULT_LIMITS,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self.publisher_id = publisher_id
        self.process_name = process_name
        self.runner_host = runner_host
        self.subs: set[str] = set()
        self.legal_events: list[str] | None = None
        self.tag: str | None = None
        self.state = ExporterState.CREATED
        self.counters: Counter[str] = Counter()
        self._reply = reply
        self._strict_v1 = strict_v1
        self._limits = limits
        self._new_id = new_id
        self._seq = 0
        self._rounds: dict[str, Round] = {}
        self._announcements: OrderedDict[str, None] = OrderedDict()
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._not_awaited: OrderedDict[str, str] = OrderedDict()
        self._expected: set[str] = set()
        self._speaks_v2: set[str] = set()
        self._subscription: _Subscription | None = None
        self._outbox: list[bytes] = []
        self._events: deque[Event] = deque()

    # What the user asks for

    def initialize(
        self,
        legal_events: Iterable[str],
        *,
        tag: str | None = None,
        expected: Iterable[str] = (),
        now: float,
        sent: float,
        await_count: int | None = None,
        timeout: object = None,
        periodic: bool = False,
    ) -> None:
        """Open the roster and announce it; with `await_count`, wait for that many and for all that are expected.

        Raises:
            InvalidType, InvalidArgument: for arguments that cannot work; nothing has changed then.
        """
        events = check_events(legal_events)
        names = check_names("expected_resps", expected, self._limits)
        if await_count is not None:
            check_count("await_sub_count", await_count)
        wait = seconds("timeout", timeout)
        following = self._next_state(ExporterAction.INITIALIZE)
        self._announce(tag, sent)
        self.state = following
        self.tag = tag
        self.legal_events = events
        self.subs.update(names)
        self._expected.update(names)
        if await_count is None:
            return
        self._subscription = _Subscription(
            count=await_count,
            deadline=None if wait is None else now + wait,
            next_announcement=now + ANNOUNCE_INTERVAL if periodic else None,
            tag=tag,
        )
        self._check_subscription()

    def publish(
        self,
        event: str,
        *,
        sample: int = -1,
        tag: str | None = None,
        metadata: dict[str, Any] | None = None,
        timeout: object = None,
        min_success: float | None = None,
        fail_fast: bool = False,
        wait: bool = True,
        now: float,
        sent: float,
    ) -> str:
        """Announce a state and open its round. Return the signal's id; `RoundCompleted` ends it.

        Raises:
            IllegalEvent, InvalidArgument, InvalidType, MessageTooLarge: nothing has changed then.
        """
        self.check_event(event)
        limit = seconds("timeout", timeout)
        required = check_min_success(min_success)
        following = self._next_state(ExporterAction.PUBLISH)
        awaits = wait and self.state is ExporterState.INITIALIZED
        waiting = (float("inf") if limit is None else limit) if awaits else None
        signal_id = self._send(event, sample, tag, metadata, wait=waiting, sent=sent)
        self.state = following
        if not awaits:
            self._remember(self._not_awaited, signal_id, event)
            members = self.subs if self.state is ExporterState.INITIALIZED else ()
            self._events.append(RoundCompleted(signal_id, PublishResult(ok=True, pending=members, signal_id=signal_id)))
            return signal_id
        this = Round(
            signal_id,
            event,
            self.subs,
            now=now,
            timeout=limit,
            min_success=required,
            fail_fast=fail_fast,
            max_outsiders=self._limits.max_remembered,
        )
        self._rounds[signal_id] = this
        self._settle(this, now)
        return signal_id

    def check_event(self, event: object) -> None:
        """Refuse an event that must not be published now.

        Raises:
            IllegalEvent: if it is reserved, empty, or not one of the legal events.
            InvalidType: if it is no text.
        """
        if isinstance(event, str) and event in RESERVED_EVENTS:
            raise IllegalEvent(f"the event {event!r} is reserved; call {_METHODS[event]} instead")
        if self.state is ExporterState.INITIALIZED and event not in (self.legal_events or ()):
            raise IllegalEvent(f"the event {event!r:.80} is not one of the legal events: {self.legal_events}")
        if not isinstance(event, str):
            raise InvalidType(f"event must be str, not {type(event).__name__}")
        if not event:
            raise IllegalEvent("the event must not be empty")

    def shutdown(self, *, tag: str | None = None, now: float, sent: float) -> None:
        """Close the roster, end what is open, and announce it. Nobody answers that.

        Raises:
            InvalidType, InvalidArgument: for a tag that cannot be sent.
        """
        following = self._next_state(ExporterAction.SHUTDOWN)
        self._send(SHUTDOWN, -1, tag, None, wait=None, sent=sent)
        self.state = following
        self._end_what_is_open(now)

    def close(self, now: float) -> None:
        """End it: nothing can be asked for any more."""
        self.state = self._next_state(ExporterAction.CLOSE)
        self._end_what_is_open(now)

    def rename(self, publisher_id: str, reply: str) -> None:
        """Go by another identifier, before the first signal.

        Raises:
            InvalidArgument: after it.
        """
        if self._seq:
            raise InvalidArgument(f"{self.publisher_id!r} has published signals: its identifier cannot change any more")
        self.publisher_id = publisher_id
        self._reply = reply

    def initialization_failed(self, before: ExporterState) -> None:
        """Take an initialization back that could not be announced."""
        self.state = before
        self._outbox.clear()
        self._subscription = None

    def abandon(self, signal_id: str) -> None:
        """Forget a round whose caller no longer waits."""
        this = self._rounds.pop(signal_id, None)
        if this is not None:
            self._remember(self._ended, signal_id, this.event)

    def abandon_subscription(self) -> None:
        """Forget the wait for subscribers, if there is one."""
        self._subscription = None

    @property
    def absent(self) -> frozenset[str]:
        """The members of the roster that were expected and have not subscribed."""
        return frozenset(self._expected & self.subs)

    # What arrives

    def message_received(self, data: bytes | str, now: float) -> None:
        """Take a response from the network, whatever it is."""
        # What is due comes first: an answer after the deadline is late, however busy the shell was in between.
        self._expire(now)
        try:
            response = decode_response(data, limits=self._limits)
        except MalformedMessage as error:
            self._refuse(error.reason, str(error))
            return
        if response.publisher_id != self.publisher_id:
            # On the version 1 channel every exporter hears every answer of every run.
            self.counters["for-another-exporter"] += 1
        elif response.state is not None:
            self.counters["progress"] += 1
            if response.signal_id in self._rounds:
                self._remember_version_2(response.responder_id)
        elif response.event == INITIALIZATION:
            self._subscribe(response)
        else:
            self._answered(response, now)

    def handle_timeout(self, now: float, sent: float) -> None:
        """Do what is due: deadlines, and the next periodic announcement (stamped `sent`)."""
        self._expire(now)
        waiting = self._subscription
        if waiting is not None and waiting.next_announcement is not None and now >= waiting.next_announcement:
            self._announce(waiting.tag, sent)
            waiting.next_announcement = now + ANNOUNCE_INTERVAL

    def next_deadline(self) -> float | None:
        """Return when `handle_timeout` is due; None: not before something else happens."""
        deadlines = [this.deadline for this in self._rounds.values()]
        if self._subscription is not None:
            deadlines += [self._subscription.deadline, self._subscription.next_announcement]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    # What the shell is to do

    def messages_to_send(self) -> list[bytes]:
        """Return the signals to broadcast, oldest first, once."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def next_event(self) -> Event | None:
        """Return the oldest event that was not returned yet."""
        return self._events.popleft() if self._events else None

    # How it is done

    def _next_state(self, action: ExporterAction) -> ExporterState:
        following = EXPORTER[self.state].get(action)
        if following is None:
            raise Closed(f"cannot {action} with exporter {self.publisher_id!r}: it is {self.state}; make a new one")
        return following

    def _expire(self, now: float) -> None:
        for this in list(self._rounds.values()):
            for responder_id in this.expire(now):
                self._events.append(OutcomeKnown(this.signal_id, responder_id, this.reports[responder_id]))
            self._settle(this, now)
        waiting = self._subscription
        if waiting is not None and waiting.deadline is not None and now >= waiting.deadline:
            self._subscription = None
            self._events.append(SubscriptionCompleted(enough=False))

    def _announce(self, tag: str | None, sent: float) -> None:
        signal_id = self._send(INITIALIZATION, -1, tag, None, wait=None, sent=sent)
        self._remember(self._announcements, signal_id, None)

    def _send(
        self,
        event: str,
        sample: int,
        tag: str | None,
        metadata: dict[str, Any] | None,
        *,
        wait: float | None,
        sent: float,
    ) -> str:
        signal = Signal(
            self.publisher_id,
            self.process_name,
            event,
            self.runner_host,
            sample,
            NO_TAG if tag is None else tag,
            metadata,
        )
        signal_id = self._new_id()
        envelope = None
        if not self._strict_v1:
            envelope = Envelope(id=signal_id, seq=self._seq + 1, sent=sent, reply=self._reply, wait=wait)
        data = encode_signal(signal, envelope, limits=self._limits)
        self._seq += 1
        self._outbox.append(data)
        return signal_id

    def _subscribe(self, response: WireResponse) -> None:
        responder_id = response.responder_id
        if self.state is not ExporterState.INITIALIZED:
            self.counters["not-initialized"] += 1
            return
        if response.signal_id is not None and response.signal_id not in self._announcements:
            self._refuse("unknown-signal", f"{responder_id!r:.80} answers no initialization of ours")
            return
        if responder_id not in self.subs and len(self.subs) >= self._limits.max_roster:
            self._refuse("roster-full", f"{responder_id!r:.80}: {len(self.subs)} responders are subscribed")
            return
        if response.signal_id is not None:
            self._remember_version_2(responder_id)
        if responder_id not in self.subs or responder_id in self._expected:
            self.subs.add(responder_id)
            self._expected.discard(responder_id)
            self._events.append(ResponderSubscribed(responder_id))
        self._check_subscription()

    def _check_subscription(self) -> None:
        waiting = self._subscription
        if waiting is not None and self._expected.isdisjoint(self.subs) and len(self.subs) >= waiting.count:
            self._subscription = None
            self._events.append(SubscriptionCompleted(enough=True))

    def _answered(self, response: WireResponse, now: float) -> None:
        responder_id = response.responder_id
        if response.signal_id is None:
            if responder_id in self._speaks_v2:
                self._refuse("no-signal-id", f"{responder_id!r:.80} has named its signal before, and now does not")
                return
            this = self._newest_round(response.event)
            known = this is not None or response.event in (self.legal_events or ())
        else:
            this = self._rounds.get(response.signal_id)
            if self._not_awaited.get(response.signal_id) == response.event:
                self._remember_version_2(responder_id)
                self.counters["not-awaited"] += 1
                return
            event = this.event if this else self._ended.get(response.signal_id)
            known = event == response.event
            if known:
                self._remember_version_2(responder_id)
        if not known:
            self._refuse("unknown-signal", f"{responder_id!r:.80} answers {response.event!r:.80}, no signal of ours")
        elif response.ras is None:
            self.counters["no-ras"] += 1
        elif this is None:
            self.counters["late"] += 1
            self._events.append(LateResponse(responder_id, response.event))
        elif this.answered(responder_id, response.ras, response.message, response.took, now):
            self._events.append(OutcomeKnown(this.signal_id, responder_id, this.reports[responder_id]))
            self._settle(this, now)
        else:
            self.counters["repeated" if responder_id in this.reports else "not-in-roster"] += 1

    def _newest_round(self, event: str) -> Round | None:
        return next((this for this in reversed(self._rounds.values()) if this.event == event), None)

    def _remember_version_2(self, responder_id: str) -> None:
        if len(self._speaks_v2) < self._limits.max_roster:
            self._speaks_v2.add(responder_id)

    def _end_what_is_open(self, now: float) -> None:
        for this in self._rounds.values():
            self._remember(self._ended, this.signal_id, this.event)
            self._events.append(RoundCompleted(this.signal_id, this.result(now)))
        self._rounds.clear()
        if self._subscription is not None:
            self._events.append(SubscriptionCompleted(enough=False))
        self._subscription = None
        self.subs = set()
        self._expected.clear()

    def _settle(self, this: Round, now: float) -> None:
        if this.is_over:
            del self._rounds[this.signal_id]
            self._remember(self._ended, this.signal_id, this.event)
            self._events.append(RoundCompleted(this.signal_id, this.result(now)))

    def _remember(self, memory: OrderedDict[str, Any], key: str, value: Any) -> None:
        memory[key] = value
        while len(memory) > self._limits.max_remembered:
            memory.popitem(last=False)

    def _refuse(self, reason: str, detail: str) -> None:
        self.counters[reason] += 1
        self._events.append(MessageRefused(reason, detail))


_METHODS = {INITIALIZATION: "initialize() or initialize_and_wait()", SHUTDOWN: "shutdown()"}
