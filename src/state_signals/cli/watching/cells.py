"""Text in cells of a terminal: styled pieces, cut and filled to a width, with nothing in it that a terminal obeys."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells, set_cell_size

from state_signals.cli import output

__all__ = ["ASCII", "UNICODE", "Glyphs", "Line", "Span", "clipped", "fit", "line_width", "plain", "safe", "wrapped"]

_MOST_MARKS = 2
"""Combining marks on one character: more would pile up over other lines."""

# Spaces belong to the word before them; a line may begin with some.
_WORDS = re.compile(r"\s*\S+\s*|\s+")

_LONGEST = 2_000
"""Characters of a text that are looked at: no screen shows more."""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a line.

    Attributes:
        text: what is shown; escaped already.
        style: a name that `state_signals.cli.watching.terminal` knows; empty: plain.
    """

    text: str
    style: str = ""


Line = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters that draw the screen.

    Attributes:
        dots: where a text was cut.
        marker: before the chosen run.
        across: a horizontal rule.
        down: between two panes.
        dot: between two facts.
        up_down: the arrow keys.
    """

    dots: str
    marker: str
    across: str
    down: str
    dot: str
    up_down: str


UNICODE = Glyphs(dots="…", marker="▸", across="─", down="│", dot="·", up_down="↑↓")
ASCII = Glyphs(dots="~", marker=">", across="-", down="|", dot="-", up_down="up/down")


def safe(text: str) -> str:
    """Return a text from the network as it may be shown."""
    shown = output.escaped(text[:_LONGEST])
    return shown if shown.isascii() else _with_few_marks(shown)


def _with_few_marks(text: str) -> str:
    kept: list[str] = []
    marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        if marks <= _MOST_MARKS:
            kept.append(char)
    return "".join(kept)


def fit(text: str, cells: int, glyphs: Glyphs, *, to_the_right: bool = False) -> str:
    """Return a text that is exactly so many cells wide; dots say that it was cut."""
    width = cell_len(text)
    if width <= cells:
        gap = " " * (cells - width)
        return gap + text if to_the_right else text + gap
    if cells <= 0:
        return ""
    cut = set_cell_size(text, cells - 1).rstrip(" ") + glyphs.dots
    # Half of a wide character does not fit.
    return cut + " " * (cells - cell_len(cut))


def line_width(line: Iterable[Span]) -> int:
    """Return how many cells a line takes."""
    return sum(cell_len(span.text) for span in line)


def clipped(line: Iterable[Span], cells: int, glyphs: Glyphs) -> Line:
    """Return a line that is exactly so many cells wide."""
    spans = [span for span in line if span.text]
    kept: list[Span] = []
    left = cells
    for place, span in enumerate(spans):
        width = cell_len(span.text)
        is_last = place == len(spans) - 1
        if width > left or (width == left and not is_last):
            kept.append(Span(fit(span.text + (" " if width <= left else ""), left, glyphs), span.style))
            return tuple(kept)
        kept.append(span)
        left -= width
    if left:
        kept.append(Span(" " * left))
    return tuple(kept)


def wrapped(line: Iterable[Span], cells: int, most: int) -> list[Line]:
    """Return a line as several that are no wider than so many cells, broken where there is no other way in words."""
    lines: list[list[Span]] = [[]]
    left = cells
    for span in line:
        for word in _WORDS.findall(span.text):
            width = cell_len(word.rstrip())
            if width > left and width <= cells:
                lines.append([])
                left = cells
                word = word.lstrip()  # noqa: PLW2901 - the gap is the line's end
            for part in chop_cells(word, cells) if width > cells else (word,):
                if cell_len(part.rstrip()) > left:
                    lines.append([])
                    left = cells
                lines[-1].append(Span(part, span.style))
                left = max(0, left - cell_len(part))
            if len(lines) > most:
                return [tuple(kept) for kept in lines[:most]]
    return [tuple(kept) for kept in lines]


def plain(line: Iterable[Span]) -> str:
    """Return a line without styles."""
    return "".join(span.text for span in line)
