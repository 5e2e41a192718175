"""What happens to an exporter, and what follows: responses, time, what the server says; and how another one goes on."""

from __future__ import annotations

import functools
import secrets
from collections import Counter, deque
from collections.abc import Callable, Sequence

from state_signals.arguments import is_unicode
from state_signals.codec import WireResponse, decode_response
from state_signals.exceptions import MalformedMessage
from state_signals.limits import DEFAULT_LIMITS, Limits
from state_signals.messages import INITIALIZATION
from state_signals.protocol.events import (
    AbortRequested,
    CaughtUp,
    ClaimHeld,
    Event,
    MessageRefused,
    RoundCompleted,
    SignalRefused,
    SignalSent,
    SignalUnsent,
)
from state_signals.protocol.outgoing import Publication, broadcast_again
from state_signals.protocol.presence import Presence
from state_signals.protocol.registration import Member, Registration, read_member, read_record
from state_signals.protocol.responses import Responses
from state_signals.protocol.roster import Roster
from state_signals.protocol.server_side import Facts, ServerSide
from state_signals.protocol.speech import Speech
from state_signals.protocol.states import ExporterState
from state_signals.requests import ExporterReply, ExporterRequest, PresenceChecked, stream_id
from state_signals.verdicts import encode_verdict

__all__ = ["Standing"]

_CLAIM_TTL = 15.0
"""Seconds that the claim of an exporter without presence is good for."""


