"""The running log of a run: signals and what became of them, answers that are problems, who joined, left, was lost."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from state_signals.cli.times import seconds
from state_signals.cli.watching.cells import Span, safe
from state_signals.cli.watching.roster import is_open
from state_signals.messages import NO_TAG
from state_signals.results import Outcome
from state_signals.runs.model import Action, Round, Run, RunState

__all__ = ["Entry", "Log"]

_MOST_ROUNDS = 200
"""Rounds that are looked back at."""

_NAMED = 3
"""Names in one entry; the rest are counted."""

_AT_ONCE = 1.0
"""Seconds within which those that join, leave or are lost share an entry."""

_ANSWERS_NAMED = 5
"""Failures of one round that have an entry each."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the log: when, by the server's clock, and what."""

    at: float
    spans: tuple[Span, ...]


class Log:
    """The entries of runs; those of a round are made once, unless something more becomes known of it."""

    def __init__(self) -> None:
        self._done: OrderedDict[str, tuple[Round, int, list[Entry]]] = OrderedDict()

    def entries(self, run: Run, now: float) -> list[Entry]:
        """Return the entries of a run, oldest first."""
        rounds = run.rounds[-_MOST_ROUNDS:]
        found = [_began(run)]
        for each in rounds:
            if each is rounds[-1] and is_open(run):
                found += _of_round(each, run.tag, waits=True)
            else:
                found += self._remembered(each, run.tag)
        found += _comings_and_goings(run, now)
        found += _end(run)
        found.sort(key=lambda entry: entry.at)
        return found

    def _remembered(self, this: Round, tag: str) -> list[Entry]:
        # A round about which something was learned is another object, or has more actions.
        known = self._done.get(this.signal_id)
        if known is None or known[0] is not this or known[1] != len(this.actions):
            known = self._done[this.signal_id] = this, len(this.actions), _of_round(this, tag, waits=False)
            while len(self._done) > 2 * _MOST_ROUNDS:
                self._done.popitem(last=False)
        return known[2]


def _began(run: Run) -> Entry:
    text = f" of {safe(run.process_name)} on {safe(run.runner_host)}"
    tag = f", tag {safe(run.tag)}" if run.tag != NO_TAG else ""
    return Entry(run.began_at, (Span("initialization", "event"), Span(text + tag)))


def _end(run: Run) -> list[Entry]:
    if run.state is RunState.ABORTED:
        reason = f": {safe(run.aborted)}" if run.aborted else ""
        at = run.ended_at or run.last_seen or run.began_at
        return [Entry(at, (Span("aborted", "bad"), Span(reason)))]
    if run.state is RunState.ENDED and run.ended_at is not None:
        return [Entry(run.ended_at, (Span("shutdown", "event"),))]
    if run.state is RunState.CRASHED and run.last_seen is not None:
        return [Entry(run.last_seen, (Span("crashed", "bad"), Span(": no sign of life of the exporter since")))]
    return []


def _of_round(this: Round, tag: str, *, waits: bool) -> list[Entry]:
    head = [Span(safe(this.event), "event")]
    facts = [f"sample {this.sample_no}"] if this.sample_no != -1 else []
    if this.tag not in (NO_TAG, tag):
        facts.append(f"tag {safe(this.tag)}")
    if facts:
        head.append(Span(" " + ", ".join(facts)))
    found = [Entry(this.published_at, (*head, *_verdict(this, waits=waits)))]
    failures = []
    others: dict[Outcome, list[str]] = {}
    for action in this.actions.values():
        if action.outcome is Outcome.FAILED or (action.is_late and action.ras is not None):
            failures.append(action)
        if action.outcome in (Outcome.MISSING, Outcome.LOST, Outcome.LEFT):
            others.setdefault(action.outcome, []).append(action.responder_id)
    failures.sort(key=lambda action: (action.answered_at or this.published_at, action.responder_id))
    found += [_failure(this, action) for action in failures[:_ANSWERS_NAMED]]
    if len(failures) > _ANSWERS_NAMED:
        last = failures[-1].answered_at or this.published_at
        found.append(Entry(last, (Span(f"and {len(failures) - _ANSWERS_NAMED} more failed or were late", "bad"),)))
    ended = this.ended_at if this.ended_at is not None else this.published_at
    for outcome, names in others.items():
        found.append(Entry(ended, (Span(_listed(names)), Span(f" {outcome}", "bad"))))
    return found


def _verdict(this: Round, *, waits: bool) -> list[Span]:
    if not this.is_awaited:
        return []
    if this.ended_at is None:
        return [Span("  waiting", "warn")] if waits else []
    bad = sum(this.count(outcome) for outcome in (Outcome.FAILED, Outcome.MISSING, Outcome.LOST))
    text = f"{this.count(Outcome.SUCCEEDED)} of {len(this.actions)} succeeded"
    elapsed = this.elapsed if this.elapsed is not None else this.ended_at - this.published_at
    is_fine = this.ok if this.ok is not None else not bad
    return [Span("  "), Span(text, "good" if is_fine else "bad"), Span(f" in {seconds(elapsed)}", "dim")]


def _failure(this: Round, action: Action) -> Entry:
    at = action.answered_at if action.answered_at is not None else this.published_at
    spans = [Span(f"{safe(action.responder_id)} "), Span("failed" if not action.is_late else "late", "bad")]
    if action.is_late:
        # By then, another signal may have come.
        spans += [Span(" for "), Span(safe(this.event), "event")]
    if action.answered_at is not None:
        spans.append(Span(f" after {seconds(at - this.published_at)}", "dim"))
    if action.message:
        spans.append(Span(f": {safe(action.message)}"))
    return Entry(at, tuple(spans))


def _comings_and_goings(run: Run, now: float) -> list[Entry]:
    is_live = run.state in (RunState.LIVE, RunState.DETACHED)
    joined, left, lost = [], [], []
    # Whom a round has lost stands there already, and stays lost in the next ones.
    told = {name for each in run.rounds[-2:] for name, action in each.actions.items() if action.outcome is Outcome.LOST}
    for name, member in run.members.items():
        if member.subscribed_at is not None:
            joined.append((member.subscribed_at, name))
        if member.left_at is not None:
            left.append((member.left_at, name))
        elif is_live and name not in told and member.is_lost(now):
            lost.append(((member.last_seen or 0.0) + (member.ttl or 0.0), name))
    return [
        *_grouped(joined, "joined", "good"),
        *_grouped(left, "left", "warn"),
        *_grouped(lost, "lost", "bad"),
    ]


def _grouped(moments: list[tuple[float, str]], what: str, style: str) -> list[Entry]:
    found = []
    group: list[str] = []
    began = 0.0
    for at, name in sorted(moments):
        if group and at - began > _AT_ONCE:
            found.append(Entry(began, (Span(_listed(group)), Span(f" {what}", style))))
            group = []
        if not group:
            began = at
        group.append(name)
    if group:
        found.append(Entry(began, (Span(_listed(group)), Span(f" {what}", style))))
    return found


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(safe(name) for name in names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
