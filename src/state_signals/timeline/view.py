"""A run as it is drawn: in seconds from its beginning, with what follows from its facts, and with texts that are safe.

Every format is made from a `View`, never from a run: what came over the network is escaped on the way.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from state_signals.messages import NO_TAG
from state_signals.results import Outcome
from state_signals.runs.model import Action, Round, Run

__all__ = ["ActionView", "MemberView", "RoundView", "Selection", "Status", "View", "view_of"]

_OUTLIER = 2.0
"""A straggler took so many times as long as half of the others."""

_TIE = 0.02
"""Seconds between the last answer and the end of waiting that mean nothing."""


class Status(StrEnum):
    """How an action is drawn: the outcomes, and what there is beyond them. The worst come first."""

    LOST = "lost"
    FAILED = "failed"
    MISSING = "missing"
    LATE = "late"
    LEFT = "left"
    PENDING = "pending"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"

    @property
    def is_trouble(self) -> bool:
        """Whether it should stand out."""
        return self in _TROUBLES

    @property
    def severity(self) -> int:
        """A number by which to sort: the less, the worse."""
        return _ORDER[self]


_TROUBLES = frozenset({Status.LOST, Status.FAILED, Status.MISSING, Status.LATE, Status.LEFT})
_ORDER = {status: place for place, status in enumerate(Status)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What part of a run to draw.

    Attributes:
        events: only rounds of these events; empty: of all.
        since: seconds from the run's beginning; None: from there.
        until: likewise; None: to its end.
    """

    events: frozenset[str] = frozenset()
    since: float | None = None
    until: float | None = None

    def takes(self, this: Round, run: Run) -> bool:
        """Whether a round is part of it."""
        published = this.published_at - run.began_at
        ended = max(published, (this.ended_at or this.published_at) - run.began_at)
        return (
            (not self.events or this.event in self.events)
            and (self.since is None or ended >= self.since)
            and (self.until is None or published <= self.until)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionView:
    """What one responder did in one round, in seconds from the run's beginning.

    Attributes:
        responder_id: who.
        round: which round, as its place in `View.rounds`.
        status: how it ended.
        outcome: the same as the exporter counts it; None: not known, or pending.
        start: where its bar begins: at receipt, or, where that is not known, at publication.
        end: where its bar ends: at its answer, or when it was waited for no more.
        received: when it received the signal; None: not known.
        answered: when its answer arrived; None: it did not answer.
        response: seconds from publication to its answer; None: it did not answer.
        took: seconds from receipt to answer by its own clock; None: not known.
        ras: the number that it answered.
        message: the text that it answered.
        progress: (moment, text) of what it said meanwhile.
    """

    responder_id: str
    round: int
    status: Status
    outcome: Outcome | None = None
    start: float
    end: float
    received: float | None = None
    answered: float | None = None
    response: float | None = None
    took: float | None = None
    ras: int | None = None
    message: str | None = None
    progress: tuple[tuple[float, str | None], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundView:
    """One signal and what became of it, in seconds from the run's beginning.

    Attributes:
        number: its place in `View.rounds`.
        seq: its position among the exporter's signals.
        signal_id: its identifier.
        event: its event.
        sample_no: its sample; -1: none.
        tag: its tag.
        published: when it was published.
        ended: when waiting ended; None: not yet, not awaited, or not known.
        wait: seconds that the exporter would wait; infinite: for ever; None: it did not.
        ok: whether it came to what was asked; None: not known.
        actions: what each responder did.
        stragglers: who kept the others waiting: the slowest by far, or those that did not answer.
        cost: seconds that the round would have been shorter without them.
    """

    number: int
    seq: int
    signal_id: str
    event: str
    sample_no: int
    tag: str
    published: float
    ended: float | None
    wait: float | None
    ok: bool | None
    actions: tuple[ActionView, ...]
    stragglers: tuple[str, ...] = ()
    cost: float = 0.0

    @property
    def name(self) -> str:
        """Event and sample."""
        return self.event if self.sample_no < 0 else f"{self.event} {self.sample_no}"

    def responses(self) -> list[float]:
        """Return the seconds until each answer that counted, from the least."""
        return sorted(
            action.response
            for action in self.actions
            if action.response is not None and action.status is not Status.LATE
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberView:
    """A responder that took part, in seconds from the run's beginning.

    Attributes:
        subscribed: when it subscribed; None: it has not, or that is not known.
        left: when it closed; None: it has not.
        last_seen: its last proof of life; None: none is known.
        is_expected: whether it was waited for and has not come.
    """

    subscribed: float | None = None
    left: float | None = None
    last_seen: float | None = None
    is_expected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A run as it is drawn.

    Attributes:
        publisher_id: the exporter.
        process_name: what it calls itself.
        host: where it ran.
        tag: its tag; None: none.
        state: where the run is.
        aborted: why it was aborted; None: it was not.
        began_at: when it began, seconds since the epoch by the server's clock.
        duration: seconds from its beginning to its end, or to the last thing that is known of it.
        ended: whether its end is known.
        start: where the time axis begins, in seconds from its beginning.
        end: where the time axis ends.
        rounds: what is drawn, oldest first.
        members: who took part, by responder_id, also those that did nothing in the rounds that are drawn.
        all_rounds: how many rounds the run has.
        is_whole: whether nothing of it had been trimmed.
    """

    publisher_id: str
    process_name: str
    host: str
    tag: str | None
    state: str
    aborted: str | None
    began_at: float
    duration: float
    ended: bool
    start: float
    end: float
    rounds: tuple[RoundView, ...]
    members: Mapping[str, MemberView]
    all_rounds: int
    is_whole: bool
    _counts: Counter[Status] = field(default_factory=Counter)

    @property
    def counts(self) -> Mapping[Status, int]:
        """How many actions ended how, the worst first."""
        return {status: self._counts[status] for status in Status if self._counts[status]}

    @property
    def span(self) -> float:
        """Seconds of the time axis; more than nothing."""
        return max(self.end - self.start, 1e-6)


def view_of(run: Run, escape: Callable[[str], str], selection: Selection | None = None) -> View:
    """Return a run as it is drawn.

    Args:
        run: what happened.
        escape: makes a text that came over the network safe to show.
        selection: what part of it; None: all.
    """
    selection = selection or Selection()
    # Whoever wrote a run before it was initialized (clocks differ) must not make negative times.
    began = min([run.began_at, *(this.published_at for this in run.rounds)])
    duration = _last_moment(run) - began
    chosen = [this for this in run.rounds if selection.takes(this, run)]
    rounds = tuple(_round(this, number, began, duration, escape) for number, this in enumerate(chosen))
    start = min(max(0.0, selection.since or 0.0), duration)
    end = duration if selection.until is None else min(max(start, selection.until), duration)
    return View(
        publisher_id=escape(run.publisher_id),
        process_name=escape(run.process_name),
        host=escape(run.runner_host),
        tag=None if run.tag == NO_TAG else escape(run.tag),
        state=str(run.state),
        aborted=None if run.aborted is None else escape(run.aborted),
        began_at=began,
        duration=duration,
        ended=run.ended_at is not None,
        start=start,
        end=end,
        rounds=rounds,
        members=_members(run, rounds, began, escape),
        all_rounds=len(run.rounds),
        is_whole=run.is_whole,
        _counts=Counter(action.status for this in rounds for action in this.actions),
    )


def _last_moment(run: Run) -> float:
    moments = [run.began_at, run.ended_at if run.ended_at is not None else run.last_seen]
    for this in run.rounds:
        moments += [this.published_at, this.ended_at]
        for action in this.actions.values():
            moments += [action.received_at, action.answered_at, *(said.at for said in action.progress)]
    return max(moment for moment in moments if moment is not None)


def _members(
    run: Run, rounds: Iterable[RoundView], began: float, escape: Callable[[str], str]
) -> dict[str, MemberView]:
    def since(moment: float | None) -> float | None:
        return None if moment is None else max(0.0, moment - began)

    found = {
        escape(member.responder_id): MemberView(
            subscribed=since(member.subscribed_at),
            left=since(member.left_at),
            last_seen=since(member.last_seen),
            is_expected=member.is_expected,
        )
        for member in run.members.values()
    }
    for this in rounds:
        for action in this.actions:
            found.setdefault(action.responder_id, MemberView())
    return found


def _round(this: Round, number: int, began: float, duration: float, escape: Callable[[str], str]) -> RoundView:
    published = max(0.0, this.published_at - began)
    ended = None if this.ended_at is None else max(published, this.ended_at - began)
    # Who is waited for in an open round has been so until now.
    until = ended if ended is not None else duration if this.is_awaited else published
    actions = tuple(
        _action(action, number, began, (published, until, this.is_awaited and ended is None), escape)
        for action in this.actions.values()
    )
    stragglers, cost = _stragglers(actions, published, until) if this.is_awaited else ((), 0.0)
    return RoundView(
        number=number,
        seq=this.seq,
        signal_id=escape(this.signal_id),
        event=escape(this.event),
        sample_no=this.sample_no,
        tag=escape(this.tag),
        published=published,
        ended=ended,
        wait=this.wait,
        ok=this.ok,
        actions=actions,
        stragglers=stragglers,
        cost=cost,
    )


def _action(
    action: Action, number: int, began: float, of_round: tuple[float, float, bool], escape: Callable[[str], str]
) -> ActionView:
    published, until, is_open = of_round
    answered = None if action.answered_at is None else max(published, action.answered_at - began)
    end = until if answered is None else answered
    received = (
        None if action.received_at is None else min(max(published, action.received_at - began), max(published, end))
    )
    return ActionView(
        responder_id=escape(action.responder_id),
        round=number,
        status=_status(action, is_open=is_open),
        outcome=action.outcome,
        start=published if received is None else received,
        end=end,
        received=received,
        answered=answered,
        response=None if answered is None else answered - published,
        took=action.took,
        ras=action.ras,
        message=None if action.message is None else escape(action.message),
        progress=tuple(
            (max(published, said.at - began), None if said.message is None else escape(said.message))
            for said in action.progress
        ),
    )


def _status(action: Action, *, is_open: bool) -> Status:
    if action.is_late and action.answered_at is not None:
        return Status.LATE
    if action.outcome is not None:
        return Status(action.outcome)
    if action.ras is not None:
        # Nobody waited for it, so nobody has counted it.
        return Status.SUCCEEDED if action.ras == 1 else Status.FAILED
    return Status.PENDING if is_open else Status.UNKNOWN


def _stragglers(actions: Sequence[ActionView], published: float, until: float) -> tuple[tuple[str, ...], float]:
    """Return who kept a round open by far the longest, and for how long longer than everybody else."""
    # Who leaves is waited for no more.
    taking_part = [action for action in actions if action.status not in (Status.UNKNOWN, Status.LEFT)]
    answers = sorted(
        (action.response, action.responder_id)
        for action in taking_part
        if action.response is not None and action.status is not Status.LATE
    )
    silent = [action.responder_id for action in taking_part if action.response is None or action.status is Status.LATE]
    last = answers[-1][0] if answers else 0.0
    # When somebody was given up is known only if nobody answered after that.
    cost = until - published - last
    if silent and cost > max(_TIE, last / 10):
        return tuple(sorted(silent)), cost
    if len(answers) < 2:
        return (), 0.0
    cost = last - answers[-2][0]
    is_outlier = last >= _OUTLIER * statistics.median(seconds for seconds, _ in answers[:-1]) and cost >= last / 3
    return ((answers[-1][1],), cost) if is_outlier else ((), 0.0)
