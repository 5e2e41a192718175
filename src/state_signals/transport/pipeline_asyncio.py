"""A connection for the commands of many: they are answered in the order in which they go out."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import redis

from state_signals.transport import replies
from state_signals.transport.base import TIMEOUT, Batch
from state_signals.transport.duplex_asyncio import GLANCE, Duplex
from state_signals.transport.failures import once_more
from state_signals.transport.lines_asyncio import Line, deadline

__all__ = ["Pipeline"]


class _Waiting:
    """A batch that is on its way."""

    __slots__ = ("at", "count", "found", "future")

    def __init__(self, count: int) -> None:
        self.future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.count = count
        self.found: list[Any] = []
        self.at = time.monotonic()


class Pipeline:
    """The connection. Who uses it says which one is meant, by its turn.

    Everybody has to know when a connection was lost, for then the server may have lost data: so nobody gets to the next
    one without having asked for it.

    Args:
        dial: makes it, within so many seconds.
    """

    def __init__(self, dial: Callable[[float], Awaitable[Line]]) -> None:
        self._heard_at = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._error: Exception = redis.ConnectionError("there is no connection yet")
        self._waiting: deque[_Waiting] = deque()
        self._duplex = Duplex("state-signals-commands", dial, self._received, self._lost, is_tried=False)

    async def connect(self, seconds: float) -> int:
        """Connect, unless the connection works as far as is known. Return its turn.

        Raises:
            redis.RedisError, OSError: if that does not work.
        """
        return await self._duplex.connect(seconds)

    async def execute(self, batch: Batch, turn: int, seconds: float, *, is_alone: bool = False) -> list[Any]:
        """Send a batch once, and return its outcomes.

        Args:
            batch: what to send.
            turn: the connection that is meant.
            seconds: how long it may take.
            is_alone: whether nobody else uses it, so that it need not wait for what others are about to say.

        Raises:
            redis.RedisError, OSError: if the connection of that turn is lost, without a reply in time, or for errors
                that pass by themselves.
        """
        if not self._duplex.is_up or turn != self._duplex.turn:
            raise once_more(self._error)
        data, count = replies.packed(batch)
        if not count:
            return []
        waiting = _Waiting(count)
        self._waiting.append(waiting)
        self._duplex.post(data, is_alone=is_alone)
        if self._watch is None:
            self._watch_for(TIMEOUT)
        if seconds < TIMEOUT / 2:
            async with deadline(seconds):
                return replies.outcomes(batch, await waiting.future)
        # The watch sees to it: a timer for each takes longer than all the rest, and goes off when our loop is busy.
        return replies.outcomes(batch, await waiting.future)

    async def close(self) -> None:
        """Close the connection."""
        await self._duplex.close()
        if self._watch is not None:
            self._watch.cancel()

    def _watch_for(self, seconds: float, *, is_last_look: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(seconds, self._look, is_last_look)

    def _look(self, is_last_look: bool) -> None:
        """Give up a server that owes us a reply and has been silent."""
        self._watch = None
        if not self._waiting:
            return
        left = max(self._waiting[0].at, self._heard_at) + TIMEOUT - time.monotonic()
        if left > 0:
            self._watch_for(left)
        elif not is_last_look:
            # Whoever comes late has not listened.
            self._watch_for(GLANCE, is_last_look=True)
        else:
            self._duplex.cut(replies.silent())

    def _received(self, arrived: list[Any]) -> None:
        self._heard_at = time.monotonic()
        for reply in arrived:
            if not self._waiting:
                raise redis.ConnectionError(f"nobody has asked for this reply: {reply!r:.80}")
            waiting = self._waiting[0]
            waiting.found.append(reply)
            if len(waiting.found) == waiting.count:
                self._waiting.popleft()
                # Somebody may have given up.
                if not waiting.future.done():
                    waiting.future.set_result(waiting.found)

    def _lost(self, error: Exception) -> None:
        self._error = error
        waiting, self._waiting = self._waiting, deque()
        for each in waiting:
            if not each.future.done():
                each.future.set_exception(once_more(error))
