"""Moments that people write: how long ago, or a date."""

from __future__ import annotations

import re
from datetime import datetime

from state_signals.exceptions import InvalidArgument

__all__ = ["since"]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}

_AGO = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([smhdw])")


def since(text: str, now: float) -> float:
    """Return a moment, in seconds since the epoch.

    Args:
        text: how long ago (`90s`, `30m`, `2h`, `3d`, `1w`), or a date (`2026-11-25`, `2026-11-25 14:30`,
            `2026-11-25T14:30:00Z`), local unless it says otherwise.
        now: seconds since the epoch.

    Raises:
        InvalidArgument: if it is neither.
    """
    found = _AGO.fullmatch(text.strip())
    if found:
        return now - float(found[1]) * _UNITS[found[2]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise InvalidArgument(
            "--since takes how long ago, as in 90s, 30m, 2h, 3d or 1w, or a date, as in 2026-11-25 or "
            f"2026-11-25T14:30, not {text!r:.80}"
        ) from None
