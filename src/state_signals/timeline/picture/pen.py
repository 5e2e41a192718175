"""Texts of a picture: how wide they are, cut to the room there is, and put where none is in the way of another."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

__all__ = ["Free", "Room", "fitted", "width"]

_POINTS = 72.0
"""In an inch."""


@lru_cache(maxsize=4096)
def width(text: str, size: float, *, bold: bool = False) -> float:
    """Return how wide a text is, in inches.

    Args:
        text: one line.
        size: of its font, in points.
        bold: whether it is.
    """
    font = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / _POINTS


def fitted(text: str, room: float, size: float, *, bold: bool = False) -> str:
    """Return a text, cut so that it fits into so many inches; nothing, if not even an ellipsis does."""
    # What is much too long is not measured in full.
    text = text[:2000]
    if width(text, size, bold=bold) <= room:
        return text
    least, most = 0, len(text)
    while least < most:
        half = (least + most + 1) // 2
        if width(text[:half].rstrip() + "…", size, bold=bold) <= room:
            least = half
        else:
            most = half - 1
    return text[:least].rstrip() + "…" if least else ""


@dataclass(slots=True)
class Free:
    """What is free of one row, in inches from its left."""

    length: float
    _taken: list[tuple[float, float]] = field(default_factory=list)

    def take(self, start: float, end: float) -> None:
        """Put something there."""
        self._taken.append((start, end))

    def is_free(self, start: float, end: float) -> bool:
        """Whether nothing is there."""
        return start >= 0 and end <= self.length and not any(a < end and start < b for a, b in self._taken)

    def room_after(self, start: float) -> float:
        """Return how much is free from there on."""
        if any(a <= start < b for a, b in self._taken):
            return 0.0
        return min((a for a, _ in self._taken if a >= start), default=self.length) - start


@dataclass(slots=True)
class Room:
    """Rectangles that must not overlap, in inches."""

    _taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def take(self, left: float, bottom: float, right: float, top: float) -> bool:
        """Take a rectangle, if nothing of it is taken; return whether it was free."""
        if any(a < right and left < c and b < top and bottom < d for a, b, c, d in self._taken):
            return False
        self._taken.append((left, bottom, right, top))
        return True
