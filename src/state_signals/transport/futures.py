"""Waiting for one future until a time: `asyncio.timeout`, which can end anything, takes longer than all the rest."""

from __future__ import annotations

import asyncio
from typing import Literal

__all__ = ["Bell", "Lock", "happened", "settle"]

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


class Bell:
    """What one task waits for again and again, each time until another time.

    Mostly it rings before that: so the timer is not set anew each time, but when it goes off too early.
    """

    __slots__ = ("_future", "_timer", "_until")

    def __init__(self) -> None:
        self._future: asyncio.Future[bool] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._until = 0.0

    def ring(self) -> None:
        """Wake whoever waits, if anybody does."""
        settle(self._future)

    def put_away(self) -> None:
        """Ring for the last time."""
        self.ring()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def wait(self, seconds: float | None) -> bool:
        """Wait until it rings, up to `seconds` (None: for ever). Return whether it has. May be cancelled."""
        loop = asyncio.get_running_loop()
        self._future = future = loop.create_future()
        if seconds is not None:
            self._until = until = loop.time() + min(max(0.0, seconds), _LONGEST)
            if self._timer is None or self._timer.when() > until:
                self._set(loop)
        try:
            return bool(await future)
        finally:
            self._future = None
            if seconds is not None:
                self._until = 0.0

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._until, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._future is None or not self._until:
            return
        if loop.time() < self._until:
            self._set(loop)
        else:
            settle(self._future, False)


class Lock(asyncio.Lock):
    """A lock that knows whether it can be had at once: while it is handed over, it is not locked either."""

    def __init__(self) -> None:
        super().__init__()
        self._wanted = 0

    @property
    def is_free(self) -> bool:
        """Whether nobody has it, and nobody else is about to."""
        return not self._wanted and not self.locked()

    def take(self) -> bool:
        """Take it if it can be had at once. Return whether that is so."""
        if not self.is_free:
            return False
        # As `acquire` would, which is no coroutine's business then.
        self._locked = True
        return True

    async def acquire(self) -> Literal[True]:
        """Take it."""
        self._wanted += 1
        try:
            return await super().acquire()
        finally:
            self._wanted -= 1
