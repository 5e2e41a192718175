"""A compact timeline of characters, for terminals and logs."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass

from state_signals.timeline.lanes import Lane, lanes_of
from state_signals.timeline.look import LOOKS
from state_signals.timeline.notes import notes_of
from state_signals.timeline.phases import phases_of, single_events
from state_signals.timeline.titles import subtitle_of, title_of
from state_signals.timeline.view import Status, View
from state_signals.timeline.words import in_short, middle, seconds, wall_time

__all__ = ["MOST_LANES_OF_TEXT", "Segment", "lines_of"]

_LABEL, _RESULT, _LEAST_PLOT, MOST_LANES_OF_TEXT, _MOST_LEVELS, _MOST_NOTES = 26, 24, 20, 16, 3, 8
_SECONDS = "seconds"
_TICK = 10
"""Columns between two ticks of the axis, at the least."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a line.

    Attributes:
        text: one character or more.
        style: `bold`, `dim`, or a colour; empty: none.
    """

    text: str
    style: str = ""


class _Row:
    """One line of the plot, column by column."""

    def __init__(self, width: int) -> None:
        self.cells = [(" ", "")] * width

    def draw(self, column: int, text: str, style: str = "") -> None:
        for at, character in enumerate(text, column):
            if 0 <= at < len(self.cells):
                self.cells[at] = (character, style)

    def is_free(self, column: int, length: int) -> bool:
        return column + length <= len(self.cells) and all(
            cell == " " for cell, _ in self.cells[column : column + length]
        )

    def segments(self) -> list[Segment]:
        found: list[Segment] = []
        for character, style in self.cells:
            if found and found[-1].style == style:
                found[-1] = Segment(found[-1].text + character, style)
            else:
                found.append(Segment(character, style))
        return found


class _Sheet:
    """Columns for the labels, the plot and the results."""

    def __init__(self, view: View, width: int, most_lanes: int | None, *, is_plain: bool) -> None:
        self.view, self.is_plain = view, is_plain
        self.lanes = lanes_of(view, most_lanes)
        labels = [view.process_name, *(lane.label for lane in self.lanes)]
        self.label = min(_LABEL, max(len(_SECONDS), *map(_columns, labels)))
        self.result = min(_RESULT, max((len(_result(lane)) for lane in self.lanes), default=0))
        self.plot = max(_LEAST_PLOT, width - self.label - self.result - 4)
        self.width = self.label + self.plot + self.result + 4

    def column(self, moment: float) -> int:
        return int((moment - self.view.start) / self.view.span * (self.plot - 1) + 1e-9)

    def line(self, label: str, row: _Row, result: str = "", style: str = "", label_style: str = "") -> list[Segment]:
        name = _fitted(label, self.label)
        shown = in_short(result, self.result)
        return [Segment(name, label_style), Segment("  "), *row.segments(), Segment("  "), Segment(shown, style)]


def lines_of(
    view: View, width: int, *, is_plain: bool = False, most_lanes: int | None = MOST_LANES_OF_TEXT
) -> list[list[Segment]]:
    """Return a run as lines.

    Args:
        view: the run.
        width: columns that there are.
        is_plain: whether to draw in ASCII.
        most_lanes: how many lanes there may be; None: one for each responder.
    """
    sheet = _Sheet(view, width, most_lanes, is_plain=is_plain)
    lines = [[Segment(_cut(title_of(view), width), "bold")], [Segment(_cut(subtitle_of(view), width), "dim")], []]
    lines += _exporter(sheet)
    lines += [_lane(sheet, lane) for lane in sheet.lanes]
    lines += _axis(sheet)
    notes, unsaid = notes_of(view, max(40, width - 3), _MOST_NOTES)
    if notes or unsaid:
        lines.append([])
    lines += [[Segment(f"- {note.text}")] for note in notes]
    if unsaid:
        lines.append([Segment(f"- and {unsaid} more")])
    lines += [[], [Segment(_cut(f"{_legend(sheet)} · began {wall_time(view.began_at)}", width), "dim")]]
    return [_in_ascii(line) for line in lines] if is_plain else lines


def _columns(text: str) -> int:
    """Return how many columns a text takes; characters of East Asia take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _fitted(text: str, columns: int) -> str:
    """Return a text in so many columns, at their right."""
    length = columns
    while _columns(shown := middle(text, length)) > columns:
        length -= 1
    return " " * (columns - _columns(shown)) + shown


