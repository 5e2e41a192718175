"""Waiting for one future until a time: `asyncio.timeout`, which can end anything, takes longer than all the rest."""

from __future__ import annotations

import asyncio
from typing import Literal

__all__ = ["Lock", "happened", "settle"]

_LONGEST = 86_400.0
"""Seconds; the clock of a loop takes no more than some centuries."""


async def happened(future: asyncio.Future[bool], seconds: float | None) -> bool:
    """Wait for something, up to `seconds` (None: for ever). Return whether it has happened.

    May be cancelled. The future is over then, and when the time is up.

    Args:
        future: what `settle()` is called with.
        seconds: how long.
    """
    if seconds is None:
        return await future
    timer = future.get_loop().call_later(min(max(0.0, seconds), _LONGEST), settle, future, False)
    try:
        return await future
    finally:
        timer.cancel()


def settle(future: asyncio.Future[bool] | None, has_happened: bool = True) -> None:
    """Wake whoever waits for a future, if anybody does."""
    if future is not None and not future.done():
        future.set_result(has_happened)


class Lock(asyncio.Lock):
    """A lock that knows whether it can be had at once: while it is handed over, it is not locked either."""

    def __init__(self) -> None:
        super().__init__()
        self._wanted = 0

    @property
    def is_free(self) -> bool:
        """Whether nobody has it, and nobody else is about to."""
        return not self._wanted and not self.locked()

    async def acquire(self) -> Literal[True]:
        """Take it."""
        self._wanted += 1
        try:
            return await super().acquire()
        finally:
            self._wanted -= 1
