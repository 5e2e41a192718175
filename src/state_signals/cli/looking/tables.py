"""Tables of text: as wide as the terminal, or whole where nobody looks; nothing in them that a terminal obeys."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from state_signals.cli import output

__all__ = ["Cell", "Column", "lines", "print_table", "width_to_fit"]

_GAP = "  "

_LONGEST = 2_000
"""Characters of a text that are shown."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A text, escaped here, and its style; empty: none."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        title: above it.
        least: columns of the terminal that it is cut to at the least; None: it is never cut.
        is_number: whether it is flush right.
        rank: those with the highest are left out first where there is no room for all; 0: it never is.
    """

    title: str
    least: int | None = None
    is_number: bool = False
    rank: int = 0


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a table to standard output; columns without content are left out.

    Raises:
        BrokenPipeError: if nobody reads it.
    """
    for line in lines(columns, rows, width_to_fit()):
        output.print_line(line)


def width_to_fit() -> int | None:
    """Return how wide a line may be; None: as wide as it likes, for it goes to no terminal."""
    return shutil.get_terminal_size().columns if output.is_terminal(sys.stdout) else None


def lines(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int | None) -> list[str]:
    """Return the lines of a table.

    Args:
        columns: its columns.
        rows: a cell for each of them.
        width: what they are cut to; None: nothing is cut.
    """
    texts = [[output.escaped(output.shortened(cell.text, _LONGEST)) for cell in row] for row in rows]
    widest = [
        max(len(column.title), *(cell_len(row[place]) for row in texts), 0) for place, column in enumerate(columns)
    ]
    kept = [place for place in range(len(columns)) if any(row[place] for row in texts) or not rows]
    if width is not None:
        kept = _chosen(columns, widest, kept, width)
    widths = {place: widest[place] for place in kept}
    if width is not None:
        _cut(columns, widths, width)
    title = _line(columns, [(column.title, "bold") for column in columns], widths)
    styles = [[cell.style for cell in row] for row in rows]
    return [
        title,
        *(_line(columns, list(zip(row, each, strict=True)), widths) for row, each in zip(texts, styles, strict=True)),
    ]


def _total(widths: Iterable[int]) -> int:
    found = list(widths)
    return sum(found) + len(_GAP) * (len(found) - 1)


def _chosen(columns: Sequence[Column], widest: Sequence[int], places: list[int], width: int) -> list[int]:
    """Return the columns that there is room for."""
    kept = list(places)
    while _total(min(widest[place], columns[place].least or widest[place]) for place in kept) > width:
        last = max(kept, key=lambda place: columns[place].rank)
        if not columns[last].rank:
            break
        kept.remove(last)
    return kept


def _cut(columns: Sequence[Column], widths: dict[int, int], width: int) -> None:
    """Take what is too much from the widest of those that may be cut."""
    while _total(widths.values()) > width:
        cuttable = [place for place in widths if widths[place] > (columns[place].least or widths[place])]
        if not cuttable:
            return
        widths[max(cuttable, key=lambda place: widths[place])] -= 1


def _line(columns: Sequence[Column], cells: Sequence[tuple[str, str]], widths: Mapping[int, int]) -> str:
    dots = "…" if (sys.stdout.encoding or "").lower().startswith("utf") else "..."
    parts = []
    for place, width in widths.items():
        text, style = cells[place]
        shown = text if cell_len(text) <= width else set_cell_size(text, max(0, width - len(dots))).rstrip() + dots
        gap = " " * (width - cell_len(shown))
        shown = output.styled(shown, style, sys.stdout) if style else shown
        parts.append(gap + shown if columns[place].is_number else shown + gap)
    return _GAP.join(parts).rstrip()