def _cut(text: str, width: int) -> str:
    return in_short(text, max(20, width))


def _in_ascii(line: list[Segment]) -> list[Segment]:
    """Our own characters in ASCII; those of names stay what they are, and the stream escapes them."""
    signs = str.maketrans({"·": "|", "…": "~", "µ": "u"})
    return [Segment(segment.text.translate(signs), segment.style) for segment in line]


def _exporter(sheet: _Sheet) -> list[list[Segment]]:
    phases = [phase for phase in phases_of(sheet.view) if phase.level < _MOST_LEVELS]
    rows = [_Row(sheet.plot) for _ in range(max((phase.level + 1 for phase in phases), default=0))]
    left, fill, right = "[", "-", "]"
    if not sheet.is_plain:
        left, fill, right = "├", "─", "┤"
    for phase in phases:
        start, end = sheet.column(phase.start), max(sheet.column(phase.start), sheet.column(phase.end))
        row = rows[phase.level]
        row.draw(start, fill * (end - start + 1), "cyan")
        row.draw(end, right if phase.is_closed else ">", "cyan")
        row.draw(start, left, "cyan")
        room = end - start - 1
        name = next((text for text in (f" {phase.name} ", f" {phase.short} ", phase.short) if len(text) <= room), "")
        row.draw(start + 1 + (room - len(name)) // 2, name, "bold")
    singles = single_events(sheet.view)
    if singles or not rows:
        rows.append(_Row(sheet.plot))
        mark = "v" if sheet.is_plain else "▼"
        for this in singles:
            rows[-1].draw(sheet.column(this.published), mark, "cyan")
        for this in singles:
            column = sheet.column(this.published) + 1
            if rows[-1].is_free(column, len(this.name) + 2):
                rows[-1].draw(column, f" {this.name}")
    return [
        sheet.line(sheet.view.process_name if not place else "", row, label_style="bold")
        for place, row in enumerate(rows)
    ]


def _lane(sheet: _Sheet, lane: Lane) -> list[Segment]:
    row = _Row(sheet.plot)
    # The troubled are drawn last: they must not be hidden.
    for bar in sorted(lane.bars, key=lambda bar: -bar.status.severity):
        look = LOOKS[bar.status]
        first, last = sheet.column(bar.start), max(sheet.column(bar.start), sheet.column(bar.end))
        sign = look.plain if sheet.is_plain else look.sign
        if bar.status is Status.SUCCEEDED:
            row.draw(
                first, ("|" if sheet.is_plain else "▌") if first == last else sign * (last - first + 1), look.style
            )
        else:
            row.draw(first, ("-" if sheet.is_plain else "╌") * (last - first), look.style)
            row.draw(last, sign, look.style)
    return sheet.line(lane.label, row, _result(lane), "yellow" if lane.troubles else "dim")


def _result(lane: Lane) -> str:
    slowest = [] if lane.slowest is None else [seconds(lane.slowest)]
    return ", ".join([*slowest, *([lane.troubles] if lane.troubles else [])])


def _axis(sheet: _Sheet) -> list[list[Segment]]:
    line, numbers = _Row(sheet.plot), _Row(sheet.plot)
    line.draw(0, ("-" if sheet.is_plain else "─") * sheet.plot, "dim")
    step = _step(sheet.view.span / max(1.0, sheet.plot / _TICK))
    tick = math.ceil(sheet.view.start / step - 1e-9)
    while tick * step <= sheet.view.start + sheet.view.span * (1 + 1e-9):
        column, label = sheet.column(tick * step), f"{tick * step:g}"
        line.draw(column, "+" if sheet.is_plain else "┴", "dim")
        if column + len(label) <= sheet.plot:
            numbers.draw(column, label, "dim")
        tick += 1
    return [sheet.line("", line), sheet.line(_SECONDS, numbers, label_style="dim")]


def _step(least: float) -> float:
    """Return 1, 2 or 5 times a power of ten: the first that is as much."""
    power: float = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _legend(sheet: _Sheet) -> str:
    return "  ".join(
        f"{LOOKS[status].plain if sheet.is_plain else LOOKS[status].sign} {status}" for status in sheet.view.counts
    )
