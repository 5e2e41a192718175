"""What a timeline can be written as, and which suffix of a file means what."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from state_signals.exceptions import InvalidArgument

__all__ = ["Format", "by_suffix"]


class Format(StrEnum):
    """What a timeline can be written as."""

    TEXT = "text"
    SVG = "svg"
    PNG = "png"
    HTML = "html"
    TRACE = "trace"
    CSV = "csv"
    JSON = "json"


_SUFFIXES = {
    ".trace.json": Format.TRACE,
    ".trace": Format.TRACE,
    ".svg": Format.SVG,
    ".png": Format.PNG,
    ".html": Format.HTML,
    ".htm": Format.HTML,
    ".csv": Format.CSV,
    ".json": Format.JSON,
    ".txt": Format.TEXT,
}


def by_suffix(file: Path) -> Format:
    """Return the format that a file's name asks for.

    Raises:
        InvalidArgument: if it asks for none.
    """
    name = file.name.lower()
    kind = next((kind for suffix, kind in _SUFFIXES.items() if name.endswith(suffix)), None)
    if kind is None:
        raise InvalidArgument(
            f"the suffix of {file} does not say what to write; choose --format, or one of {', '.join(_SUFFIXES)}"
        )
    return kind
