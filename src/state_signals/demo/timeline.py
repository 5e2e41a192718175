"""The rounds along a time axis, as text: one row per responder, bars for the time that it acted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from state_signals import Outcome, Report
from state_signals.demo.scenario import START, Round

__all__ = ["ASCII", "UNICODE", "Characters", "Row", "lay_out"]

_STYLES = {
    Outcome.SUCCEEDED: "green",
    Outcome.FAILED: "bold red",
    Outcome.MISSING: "yellow",
    Outcome.LOST: "yellow",
    Outcome.LEFT: "yellow",
}

_TICK_WIDTH = 8
"""Columns between two ticks of the axis, at the least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Characters:
    """What a timeline is drawn with.

    Attributes:
        start: a `benchmark-start` goes out.
        stop: a `benchmark-stop` goes out.
        span: what lies between the two.
        parts: bars, from the thinnest to a whole column.
        failed: end of a bar that ended in failure.
        silent: waited for in vain.
        axis: the time axis: its line, and a tick.
    """

    start: str
    stop: str
    span: str
    parts: str
    failed: str
    silent: str
    axis: str


UNICODE = Characters(start="▶", stop="■", span="─", parts="▏▎▍▌▋▊▉█", failed="✗", silent="?", axis="─┴")
ASCII = Characters(start=">", stop="]", span="-", parts="|#", failed="x", silent="?", axis="-+")


@dataclass(slots=True)
class Row:
    """One line: a label, and one character and style for each column.

    Attributes:
        label: at the left.
        cells: the plot, column by column.
    """

    label: str
    cells: list[tuple[str, str]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The plot without its styles."""
        return "".join(character for character, _ in self.cells)

    def draw(self, column: int, text: str, style: str = "") -> None:
        """Write over what is there; what does not fit is cut off."""
        for at, character in enumerate(text, column):
            if 0 <= at < len(self.cells):
                self.cells[at] = (character, style)


@dataclass(frozen=True, slots=True)
class _Scale:
    """From seconds to columns."""

    seconds: float
    width: int

    def exact(self, time: float) -> float:
        return max(0.0, time) / self.seconds * (self.width - 1)

    def column(self, time: float) -> int:
        return min(self.width - 1, int(self.exact(time)))


def lay_out(rounds: Sequence[Round], names: Iterable[str], width: int, characters: Characters = UNICODE) -> list[Row]:
    """Lay out a timeline.

    Args:
        rounds: the rounds, in their order.
        names: the responders, one row each, in this order; whoever else took part follows.
        width: columns of the plot, without the labels.
        characters: what to draw with.

    Returns:
        The signals' row, the responders' rows, and the axis and its numbers; nothing if there are no rounds.
    """
    if not rounds:
        return []
    end = max(this.published + this.result.elapsed for this in rounds)
    scale = _Scale(max(end, 1e-3), max(2, width))
    everybody = dict.fromkeys([*names, *(name for this in rounds for name in this.result.reports)])
    rows = [_signals(rounds, scale, characters)]
    rows += [_responder(name, rounds, scale, characters) for name in everybody]
    return rows + _axis(scale, characters)


def _blank(label: str, scale: _Scale) -> Row:
    return Row(label, [(" ", "")] * scale.width)


def _signals(rounds: Sequence[Round], scale: _Scale, characters: Characters) -> Row:
    row = _blank("signals", scale)
    for this, following in itertools.zip_longest(rounds, rounds[1:]):
        column = scale.column(this.published)
        if this.event != START:
            row.draw(column, characters.stop, "bold")
            continue
        if following is not None:
            room = scale.column(following.published) - column - 1
            label = next(
                (text for text in (f" sample {this.sample} ", f" {this.sample} ", "") if len(text) <= room), ""
            )
            row.draw(column + 1, characters.span * room, "dim")
            row.draw(column + 1 + (room - len(label)) // 2, label, "bold")
        row.draw(column, characters.start, "bold")
    return row


def _responder(name: str, rounds: Sequence[Round], scale: _Scale, characters: Characters) -> Row:
    row = _blank(name, scale)
    for this, following in itertools.pairwise(rounds):
        report = this.result.reports.get(name)
        if this.event == START and report is not None and report.outcome is Outcome.SUCCEEDED:
            # From its answer to the next signal it did what it was told.
            column = scale.column(this.published)
            row.draw(column + 1, characters.span * (scale.column(following.published) - column - 1), "dim")
    for this in rounds:
        report = this.result.reports.get(name)
        if report is not None:
            _draw_report(row, this, report, scale, characters)
    return row


def _draw_report(row: Row, this: Round, report: Report, scale: _Scale, characters: Characters) -> None:
    style = _STYLES[report.outcome]
    if report.elapsed is None:
        first, last = scale.column(this.published), scale.column(this.published + this.result.elapsed)
        row.draw(first, characters.silent * (last - first + 1), style)
        return
    answered = this.published + report.elapsed
    # A version 1 responder does not tell how long it took; all of the time until its answer is shown then.
    began = answered - min(report.elapsed, report.elapsed if report.took is None else report.took)
    # Counted from the signal's column, so that whoever acts at once does so right below it.
    column = scale.column(this.published) + int(scale.exact(began - this.published))
    bar = _bar(scale.exact(answered - began), characters)
    if report.outcome is Outcome.FAILED:
        bar = bar[:-1] + characters.failed
    row.draw(column, bar, style)


def _bar(length: float, characters: Characters) -> str:
    """Return a bar of so many columns, of which the last is drawn in parts; the thinnest part, if that is too short."""
    parts = len(characters.parts)
    eighths = max(1, round(length * parts))
    whole, rest = divmod(eighths, parts)
    return characters.parts[-1] * whole + (characters.parts[rest - 1] if rest else "")


def _axis(scale: _Scale, characters: Characters) -> list[Row]:
    line, numbers = _blank("", scale), _blank("seconds", scale)
    line.draw(0, characters.axis[0] * scale.width, "dim")
    step = _step(scale)
    for tick in itertools.count():
        time = tick * step
        if time > scale.seconds:
            break
        column, label = scale.column(time), f"{time:g}"
        line.draw(column, characters.axis[1], "dim")
        if column + len(label) <= scale.width:
            numbers.draw(column, label)
    return [line, numbers]


def _step(scale: _Scale) -> float:
    """Return the seconds between two ticks: 1, 2 or 5 times a power of ten, as many as there is room for."""
    least = scale.seconds / max(1.0, scale.width / _TICK_WIDTH)
    power: float = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
