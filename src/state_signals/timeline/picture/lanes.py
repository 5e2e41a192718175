"""The upper panel: the exporter's phases and what each responder did, along one clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.patches import Rectangle

from state_signals.timeline.lanes import Bar, Lane
from state_signals.timeline.look import LOOKS
from state_signals.timeline.notes import Note, numbers_at
from state_signals.timeline.phases import Phase, phases_of, single_events
from state_signals.timeline.picture.pen import Free, fitted, width
from state_signals.timeline.view import RoundView, Status, View
from state_signals.timeline.words import cost, middle

__all__ = ["LABEL_SIZE", "LEAST_WIDTH", "Plan", "draw", "plan"]

LEAST_WIDTH = 0.03
"""Inches that a bar is wide at the least."""

LABEL_SIZE = 8.0
_SMALL = 7.0
_BAR = 0.64
_BAND = "#dce6f2"
_INK = "#222222"
_PHASES = ("#0072b2", "#5aa5d6", "#9ccbe8")
_MOST_COSTS = 12
"""Bars beside which it is said how much longer the others waited for it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows of the panel, from above.

    Attributes:
        phases: the exporter's phases.
        levels: how many rows they take.
        singles: signals that belong to no phase; they take one row, if there are any.
        lanes: the responders.
    """

    phases: list[Phase]
    levels: int
    singles: list[RoundView]
    lanes: list[Lane]

    @property
    def of_exporter(self) -> int:
        """How many rows the exporter takes."""
        return max(1, self.levels + bool(self.singles))

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.of_exporter + max(1, len(self.lanes))


def plan(view: View, lanes: list[Lane]) -> Plan:
    """Return the rows of the panel."""
    shown = [phase for phase in phases_of(view) if phase.level < len(_PHASES)]
    return Plan(shown, max((phase.level + 1 for phase in shown), default=0), single_events(view), lanes)


class _Panel:
    """What is drawn on: seconds to the right, rows downwards."""

    def __init__(self, axes: Axes, view: View, rows: Plan, inches: float) -> None:
        self.axes, self.view, self.rows, self.inches = axes, view, rows, inches
        self.least = LEAST_WIDTH / inches * view.span
        self.free = [Free(inches) for _ in range(rows.rows)]

    def at(self, moment: float) -> float:
        """Return how many inches from the left a moment is."""
        return (moment - self.view.start) / self.view.span * self.inches

    def is_seen(self, start: float, end: float) -> bool:
        """Whether something of it is within the axis."""
        return end >= self.view.start and start <= self.view.end

    def take(self, row: int, start: float, end: float) -> None:
        """Remember that something is there, and let no text begin right beside it."""
        self.free[row].take(self.at(start) - 0.02, self.at(end) + 0.02)


def draw(axes: Axes, view: View, rows: Plan, notes: Sequence[Note], inches: float) -> None:
    """Draw the panel.

    Args:
        axes: where.
        view: the run.
        rows: the panel's rows.
        notes: what is pointed at.
        inches: how wide the axes are.
    """
    panel = _Panel(axes, view, rows, inches)
    axes.set_xlim(view.start, view.start + view.span)
    axes.set_ylim(rows.rows, 0)
    _stripes(panel)
    _bands(panel)
    _exporter(panel)
    _presence(panel)
    _bars(panel)
    _marks(panel, numbers_at(notes))
    _costs(panel)


def _stripes(panel: _Panel) -> None:
    for row in range(panel.rows.of_exporter, panel.rows.rows, 2):
        panel.axes.axhspan(row, row + 1, color="#f6f6f6", linewidth=0, zorder=0)
    panel.axes.axhline(panel.rows.of_exporter, color="#999999", linewidth=0.8, zorder=2)


def _bands(panel: _Panel) -> None:
    """The time that the exporter waited: across all lanes."""
    for this in panel.view.rounds:
        ended = this.ended if this.ended is not None else this.published
        if this.wait is not None and this.ended is None:
            ended = panel.view.duration
        if panel.is_seen(this.published, ended):
            length = max(ended - this.published, panel.least / 2)
            band = Rectangle((this.published, 0), length, panel.rows.rows, color=_BAND, linewidth=0, zorder=1)
            panel.axes.add_patch(band)


def _exporter(panel: _Panel) -> None:
    for phase in panel.rows.phases:
        if not panel.is_seen(phase.start, phase.end):
            continue
        start, end = max(phase.start, panel.view.start), min(phase.end, panel.view.end)
        length = max(end - start, panel.least)
        panel.axes.add_patch(
            Rectangle(
                (start, phase.level + (1 - _BAR) / 2),
                length,
                _BAR,
                facecolor=_PHASES[phase.level],
                edgecolor="white" if phase.is_closed else _INK,
                linestyle="-" if phase.is_closed else "--",
                linewidth=0.6,
                zorder=3,
            )
        )
        room = panel.at(start + length) - panel.at(start) - 0.06
        text = phase.name if width(phase.name, _SMALL) <= room else phase.short
        if text := fitted(text, room, _SMALL):
            panel.axes.text(
                start + length / 2,
                phase.level + 0.5,
                text,
                size=_SMALL,
                color="white" if phase.level == 0 else _INK,
                ha="center",
                va="center",
                zorder=4,
            )
    row = panel.rows.levels
    for this in panel.rows.singles:
        if panel.is_seen(this.published, this.published):
            panel.axes.plot(
                [this.published], [row + 0.5], marker="v", color=_PHASES[0], markersize=6, zorder=4, clip_on=False
            )
            panel.take(row, this.published - panel.least, this.published + panel.least * 2)
    for this in panel.rows.singles:
        if panel.is_seen(this.published, this.published):
            _text_beside(panel, row, this.published + panel.least * 4, middle(this.name, 30), whole=True)


def _presence(panel: _Panel) -> None:
    """A line for as long as a responder was there."""
    lines = []
    for row, lane in enumerate(panel.rows.lanes, panel.rows.of_exporter):
        there = _there(panel.view, lane)
        if there is not None:
            lines.append([(there[0], row + 0.5), (there[1], row + 0.5)])
    panel.axes.add_collection(LineCollection(lines, colors="#8a8a8a", linewidths=0.7, zorder=2), autolim=False)


def _there(view: View, lane: Lane) -> tuple[float, float] | None:
    """Return from when to when the responders of a lane were there; None: that is not known."""
    members = [view.members[name] for name in lane.members]
    starts = [member.subscribed for member in members if member.subscribed is not None]
    starts += [bar.start for bar in lane.bars[:1] if bar.received is not None]
    if not starts:
        return None
    end = view.duration
    lost = [bar for bar in lane.bars if bar.status is Status.LOST]
    if len(members) == 1:
        if members[0].left is not None:
            end = members[0].left
        elif lost:
            end = members[0].last_seen if members[0].last_seen is not None else lost[0].start
            end = min(end, lost[0].end)
    return min(starts), max(end, *starts)


def _bars(panel: _Panel) -> None:
    shapes: dict[Status, list[list[tuple[float, float]]]] = {}
    progress: list[tuple[float, int]] = []
    for row, lane in enumerate(panel.rows.lanes, panel.rows.of_exporter):
        for bar in lane.bars:
            if not panel.is_seen(bar.start, bar.end):
                continue
            end = max(bar.end, bar.start + panel.least)
            top, bottom = row + (1 - _BAR) / 2, row + (1 + _BAR) / 2
            shapes.setdefault(bar.status, []).append([(bar.start, top), (end, top), (end, bottom), (bar.start, bottom)])
            panel.take(row, bar.start, end)
            progress += [(at, row) for at in bar.progress]
    for status, polygons in shapes.items():
        look = LOOKS[status]
        collection = PolyCollection(
            polygons,
            facecolor=look.colour,
            edgecolor="white" if look.hatch else look.colour,
            hatch=look.hatch,
            linewidth=0.0,
            zorder=3,
        )
        panel.axes.add_collection(collection, autolim=False)
    if progress:
        panel.axes.plot(
            [at for at, _ in progress],
            [row + 0.5 for _, row in progress],
            linestyle="",
            marker="|",
            markersize=6,
            markeredgewidth=1.1,
            color=_INK,
            zorder=5,
        )


def _marks(panel: _Panel, numbers: Mapping[tuple[str, int], list[int]]) -> None:
    """A shape at the end of what went wrong, and the number of its note."""
    shapes: dict[tuple[Status, float], list[tuple[float, float]]] = {}
    beside: list[tuple[int, Bar, str]] = []
    for row, lane in enumerate(panel.rows.lanes, panel.rows.of_exporter):
        previous = Status.SUCCEEDED
        for bar in lane.bars:
            is_news, previous = bar.status is not previous, bar.status
            if not panel.is_seen(bar.end, bar.end):
                continue
            if LOOKS[bar.status].marker:
                # What goes on as before is marked less.
                shapes.setdefault((bar.status, 8.0 if is_news else 5.0), []).append((bar.end, row + 0.5))
                panel.take(row, bar.end - panel.least * 2, bar.end + panel.least * 2)
            found = {number for name in lane.members for number in numbers.get((name, bar.round), ())}
            if found:
                beside.append((row, bar, ",".join(map(str, sorted(found)))))
    for (status, size), places in shapes.items():
        panel.axes.plot(
            [at for at, _ in places],
            [row for _, row in places],
            linestyle="",
            marker=LOOKS[status].marker,
            color=LOOKS[status].colour,
            markeredgecolor="white",
            markeredgewidth=0.7,
            markersize=size,
            zorder=6,
            clip_on=False,
        )
    for row, bar, text in beside:
        _number(panel, row, bar, text, LOOKS[bar.status].colour)


def _number(panel: _Panel, row: int, bar: Bar, text: str, colour: str) -> None:
    """The number of a note, right or left of what it is about."""
    taken = width(text, _SMALL, bold=True) + 0.06
    end = panel.at(max(bar.end, bar.start + panel.least)) + 0.07
    start = panel.at(bar.start) - 0.06 - taken
    for place in (end, start):
        if panel.free[row].is_free(place, place + taken):
            break
    else:
        place = min(end, panel.inches - taken)
    panel.free[row].take(place, place + taken)
    moment = panel.view.start + (place + taken / 2) / panel.inches * panel.view.span
    panel.axes.text(
        moment,
        row + 0.5,
        text,
        size=_SMALL,
        weight="bold",
        color="white",
        ha="center",
        va="center_baseline",
        zorder=7,
        bbox={"boxstyle": "round,pad=0.18", "facecolor": colour, "edgecolor": "white", "linewidth": 0.8},
    )


def _costs(panel: _Panel) -> None:
    """How much longer the others waited for a straggler, beside its bar."""
    found = [
        (panel.view.rounds[bar.round].cost, row, bar)
        for row, lane in enumerate(panel.rows.lanes, panel.rows.of_exporter)
        for bar in lane.bars
        if bar.is_straggler and panel.is_seen(bar.end, bar.end)
    ]
    found.sort(key=lambda item: (-item[0], item[1], item[2].round))
    for value, row, bar in found[:_MOST_COSTS]:
        if value >= panel.view.span / 500:
            end = max(bar.end, bar.start + panel.least)
            offset = 0.3 if panel.rows.lanes[row - panel.rows.of_exporter].bars and LOOKS[bar.status].marker else 0.05
            moment = end + offset / panel.inches * panel.view.span
            if not _text_beside(panel, row, moment, cost(value), whole=True):
                _text_before(panel, row, bar.start, cost(value))


def _text_beside(panel: _Panel, row: int, moment: float, text: str, *, whole: bool) -> bool:
    place = panel.at(moment)
    room = panel.free[row].room_after(place) - 0.04
    shown = text if width(text, _SMALL) <= room else "" if whole else fitted(text, room, _SMALL)
    if not shown:
        return False
    panel.free[row].take(place, place + width(shown, _SMALL) + 0.04)
    panel.axes.text(moment, row + 0.5, shown, size=_SMALL, color=_INK, ha="left", va="center", zorder=7)
    return True


def _text_before(panel: _Panel, row: int, moment: float, text: str) -> None:
    end = panel.at(moment) - 0.05
    start = end - width(text, _SMALL)
    if panel.free[row].is_free(start, end):
        panel.free[row].take(start, end)
        place = panel.view.start + end / panel.inches * panel.view.span
        panel.axes.text(place, row + 0.5, text, size=_SMALL, color=_INK, ha="right", va="center", zorder=7)
