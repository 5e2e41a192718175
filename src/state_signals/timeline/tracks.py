"""Spans in rows, such that those of one row do not overlap."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["rows_of"]


def rows_of(spans: Sequence[tuple[float, float]]) -> list[int]:
    """Return the row of each (start, end): the first that is free. Of those that begin together, the longest is first.

    Args:
        spans: in any order; the rows come back in the same.
    """
    free_from: list[float] = []
    rows = [0] * len(spans)
    for place in sorted(range(len(spans)), key=lambda place: (spans[place][0], -spans[place][1])):
        start, end = spans[place]
        row = next((row for row, free in enumerate(free_from) if free <= start), len(free_from))
        free_from[row : row + 1] = [end]
        rows[place] = row
    return rows
