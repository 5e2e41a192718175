"""Tables of text: as wide as the terminal, or whole where nobody looks; nothing in them that a terminal obeys."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from state_signals.cli import output

__all__ = ["Cell", "Column", "lines", "print_table", "width_to_fit"]

_GAP = "  "

_DOTS = "..."

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
    """

    title: str
    least: int | None = None
    is_number: bool = False


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
    kept = [place for place in range(len(columns)) if any(row[place] for row in texts) or not rows]
    widths = _fitted([columns[place] for place in kept], [[row[place] for place in kept] for row in texts], width)
    title = [(columns[place].title, "bold") for place in kept]
    body = [[(text[place], row[place].style) for place in kept] for text, row in zip(texts, rows, strict=True)]
    return [_line([columns[place] for place in kept], cells, widths) for cells in (title, *body)]


def _fitted(columns: Sequence[Column], texts: Sequence[Sequence[str]], width: int | None) -> list[int]:
    """Return how wide each column is: what is too much is taken from the widest of those that may be cut."""
    widths = [
        max(len(column.title), *(cell_len(row[place]) for row in texts), 0) for place, column in enumerate(columns)
    ]
    while width is not None and sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        cuttable = [place for place, column in enumerate(columns) if column.least and widths[place] > column.least]
        if not cuttable:
            break
        widest = max(cuttable, key=lambda place: widths[place])
        widths[widest] -= 1
    return widths


def _line(columns: Sequence[Column], cells: Sequence[tuple[str, str]], widths: Sequence[int]) -> str:
    parts = []
    for column, (text, style), width in zip(columns, cells, widths, strict=True):
        size = cell_len(text)
        shown = text if size <= width else set_cell_size(text, max(0, width - len(_DOTS))) + _DOTS[:width]
        gap = " " * (width - cell_len(shown))
        shown = output.styled(shown, style, sys.stdout) if style else shown
        parts.append(gap + shown if column.is_number else shown + gap)
    return _GAP.join(parts).rstrip()
