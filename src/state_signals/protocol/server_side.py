"""What an exporter has on the server, and the requests that bring it there and keep it there."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from state_signals.limits import Limits
from state_signals.protocol.events import ClaimHeld, ClaimRefused, Degraded, Event, Restored, SignalRefused, SignalSent
from state_signals.protocol.outgoing import Outgoing, Publication, broadcast_again
from state_signals.protocol.presence import Presence
from state_signals.protocol.redelivery import Redeliveries
from state_signals.protocol.refusals import is_forbidden, is_permanent
from state_signals.protocol.registration import Registration
from state_signals.requests import (
    Beat,
    Beaten,
    CheckJournal,
    CheckPresence,
    Claimed,
    Entry,
    ExporterReply,
    ExporterRequest,
    JournalChecked,
    PositionTaken,
    PresenceChecked,
    Publish,
    Redeliver,
    Restore,
    SaveRoster,
)

__all__ = ["Facts", "ServerSide"]

_NO_JOURNAL = (
    "the journal: what is published while a responder is disconnected is lost to it, late ones do not hear of this "
    "exporter, it cannot be resumed, and nothing is restored if the server loses its data"
)
_NO_PRESENCE = "presence: responders that die are missing, not lost"
_NO_REDELIVERY = "redelivery: a responder that dies while it acts does not get the signal again"


_VERDICTS_AT_ONCE = 16


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What goes back to a server that has lost it: the bytes of the signals whose rounds are open, record, roster."""

    again: tuple[bytes, ...]
    record: Mapping[str, bytes]
    roster: Mapping[str, bytes]


