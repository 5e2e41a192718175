"""One run in full: what it was, its rounds, and who did not do what was asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from state_signals.cli import output, times
from state_signals.cli.looking.tables import Cell, Column, print_table
from state_signals.cli.looking.words import OUTCOME_STYLES, SEVERITY, counted, date_and_time, tag_of, worst
from state_signals.messages import NO_TAG
from state_signals.results import Outcome
from state_signals.runs.model import Action, Round, RunState
from state_signals.runs.recent import Numbered

__all__ = ["print_account"]

_ROUNDS = (
    Column("TIME"),
    Column("#", is_number=True),
    Column("EVENT", least=10),
    Column("SAMPLE", is_number=True),
    Column("TAG", least=8, rank=1),
    Column("ELAPSED", is_number=True),
    Column("OUTCOMES", least=16),
    Column("SLOWEST", least=14, rank=2),
)

_TROUBLES = (
    Column("#", is_number=True),
    Column("EVENT", least=10),
    Column("RESPONDER", least=10),
    Column("OUTCOME"),
    Column("AFTER", is_number=True),
    Column("MESSAGE", least=10),
)


def print_account(each: Numbered) -> None:
    """Print all of a run.

    Raises:
        BrokenPipeError: if nobody reads it.
    """
    for line in _head(each):
        output.print_line(output.escaped(line))
    rounds = each.run.rounds
    if not rounds:
        return
    output.print_line("")
    print_table(_ROUNDS, [_round(each, this) for this in rounds])
    troubles = [cells for this in rounds for cells in _troubles(this)]
    if troubles:
        output.print_line("")
        print_table(_TROUBLES, troubles)


def _head(each: Numbered) -> Iterator[str]:
    run = each.run
    which = f" (run {each.number} of {each.of})" if each.of > 1 else ""
    yield f"run of {run.publisher_id}{which}: {run.process_name} on {run.runner_host}"
    if tag_of(run.tag):
        yield f"tag: {run.tag}"
    state = f"{run.state}: {run.aborted}" if run.state is RunState.ABORTED else str(run.state)
    so_far = " so far" if run.state in (RunState.LIVE, RunState.DETACHED) else ""
    yield f"{state}; began {date_and_time(run.began_at)}, {times.seconds(each.duration)}{so_far}"
    expected = sum(member.is_expected for member in run.members.values())
    there = len(run.members) - expected
    gone = sum(member.left_at is not None for member in run.members.values())
    members = counted({"took part": there, "left": gone, "expected, but not there": expected}) or "nobody took part"
    yield f"responders: {members}; {len(run.rounds)} round{'' if len(run.rounds) == 1 else 's'}"
    if not run.is_whole:
        yield "the server does not have all of its signals any more"


def _round(each: Numbered, this: Round) -> Sequence[Cell]:
    counts = {str(outcome): this.count(outcome) for outcome in SEVERITY} | _unknown(each, this)
    found = worst(action.outcome for action in this.actions.values())
    style = OUTCOME_STYLES[found] if found is not None else ""
    said = counted(counts) or ("nobody" if this.is_awaited else "")
    return [
        Cell(times.clock(this.published_at)),
        Cell(str(this.seq)),
        Cell(this.event, "bold"),
        Cell("" if this.sample_no == -1 else str(this.sample_no)),
        Cell("" if this.tag in (each.run.tag, NO_TAG) else this.tag),
        Cell(times.seconds(this.elapsed)),
        Cell(said if this.is_awaited else f"not awaited{f': {said}' if said else ''}", style),
        Cell(_slowest(this)),
    ]


def _unknown(each: Numbered, this: Round) -> dict[str, int]:
    """Return how many came to no outcome, in the word for it."""
    number = sum(action.outcome is None and not action.is_late for action in this.actions.values())
    is_open = this is each.run.open_round and each.run.state in (RunState.LIVE, RunState.DETACHED)
    is_open = is_open and not this.is_overdue(each.now)
    return {"pending" if is_open else "without an outcome": number}


def _slowest(this: Round) -> str:
    answered = [
        (action.answered_at - this.published_at, name)
        for name, action in this.actions.items()
        if action.answered_at is not None and not action.is_late
    ]
    if len(answered) < 2:
        return ""
    after, name = max(answered)
    return f"{times.seconds(after)} {name}"


def _troubles(this: Round) -> Iterator[Sequence[Cell]]:
    for name, action in this.actions.items():
        if action.outcome in (None, Outcome.SUCCEEDED) and not action.is_late:
            continue
        outcome = str(action.outcome or "") if not action.is_late else f"{action.outcome or 'not counted'}, late"
        after = None if action.answered_at is None else action.answered_at - this.published_at
        yield [
            Cell(str(this.seq)),
            Cell(this.event),
            Cell(name),
            Cell(outcome, OUTCOME_STYLES.get(action.outcome, "yellow") if action.outcome else "yellow"),
            Cell(times.seconds(after)),
            Cell(_message(action)),
        ]


def _message(action: Action) -> str:
    if action.message:
        return action.message
    said = next((each.message for each in reversed(action.progress) if each.message), None)
    return f"last said: {said}" if said and action.ras is None else ""
