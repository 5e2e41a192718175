"""Runs as CSV: a line for each round and responder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from state_signals.cli import output
from state_signals.runs.csv_rows import row
from state_signals.runs.objects import action_object, round_object
from state_signals.runs.recent import Numbered

__all__ = ["COLUMNS", "csv_lines"]

_OF_ROUND = ("seq", "signal_id", "event", "sample_no", "tag", "published_at", "wait", "ended_at", "elapsed", "ok")
_OF_ACTION = ("outcome", "ras", "message", "received_at", "answered_at", "took", "is_late")

COLUMNS = ("publisher_id", "run", *_OF_ROUND, "responder_id", *_OF_ACTION)


def csv_lines(runs: Iterable[Numbered]) -> Iterator[str]:
    """Yield a heading, and a line for each round and responder; one without responder for a round without any."""
    yield _line(COLUMNS)
    for each in runs:
        for this in each.run.rounds:
            facts = round_object(this)
            begin = [each.run.publisher_id, each.number, *(facts[name] for name in _OF_ROUND)]
            for name, action in this.actions.items():
                did = action_object(action)
                yield _line([*begin, name, *(did[key] for key in _OF_ACTION)])
            if not this.actions:
                yield _line([*begin, *[None] * (1 + len(_OF_ACTION))])


def _line(values: Iterable[object]) -> str:
    return row((output.escaped(value) if isinstance(value, str) else value for value in values), end="")
