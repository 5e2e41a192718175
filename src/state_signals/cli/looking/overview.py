"""The runs of a server, a line each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from state_signals.cli import times
from state_signals.cli.looking.tables import Cell, Column, print_table
from state_signals.cli.looking.words import OUTCOME_STYLES, STATE_STYLES, date_and_minute, tag_of, worst
from state_signals.results import Outcome
from state_signals.runs.model import Run
from state_signals.runs.recent import Numbered

__all__ = ["print_overview"]

_COLUMNS = (
    Column("BEGAN"),
    Column("DURATION", is_number=True),
    Column("PUBLISHER_ID", least=12),
    Column("RUN", is_number=True),
    Column("TAG", least=8, rank=1),
    Column("STATE"),
    Column("ROUNDS", is_number=True),
    Column("WORST OUTCOME"),
)


def print_overview(runs: Iterable[Numbered]) -> None:
    """Print them.

    Raises:
        BrokenPipeError: if nobody reads it.
    """
    print_table(_COLUMNS, [_row(each) for each in runs])


def _row(each: Numbered) -> Sequence[Cell]:
    run = each.run
    return [
        Cell(date_and_minute(run.began_at)),
        Cell(times.seconds(each.duration)),
        Cell(run.publisher_id),
        Cell(str(each.number) if each.of > 1 else ""),
        Cell(tag_of(run.tag)),
        Cell(str(run.state), STATE_STYLES[run.state]),
        Cell(str(len(run.rounds))),
        _worst(run),
    ]


def _worst(run: Run) -> Cell:
    outcome = worst(action.outcome for each in run.rounds for action in each.actions.values())
    if outcome is None:
        return Cell("")
    rounds = sum(each.count(outcome) > 0 for each in run.rounds)
    where = f", {rounds} round{'s' if rounds > 1 else ''}"
    return Cell(str(outcome) if outcome is Outcome.SUCCEEDED else f"{outcome}{where}", OUTCOME_STYLES[outcome])
