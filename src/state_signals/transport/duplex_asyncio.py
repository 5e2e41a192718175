"""A connection that many write to and one reads: what is written in one turn of the loop goes out in one piece."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import redis

from state_signals.transport import base, replies
from state_signals.transport.lines_asyncio import Line

__all__ = ["GLANCE", "Duplex"]

GLANCE = 0.05
"""Seconds for which a loop that comes late looks whether something has arrived, before it takes a server for silent."""


class Duplex:
    """The connection, which is made again when somebody asks for that, and not behind anybody's back.

    Args:
        name: of its tasks.
        dial: makes it, within so many seconds.
        received: called with what has arrived; may raise redis-py's errors, with which it is lost.
        lost: called once with the reason when it is lost.
        is_tried: whether to make sure that the server is there when it has been silent for too long.

    Attributes:
        turn: how often it was made.
    """

    def __init__(
        self,
        name: str,
        dial: Callable[[float], Awaitable[Line]],
        received: Callable[[list[Any]], None],
        lost: Callable[[Exception], None],
        *,
        is_tried: bool,
    ) -> None:
        self.turn = 0
        self._name = name
        self._dial = dial
        self._received = received
        self._lost = lost
        self._is_tried = is_tried
        self._connecting = asyncio.Lock()
        self._line: Line | None = None
        self._unsent: list[bytes] = []
        # When the silence has lasted so long that something has to be done.
        self._due = 0.0
        self._was_tried = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_up(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._line is not None

    async def connect(self, seconds: float) -> int:
        """Connect, unless there is a connection. Return the turn.

        Raises:
            redis.RedisError, OSError: if that does not work.
        """
        async with self._connecting:
            if self._line is not None and self._line.is_stale():
                self.cut(redis.ConnectionError("the server closed the connection"))
            if self._line is None:
                self._line = line = await self._dial(seconds)
                self.turn += 1
                self._task = asyncio.create_task(self._work(line), name=self._name)
        return self.turn

    def post(self, data: bytes, *, is_alone: bool = False) -> None:
        """Send something, if there is a connection: at once, if nobody else could have something to send."""
        if self._line is None:
            return
        if not self._unsent and not is_alone:
            asyncio.get_running_loop().call_soon(self._send, self._line)
        self._unsent.append(data)
        if is_alone:
            self._send(self._line)

    def cut(self, error: Exception) -> None:
        """End the connection, if there is one."""
        line, self._line = self._line, None
        if line is not None:
            self._unsent.clear()
            line.cut()
            self._lost(error)

    async def close(self) -> None:
        """End the connection, and wait for its end."""
        self.cut(redis.ConnectionError("it was closed"))
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _work(self, line: Line) -> None:
        try:
            self._heard()
            line.hand_over(lambda: self._take(line))
            while True:
                due = self._due
                # Whoever comes late has not listened.
                await line.take(max(due - time.monotonic(), GLANCE) if self._is_tried else None)
                if self._due == due:
                    self._check(line)
        except (redis.RedisError, OSError) as error:
            if self._line is line:
                self.cut(error)
        finally:
            await line.close()

    def _send(self, line: Line) -> None:
        if self._line is not line or not self._unsent:
            # What was to be sent is gone with it, or was sent at once.
            return
        data = b"".join(self._unsent)
        self._unsent.clear()
        with contextlib.suppress(redis.RedisError, OSError):
            # Whoever reads finds out, too.
            line.write(data)

    def _take(self, line: Line) -> None:
        self._heard()
        self._received(line.replies())

    def _heard(self) -> None:
        self._due, self._was_tried = time.monotonic() + base.IDLE, False

    def _check(self, line: Line) -> None:
        """Make sure that the server is there, which has been silent for too long."""
        if self._was_tried:
            raise replies.silent()
        self._due, self._was_tried = time.monotonic() + base.TIMEOUT, True
        line.write(replies.PING)
