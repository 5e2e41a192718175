"""What is told when the demo has ended: outcomes, measurements, timeline, deviations, and what to try next."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from state_signals import Outcome, Report
from state_signals.demo.live import duration
from state_signals.demo.meters import measured
from state_signals.demo.scenario import STOP, Account, Deviation, Round, Scenario
from state_signals.demo.timeline import ASCII, UNICODE, lay_out

__all__ = ["NEXT", "print_report"]

_WIDEST = 120
"""Columns beyond which a wider terminal makes nothing more readable."""

_STYLES = {Outcome.SUCCEEDED: "green", Outcome.FAILED: "bold red"}

NEXT = (
    ("state-signals server", "a server on this machine"),
    ("state-signals respond --on benchmark-start=uptime", "a collector in one line"),
    ("state-signals run sleep --wait 1 -- sleep 3", "a run that waits for it"),
)
"""Commands to try next, each in a terminal of its own, and what each is."""


def print_report(
    console: Console,
    scenario: Scenario,
    account: Account,
    deviations: Sequence[Deviation],
    escaped: Callable[[str], str],
) -> None:
    """Print all of it.

    Args:
        console: where to.
        scenario: what was to happen.
        account: what happened.
        deviations: how that differs.
        escaped: makes printable what came over the network.
    """
    report = _FinalReport(console, scenario, account, escaped)
    if account.rounds:
        report.print_section("Outcomes", report.outcomes())
        report.print_section("Measured: mean (peak)", report.measurements())
        report.print_section("Timeline", report.timeline())
    report.print_section("Verdict", report.verdict(deviations))
    report.print_section("Try next, each in a terminal of its own", report.next_commands())


class _FinalReport:
    """Builds the sections."""

    def __init__(self, console: Console, scenario: Scenario, account: Account, escaped: Callable[[str], str]) -> None:
        self._console = console
        self._scenario = scenario
        self._rounds = account.rounds
        self._escaped = escaped
        self._characters = UNICODE if console.encoding.startswith("utf") else ASCII
        self._width = min(console.width, _WIDEST)
        everybody = [*scenario.names(), *(name for this in account.rounds for name in sorted(this.result.reports))]
        self._names = list(dict.fromkeys(everybody))

    def print_section(self, title: str, content: RenderableType) -> None:
        self._console.print()
        self._console.print(Text(title, style="bold underline" if self._console.is_terminal else ""))
        if not self._console.is_terminal:
            self._console.print("-" * len(title))
        self._console.print(content, width=self._width)

    def outcomes(self) -> Group:
        """One table a round, all with the same columns."""
        parts: list[RenderableType] = []
        for number, this in enumerate(self._rounds):
            head = Text(f"{this.event}, sample {this.sample}", style="cyan")
            parts += [Text(), head] if number else [head]
            parts.append(Padding(self._outcomes_of(this, show_header=not number), (0, 0, 0, 2)))
        return Group(*parts)

    def _outcomes_of(self, this: Round, *, show_header: bool) -> Table:
        longest = min(24, max(9, *(len(self._escaped(name)) for name in self._names)))
        table = Table(box=None, show_header=show_header, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        table.add_column("responder", width=longest, overflow="fold")
        table.add_column("outcome", width=9)
        table.add_column("answer", width=7, justify="right")
        table.add_column("action", width=7, justify="right")
        table.add_column("message", overflow="fold")
        for name in self._names:
            if (report := this.result.reports.get(name)) is not None:
                table.add_row(*self._cells(name, report))
        return table

    def _cells(self, name: str, report: Report) -> tuple[Text, ...]:
        return (
            Text(self._escaped(name)),
            Text(report.outcome, style=_STYLES.get(report.outcome, "bold yellow")),
            Text(duration(report.elapsed)),
            Text(duration(report.took)),
            Text(self._escaped(report.message or "")),
        )

    def measurements(self) -> Table:
        """A row per collector, a column per sample."""
        stops = [this for this in self._rounds if this.event == STOP]
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="cyan")
        table.add_column("", overflow="fold")
        for this in stops:
            table.add_column(f"sample {this.sample}", justify="right", overflow="fold")
        for name in self._scenario.names():
            reports = [this.result.reports.get(name) for this in stops]
            table.add_row(Text(name), *(self._measurement(report) for report in reports))
        return table

    def _measurement(self, report: Report | None) -> Text:
        if report is None:
            return Text("-")
        if report.outcome is not Outcome.SUCCEEDED:
            return Text(report.outcome, style=_STYLES.get(report.outcome, "bold yellow"))
        values = measured(report.message)
        return Text(self._escaped(f"{values[0]} ({values[1]})") if values else "-")

    def timeline(self) -> Group:
        """The rounds along a time axis, and what the characters mean."""
        labels = min(24, max(len(self._escaped(name)) for name in (*self._names, "signals"))) + 2
        rows = lay_out(self._rounds, self._names, max(20, self._width - labels), self._characters)
        lines = []
        for row in rows:
            label = self._escaped(row.label)[: labels - 2]
            line = Text(f"{label:<{labels}}", no_wrap=True)
            for character, style in row.cells:
                line.append(character, style=style)
            line.rstrip()
            lines.append(line)
        shown = self._characters
        legend = [(shown.parts[-1], "acting"), (shown.span, "collecting"), (shown.failed, "failed")]
        if any(report.elapsed is None for this in self._rounds for report in this.result.reports.values()):
            legend.append((shown.silent, "no answer"))
        legend += [(shown.start, "start"), (shown.stop, "stop")]
        text = " " * labels + "   ".join(f"{character} {meaning}" for character, meaning in legend)
        return Group(*lines, Text(text, style="dim"))

    def verdict(self, deviations: Sequence[Deviation]) -> Text:
        """One sentence; before it, whatever was not as expected."""
        text = Text()
        for deviation in deviations:
            text.append(f"{self._escaped(str(deviation))}\n", style="bold red")
        if deviations:
            what = "1 thing was" if len(deviations) == 1 else f"{len(deviations)} things were"
            text.append("Not as expected: ", style="bold red")
            return text.append(f"{what} different from the plan; {self._summary()}.")
        text.append("All as expected: ", style="bold green")
        return text.append(f"{self._summary(remark=' on purpose')}.")

    def _summary(self, remark: str = "") -> str:
        reports = [(name, report) for this in self._rounds for name, report in this.result.reports.items()]
        answers = sorted((report.elapsed, name) for name, report in reports if report.elapsed is not None)
        signals = f"{len(self._rounds)} signal{'' if len(self._rounds) == 1 else 's'}"
        if not answers:
            return f"{signals}, no answer"
        counts = ", ".join(
            f"{number} {outcome}{remark if outcome is Outcome.FAILED else ''}"
            for outcome in Outcome
            if (number := sum(report.outcome is outcome for _, report in reports))
        )
        half = statistics.median(elapsed for elapsed, _ in answers)
        slowest, name = answers[-1]
        return (
            f"{signals}, {len(answers)} answers, {counts}; half of them came within {duration(half)}, "
            f"the slowest ({self._escaped(name)}) after {duration(slowest)}"
        )

    def next_commands(self) -> Table:
        """Commands to go on with."""
        table = Table.grid(padding=(0, 3))
        for command, meaning in NEXT:
            table.add_row(Text(command, style="cyan"), Text(meaning, style="dim"))
        return table
