"""Whose response counts for what: the open rounds of an exporter, and those that have ended."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator
from typing import Any

from state_signals.codec import WireResponse
from state_signals.limits import Limits
from state_signals.messages import INITIALIZATION
from state_signals.protocol.events import (
    Event,
    LateResponse,
    MessageRefused,
    OutcomeKnown,
    ProgressReported,
    ResponderLeft,
    RoundCompleted,
)
from state_signals.protocol.outgoing import Publication
from state_signals.protocol.presence import Presence
from state_signals.protocol.rounds import Round
from state_signals.results import PublishResult, Report

__all__ = ["Responses"]


class Responses:
    """The rounds of one exporter by the signal that they answer.

    Args:
        limits: how many ended rounds are remembered, and how many names.
        counters: counts what does not count.
        emit: takes the events.
        presence: takes responses as proofs of life.
        unexpected: called with whoever answers a signal by its identifier, and is not waited for.
    """

    def __init__(
        self,
        limits: Limits,
        counters: Counter[str],
        emit: Callable[[Event], None],
        presence: Presence,
        unexpected: Callable[[str], None],
    ) -> None:
        self._limits = limits
        self._counters = counters
        self._emit = emit
        self._presence = presence
        self._unexpected = unexpected
        self._rounds: dict[str, Round] = {}
        self._signals: dict[str, Publication] = {}
        self._announcements: OrderedDict[str, None] = OrderedDict()
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._not_awaited: OrderedDict[str, str] = OrderedDict()
        self._unawaited: dict[str, Round] = {}
        self._speaks_v2: set[str] = set()

    # The life of a round

    def open(self, this: Round, publication: Publication, *, is_awaited: bool) -> None:
        """Open the round of a signal that is queued."""
        if is_awaited:
            self._rounds[this.signal_id] = this
            self._signals[this.signal_id] = publication
        else:
            self._unawaited[this.signal_id] = this

    def sent(self, signal_id: str) -> None:
        """Take note that the server has a signal. What nobody waits for is over with that."""
        unawaited = self._unawaited.pop(signal_id, None)
        if unawaited is not None:
            self._remember(self._not_awaited, signal_id, unawaited.event)
            result = PublishResult(ok=True, pending=unawaited.pending, signal_id=signal_id)
            self._emit(RoundCompleted(signal_id, result))
        this = self._rounds.get(signal_id)
        if this is not None:
            this.is_sent = True
            self._settle(this, this.started)

    def announced(self, signal_id: str) -> None:
        """Remember an initialization: answers to it subscribe."""
        self._remember(self._announcements, signal_id, None)

    def run_ended(self) -> None:
        """Take no more answers to the initializations so far: whoever is still there answers the next one."""
        for signal_id in self._announcements:
            self._remember(self._ended, signal_id, INITIALIZATION)
        self._announcements.clear()

    def abandon(self, signal_id: str) -> None:
        """Forget a round that nobody waits for any more."""
        self._unawaited.pop(signal_id, None)
        self._end(signal_id)

    def expire(self, now: float) -> None:
        """End those whose time is up."""
        for this in list(self._rounds.values()):
            deadline = this.next_deadline()
            if deadline is not None and now >= deadline:
                self._tell(this, this.expire(now, self._presence.lost), now)

    def lose(self, is_lost: Callable[[str], bool], now: float) -> None:
        """End those that are lost."""
        for this in list(self._rounds.values()):
            self._tell(this, this.lose(is_lost), now)

    def end_all(self, now: float) -> None:
        """End every round as it stands."""
        for this in list(self._rounds.values()):
            self._end(this.signal_id)
            self._emit(RoundCompleted(this.signal_id, this.result(now)))
        for this in self._unawaited.values():
            self._emit(RoundCompleted(this.signal_id, this.result(now)))
        self._unawaited.clear()

    # What arrives

    def answered(self, response: WireResponse, legal_events: Collection[str], now: float) -> None:
        """Take an answer."""
        responder_id = response.responder_id
        if response.signal_id is None:
            if responder_id in self._speaks_v2:
                self._refuse("no-signal-id", f"{responder_id!r:.80} has named its signal before, and now does not")
                return
            this = self._newest(response.event)
            known = this is not None or response.event in legal_events
        else:
            this = self._rounds.get(response.signal_id)
            known = (self._event_of(response.signal_id) if this is None else this.event) == response.event
            if known and responder_id not in self._speaks_v2:
                self.speaks_v2(responder_id)
        if not known:
            self._unknown(response)
            return
        # Not before it is known that it can be its own: whoever forges one keeps nobody alive.
        self._presence.heard(responder_id, now)
        if this is None and response.signal_id is not None and not self._is_awaited(response.signal_id):
            self._counters["not-awaited"] += 1
        elif response.ras is None:
            self._counters["no-ras"] += 1
        elif this is None:
            self._late(response)
            self._surprised_by(response)
        elif not this.answered(responder_id, response.ras, response.message, response.took, now):
            self._surplus(response, this.reports.get(responder_id))
        elif this.is_eager or not this.pending:
            self._tell(this, [responder_id], now)

    def progress(self, response: WireResponse, now: float) -> None:
        """Take a report that is no answer yet."""
        self._counters["progress"] += 1
        signal_id = response.signal_id or ""
        this = self._rounds.get(signal_id)
        if (self._event_of(signal_id) if this is None else this.event) != response.event:
            return
        self._presence.heard(response.responder_id, now)
        if this is not None:
            self.speaks_v2(response.responder_id)
            if response.state == "working" and this.worked(response.responder_id, now):
                self._emit(ProgressReported(this.signal_id, response.responder_id, response.message))

    def left(self, response: WireResponse, now: float) -> bool:
        """Take the good-bye of a roster member. Return whether it can be its own."""
        responder_id = response.responder_id
        if response.signal_id not in self._announcements:
            self._unknown(response)
            return False
        self._presence.forget(responder_id)
        for this in list(self._rounds.values()):
            if this.left(responder_id):
                self._tell(this, [responder_id], now)
        self._emit(ResponderLeft(responder_id))
        return True

    def speaks_v2(self, responder_id: str) -> None:
        """Remember that a responder names the signals that it answers."""
        if len(self._speaks_v2) < self._limits.max_roster:
            self._speaks_v2.add(responder_id)

    # What is known

    @property
    def has_open_rounds(self) -> bool:
        """Whether anybody is waited for."""
        return bool(self._rounds)

    @property
    def speakers(self) -> Collection[str]:
        """Those that are known to speak version 2."""
        return self._speaks_v2

    def has_ended(self, signal_id: str | None) -> bool:
        """Whether a signal is one of ours of which nothing is expected any more."""
        return signal_id in self._ended

    def is_announcement(self, signal_id: str | None) -> bool:
        """Whether a signal is an initialization of ours; None, from version 1, may be."""
        return signal_id is None or signal_id in self._announcements

    def gathering(self, now: float) -> float:
        """Return the seconds for which answers may gather before they are read; 0.0: read them as they come."""
        return min((this.gathering(now) for this in self._rounds.values()), default=0.0)

    def next_deadline(self) -> float:
        """Return when `expire` has something to do; infinite: never."""
        earliest = math.inf
        for this in self._rounds.values():
            deadline = this.next_deadline()
            if deadline is not None and deadline < earliest:
                earliest = deadline
        return earliest

    def pending(self) -> set[str]:
        """Return who is waited for, in any round."""
        return set().union(*(this.pending for this in self._rounds.values()))

    def is_owed(self, responder_id: str, signal_id: str) -> bool:
        """Whether a responder has still to answer a signal."""
        this = self._rounds.get(signal_id)
        return this is not None and responder_id in this.pending

    def owed_by(self, responder_id: str) -> list[Publication]:
        """Return what the server has, or may have, and a responder has not answered: signals, in their order."""
        return [
            self._signals[this.signal_id]
            for this in self._rounds.values()
            if (this.is_sent or self._signals[this.signal_id].is_attempted) and responder_id in this.pending
        ]

    def open_signals(self) -> Iterator[bytes]:
        """Iterate over the signals that the server has and that somebody has not answered, as they were broadcast."""
        for this in self._rounds.values():
            if this.is_sent:
                yield self._signals[this.signal_id].entry.data

    # How it is done

    def _tell(self, this: Round, names: list[str], now: float) -> None:
        for responder_id in names if this.tells_outcomes else ():
            self._emit(OutcomeKnown(this.signal_id, responder_id, this.reports[responder_id]))
        self._settle(this, now)

    def _settle(self, this: Round, now: float) -> None:
        if this.is_over and this.is_sent:
            self._end(this.signal_id)
            self._emit(RoundCompleted(this.signal_id, this.result(now)))

    def _end(self, signal_id: str) -> None:
        this = self._rounds.pop(signal_id, None)
        if this is not None:
            self._signals.pop(signal_id, None)
            self._remember(self._ended, signal_id, this.event)

    def _event_of(self, signal_id: str) -> str | None:
        """Return the event of a signal whose round is not open."""
        this = self._unawaited.get(signal_id)
        if this is not None:
            return this.event
        return self._ended.get(signal_id, self._not_awaited.get(signal_id))

    def _is_awaited(self, signal_id: str) -> bool:
        return signal_id not in self._not_awaited and signal_id not in self._unawaited

    def _newest(self, event: str) -> Round | None:
        return next((this for this in reversed(self._rounds.values()) if this.event == event), None)

    def _surplus(self, response: WireResponse, report: Report | None) -> None:
        if report is None:
            self._counters["not-in-roster"] += 1
            self._surprised_by(response)
        elif report.ras is None:
            # It was given up before, while others are still waited for.
            self._late(response)
        else:
            self._counters["repeated"] += 1

    def _surprised_by(self, response: WireResponse) -> None:
        if response.signal_id is not None:
            self._unexpected(response.responder_id)

    def _late(self, response: WireResponse) -> None:
        if response.again:
            # Most likely it counted the first time.
            self._counters["repeated"] += 1
            return
        self._counters["late"] += 1
        self._emit(LateResponse(response.responder_id, response.event))

    def _unknown(self, response: WireResponse) -> None:
        if response.again:
            self._counters["repeated"] += 1
            return
        self._refuse(
            "unknown-signal", f"{response.responder_id!r:.80} answers {response.event!r:.80}, no signal of ours"
        )

    def _refuse(self, reason: str, detail: str) -> None:
        self._counters[reason] += 1
        self._emit(MessageRefused(reason, detail))

    def _remember(self, memory: OrderedDict[str, Any], key: str, value: Any) -> None:
        memory[key] = value
        while len(memory) > self._limits.max_remembered:
            memory.popitem(last=False)
