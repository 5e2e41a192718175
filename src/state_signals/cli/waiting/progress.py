"""How far a wait has come, shown while it lasts: drawn in place on a terminal, as plain lines elsewhere.

What is drawn is erased when the wait is over, and whenever something else is printed meanwhile. The cursor stays
visible all the time: whatever ends the program, there is nothing to put right.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
import time
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from state_signals.cli import output
from state_signals.cli.waiting.waits import Standing, Wait

__all__ = ["Overlay", "as_block", "as_line", "cells", "cut", "drawn", "fitted", "noted"]

_FIRST = 0.5
"""Seconds that a wait has to last to be worth a word."""

_DRAW_EVERY = 0.2
"""Seconds between two looks at what has changed, on a terminal."""

_NOTE_EVERY = 1.0
"""Seconds between two lines, elsewhere."""

_MARGIN = 4
"""Columns that are left free at the right, so that what the terminal echoes (`^C`) does not begin a line."""

_NARROWEST = 10

_NAMES_IN_LINE = 10

Part = tuple[str, str]
"""A line to be drawn (escaped already), and its style; empty: none."""


# What it looks like


def as_block(standing: Standing, now: float, columns: int, rows: int) -> list[Part]:
    """Return how far a wait has come as lines that fit on a terminal of so many columns and rows."""
    width = max(_NARROWEST, columns - _MARGIN)
    answered = len(standing.done) + len(standing.failed)
    what = output.escaped(standing.what)
    head = f"{answered} of {standing.total} {standing.verb}, {_time_left(standing, now)}"
    lines: list[Part] = [(cut(f"{what}: {head}" if cells(what) + len(head) + 2 <= width else head, width), "bold")]
    groups: list[tuple[str, frozenset[str], int, str]] = [
        ("pending", standing.pending, standing.unnamed, "yellow"),
        ("failed", standing.failed, 0, "red"),
        (standing.verb, standing.done, 0, "green"),
    ]
    for label, names, unnamed, style in groups:
        # A row stays free for the line that follows.
        if (names or unnamed) and len(lines) < max(1, rows - 1):
            lines.append((fitted(f"  {label}: ", names, unnamed, width), style))
    return lines


def as_line(standing: Standing, now: float) -> str:
    """Return how far a wait has come as one line, which is not escaped yet."""
    answered = len(standing.done) + len(standing.failed)
    parts = [f"{standing.what}: {answered} of {standing.total} {standing.verb}"]
    for label, names, unnamed in (("failed", standing.failed, 0), ("pending", standing.pending, standing.unnamed)):
        if names or unnamed:
            shown = sorted(names)[:_NAMES_IN_LINE]
            more = len(names) - len(shown) + unnamed
            parts.append(f"{label}: {', '.join(shown)}{_and_more(more, shown)}")
    return "; ".join((*parts, _time_left(standing, now)))


def fitted(label: str, names: Collection[str], unnamed: int, width: int) -> str:
    """Return a label and as many names, in their order, as fit into a width; the others are counted."""
    shown: list[str] = []
    used, left = cells(label), len(names) + unnamed
    for name in map(output.escaped, sorted(names)):
        needed = cells(name) + (2 if shown else 0)
        if used + needed + len(_and_more(left - 1, [name])) > width:
            break
        shown.append(name)
        used, left = used + needed, left - 1
    if names and not shown:
        # Of one, as much as there is room for.
        return cut(f"{label}{output.escaped(next(iter(names))) if left == 1 else left}", width)
    return cut(f"{label}{', '.join(shown)}{_and_more(left, shown)}", width)


def cut(text: str, width: int) -> str:
    """Return a text (escaped already) cut to a width; dots say that it was."""
    if cells(text) <= width:
        return text
    used, kept = 0, []
    for char in text:
        used += _cells_of(char)
        if used > width - 3:
            break
        kept.append(char)
    return "".join(kept) + "..."


def cells(text: str) -> int:
    """Return how many columns a text takes."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def _cells_of(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _and_more(count: int, shown: Sequence[str]) -> str:
    if not count:
        return ""
    return f" and {count} more" if shown else f"{count} more"


def _time_left(standing: Standing, now: float) -> str:
    if standing.deadline is None:
        return f"for {_duration(int(now - standing.began))}"
    # Up: "0 s left" would be said a second too early.
    return f"{_duration(math.ceil(max(0.0, standing.deadline - now)))} left"


def _duration(whole: int) -> str:
    if whole < 60:
        return f"{whole} s"
    minutes, whole = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {whole:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


# How it gets there


class Overlay:
    """Lines that stand below all others on a terminal, and are drawn over again and again.

    Args:
        stream: the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drawn: list[Part] = []

    def size(self) -> tuple[int, int]:
        """Return the terminal's columns and rows, as they are now."""
        try:
            found = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return 80, 24
        return found.columns or 80, found.lines or 24

    def draw(self, lines: list[Part]) -> None:
        """Show these lines in place of those that were there."""
        if lines != self._drawn:
            shown = "\n".join(output.styled(text, style, self._stream) if style else text for text, style in lines)
            self._write(self._erasing() + shown)
            self._drawn = lines

    def clear(self) -> None:
        """Show nothing."""
        if self._drawn:
            self._write(self._erasing())
            self._drawn = []

    def _erasing(self) -> str:
        if not self._drawn:
            return ""
        up = len(self._drawn) - 1
        return "\r" + (f"\x1b[{up}A" if up else "") + "\x1b[J"

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            # The terminal is gone: that is no reason to give up the work.
            return


@contextmanager
def drawn(wait: Wait) -> Iterator[None]:
    """Draw how far a wait has come at the bottom of the terminal, while the body waits in the event loop."""
    overlay = Overlay(sys.stderr)

    def draw() -> None:
        overlay.draw(as_block(wait.standing(), time.monotonic(), *overlay.size()))

    with _repeated(draw, _DRAW_EVERY), output.giving_way(overlay.clear):
        try:
            yield
        finally:
            overlay.clear()


@contextmanager
def noted(wait: Wait) -> Iterator[None]:
    """Print a line whenever a wait has come further, while the body waits in the event loop."""
    before: Standing | None = None

    def note() -> None:
        nonlocal before
        standing = wait.standing()
        if standing != before:
            before = standing
            output.note(as_line(standing, time.monotonic()))

    with _repeated(note, _NOTE_EVERY):
        yield


@contextmanager
def _repeated(act: Callable[[], object], interval: float) -> Iterator[None]:
    """Do something again and again, beginning when the body has lasted for a while."""
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []

    def again() -> None:
        timers[:] = [loop.call_later(interval, again)]
        act()

    timers.append(loop.call_later(_FIRST, again))
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
