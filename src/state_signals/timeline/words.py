"""Numbers, moments and texts in words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

__all__ = ["cost", "count", "in_short", "listed", "middle", "seconds", "seconds_between", "wall_time"]


def seconds(value: float) -> str:
    """Return a duration as people write it: `820 µs`, `1.24 s`, `2 h 05 min`."""
    if value < 0.9995e-3:
        return f"{value * 1e6:.0f} µs"
    if value < 0.9995:
        return f"{_digits(value * 1e3)} ms"
    if value < 99.95:
        return f"{_digits(value)} s"
    if value < 3599.5:
        return f"{int(value + 0.5) // 60} min {int(value + 0.5) % 60:02d} s"
    return f"{int(value / 60 + 0.5) // 60} h {int(value / 60 + 0.5) % 60:02d} min"


def _digits(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def seconds_between(least: float, most: float) -> str:
    """Return a range of durations: `0.82-2.10 ms`, `800 µs-2.1 s`."""
    low, high = seconds(least), seconds(most)
    if low == high:
        return low
    number, _, unit = low.partition(" ")
    return (
        f"{number}-{high}" if high.endswith(f" {unit}") and low.count(" ") == high.count(" ") == 1 else f"{low}-{high}"
    )


def cost(value: float) -> str:
    """Return by how much something was longer."""
    return f"+{seconds(value)}"


def wall_time(moment: float) -> str:
    """Return a moment (seconds since the epoch) as date and time, in UTC; what no calendar holds, as the number."""
    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{moment:g} s since 1970"


def count(number: int, what: str) -> str:
    """Return a number of what does not change with it: `3 failed`."""
    return f"{number:,} {what}"


def in_short(text: str, length: int) -> str:
    """Return a text cut to a length; an ellipsis says that it was."""
    return text if len(text) <= length else text[: max(0, length - 1)].rstrip() + "…"


def middle(text: str, length: int) -> str:
    """Return a name cut in its middle: names often differ in their ends only."""
    if len(text) <= length:
        return text
    tail = max(1, (length - 1) // 2)
    return f"{text[: max(0, length - 1 - tail)]}…{text[-tail:]}"


def listed(names: Sequence[str], shown: int = 3, length: int = 40) -> str:
    """Return names as a list for people that is not too long."""
    some = [middle(name, length) for name in names[: shown if len(names) > shown + 1 else shown + 1]]
    rest = len(names) - len(some)
    if rest > 0:
        return f"{', '.join(some)} and {rest} others"
    return some[0] if len(some) == 1 else f"{', '.join(some[:-1])} and {some[-1]}" if some else "nobody"
