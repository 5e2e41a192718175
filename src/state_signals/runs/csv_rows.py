"""Rows of CSV (RFC 4180) that a spreadsheet takes for what they are: what `history` and `timeline` write. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

__all__ = ["row"]

_FORMULAS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # noqa: RUF001 - some spreadsheets take the wide ones likewise
"""What makes a spreadsheet take a text for a formula."""


def row(values: Iterable[object], *, end: str = "\r\n") -> str:
    """Return a row.

    Args:
        values: texts (escaped already), numbers, truth values, or None for what is not known: its cell is empty.
        end: what it ends with.
    """
    written = io.StringIO()
    csv.writer(written, lineterminator=end).writerow([_cell(value) for value in values])
    return written.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6f}"
    # Texts came over the network: a spreadsheet would carry out what looks like a formula.
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else str(value)
