"""The whole screen: what is known and what is to be seen, as lines that are exactly as wide as the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from state_signals.cli.watching import panes
from state_signals.cli.watching.cells import Glyphs, Line, Span, clipped, line_width, safe
from state_signals.cli.watching.log import Log
from state_signals.cli.watching.roster import Row, roster_rows, selected
from state_signals.cli.watching.view import Listed, Pane, View
from state_signals.runs.model import Run

__all__ = ["Frame", "Scene", "frame", "page_of"]

_NARROW = 60
"""Columns below which the list of runs is left out."""

_LOW = 10
"""Lines below which the log is left out."""

_SMALLEST = (20, 4)


@dataclass(slots=True, kw_only=True)
class Scene:
    """What is known.

    Attributes:
        server: the server, without password, and the namespace.
        runs: as they are listed.
        now: seconds since the epoch by the server's clock.
        trouble: what is wrong with the connection; None: nothing.
        log: keeps the entries of what is over.
    """

    server: str
    runs: Sequence[Listed]
    now: float
    trouble: str | None = None
    log: Log = field(default_factory=Log)


@dataclass(frozen=True, slots=True)
class Frame:
    """What to draw.

    Attributes:
        lines: from the top; each as wide as the screen.
        split: column (from 0) of the line between the panes, if there is one: what stands left of it may be wider on
            some terminals than Unicode says.
        furthest: how far the panes can be scrolled.
    """

    lines: tuple[Line, ...]
    split: int | None = None
    furthest: dict[Pane, int] = field(default_factory=dict)


def frame(scene: Scene, view: View, width: int, height: int, glyphs: Glyphs, *, has_footer: bool = True) -> Frame:
    """Return the screen for a terminal of some size."""
    if width < _SMALLEST[0] or height < _SMALLEST[1]:
        lines: list[Line] = [(Span("too small"),)]
        return Frame(tuple(clipped(line, max(0, width), glyphs) for line in lines[: max(0, height)]))
    split = None if width < _NARROW else min(max(width * 3 // 10, 22), 44)
    right_width = width if split is None else width - split - 2
    run = next((listed.run for listed in scene.runs if listed.key == view.chosen), None)
    rows = roster_rows(run, scene.now) if run is not None else []
    head = panes.header(run, rows, scene.now, right_width, glyphs) if run is not None else _nothing()
    upper, lower = _divided(height - 1 - has_footer, rows, len(head), view)
    right, furthest = _right(head, rows, view, right_width, upper, glyphs)
    lines = [_title(scene, width, glyphs)]
    if split is None:
        lines += right
    else:
        rule = Span(glyphs.down, "rule")
        left = _left(scene, view, split, upper, glyphs)
        lines += [
            (*clipped(one, split, glyphs), rule, Span(" "), *clipped(other, right_width, glyphs))
            for one, other in zip(left, right, strict=True)
        ]
    if lower and run is None:
        lines += [()] * lower
    elif lower and run is not None:
        found, furthest[Pane.LOG] = _log(scene, run, view, width, lower, glyphs)
        lines += found
    if has_footer:
        lines.append(_last_line(view, glyphs))
    return Frame(tuple(clipped(line, width, glyphs) for line in lines), split, furthest)


def _divided(room: int, rows: Sequence[Row], head: int, view: View) -> tuple[int, int]:
    """Return how many lines runs and responders have, and how many the log below them."""
    if view.is_help or (room < _LOW and not view.is_log_large):
        return room, 0
    if view.is_log_large:
        upper = min(head + 2, room // 2)
    else:
        # What the responders do not need is the log's; but nothing moves while somebody types.
        number = len(selected(rows, "", problems_only=view.problems_only))
        upper = min(head + 1 + max(number, 5), room - max(4, room * 3 // 10))
    return upper, room - upper


def page_of(height: int) -> int:
    """Return how many lines the keys for pages move."""
    return max(1, height // 3)


def _title(scene: Scene, width: int, glyphs: Glyphs) -> Line:
    left = f" state-signals watch  {safe(scene.server)} "
    if scene.trouble is not None:
        words = Span(f" {safe(scene.trouble)} ", "alarm")
        gap = max(0, width - line_width((words,)))
        return clipped((*clipped((Span(left, "bar"),), gap, glyphs), words), width, glyphs)
    number = len(scene.runs)
    right = f"{number} {'run' if number == 1 else 'runs'} "
    gap = max(0, width - line_width((Span(right),)))
    padded = clipped((Span(left),), gap, glyphs)
    return clipped((Span("".join(span.text for span in padded) + right, "bar"),), width, glyphs)


def _left(scene: Scene, view: View, width: int, room: int, glyphs: Glyphs) -> list[Line]:
    style = "focus" if view.pane is Pane.RUNS else "heading"
    title = clipped((Span("  runs"),), width, glyphs)
    lines: list[Line] = [(Span("".join(span.text for span in title), style),)]
    lines += panes.run_lines(scene.runs, view.chosen, scene.now, width, room - 1, glyphs)
    return lines + [()] * (room - len(lines))


def _right(
    head: Sequence[Line], rows: Sequence[Row], view: View, width: int, room: int, glyphs: Glyphs
) -> tuple[list[Line], dict[Pane, int]]:
    furthest: dict[Pane, int] = {}
    lines = _help(glyphs) if view.is_help else list(head)
    if not view.is_help and not view.is_log_large and rows and room > len(lines) + 1:
        found, furthest[Pane.ROSTER] = _roster(rows, view, width, room - len(lines), glyphs)
        lines += found
    return [*lines[:room], *[()] * (room - len(lines))], furthest


def _roster(rows: Sequence[Row], view: View, width: int, room: int, glyphs: Glyphs) -> tuple[list[Line], int]:
    shown = selected(rows, view.words, problems_only=view.problems_only)
    is_focused = view.pane is Pane.ROSTER
    scrolled = view.scrolled[Pane.ROSTER]
    lines, furthest = panes.roster_lines(shown, scrolled, width, room, glyphs, is_focused=is_focused)
    if not shown:
        what = "no problems" if view.problems_only and not view.words else "nobody like that"
        lines.append((Span(f"{what} among {len(rows)} responders", "dim"),))
    return [_filled(lines[0], width, glyphs), *lines[1:]], furthest


def _log(scene: Scene, run: Run, view: View, width: int, room: int, glyphs: Glyphs) -> tuple[list[Line], int]:
    lines = [line for entry in scene.log.entries(run, scene.now) for line in panes.log_lines(entry, width)]
    scrolled = view.scrolled[Pane.LOG]
    first, last, furthest = panes.newest(len(lines), room - 1, scrolled)
    back = f" {glyphs.dot} {min(scrolled, furthest)} newer" if scrolled else ""
    title = (Span(f"  log{back}", "focus" if view.pane is Pane.LOG else "heading"),)
    found = lines[first:last]
    return [_filled(title, width, glyphs), *found, *[()] * (room - 1 - len(found))], furthest


def _filled(line: Line, width: int, glyphs: Glyphs) -> Line:
    """Return a line whose style reaches to its end."""
    text = "".join(span.text for span in clipped(line, width, glyphs))
    return (Span(text, line[0].style),)


def _nothing() -> list[Line]:
    return [
        (Span("There is no run yet.", "title"),),
        (),
        (Span("It appears here as soon as an exporter begins one:"),),
        (Span("state-signals run NAME -- CMD", "event"),),
    ]


def _help(glyphs: Glyphs) -> list[Line]:
    lines: list[Line] = [(Span("keys", "title"),), ()]
    for keys, what in panes.HELP:
        lines.append((Span(f"{keys.format(up_down=glyphs.up_down):<14}", "key"), Span(what)))
    return [*lines, (), (Span("Watching is passive: no exporter waits for it.", "dim"),)]


def _last_line(view: View, glyphs: Glyphs) -> Line:
    if view.is_typing:
        return (
            Span(" filter: ", "key"),
            Span(view.words),
            Span(" ", "cursor"),
            Span("   Enter", "key"),
            Span(" keep  ", "dim"),
            Span("Esc", "key"),
            Span(" clear", "dim"),
        )
    return panes.footer(glyphs, view.words, problems_only=view.problems_only, is_log_large=view.is_log_large)
