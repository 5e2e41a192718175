"""What is going on, said on standard error."""

from __future__ import annotations

import sys
import time

__all__ = ["say"]

_BEGAN = time.monotonic()


def say(what: str) -> None:
    """Print it, with the seconds since the start."""
    print(f"{time.monotonic() - _BEGAN:6.1f} s  {what}", file=sys.stderr, flush=True)
