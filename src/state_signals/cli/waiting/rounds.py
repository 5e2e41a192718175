"""How the outcomes of rounds are shown: a table on a terminal, plain lines in a pipe, or JSON; always on stderr."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from state_signals.cli import output
from state_signals.cli.exit_codes import ExitCode
from state_signals.cli.waiting.progress import drawn, noted
from state_signals.cli.waiting.waits import Wait, listed
from state_signals.results import Outcome, PublishResult, Report, ResultCodes

__all__ = ["RoundReporter", "as_object", "listed", "verdict"]

_SHOWN_SUCCESSES = 20
"""Responders that are listed although there is nothing to say about them but that they succeeded."""

_LONG = 2.0
"""Seconds after which whoever looks on wants to know what is being waited for."""

_STYLES = {Outcome.SUCCEEDED: "green", Outcome.LEFT: "yellow"}


class RoundReporter:
    """Shows the rounds of one exporter.

    Args:
        as_json: print one JSON object a round.
        progress: show who is waited for: None: on a terminal, in place; True: in a pipe as well, line by line;
            False: not at all.
    """

    def __init__(self, *, as_json: bool, progress: bool | None = None) -> None:
        self._as_json = as_json
        self._progress = progress
        self._late = 0

    def waiting_for(self, wait: Wait) -> AbstractContextManager[None]:
        """Show who is waited for, if the body takes long."""
        if self._as_json:
            return nullcontext()
        if self._progress is not False and output.is_terminal(sys.stderr):
            return drawn(wait)
        return noted(wait) if self._progress else self.waiting(wait.text)

    @contextmanager
    def waiting(self, what: Callable[[], str]) -> Iterator[None]:
        """Say what is being waited for, if the body takes long."""
        if self._as_json:
            yield
            return
        handle = asyncio.get_running_loop().call_later(_LONG, lambda: output.note(what()))
        try:
            yield
        finally:
            handle.cancel()

    def subscribed(self, present: Iterable[str], absent: Iterable[str], *, is_enough: bool) -> None:
        """Show who is on the roster, once the wait for that is over."""
        there, missing = sorted(present), sorted(absent)
        if self._as_json:
            self._write({"event": "initialization", "ok": is_enough, "subscribed": there, "absent": missing})
            return
        names = f": {listed(there)}" if there else ""
        output.note(f"initialization: {_count(len(there), 'responder')} subscribed{names}")

    def round(self, event: str, result: PublishResult) -> None:
        """Show a round's outcomes."""
        if self._as_json:
            self._write(as_object(event, result))
            return
        counts = [f"{number} {outcome}" for outcome in Outcome if (number := _number(result, outcome))]
        output.note(
            f"{event}: " + (f"{', '.join(counts)} in {result.elapsed:.3f} s" if counts else "nobody to wait for")
        )
        shown = _shown(result)
        if not shown:
            return
        if output.is_terminal(sys.stderr):
            _print_table(shown)
            return
        for name, report in shown.items():
            output.note("  " + "  ".join((name, *_cells(report))).rstrip())

    def late(self, number: int) -> None:
        """Show that answers came after their round; `number` counts those of all rounds so far."""
        if number > self._late and not self._as_json:
            output.note(f"{_count(number - self._late, 'answer')} came after the round had ended; they do not count")
        self._late = number

    @staticmethod
    def _write(value: object) -> None:
        output.to_stderr(output.json_line(value))


def as_object(event: str, result: PublishResult) -> dict[str, object]:
    """Return a round's outcomes as what is printed in JSON."""
    responders = {
        name: {
            "outcome": str(report.outcome),
            "ras": report.ras,
            "message": report.message,
            "elapsed": report.elapsed,
            "took": report.took,
        }
        for name, report in sorted(result.reports.items())
    }
    return {
        "event": event,
        "ok": result.ok,
        "code": int(result.code),
        "signal_id": result.signal_id,
        "elapsed": result.elapsed,
        "responders": responders,
    }


def _shown(result: PublishResult) -> dict[str, Report]:
    """The reports that are worth a line each, the bad ones first."""
    rows = sorted(result.reports.items(), key=lambda row: (row[1].outcome is Outcome.SUCCEEDED, row[0]))
    unsuccessful = len(rows) - len(result.succeeded)
    return dict(rows if len(result.succeeded) <= _SHOWN_SUCCESSES else rows[:unsuccessful])


def _cells(report: Report) -> tuple[str, str, str]:
    elapsed = "" if report.elapsed is None else f"{report.elapsed:.3f} s"
    return str(report.outcome), elapsed, report.message or ""


def _print_table(rows: Mapping[str, Report]) -> None:
    # Only now: rich takes longer to import than the round took.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Column, Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    # On a narrow terminal, names and messages give way.
    table = Table("responder", Column("outcome", no_wrap=True), Column("after", no_wrap=True), "message")
    for name, report in rows.items():
        outcome, elapsed, message = _cells(report)
        style = _STYLES.get(report.outcome, "red")
        table.add_row(Text(output.escaped(name)), Text(outcome, style), elapsed, Text(output.escaped(message)))
    Console(stderr=True, no_color=not output.is_coloured(sys.stderr)).print(table)


def _number(result: PublishResult, outcome: Outcome) -> int:
    return sum(report.outcome is outcome for report in result.reports.values())


def verdict(result: PublishResult, *, needs_nobody: bool = False) -> ExitCode:
    """Return the exit code that a round comes to.

    Args:
        result: the round's.
        needs_nobody: a round without responders is fine.
    """
    if result.ok or (needs_nobody and not result.reports):
        return ExitCode.OK
    return ExitCode.FAILED if result.code is ResultCodes.SUB_FAILED else ExitCode.MISSING


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