class Standing:
    """Where an exporter stands: base of the core's class, which is what its user asks for.

    Attributes:
        legal_events: the events that may be published; None before `initialize`.
        tag: the tag of the last `initialize`; None if it had none.
        state: where it is in its life.
        counters: how often each kind of message arrived that was not a first answer to an open round.

    Args:
        publisher_id: the exporter's identifier.
        process_name: what it calls itself.
        runner_host: host that it says it runs on.
        reply: key of the stream that collects the responses; None: the version 1 channel does.
        owner: who we are, for the claim on the `publisher_id`; unique to each exporter.
        fate: whether another owner is dead (False), alive (True), or out of sight (None).
        strict_v1: send nothing beyond version 1; then there is no journal either.
        journal: whether to keep one.
        presence_ttl: seconds that a proof of life is good for; None: nobody is lost.
        resumes: go on where an earlier owner of the `publisher_id` ended.
    """

    def __init__(
        self,
        publisher_id: str,
        process_name: str,
        runner_host: str,
        *,
        reply: str | None = None,
        owner: bytes = b"",
        fate: Callable[[bytes], bool | None] = lambda _: None,
        strict_v1: bool = False,
        journal: bool = True,
        presence_ttl: float | None = None,
        resumes: bool = False,
        limits: Limits = DEFAULT_LIMITS,
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self.legal_events: list[str] | None = None
        self.tag: str | None = None
        self.state = ExporterState.CREATED
        self.counters: Counter[str] = Counter()
        self._resumes = resumes
        self._limits = limits
        self._announcement: Publication | None = None
        self._announced_until: float | None = None
        self._spread: float | None = None
        # The newest initialization that the server has taken; its identifier, also after the shutdown.
        self._initialization: bytes | None = None
        self._announced_id: str | None = None
        # Whether the server may have lost answers to it.
        self._has_been_out_of_touch = False
        self._unread: bytes | None = None
        self._events: deque[Event] = deque()
        self._roster = Roster(self._events.append)
        self._presence = Presence(presence_ttl)
        self._responses = Responses(limits, self.counters, self._response_event, self._presence, self._invite)
        self._server = ServerSide(
            Registration(publisher_id, owner, presence_ttl or _CLAIM_TTL, fate),
            self._presence,
            is_journaled=journal and not strict_v1,
            limits=limits,
            emit=self._server_event,
            facts=self._facts,
            waited_for=self._responses.pending,
            is_owed=self._is_owed,
        )
        self._speech = Speech(publisher_id, process_name, runner_host, reply, strict_v1, new_id, self._server)

    # Who it is, and who is on its roster

    @property
    def publisher_id(self) -> str:
        """The exporter's identifier."""
        return self._speech.publisher_id

    @property
    def subs(self) -> set[str]:
        """The roster; assignable."""
        return self._roster.names

    @subs.setter
    def subs(self, names: set[str]) -> None:
        self._roster.names = names

    @property
    def position(self) -> bytes | None:
        """How far the responses were read; None: not at all."""
        return self._server.position

    # What arrives

    def message_received(self, data: bytes | str, now: float) -> None:
        """Take a response from the network, whatever it is."""
        self.messages_received((data,), now)

    def messages_received(self, batch: Sequence[bytes | str], now: float) -> None:
        """Take responses that have arrived together."""
        # What is due comes first: an answer after the deadline is late, however busy the shell was in between.
        self._expire(now)
        for data in batch:
            self._take(data, now)

    def responses_read(self, position: bytes) -> None:
        """Take note how far the responses were read, for whoever resumes."""
        self._server.position = position
        if self._unread is not None and stream_id(position) >= stream_id(self._unread):
            self._caught_up()

    @property
    def is_behind(self) -> bool:
        """Whether responders have said something, before we resumed, that was not read; `CaughtUp` follows then."""
        return self._unread is not None

    def responses_lost(self) -> None:
        """Take note that the server has lost responses: what they may have answered is announced again."""
        if self._unread is not None:
            self._caught_up()
        self._has_been_out_of_touch = True
        if self.state is ExporterState.INITIALIZED:
            self._server.responses_lost()

    def responses_refused(self) -> None:
        """Ask for responses on the version 1 channel: the stream cannot be used."""
        self._speech.reply = None
        self._server.outgoing.reply_is_off()
        if self._unread is not None:
            # Nobody will read it.
            self._caught_up()

    # Time

    def handle_timeout(self, now: float, sent: float) -> None:
        """Do what is due: deadlines, and the next periodic announcement (stamped `sent`)."""
        self._expire(now)
        if self._roster.is_to_be_announced(now) and not self._server.outgoing:
            self._announce(self.legal_events or [], self.tag, sent, self._announced_until)

    def next_deadline(self) -> float | None:
        """Return when `handle_timeout` is due, or `next_request` for those that wait; None: not before more happens."""
        moments = [self._responses.next_deadline(), self._server.outgoing.next_deadline(), self._roster.next_deadline()]
        if self._responses.has_open_rounds:
            moments.append(self._server.next_deadline())
        deadline = min(moments)
        return None if deadline == float("inf") else deadline

    def gathering(self, now: float) -> float:
        """Return the seconds for which responses may gather before more are read; 0.0: read them as they come."""
        return self._responses.gathering(now)

    def next_upkeep(self) -> float:
        """Return when `next_request` is due though nobody waits; infinite: never."""
        return self._server.next_upkeep()

    # What the shell is to do

    def next_request(self, now: float, *, is_urgent: bool = False) -> ExporterRequest | None:
        """Return what to ask the server for, one at a time; None: nothing. See `ServerSide`."""
        return self._server.next_request(now, is_urgent=is_urgent)

    def next_aside(self, now: float) -> ExporterRequest | None:
        """Return what to ask for beside that, whose order does not matter; the same until there is a reply."""
        return self._server.next_aside(now)

    def reply_received(self, request: ExporterRequest, reply: ExporterReply, now: float) -> None:
        """Take the reply to a request."""
        self._server.reply_received(request, reply, now)
        if isinstance(reply, PresenceChecked):
            self._responses.lose(self._presence.is_lost, now)

    def request_refused(self, request: ExporterRequest, kind: str, text: str, now: float) -> None:
        """Take note that the server refuses a request."""
        self._server.request_refused(request, kind, text, now)

    def connection_lost(self) -> None:
        """Take note that nobody knows whether the last request was carried out."""
        self._has_been_out_of_touch = True
        self._server.connection_lost()

    def connection_restored(self, now: float) -> None:
        """Take note that the server can be reached again."""
        self._server.connection_restored(now)

    @property
    def has_events(self) -> bool:
        """Whether `next_event` has one."""
        return bool(self._events)

    def next_event(self) -> Event | None:
        """Return the oldest event that was not returned yet."""
        return self._events.popleft() if self._events else None

    # How it is done

    def _take(self, data: bytes | str, now: float) -> None:
        try:
            response = decode_response(data, limits=self._limits)
        except MalformedMessage as error:
            self._refuse(error.reason, str(error))
            return
        if response.publisher_id != self._speech.publisher_id:
            # On the version 1 channel every exporter hears every answer of every run.
            self.counters["for-another-exporter"] += 1
        elif response.state is None and response.event != INITIALIZATION:
            self._responses.answered(response, self.legal_events or (), now)
        elif response.state is None:
            self._subscribe(response, now)
        elif response.state == "left":
            if response.responder_id in self.subs and self._responses.left(response, now):
                self._server.registration.gone(response.responder_id)
                self._roster.left(response.responder_id)
        elif response.state == "abort":
            self._abort_requested(response)
        else:
            self._responses.progress(response, now)

    def _abort_requested(self, response: WireResponse) -> None:
        # It names the initialization: what was meant for another run of the same name does not end this one.
        is_ours = response.signal_id is not None and self._responses.is_announcement(response.signal_id)
        if is_ours and self.state is ExporterState.INITIALIZED:
            self._events.append(AbortRequested(_reason(response.message, self._limits), response.responder_id))
        else:
            self._refuse("unknown-signal", f"{response.responder_id!r:.80} wants to abort another run")

    def _subscribe(self, response: WireResponse, now: float) -> None:
        responder_id, signal_id, ttl = response.responder_id, response.signal_id, response.ttl
        if self._responses.has_ended(signal_id):
            # It comes from before our shutdown, of which it does not know yet.
            self.counters["late"] += 1
            return
        if self.state is not ExporterState.INITIALIZED or not self._responses.is_announcement(signal_id):
            self._refuse("unknown-signal", f"{responder_id!r:.80} answers no initialization of ours")
            return
        if responder_id not in self.subs and len(self.subs) >= self._limits.max_roster:
            self._refuse("roster-full", f"{responder_id!r:.80}: {len(self.subs)} responders are subscribed")
            return
        if signal_id is not None:
            self._responses.speaks_v2(responder_id)
        self._presence.follow(responder_id, ttl, now)
        self._server.registration.joined(responder_id, Member(ttl, speaks_v2=signal_id is not None))
        self._roster.joined(responder_id)
        if not (response.again and self._server.is_journaled):
            # If it died while it acted, it needs to be told again. Who repeats an answer lives, and reads the journal.
            for publication in self._responses.owed_by(responder_id):
                self._server.redeliver(responder_id, publication)
        self._roster.check()

    def _invite(self, responder_id: str) -> None:
        """Have somebody subscribe that acts on our signals: its answer to the initialization may have been lost."""
        signal_id, initialization = self._announced_id, self._initialization
        if signal_id is not None and initialization is not None and self._can_be_invited(responder_id):
            self._server.invite(responder_id, signal_id, initialization)

    def _can_be_invited(self, responder_id: str) -> bool:
        # Whoever has been on the roster was taken off it on purpose.
        is_missed = responder_id not in self.subs and not self._server.registration.has_gone(responder_id)
        return is_missed and self._has_been_out_of_touch

    def _is_owed(self, responder_id: str, signal_id: str) -> bool:
        if signal_id == self._announced_id:
            return self._initialization is not None and self._can_be_invited(responder_id)
        return self._responses.is_owed(responder_id, signal_id)

    def _expire(self, now: float) -> None:
        for publication in self._server.outgoing.overdue(now):
            self._responses.abandon(publication.signal_id)
            self._events.append(SignalUnsent(publication.signal_id))
        self._responses.expire(now)
        self._roster.expire(now)

    def _announce(self, events: list[str], tag: str | None, sent: float, deadline: float | None) -> str:
        publication = self._speech.publication(INITIALIZATION, -1, tag, None, wait=None, sent=sent, spread=self._spread)
        publication.deadline = self._announced_until = deadline
        # Only once it goes out it is known for sure since when we are there.
        publication.info = lambda: self._speech.record(events, tag, publication.signal_id).encode()
        self._server.outgoing.add(publication)
        self._announcement = publication
        self._responses.announced(publication.signal_id)
        return publication.signal_id

    def _response_event(self, event: Event) -> None:
        self._events.append(event)
        if isinstance(event, RoundCompleted) and event.result.reports:
            self._server.write_down(functools.partial(encode_verdict, event.result, self._responses.speakers))

    def _server_event(self, event: Event) -> None:
        if isinstance(event, SignalRefused):
            self._responses.abandon(event.signal_id)
        self._events.append(event)
        if isinstance(event, SignalSent):
            announcement = self._announcement
            if announcement is not None and announcement.signal_id == event.signal_id:
                self._announced_id, self._initialization = event.signal_id, announcement.entry.data
            self._responses.sent(event.signal_id)
        elif isinstance(event, ClaimHeld) and self._server.found is not None:
            names = (name.decode(errors="replace") for name in self._server.found.roster)
            self._server.registration.roster_found(names)
            if self._resumes and event.found:
                self._resume()
            self._server.registration.roster_is(self.subs, self._member)

    def _caught_up(self) -> None:
        self._unread = None
        self._events.append(CaughtUp())

    def _resume(self) -> None:
        found = self._server.found
        record = None if found is None else read_record(found.record)
        if found is None or record is None:
            return
        self._speech.process_name, self._speech.runner_host = record.process_name, record.runner_host
        self._server.registration.began, self._server.registration.after = record.began, record.after
        # Whoever has subscribed since its end is to be heard.
        self._server.position = record.position or b"0-0"
        if record.events is None:
            return
        if found.newest is not None and stream_id(found.newest) > stream_id(self._server.position):
            self._unread = found.newest
        self.state, self.legal_events, self.tag = ExporterState.INITIALIZED, record.events, record.tag
        if record.announcement is not None:
            self._responses.announced(record.announcement)
            self._announced_id, self._initialization = record.announcement, found.record[b"init"]
        for name, data in found.roster.items():
            responder_id, member = name.decode(errors="replace"), read_member(data)
            self.subs.add(responder_id)
            if member.is_expected:
                self._roster.expected.add(responder_id)
            if member.speaks_v2:
                self._responses.speaks_v2(responder_id)
            self._presence.follow(responder_id, member.ttl, 0.0)

    def _facts(self) -> Facts:
        again = list(self._responses.open_signals())
        record: dict[str, bytes] = {}
        if self._announced_id is not None:
            # Also after the shutdown: where its signals begin has to be known to whoever reads them then.
            record["info"] = self._speech.record(self.legal_events, self.tag, self._announced_id).encode()
        if self._initialization is not None and self.state is ExporterState.INITIALIZED:
            record["init"] = self._initialization
            again.insert(0, self._initialization)
        roster = {name: self._member(name).encode() for name in self.subs}
        return Facts(tuple(broadcast_again(data, self._limits) for data in again), record, roster)

    def _member(self, name: str) -> Member:
        return Member(self._presence.ttl_of(name), name in self._responses.speakers, name in self._roster.expected)

    def _refuse(self, reason: str, detail: str) -> None:
        self.counters[reason] += 1
        self._events.append(MessageRefused(reason, detail))


def _reason(message: str | None, limits: Limits) -> str:
    """Return the reason for an abort as it can be passed on, whatever was given."""
    text = (message or "no reason given")[: limits.max_name]
    return text if is_unicode(text) else text.encode(errors="replace").decode()