class ServerSide:
    """The queue of an exporter's requests, most urgent first.

    One request is under way at a time. After `connection_lost` nobody knows whether it was carried out: the journal is
    asked first then.

    Attributes:
        outgoing: the signals on their way.
        registration: claim, proofs of life, saved roster.
        presence: the responders' proofs of life.
        is_journaled: whether there is a journal, and all that depends on it.
        wants_claim: claim the `publisher_id` also when there is nothing to send.
        position: how far the responses were read.

    Args:
        emit: takes the events.
        facts: returns what to restore.
        waited_for: returns the names that open rounds wait for.
        is_owed: whether a responder has still to answer a signal.
    """

    def __init__(
        self,
        registration: Registration,
        presence: Presence,
        *,
        is_journaled: bool,
        limits: Limits,
        emit: Callable[[Event], None],
        facts: Callable[[], Facts],
        waited_for: Callable[[], set[str]],
        is_owed: Callable[[str, str], bool],
    ) -> None:
        self.outgoing = Outgoing(limits)
        self.registration = registration
        self.presence = presence
        self.is_journaled = is_journaled
        self.wants_claim = False
        self.position: bytes | None = None
        self.found: Claimed | None = None
        self._limits = limits
        self._emit = emit
        self._facts = facts
        self._waited_for = waited_for
        self._is_checked = True
        self._is_position_taken = False
        self._lost: tuple[Entry, ...] = ()
        self._announces_again = False
        self._redeliveries = Redeliveries(limits.max_roster, is_owed)
        # They go out with what goes out anyway: nobody waits for them.
        self._verdicts: deque[bytes | Callable[[], bytes]] = deque(maxlen=limits.max_remembered)
        self._writes_down = True
        self._check_at = math.inf
        self._asked_at = -math.inf
        self._suspects: frozenset[str] = frozenset()

    # What is to be done

    def next_request(self, now: float, *, is_urgent: bool = False) -> ExporterRequest | None:
        """Return what to ask the server for now, and the same again until there is a reply; None: nothing.

        With `is_urgent`, only what signals depend on.
        """
        if self.registration.refused_by is not None or not (self._is_claimed or self.outgoing or self.wants_claim):
            return None
        if not self._is_claimed:
            # Nothing goes out before we know that the name is ours.
            return self.registration.claim(now)
        request = self._before_signals(now)
        if request is None and (publication := self.outgoing.first()) is not None:
            request = self._publish(publication)
        if request is None and not is_urgent:
            request = self._in_the_background(now)
        return request

    def next_aside(self, now: float) -> Redeliver | None:
        """Return what to ask for beside that, whose order does not matter; the same until there is a reply."""
        return self._redeliveries.next(now) if self._may_speak else None

    def next_deadline(self) -> float:
        """Return when callers that wait have something to ask for; infinite: not before something happens."""
        return self._check_at if self.presence.ttl is not None else math.inf

    def next_upkeep(self) -> float:
        """Return when there is something to ask for though nobody waits; infinite: never."""
        due = self._redeliveries.next_deadline() if self._may_speak else math.inf
        if self.is_journaled and (self.registration.is_held or self.outgoing or self.wants_claim):
            due = min(due, self.registration.next_deadline())
        return due

    def redeliver(self, responder_id: str, publication: Publication) -> None:
        """Send a signal that is on the server to one responder again."""
        if publication.envelope is not None:
            self._redeliveries.add(
                responder_id,
                publication.signal_id,
                lambda: publication.encode(publication.entry.seq, self._limits, redelivered=True).data,
            )

    def invite(self, responder_id: str, signal_id: str, initialization: bytes) -> None:
        """Send one responder an initialization that is on the server again, until it answers."""
        if self._redeliveries.has_room_for(responder_id, signal_id):
            self._redeliveries.add(
                responder_id, signal_id, lambda: broadcast_again(initialization, self._limits, redelivered=True)
            )

    def write_down(self, verdict: Callable[[], bytes]) -> None:
        """Keep what has become of a round, for those who look back.

        Args:
            verdict: returns it; called later, for whoever waits for the end of the round has no time for that.
        """
        if self.is_journaled and self._writes_down:
            self._verdicts.append(verdict)

    def unwritten(self) -> tuple[bytes, ...]:
        """Return what is to be written down of rounds, as much as goes out at once."""
        written = []
        for place in range(min(len(self._verdicts), _VERDICTS_AT_ONCE)):
            verdict = self._verdicts[place]
            self._verdicts[place] = data = verdict if isinstance(verdict, bytes) else verdict()
            written.append(data)
        return tuple(written)

    def round_opened(self, roster: set[str], now: float) -> None:
        """Look after the members of a new round in a while; at once if some were lost."""
        at_once = not self._suspects.isdisjoint(roster)
        self._check_at = now if at_once else min(max(self._check_at, now), now + self.presence.interval())

    # What has happened

    def connection_lost(self) -> None:
        """Trust nothing that has no reply."""
        self._is_checked = False

    def connection_restored(self, now: float) -> None:
        """Give everybody time to show that they live; show it ourselves."""
        self.presence.outage_ended(now)
        self.registration.beat_soon()

    def responses_lost(self) -> None:
        """Announce again what is not answered: the server has lost answers."""
        self._announces_again = True

    def reply_received(self, request: ExporterRequest, reply: ExporterReply, now: float) -> None:
        """Take the reply to the request that was returned last."""
        match reply:
            case Claimed():
                self._claimed(reply, now)
            case JournalChecked():
                self._journal_checked(reply)
            case PresenceChecked():
                self.presence.checked(reply, self._asked_at, now)
                self._suspects = frozenset(filter(self.presence.is_lost, reply.seen))
            case Beaten():
                self._written(request)
                self.registration.beaten(now)
                self.registration.owner_seen(reply.owner)
                self._check_owner()
                self._check_beginning(reply.server_time)
            case PositionTaken():
                self._written(request)
                # The journal knows which signal that is; if there is none any more, it has been this one.
                self._is_checked = False
                self._is_position_taken = True
            case _:
                self._done(request, now)

    def request_refused(self, request: ExporterRequest, kind: str, text: str, now: float) -> None:
        """Take note that the server refuses a request: do without, as far as that goes."""
        lasts = is_permanent(kind, text)
        if isinstance(request, Publish) and request.verdicts and is_forbidden(kind, text):
            # It may be only that what has become of rounds must not be written down: nobody depends on it.
            self._writes_down = False
            self._verdicts.clear()
        elif isinstance(request, Publish) and not (lasts and request.is_journaled):
            self._emit(SignalRefused(self.outgoing.dropped().signal_id, text))
        elif lasts:
            self._do_without(request, text)
        else:
            self._put_off(request, now)

    def journal_is_off(self) -> None:
        """Do without the journal, and all that depends on it."""
        if self.is_journaled and self.found is None:
            # Where nothing is kept there is nothing to claim.
            self._emit(ClaimHeld(found=False))
        self.is_journaled = False
        self._is_checked = True
        self._lost = ()
        self._verdicts.clear()
        self.outgoing.journal_is_off()
        self.registration.roster_forgotten()

    # How it is done

    def _do_without(self, request: ExporterRequest, text: str) -> None:
        if isinstance(request, CheckPresence):
            self.presence.ttl = None
            self._emit(Degraded(_NO_PRESENCE, text))
        elif isinstance(request, Redeliver):
            self._redeliveries.are_off()
            self._emit(Degraded(_NO_REDELIVERY, text))
        elif self.is_journaled:
            self.journal_is_off()
            self._emit(Degraded(_NO_JOURNAL, text))
        else:
            self._announces_again = False

    def _put_off(self, request: ExporterRequest, now: float) -> None:
        if isinstance(request, CheckPresence):
            self._check_at = now + self.presence.interval()
        elif isinstance(request, Redeliver):
            self._redeliveries.sent(request, now)
        elif isinstance(request, SaveRoster):
            self.registration.saved(request)
        elif isinstance(request, Beat):
            self.registration.beaten(now)
        elif isinstance(request, CheckJournal | Restore):
            # It shows again after the next outage; signals go on meanwhile.
            self._is_checked = True
            self._lost, self._announces_again = (), False
            if self._is_position_taken:
                self._signal_taken()
        else:
            self.journal_is_off()
            self._emit(Degraded(_NO_JOURNAL, "the server refuses the claim"))

    @property
    def _is_claimed(self) -> bool:
        return self.registration.is_held or not self.is_journaled

    @property
    def _may_speak(self) -> bool:
        return self._is_claimed and self.registration.refused_by is None

    def _before_signals(self, now: float) -> ExporterRequest | None:
        if self.is_journaled and self.registration.doubts(now):
            self._is_checked = False
        if self.is_journaled and not self._is_checked:
            return CheckJournal(self.registration.publisher_id)
        if self.is_journaled and self.registration.is_in_doubt:
            return self._beat(now)
        if self._lost or self._announces_again:
            return self._restore()
        return None

    def _publish(self, publication: Publication) -> Publish:
        publication.is_attempted = True
        name = self.registration.publisher_id
        if not self.is_journaled:
            return Publish(name, publication.entry, is_journaled=False)
        record = {}
        if publication.info is not None:
            # The announcement is kept as it is broadcast, for responders that come later.
            record = {"info": publication.info(), "init": publication.entry.data}
        return Publish(
            name,
            publication.entry,
            record=record,
            forgotten=publication.forgotten,
            forgets_roster=publication.forgets_roster,
            verdicts=self.unwritten(),
        )

    def _restore(self) -> Restore:
        facts = self._facts()
        is_lost = bool(self._lost)
        return Restore(
            self.registration.publisher_id,
            entries=self._lost,
            again=facts.again,
            record=facts.record if is_lost else {},
            roster=facts.roster if is_lost else {},
        )

    def _in_the_background(self, now: float) -> ExporterRequest | None:
        if self.is_journaled:
            saving = self.registration.save()
            if saving is not None:
                return saving
        if now >= self._check_at and self.presence.ttl is not None:
            waited_for = self._waited_for()
            names = self.presence.followed(waited_for)
            # Whoever promises nothing yet may come to.
            self._check_at = now + self.presence.interval() if waited_for else math.inf
            if names:
                self._asked_at = now
                return CheckPresence(names)
        return self._beat(now) if self.is_journaled else None

    def _beat(self, now: float) -> Beat | None:
        return self.registration.beat(now, self.position, self.unwritten)

    def _claimed(self, reply: Claimed, now: float) -> None:
        self.registration.claimed(reply, now)
        if self.registration.is_held:
            # What we have we want to keep.
            self.wants_claim = True
            self.outgoing.resume(reply.head)
            if self.found is None:
                self.found = reply
                self._emit(ClaimHeld(found=b"info" in reply.record))
            else:
                # We were out of sight for so long that others took us for gone, or the server has lost data.
                self._is_checked = False
                self._announces_again = True
                self._check_beginning(reply.server_time)
        else:
            self._check_owner()

    def _check_beginning(self, server_time: float) -> None:
        """Whoever comes now comes before us if we have said nothing yet: the server may have forgotten our claim."""
        if self.outgoing.has_said_nothing_after(self.registration.after):
            self.registration.began = server_time

    def _check_owner(self) -> None:
        if self.registration.refused_by is not None:
            self._emit(ClaimRefused(self.registration.refused_by))

    def _journal_checked(self, reply: JournalChecked) -> None:
        self._is_checked = True
        self.registration.owner_seen(reply.owner)
        self._check_owner()
        if self.registration.refused_by is not None:
            # What the journal holds is theirs.
            return
        is_there = self.outgoing.was_taken(reply.head, reply.newest)
        is_late = not is_there and self.outgoing.adopt(reply.head, reply.newest)
        if is_there or (self._is_position_taken and not is_late):
            self._signal_taken()
        self._is_position_taken = False
        self._lost = self.outgoing.missing_after(reply.head)
        if self._lost:
            self._announces_again = True

    def _signal_taken(self) -> None:
        self._is_position_taken = False
        self._emit(SignalSent(self.outgoing.taken(is_journaled=self.is_journaled).signal_id))

    def _written(self, request: Any) -> None:
        for _ in request.verdicts:
            self._verdicts.popleft()

    def _done(self, request: Any, now: float) -> None:
        match request:
            case Publish():
                self._written(request)
                self._signal_taken()
            case Redeliver():
                self._redeliveries.sent(request, now)
            case SaveRoster():
                self.registration.saved(request)
            case _:
                self._announces_again = False
                if self._lost:
                    self._emit(Restored(len(self._lost), len(request.roster)))
                self._lost = ()
