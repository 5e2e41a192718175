"""Connections to one server, for asyncio. The counterpart of `state_signals.transport.lines`, method by method."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import redis
import redis.asyncio

from state_signals.exceptions import Closed
from state_signals.transport import replies, sentinels
from state_signals.transport.settings import Address, make_connection

__all__ = ["Cancellations", "Dialer", "Line", "SentinelDialer", "deadline"]

_CHUNK = 65_536

_LONGEST = 86_400.0


class Cancellations:
    """Sees to it that none gets lost: before Python 3.12, `asyncio.wait_for`, which redis-py uses, swallows some."""

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._before = self._task.cancelling() if self._task else 0

    def check(self) -> None:
        """Raise CancelledError if the task was cancelled since the construction."""
        if self._task and self._task.cancelling() > self._before:
            raise asyncio.CancelledError


class deadline:  # noqa: N801 - it is used as asyncio.timeout is
    """Raises redis-py's TimeoutError in an `async with` that takes longer than some seconds."""

    __slots__ = ("_seconds", "_timeout")

    def __init__(self, seconds: float) -> None:
        self._seconds = max(0.0, seconds)
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *error: Any) -> None:  # noqa: PYI036 - they are passed on
        try:
            await self._timeout.__aexit__(*error)
        except TimeoutError:
            raise redis.TimeoutError(f"no reply within {self._seconds:.3g} seconds") from None


class Line:
    """A connection to one server, used by one task at a time.

    Args:
        connection: one of redis-py, connected.
        closed: what to call when it is closed.
    """

    def __init__(self, connection: Any, closed: Callable[[Line], None]) -> None:
        self._connection = connection
        self._closed = closed
        # redis-py does not show them, and has nothing that would do.
        self._stream: asyncio.StreamReader = connection._reader  # noqa: SLF001
        self._writer: asyncio.StreamWriter = connection._writer  # noqa: SLF001
        self._reader = replies.reader()

    def is_stale(self) -> bool:
        """Whether the server has hung up since the last reply."""
        return self._stream.at_eof() or self._stream.exception() is not None or self._writer.is_closing()

    async def exchange(self, data: bytes, count: int) -> list[Any]:
        """Send commands, and return as many replies; errors among them are `hiredis.ReplyError`.

        After an error that is raised, and after a cancellation, the connection is of no use any more.
        """
        await self.send(data)
        return await self.read(count)

    async def send(self, data: bytes) -> None:
        """Send commands."""
        self._writer.write(data)
        await self._writer.drain()

    async def read(self, count: int) -> list[Any]:
        """Return the next replies."""
        found: list[Any] = []
        while len(found) < count:
            reply = self._reader.gets()
            if reply is not replies.NOTHING:
                found.append(reply)
            else:
                await self.take()
        return found

    async def take(self) -> None:
        """Wait for something to arrive, and take it. May be cancelled without loss."""
        data = await self._stream.read(_CHUNK)
        if not data:
            raise redis.ConnectionError("the server closed the connection")
        self._reader.feed(data)

    def replies(self) -> list[Any]:
        """Return the replies that were taken."""
        found = []
        while (reply := self._reader.gets()) is not replies.NOTHING:
            found.append(reply)
        return found

    def cut(self) -> None:
        """End what another task is waiting for here."""
        # Not close(): that waits until everything is sent, which the server may never take.
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close the connection. Idempotent."""
        self.cut()
        await self._connection.disconnect(nowait=True)
        self._closed(self)


class Dialer:
    """Connects to one server.

    Args:
        source: a connection pool of redis-py, or `Settings`.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._lines: set[Line] = set()
        self._is_closed = False

    async def dial(self, seconds: float, **where: Any) -> Line:
        """Return a new connection.

        Args:
            seconds: how long it may take.
            where: host and port, if not those of the source.
        """
        self._check_open()
        if len(self._lines) >= self._source.max_connections:
            raise redis.exceptions.MaxConnectionsError("Too many connections")
        cancellations = Cancellations()
        connection = make_connection(self._source, min(seconds, _LONGEST), **where)
        try:
            async with deadline(seconds):
                await connection.connect()
            cancellations.check()
            self._check_open()
            line = Line(connection, self._lines.discard)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._lines.add(line)
        return line

    def close(self) -> None:
        """Make no more connections, and end what anybody is waiting for on those that are open."""
        self._is_closed = True
        for line in tuple(self._lines):
            line.cut()

    def _check_open(self) -> None:
        if self._is_closed:
            raise Closed("it was closed in the meantime; make a new one")


class SentinelDialer(Dialer):
    """Connects to the master that Sentinels name, each time anew.

    Args:
        pool: a `SentinelConnectionPool` of redis-py's asyncio.
    """

    def __init__(self, pool: Any) -> None:
        super().__init__(sentinels.at_master(pool, redis.asyncio.Connection, redis.asyncio.SSLConnection))
        self._pool = pool
        # The one that answered last comes first.
        self._sentinels = [Dialer(each.connection_pool) for each in pool.sentinel_manager.sentinels]

    async def dial(self, seconds: float, **where: Any) -> Line:
        """Return a new connection to the master; see `Dialer.dial`."""
        until = time.monotonic() + seconds
        host, port = await self._master(until)
        line = await super().dial(until - time.monotonic(), **where, host=host, port=port)
        try:
            async with deadline(until - time.monotonic()):
                (role,) = await line.exchange(sentinels.ROLE, 1)
            sentinels.check_role(role, (host, port))
        except BaseException:
            await line.close()
            raise
        return line

    async def _master(self, until: float) -> Address:
        failure: Exception = redis.ConnectionError("no Sentinel is given")
        asked = self._sentinels
        for place, sentinel in enumerate(asked):
            try:
                found = await self._ask(sentinel, (until - time.monotonic()) / (len(asked) - place + 1))
            except (redis.RedisError, OSError) as error:
                failure = error
                continue
            self._sentinels = [sentinel, *(each for each in asked if each is not sentinel)]
            return found
        raise failure

    async def _ask(self, sentinel: Dialer, seconds: float) -> Address:
        async with deadline(seconds):
            line = await sentinel.dial(seconds)
            try:
                (reply,) = await line.exchange(sentinels.question(self._pool), 1)
            finally:
                await line.close()
        return sentinels.master(self._pool, reply)
