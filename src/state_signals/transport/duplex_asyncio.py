"""A connection that many write to and one task reads: what is written in one turn of the loop goes out in one piece."""

from __future__ import annotations

import asyncio
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
        self._has_unsent = asyncio.Event()
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

    def post(self, data: bytes) -> None:
        """Send something, if there is a connection."""
        if self._line is not None:
            self._unsent.append(data)
            self._has_unsent.set()

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
            async with asyncio.TaskGroup() as both:
                both.create_task(self._write(line))
                both.create_task(self._read(line))
        except* (redis.RedisError, OSError) as errors:
            if self._line is line:
                self.cut(errors.exceptions[0])
        finally:
            await line.close()

    async def _write(self, line: Line) -> None:
        while True:
            await self._has_unsent.wait()
            if self._line is not line:
                # It is for the next connection.
                return
            self._has_unsent.clear()
            data = b"".join(self._unsent)
            self._unsent.clear()
            await line.send(data)

    async def _read(self, line: Line) -> None:
        was_tried = False
        while True:
            patience = (base.TIMEOUT if was_tried else base.IDLE) if self._is_tried else None
            if await line.take(patience) or await line.take(GLANCE):
                was_tried = False
                self._received(line.replies())
            elif was_tried:
                raise replies.silent()
            else:
                was_tried = True
                await line.send(replies.PING)
