"""The page: where the panels stand, with title, legend, notes and caption; and its bytes."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from state_signals.timeline.lanes import MOST_LANES, Lane, lanes_of
from state_signals.timeline.look import LOOKS
from state_signals.timeline.notes import Note, notes_of
from state_signals.timeline.picture import lanes, responses
from state_signals.timeline.picture.pen import fitted, width
from state_signals.timeline.titles import caption_of, subtitle_of, title_of
from state_signals.timeline.view import View
from state_signals.timeline.words import middle, seconds

__all__ = ["render"]

_WIDTH = 11.0
_LONGEST_LABEL = 32
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.2, 0.2, 0.2, 0.15
_TITLE, _LEGEND, _AXIS, _RESPONSES, _HEADING, _LINE = 0.52, 0.3, 0.5, 1.6, 0.3, 0.175
_ROW = 0.27
_HIGHEST = 60.0
"""Inches: a page is not higher, however many lanes there are."""

_DPI = 120
_INK = "#222222"

_SETTINGS: dict[Any, Any] = {
    # Names are no formulas, and text stays text that can be searched and copied.
    "text.parse_math": False,
    "text.usetex": False,
    "svg.fonttype": "none",
    # The same run gives the same bytes.
    "svg.hashsalt": "state-signals",
    "hatch.linewidth": 0.6,
    "font.family": ["DejaVu Sans"],
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#999999",
}


def render(view: View, kind: Literal["svg", "png"], *, most_lanes: int | None = MOST_LANES) -> bytes:
    """Return the picture.

    Args:
        view: the run.
        kind: format.
        most_lanes: how many lanes there may be; None: one for each responder.
    """
    with mpl.rc_context(), warnings.catch_warnings():
        # Characters that the font lacks are boxes in a PNG, and what they are in an SVG.
        warnings.simplefilter("ignore")
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        figure = _Page(view, most_lanes).draw()
        data = io.BytesIO()
        # matplotlib's annotations end here.
        canvas: Any = FigureCanvasSVG(figure) if kind == "svg" else FigureCanvasAgg(figure)
        if kind == "svg":
            canvas.print_svg(data, metadata={"Title": title_of(view), "Creator": "state-signals", "Date": None})
        else:
            # A PNG's texts are in Latin-1.
            title = title_of(view).encode("ascii", "replace").decode()
            canvas.print_png(data, metadata={"Title": title, "Software": "state-signals"})
        return data.getvalue()


@dataclass(slots=True)
class _Cursor:
    """How far down the page something stands, in inches."""

    y: float


class _Page:
    def __init__(self, view: View, most_lanes: int | None) -> None:
        self.view = view
        self.rows = lanes.plan(view, lanes_of(view, most_lanes))
        self.notes, self.unsaid = notes_of(view)
        labels = [*(lane.label for lane in self.rows.lanes), view.process_name]
        widths = [width(middle(label, _LONGEST_LABEL), lanes.LABEL_SIZE) for label in labels]
        self.left = _LEFT + max([0.7, *widths]) + 0.1
        widths = [width(_result(lane), lanes.LABEL_SIZE) for lane in self.rows.lanes]
        self.right = _RIGHT + min(2.2, max([0.9, *widths])) + 0.1
        self.inches = _WIDTH - self.left - self.right
        self.has_responses = bool(view.rounds)
        self.height = self._height()
        self.figure = Figure(figsize=(_WIDTH, self.height), dpi=_DPI, facecolor="white")

    def _height(self) -> float:
        lines = len(self.notes) + bool(self.unsaid) + 1
        rest = _TOP + _TITLE + _LEGEND + _AXIS + lines * _LINE + 0.12 + _BOTTOM
        if self.has_responses:
            rest += _HEADING + _RESPONSES + responses.names_height(self.view.rounds)
        self.row = min(_ROW, (_HIGHEST - rest) / self.rows.rows)
        return rest + self.rows.rows * self.row

    def draw(self) -> Figure:
        cursor = _Cursor(_TOP)
        self._title(cursor)
        self._lanes(cursor)
        if self.has_responses:
            self._responses(cursor)
        self._below(cursor)
        return self.figure

    def _axes(self, cursor: _Cursor, height: float) -> Axes:
        box = (self.left, self.height - cursor.y - height, self.inches, height)
        axes = self.figure.add_axes((box[0] / _WIDTH, box[1] / self.height, box[2] / _WIDTH, box[3] / self.height))
        cursor.y += height
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        return axes

    def _text(
        self, y: float, text: str, size: float, *, bold: bool = False, colour: str = _INK, indent: float = 0.0
    ) -> None:
        self.figure.text(
            (_LEFT + indent) / _WIDTH,
            1 - y / self.height,
            fitted(text, _WIDTH - _LEFT - _RIGHT - indent, size, bold=bold),
            size=size,
            weight="bold" if bold else "normal",
            color=colour,
            va="top",
        )

    def _title(self, cursor: _Cursor) -> None:
        self._text(cursor.y, title_of(self.view), 13, bold=True)
        self._text(cursor.y + 0.27, subtitle_of(self.view), 9, colour="#444444")
        cursor.y += _TITLE + _LEGEND

    def _lanes(self, cursor: _Cursor) -> None:
        axes = self._axes(cursor, self.rows.rows * self.row)
        lanes.draw(axes, self.view, self.rows, self.notes, self.inches)
        axes.spines["left"].set_visible(False)
        axes.set_yticks([])
        axes.tick_params(axis="x", labelsize=8)
        axes.set_xlabel("seconds since the run began", size=8)
        axes.xaxis.get_major_formatter().set_useOffset(False)  # type: ignore[attr-defined]
        self._beside(axes)
        axes.legend(
            handles=self._legend(),
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=12,
            frameon=False,
            fontsize=7.5,
            handlelength=1.6,
            columnspacing=1.2,
            borderaxespad=0.2,
        )
        if not self.view.rounds:
            axes.text(
                0.5,
                (self.rows.rows - 0.5) if not self.rows.lanes else self.rows.of_exporter / 2,
                "no signals in this run" if not self.view.all_rounds else "no signals of this run are selected",
                transform=axes.get_yaxis_transform(),
                ha="center",
                va="center",
                size=9,
                color="#666666",
                style="italic",
            )
        cursor.y += _AXIS

    def _beside(self, axes: Axes) -> None:
        """What stands left and right of the rows."""
        scale = min(1.0, self.row / 0.16)
        size = max(3.0, lanes.LABEL_SIZE * scale)
        across = axes.get_yaxis_transform()
        gap = 0.08 / self.inches

        def put(row: float, label: str, result: str, colour: str, *, bold: bool = False) -> None:
            axes.text(
                -gap,
                row,
                middle(label, _LONGEST_LABEL),
                transform=across,
                ha="right",
                va="center",
                size=size,
                weight="bold" if bold else "normal",
            )
            shown = fitted(result, self.right - _RIGHT, size)
            axes.text(1 + gap, row, shown, transform=across, ha="left", va="center", size=size, color=colour)

        put(self.rows.of_exporter / 2, self.view.process_name, "slowest answer", "#777777", bold=True)
        for row, lane in enumerate(self.rows.lanes, self.rows.of_exporter):
            put(row + 0.5, lane.label, _result(lane), "#a33b00" if lane.troubles else _INK)

    def _legend(self) -> list[Patch | Line2D]:
        found: list[Patch | Line2D] = []
        for status, number in self.view.counts.items():
            look = LOOKS[status]
            found.append(
                Patch(
                    facecolor=look.colour,
                    edgecolor="white",
                    hatch=look.hatch,
                    linewidth=0,
                    label=f"{status} ({number:,})",
                )
            )
        if any(bar.progress for lane in self.rows.lanes for bar in lane.bars):
            found.append(
                Line2D([], [], linestyle="", marker="|", markersize=7, markeredgewidth=1.1, color=_INK, label="working")
            )
        if any(this.wait is not None for this in self.view.rounds):
            found.append(Patch(facecolor="#dce6f2", label="the exporter waits"))
        return found

    def _responses(self, cursor: _Cursor) -> None:
        self._heading(cursor)
        axes = self._axes(cursor, _RESPONSES)
        responses.draw(axes, self.view, self.inches, _RESPONSES)
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            frameon=False,
            fontsize=7.5,
            handlelength=1.2,
            borderaxespad=0.3,
        )
        cursor.y += responses.names_height(self.view.rounds)

    def _heading(self, cursor: _Cursor) -> None:
        self.figure.text(
            self.left / _WIDTH,
            1 - (cursor.y + 0.08) / self.height,
            "time until the answers, by round (logarithmic)",
            size=8.5,
            weight="bold",
            va="top",
            color=_INK,
        )
        cursor.y += _HEADING

    def _below(self, cursor: _Cursor) -> None:
        cursor.y += 0.06
        for note in self.notes:
            self._note(cursor, note)
        if self.unsaid:
            self._text(
                cursor.y, f"and {self.unsaid} more; all of them are in the HTML and CSV formats", 8, colour="#777777"
            )
            cursor.y += _LINE
        cursor.y += 0.06
        least = seconds(lanes.LEAST_WIDTH / self.inches * self.view.span)
        self._text(cursor.y, caption_of(self.view, least), 7.5, colour="#777777")

    def _note(self, cursor: _Cursor, note: Note) -> None:
        self._text(cursor.y, str(note.number), 8, bold=True)
        self._text(cursor.y, note.text, 8, indent=0.22)
        cursor.y += _LINE


def _result(lane: Lane) -> str:
    slowest = [] if lane.slowest is None else [seconds(lane.slowest)]
    return " · ".join([*slowest, *([lane.troubles] if lane.troubles else [])])
