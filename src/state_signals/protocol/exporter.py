"""What an exporter is asked for: to open its roster, to publish, to end; and what it is called."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from state_signals.arguments import check_count, check_events, check_min_success, check_names, seconds
from state_signals.exceptions import Closed, IllegalEvent, InvalidArgument, InvalidType
from state_signals.messages import INITIALIZATION, RESERVED_EVENTS, SHUTDOWN
from state_signals.protocol.registration import Member
from state_signals.protocol.roster import spread_for
from state_signals.protocol.rounds import Round, RoundOptions
from state_signals.protocol.standing import Standing
from state_signals.protocol.states import EXPORTER, ExporterAction, ExporterState
from state_signals.requests import Release

__all__ = ["TIME_TO_SEND", "ExporterProtocol"]

TIME_TO_SEND = 0.03
"""Seconds that a signal has to reach the server, at the least: a timeout of 0 says that nobody is waited for."""


class ExporterProtocol(Standing):
    """The sans-I/O exporter. Arguments and attributes as in `Standing`."""

    # Who it is

    @property
    def process_name(self) -> str:
        """What it calls itself; assignable."""
        return self._speech.process_name

    @process_name.setter
    def process_name(self, name: str) -> None:
        self._speech.process_name = name

    @property
    def runner_host(self) -> str:
        """The host that it says it runs on; assignable."""
        return self._speech.runner_host

    @runner_host.setter
    def runner_host(self, name: str) -> None:
        self._speech.runner_host = name

    @property
    def reply(self) -> str | None:
        """Key of the stream that collects the responses; None: the version 1 channel does."""
        return None if self._speech.strict_v1 else self._speech.reply

    @property
    def can_be_claimed(self) -> bool:
        """Whether the server keeps anything of this exporter."""
        return self._server.is_journaled

    @property
    def claim_ttl(self) -> float:
        """Seconds that the claim on the `publisher_id` is good for."""
        return self._server.registration.ttl

    @property
    def absent(self) -> frozenset[str]:
        """The members of the roster that were expected and have not subscribed."""
        return self._roster.absent

    @property
    def has_to_tell(self) -> bool:
        """Whether a signal has not reached the server yet."""
        return bool(self._server.outgoing)

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
    ) -> str:
        """Open the roster and announce it; with `await_count`, wait for that many and for all that are expected.

        Without `await_count`, `timeout` is how long to try to announce it. Return the announcement's id.

        Raises:
            InvalidType, InvalidArgument: for arguments that cannot work; nothing has changed then.
        """
        events = check_events(legal_events)
        names = check_names("expected_resps", expected, self._limits)
        if await_count is not None:
            check_count("await_sub_count", await_count)
        wait = seconds("timeout", timeout)
        following = self._next_state(ExporterAction.INITIALIZE)
        expects = max(await_count or 0, len(self.subs.union(names)))
        self._spread = spread_for(expects, wait if await_count is not None else None, self._limits)
        announcement = self._announce(events, tag, sent, None if wait is None else now + max(wait, TIME_TO_SEND))
        self.state = following
        self.tag = tag
        self.legal_events = events
        self._roster.expect(names)
        for name in names:
            self._server.registration.joined(name, Member(is_expected=True))
        if await_count is not None:
            deadline = math.inf if wait is None else now + wait
            self._roster.wait(await_count, deadline, now, is_periodic=periodic)
        return announcement

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
        waits_for_lost: bool = False,
        stall_timeout: object = None,
        wait: bool = True,
        tells_outcomes: bool = True,
        now: float,
        sent: float,
    ) -> str:
        """Announce a state and open its round. Return the signal's id; `RoundCompleted` ends it.

        With `tells_outcomes`, there is an `OutcomeKnown` for each member before that.

        `SignalUnsent` or `SignalRefused` ends it, too, if the server has not taken it in time, or will not.

        Raises:
            IllegalEvent, InvalidArgument, InvalidType, MessageTooLarge: nothing has changed then.
        """
        self.check_event(event)
        options = RoundOptions(
            timeout=seconds("timeout", timeout),
            min_success=check_min_success(min_success),
            fail_fast=fail_fast,
            waits_for_lost=waits_for_lost,
            stall_timeout=seconds("stall_timeout", stall_timeout),
            tells_outcomes=tells_outcomes,
        )
        following = self._next_state(ExporterAction.PUBLISH)
        awaits = wait and self.state is ExporterState.INITIALIZED
        limit = options.timeout
        publication = self._speech.publication(
            event, sample, tag, metadata, wait=(float("inf") if limit is None else limit) if awaits else None, sent=sent
        )
        publication.deadline = None if limit is None else now + max(limit, TIME_TO_SEND)
        self._server.outgoing.add(publication)
        self.state = following
        roster = self.subs if self.state is ExporterState.INITIALIZED else set()
        this = Round(publication.signal_id, event, roster, options, now=now, max_outsiders=self._limits.max_remembered)
        self._responses.open(this, publication, is_awaited=awaits)
        if awaits:
            # The roster is the user's to change.
            self._server.registration.roster_is(self.subs, self._member)
            self._server.round_opened(roster, now)
        return publication.signal_id

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

    def shutdown(
        self,
        *,
        tag: str | None = None,
        timeout: float | None = None,
        aborted: str | None = None,
        now: float,
        sent: float,
    ) -> str:
        """Close the roster, end what is open, and announce it for `timeout` seconds. Nobody answers. Return its id.

        With `aborted`, say that this is why.

        Raises:
            InvalidType, InvalidArgument: for a tag that cannot be sent.
        """
        following = self._next_state(ExporterAction.SHUTDOWN)
        publication = self._speech.publication(SHUTDOWN, -1, tag, None, wait=None, sent=sent, aborted=aborted)
        publication.deadline = None if timeout is None else now + timeout
        publication.forgotten = ("init",)
        publication.forgets_roster = True
        self._server.outgoing.add(publication)
        self.state = following
        self._end_what_is_open(now)
        return publication.signal_id

    def close(self, now: float) -> None:
        """End it: nothing can be asked for any more."""
        self.state = self._next_state(ExporterAction.CLOSE)
        self._end_what_is_open(now)

    def rename(self, publisher_id: str, reply: str) -> None:
        """Go by another identifier, before the first signal.

        Raises:
            InvalidArgument: after it.
        """
        if self._server.registration.is_held or self._server.outgoing.head or self._server.outgoing:
            raise InvalidArgument(f"{self.publisher_id!r} has published signals: its identifier cannot change any more")
        self._speech.publisher_id = self._server.registration.publisher_id = publisher_id
        if self._speech.reply is not None:
            self._speech.reply = reply

    def claim(self) -> None:
        """Claim the `publisher_id` now, and not only with the first signal. `ClaimHeld` or `ClaimRefused` follows."""
        self._server.wants_claim = True

    def release(self, *, keeps_record: bool = False, lives_on: bool = False) -> Release | None:
        """Return, once, the request that gives the `publisher_id` up; None: it is not ours.

        With `keeps_record`, somebody else may resume us then; with `lives_on`, responders may subscribe before that.
        """
        registration = self._server.registration
        if not self.can_be_claimed or not registration.may_be_held or registration.refused_by is not None:
            return None
        keeps_record |= not registration.is_held
        registration.is_held = registration.may_be_held = self._server.wants_claim = False
        return Release(
            self.publisher_id,
            registration.owner,
            keeps_record,
            lives_on=lives_on,
            position=self.position,
            roster=registration.save() if keeps_record else None,
            verdicts=self._server.unwritten(),
        )

    # What the user takes back

    def initialization_failed(self, before: ExporterState, announcement: str) -> None:
        """Take an initialization back that could not be announced."""
        self.state = before
        self._server.outgoing.withdraw(announcement)
        self._roster.abandon_wait()

    def abandon(self, signal_id: str) -> None:
        """Forget a signal whose caller no longer waits; if the server has not taken it, it is not sent."""
        self._server.outgoing.withdraw(signal_id)
        self._responses.abandon(signal_id)

    def abandon_subscription(self) -> None:
        """Forget the wait for subscribers, if there is one."""
        self._roster.abandon_wait()

    # How it is done

    def _next_state(self, action: ExporterAction) -> ExporterState:
        following = EXPORTER[self.state].get(action)
        if following is None:
            raise Closed(f"cannot {action} with exporter {self.publisher_id!r}: it is {self.state}; make a new one")
        return following

    def _end_what_is_open(self, now: float) -> None:
        self._responses.end_all(now)
        self._responses.run_ended()
        self._roster.close()
        self._announcement = self._initialization = None
        self._presence.forget_all()
        self._server.registration.roster_forgotten()


_METHODS = {INITIALIZATION: "initialize() or initialize_and_wait()", SHUTDOWN: "shutdown()"}
