"""Connections to one server, for asyncio. The counterpart of `state_signals.transport.lines`, method by method."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import redis
import redis.asyncio

from state_signals.exceptions import Closed
from state_signals.transport import replies, sentinels
from state_signals.transport.futures import Bell, happened, settle
from state_signals.transport.lines import Deadline
from state_signals.transport.settings import Address, make_connection

__all__ = ["Cancellations", "Dialer", "Line", "SentinelDialer", "deadline"]

_CHUNK = 65_536
"""Bytes that are read at once."""

_MOST_UNREAD = 4 * _CHUNK
"""Bytes that are taken from the server before somebody asks for them."""

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


class _Buffer(threading.local):
    """Where the loop of a thread reads to: what arrives is taken from there at once, whatever the connection."""

    def __init__(self) -> None:
        self.data = bytearray(_CHUNK)
        # TLS fills it piece by piece: a slice of it must not be a copy.
        self.view = memoryview(self.data)


_buffer = _Buffer()


class _Protocol(asyncio.BufferedProtocol):
    """What arrives goes to the reader of replies without being copied.

    The streams of asyncio let the system allocate a quarter of a megabyte for each read, which takes longer than all
    that is done with it.
    """

    def __init__(self, transport: asyncio.Transport, reader: Any) -> None:
        self.is_ended = False
        self.error: Exception | None = None
        self._transport = transport
        self._reader = reader
        self._unread = 0
        self._is_held_back = False
        self._take: Callable[[], object] | None = None
        self._bell = Bell()
        self._room: asyncio.Future[bool] | None = None

    # What the transport calls

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return _buffer.view

    def buffer_updated(self, nbytes: int) -> None:
        self.take_over(_buffer.data, nbytes)

    def eof_received(self) -> None:
        self.is_ended = True
        self._bell.ring()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_ended, self.error = True, self.error or exc
        self._bell.put_away()
        settle(self._room)

    def pause_writing(self) -> None:
        self._room = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        settle(room)

    # What the line calls

    def take_over(self, data: bytes | bytearray, length: int) -> None:
        """Take what has arrived."""
        self._reader.feed(data, 0, length)
        self._unread += length
        if self._unread > _MOST_UNREAD and not self._is_held_back:
            self._is_held_back = True
            self._transport.pause_reading()
        if self._take is None:
            self._bell.ring()
        else:
            self.pass_on()

    def hand_over(self, take: Callable[[], object] | None) -> None:
        """Call this when something has arrived, and at once if something has."""
        self._take = take
        if self._unread:
            self.pass_on()

    def pass_on(self) -> None:
        """Hand over what there is, if anybody takes it."""
        take = self._take
        if take is None or (self.is_ended and not self._unread):
            return
        self._taken()
        try:
            take()
        except Exception as error:  # noqa: BLE001 - whoever waits for the end is told
            self.is_ended, self.error = True, error
            self._transport.abort()
            self._bell.ring()

    async def arrival(self, seconds: float | None) -> bool:
        """Wait until something has arrived since the last time. May be cancelled without loss.

        Return whether it has within `seconds` (None: wait for ever) and before `wake()`.
        """
        if not self._unread and not self.is_ended:
            await self._bell.wait(seconds)
        if not self._unread:
            if self.is_ended:
                raise self.lost()
            return False
        self._taken()
        return True

    def wake(self) -> None:
        """End that wait."""
        self._bell.ring()

    @property
    def has_room(self) -> bool:
        """Whether what was written is on its way, but for a little."""
        return self._room is None

    async def room(self, until: Deadline | None) -> None:
        """Wait for that."""
        if self._room is not None:
            if not await happened(asyncio.shield(self._room), None if until is None else until.remaining()):
                raise redis.TimeoutError("the server takes nothing more")
            if self.is_ended:
                raise self.lost()

    def lost(self) -> Exception:
        """Return why the connection has ended."""
        return self.error or redis.ConnectionError("the server closed the connection")

    def _taken(self) -> None:
        self._unread = 0
        if self._is_held_back:
            self._is_held_back = False
            self._transport.resume_reading()


class Line:
    """A connection to one server, used by one task at a time.

    Args:
        connection: one of redis-py, connected.
        closed: what to call when it is closed.
    """

    def __init__(self, connection: Any, closed: Callable[[Line], None]) -> None:
        self._connection = connection
        self._closed = closed
        self._reader = replies.reader()
        # redis-py does not show it, and has nothing that would do.
        self._transport: Any = connection._writer.transport  # noqa: SLF001
        self._protocol = _Protocol(self._transport, self._reader)
        self._transport.set_protocol(self._protocol)
        early = bytes(connection._reader._buffer)  # noqa: SLF001
        if early:
            self._protocol.take_over(early, len(early))
        # It may have stopped reading: nobody has asked its stream.
        self._transport.resume_reading()

    def is_stale(self) -> bool:
        """Whether the server has hung up since the last reply."""
        return self._protocol.is_ended or self._transport.is_closing()

    async def exchange(self, data: bytes, count: int, until: Deadline | None = None) -> list[Any]:
        """Send commands, and return as many replies; errors among them are `hiredis.ReplyError`.

        After an error that is raised, and after a cancellation, the connection is of no use any more.
        """
        await self.send(data, until)
        return await self.read(count, until)

    async def send(self, data: bytes, until: Deadline | None = None) -> None:
        """Send commands."""
        self.write(data)
        if not self._protocol.has_room:
            await self._protocol.room(until)

    def write(self, data: bytes) -> None:
        """Send something, without waiting until it is on its way."""
        if self._protocol.is_ended:
            raise self._protocol.lost()
        self._transport.write(data)

    async def read(self, count: int, until: Deadline | None = None) -> list[Any]:
        """Return the next replies."""
        found: list[Any] = []
        while len(found) < count:
            reply = self._reader.gets()
            if reply is not replies.NOTHING:
                found.append(reply)
            elif until is None:
                await self.take()
            elif not await self.take(until.remaining()):
                raise until.error()
        return found

    async def take(self, seconds: float | None = None) -> bool:
        """Wait for something to arrive, and take it. May be cancelled without loss.

        Return whether it has come within `seconds`; None: wait for ever.
        """
        return await self._protocol.arrival(seconds)

    def hand_over(self, take: Callable[[], object] | None) -> None:
        """Have this called, by the loop itself, as soon as something was taken; None: no longer.

        A task that is woken for it takes longer. `take()` only waits for the end from now on, or until the time is up.
        What is raised ends the connection, and `take()` raises it.
        """
        self._protocol.hand_over(take)

    def hand_over_later(self) -> None:
        """Have it called once more, when those that have waited for what it took last have had their turn."""
        asyncio.get_running_loop().call_soon(self._protocol.pass_on)

    def replies(self) -> list[Any]:
        """Return the replies that were taken."""
        found = []
        while (reply := self._reader.gets()) is not replies.NOTHING:
            found.append(reply)
        return found

    def wake(self) -> None:
        """End the `take()` of another task: nothing has come."""
        self._protocol.wake()

    def cut(self) -> None:
        """End what another task is waiting for here."""
        # Not close(): that waits until everything is sent, which the server may never take.
        self._transport.abort()

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
