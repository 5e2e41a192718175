"""What is told while the demo runs: lines for people, with a spinner on a terminal; or JSON."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Self

from rich.console import Console
from rich.table import Table
from rich.text import Text

from state_signals import Outcome, Report
from state_signals.demo.conductor import Observer
from state_signals.demo.scenario import Participant, Round, Scenario
from state_signals.demo.workload import Work

__all__ = ["JsonLines", "Live", "duration"]

_SLOW = 0.1
"""Seconds after which it is worth a word whom a round has waited for."""


def duration(seconds: float | None) -> str:
    """Return a time with two digits that mean something."""
    if seconds is None:
        return ""
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{seconds * 1000:.1f} ms"


class Live(Observer):
    """Prints a line when something is known, and shows on a terminal what is being waited for meanwhile.

    Args:
        console: where to.
        escaped: makes printable what came over the network.
    """

    def __init__(self, console: Console, escaped: Callable[[str], str]) -> None:
        self._console = console
        self._escaped = escaped
        spinner = "dots" if console.encoding.startswith("utf") else "line"
        self._status = console.status("starting", spinner=spinner) if console.is_terminal else None
        self._waited_for: set[str] = set()
        self._now = ""

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def server_found(self, url: str, namespace: str | None, *, is_ours: bool) -> None:
        """Tell which server is used."""
        scope = f", namespace {namespace}" if namespace else ""
        self._fact("server", f"{url}{scope}{', started for this run' if is_ours else ''}")

    def started(self, participants: Sequence[Participant]) -> None:
        """Tell who takes part, and as what."""
        table = Table.grid(padding=(0, 2))
        for number, participant in enumerate(participants):
            title = Text("" if number else "collectors", style="bold")
            table.add_row(title, Text(participant.name, style="cyan"), Text(participant.role))
        self._console.print(table)
        self._show("waiting for the collectors to subscribe")

    def subscribed(self, present: Collection[str], absent: Collection[str], seconds: float) -> None:
        """Tell who has subscribed, and who has not."""
        names = f"; absent: {', '.join(sorted(absent))}" if absent else ""
        count = f"{len(present)} of {len(present) + len(absent)}"
        self._fact("roster", f"{count} collectors have subscribed within {duration(seconds)}{names}")
        self._console.print()

    def publishing(self, event: str, sample: int, names: Collection[str]) -> None:
        """Show who is waited for."""
        self._waited_for = set(names)
        self._now = f"{event} of sample {sample}"
        self._show_waiting()

    def answered(self, responder_id: str, report: Report) -> None:  # noqa: ARG002 - how it ended is told later
        """Show who is still waited for."""
        self._waited_for.discard(responder_id)
        self._show_waiting()

    def round_ended(self, this: Round) -> None:
        """Tell what became of a round."""
        reports = this.result.reports
        text = Text(f"{len(this.result.succeeded)} of {len(reports)} succeeded in {duration(this.result.elapsed)}")
        others = [name for name, report in reports.items() if report.outcome is not Outcome.SUCCEEDED]
        if others:
            told = ", ".join(f"{self._escaped(name)} {reports[name].outcome}" for name in sorted(others))
            text.append(f"; {told}", style="bold red")
        elif reports and this.result.elapsed >= _SLOW:
            last = max(reports, key=lambda name: reports[name].elapsed or 0.0)
            text.append(f", {self._escaped(last)} last")
        self._line(this.published, this.event, this.sample, text)
        self._show("")

    def working(self, sample: int, processes: int) -> None:
        """Show that the workload runs."""
        self._show(f"workload of sample {sample}: {processes} processes hash, compress, write and read back")

    def worked(self, sample: int, began: float, work: Work) -> None:
        """Tell what the workload did."""
        text = f"{work.hashed / 1e6:.0f} MB hashed, {work.written / 1e6:.0f} MB to the disk and back"
        self._line(began, "workload", sample, Text(text))

    def _fact(self, title: str, text: str) -> None:
        self._console.print(Text.assemble((f"{title:<12}", "bold"), self._escaped(text)))

    def _line(self, at: float, what: str, sample: int, text: Text) -> None:
        self._console.print(
            Text.assemble((f"{at:5.2f} s  ", "dim"), (f"{what:<17}", "cyan"), f"sample {sample}  ", text)
        )

    def _show_waiting(self) -> None:
        if self._waited_for:
            self._show(f"{self._now}: waiting for {self._escaped(', '.join(sorted(self._waited_for)))}")

    def _show(self, text: str) -> None:
        if self._status is not None:
            # A Text, because a string would be read as markup.
            self._status.update(Text(text, style="dim", overflow="ellipsis", no_wrap=True))


class JsonLines(Observer):
    """Writes one object per round, as soon as it has ended.

    Args:
        scenario: what the rounds are compared with.
        write: takes each object.
    """

    def __init__(self, scenario: Scenario, write: Callable[[dict[str, Any]], object]) -> None:
        self._scenario = scenario
        self._write = write

    def round_ended(self, this: Round) -> None:
        """Write the round."""
        deviations = self._scenario.round_deviations(this)
        self._write(
            {
                "event": this.event,
                "sample": this.sample,
                "signal_id": this.result.signal_id,
                "published": this.published,
                "elapsed": this.result.elapsed,
                "ok": this.result.ok,
                "code": int(this.result.code),
                "as_expected": not deviations,
                "deviations": [str(deviation) for deviation in deviations],
                "responders": {
                    name: {
                        "outcome": str(report.outcome),
                        "ras": report.ras,
                        "message": report.message,
                        "elapsed": report.elapsed,
                        "took": report.took,
                    }
                    for name, report in sorted(this.result.reports.items())
                },
            }
        )
