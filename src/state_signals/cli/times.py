"""Moments and durations in few characters."""

from __future__ import annotations

import time

__all__ = ["age", "clock", "seconds"]

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"))


def age(value: float | None) -> str:
    """Return a number of seconds as a short text: `7s`, `12m`, `3h`, `5d`; nothing for None."""
    if value is None:
        return ""
    whole = max(0, int(value))
    for unit, letter in _UNITS:
        if whole >= unit:
            return f"{whole // unit}{letter}"
    return f"{whole}s"


def seconds(value: float | None) -> str:
    """Return a duration in six characters, with the digits that mean something: `12 ms`, `1.52 s`, `4.2 h`."""
    if value is None:
        return ""
    value = max(0.0, value)
    if value < 0.9995:
        return f"{value * 1000:.0f} ms" if value >= 0.00095 else "<1 ms"
    if value < 9.995:
        return f"{value:.2f} s"
    if value < 999.5:
        return f"{value:.1f} s" if value < 99.95 else f"{value:.0f} s"
    return f"{value / 3600:.1f} h" if value < 3_600_000 else f"{value / 86_400:.0f} d"


def clock(at: float) -> str:
    """Return a moment as time of the day, here."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        # What comes from the network may lie beyond all calendars.
        return "--:--:--"
