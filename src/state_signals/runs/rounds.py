"""What became of one round, by what was said about its signal: pure."""

from __future__ import annotations

from collections import Counter

from state_signals.results import Outcome
from state_signals.runs.facts import Answer, Facts
from state_signals.runs.membership import Membership
from state_signals.runs.model import Action, Progress, Round
from state_signals.verdicts import Verdict, WrittenReport

__all__ = ["build_round"]

_RESOLUTION = 0.001
"""Seconds; the server's time of a response is known in milliseconds, and so is what is derived from it."""

_MARGIN = 2 * _RESOLUTION
"""Seconds by which two moments of the server's may seem to come in another order than they did."""

_PATIENCE = 0.05
"""Seconds by which an exporter may end a round after its deadline."""


def build_round(facts: Facts, offset: float, membership: Membership) -> Round:
    """Return the round of a signal.

    Args:
        facts: what was said about it.
        offset: seconds to add to the exporter's time for the server's.
        membership: who took part in the run.
    """
    signal, envelope = facts.signal, facts.envelope
    assert signal is not None  # noqa: S101 - only signals that were read make rounds
    this = Round(
        signal_id=envelope.id,
        seq=envelope.seq,
        event=signal.event,
        sample_no=signal.sample_no,
        tag=signal.tag,
        metadata=signal.metadata,
        published_at=envelope.sent + offset,
        wait=envelope.wait,
    )
    for name, answer in sorted(facts.answers.items(), key=lambda each: (each[1].at, each[0])):
        # As for an exporter, an answer that names another event is none.
        if answer.event == signal.event and answer.ras is not None:
            this.actions[name] = _answered(name, answer, this.published_at)
    _report_progress(this, facts)
    if facts.verdict is not None:
        _apply(this, facts.verdict, membership)
    elif this.is_awaited:
        _conclude(this, membership)
    return this


def _answered(name: str, answer: Answer, published_at: float) -> Action:
    return Action(
        responder_id=name,
        outcome=_outcome(answer.ras),
        ras=answer.ras,
        message=answer.message,
        received_at=_received(answer.at, answer.took, published_at),
        answered_at=answer.at,
        took=answer.took,
    )


def _outcome(ras: int | None) -> Outcome:
    return Outcome.SUCCEEDED if ras == 1 else Outcome.FAILED


def _received(at: float, took: float | None, published_at: float) -> float | None:
    # Nobody receives what is not published yet; it looks so if the server's clock has gone back.
    return None if took is None else min(at, max(published_at, at - took))


def _report_progress(this: Round, facts: Facts) -> None:
    for (name, at, message), took in sorted(facts.progress.items(), key=lambda each: each[0][1]):
        action = this.actions.setdefault(name, Action(responder_id=name))
        action.progress.append(Progress(at, message))
        if action.received_at is None:
            action.received_at = _received(at, took, this.published_at)


# With a verdict: the exporter has said how it ended.


def _apply(this: Round, verdict: Verdict, membership: Membership) -> None:
    this.ok, this.elapsed = verdict.ok, verdict.elapsed
    this.ended_at = this.published_at + verdict.elapsed
    for name, report in verdict.reports.items():
        _apply_report(this, name, report)
    if verdict.pending:
        # Not everybody was waited for, and whose answer came after that is told by time only.
        for name, action in this.actions.items():
            if name not in verdict.reports and (action.answered_at or 0.0) > this.ended_at + _MARGIN:
                action.outcome, action.is_late = None, True
    counted = Counter(action.outcome for action in this.actions.values())
    if verdict.pending or any(counted[outcome] != verdict.counts.get(outcome, 0) for outcome in Outcome):
        _reconcile(this, verdict, membership, counted)


def _apply_report(this: Round, name: str, report: WrittenReport) -> None:
    action = this.actions.setdefault(name, Action(responder_id=name))
    action.outcome = report.outcome
    if report.ras is None:
        # It has an outcome without an answer: if there is one, it came too late.
        action.is_late = action.ras is not None
    elif action.ras is None:
        action.ras, action.message = report.ras, report.message
        action.answered_at = None if report.elapsed is None else this.published_at + report.elapsed


def _reconcile(this: Round, verdict: Verdict, membership: Membership, counted: Counter[Outcome | None]) -> None:
    """Make sense of what was counted: some have answered who were not on the roster, some answers are gone."""
    for outcome in (Outcome.SUCCEEDED, Outcome.FAILED):
        surplus = counted[outcome] - verdict.counts.get(outcome, 0)
        for action in _outsiders(this, outcome, verdict, membership)[: max(0, surplus)]:
            action.outcome = None
    silent = [name for name in membership.at(this.published_at + _MARGIN) if name not in verdict.reports]
    silent = [name for name in silent if name not in this.actions or this.actions[name].outcome is None]
    lacking = [outcome for outcome in Outcome if verdict.counts.get(outcome, 0) > counted[outcome]]
    # If only one outcome is missing, it is theirs.
    theirs = lacking[0] if len(lacking) == 1 and not verdict.pending else None
    if theirs is not None and len(silent) > verdict.counts[theirs] - counted[theirs]:
        theirs = None
    for name in silent:
        action = this.actions.setdefault(name, Action(responder_id=name))
        if not action.is_late:
            action.outcome = theirs


def _outsiders(this: Round, outcome: Outcome, verdict: Verdict, membership: Membership) -> list[Action]:
    return [
        action
        for name, action in this.actions.items()
        if action.outcome is outcome and name not in verdict.reports and not membership.has_subscribed(name)
    ]


# Without one: the exporter has not said it yet, or never will.


def _conclude(this: Round, membership: Membership) -> None:
    members = membership.at(this.published_at + _MARGIN)
    ends = [_end_of(this, name, membership) for name in members]
    deadline = this.published_at + (this.wait or 0.0) + _PATIENCE
    for action in this.actions.values():
        if (action.answered_at or 0.0) > deadline:
            action.outcome, action.is_late = None, True
    known = [end for end in ends if end is not None and end <= deadline]
    if len(known) < len(members) or not (members or membership.is_known):
        return
    this.ended_at = max([this.published_at, *known])
    this.elapsed = this.ended_at - this.published_at
    if members and all(this.actions[name].outcome is Outcome.SUCCEEDED for name in members):
        # Else it depends on what was asked, which nobody has written down.
        this.ok = True


def _end_of(this: Round, name: str, membership: Membership) -> float | None:
    """Return when a member's outcome was known; None: it is not."""
    action = this.actions.setdefault(name, Action(responder_id=name))
    if action.outcome is not None:
        return action.answered_at
    left_at = membership.left_after(name, this.published_at - _MARGIN)
    if left_at is not None:
        action.outcome = Outcome.LEFT
    return left_at
