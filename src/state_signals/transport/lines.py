"""Connections to one server, for threads: made by redis-py, read and written without it.

redis-py knows how to connect: TLS, passwords, names. What it cannot do is to keep a deadline over several replies, and
to wait for a connection together with something else.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import redis

from state_signals.exceptions import Closed
from state_signals.transport import replies, sentinels
from state_signals.transport.settings import Address, make_connection

__all__ = ["Deadline", "Dialer", "Line", "SentinelDialer"]

_LONGEST = 86_400.0
"""Seconds; waiting much longer overflows."""

_CHUNK = 65_536

_TO_CONNECT = 0.25
"""Seconds within which a connection that is being made is there to be cut, unless nobody accepts it."""

_NOT_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Deadline:
    """The time by which something has to be done."""

    __slots__ = ("_at", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = min(seconds, _LONGEST)
        self._at = time.monotonic() + self._seconds

    def remaining(self) -> float:
        """Return the seconds that are left.

        Raises:
            redis.TimeoutError: if none are.
        """
        left = self._at - time.monotonic()
        if left <= 0:
            raise self.error()
        return left

    def share(self, parts: int) -> Deadline:
        """Return an earlier one, so that as many can follow one another."""
        return Deadline(self.remaining() / parts)

    def error(self) -> redis.TimeoutError:
        """Return what to raise when it has passed."""
        return redis.TimeoutError(f"no reply within {self._seconds:.3g} seconds")


class Line:
    """A connection to one server, used by one thread at a time.

    Args:
        connection: one of redis-py, connected.
        closed: what to call when it is closed.
    """

    def __init__(self, connection: Any, closed: Callable[[Line], None]) -> None:
        self._connection = connection
        self._closed = closed
        # redis-py does not show it, and has nothing that would do.
        self.socket: socket.socket = connection._sock  # noqa: SLF001
        self.socket.setblocking(False)
        self._pid = os.getpid()
        self._reader = replies.reader()
        self._buffer = bytearray(_CHUNK)
        self._readable = select.poll()
        self._readable.register(self.socket, select.POLLIN)
        self._is_tls = isinstance(self.socket, ssl.SSLSocket)

    def is_stale(self) -> bool:
        """Whether the server has hung up since the last reply, or this is a fork of the process that has connected."""
        if self._pid != os.getpid():
            return True
        if not self._readable.poll(0):
            return False
        if not self._is_tls:
            return True
        try:
            # TLS has messages of its own.
            return self.take()
        except (redis.RedisError, OSError):
            return True

    def exchange(self, data: bytes, count: int, deadline: Deadline) -> list[Any]:
        """Send commands, and return as many replies; errors among them are `hiredis.ReplyError`.

        After an error that is raised, the connection is of no use any more.
        """
        self.send(data, deadline)
        return self.read(count, deadline)

    def read(self, count: int, deadline: Deadline) -> list[Any]:
        """Return the next replies."""
        found: list[Any] = []
        while len(found) < count:
            reply = self._reader.gets()
            if reply is not replies.NOTHING:
                found.append(reply)
            elif not self.has_pending() and not self._readable.poll(deadline.remaining() * 1000):
                raise deadline.error()
            else:
                self.take()
        return found

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Send commands."""
        sent = self._send(data)
        if sent == len(data):
            return
        writable = select.poll()
        writable.register(self.socket, select.POLLOUT)
        rest = memoryview(data)[sent:]
        while rest:
            if not writable.poll(deadline.remaining() * 1000):
                raise deadline.error()
            rest = rest[self._send(rest) :]

    def has_pending(self) -> bool:
        """Whether there is something to take that no longer is in the socket."""
        return self._is_tls and self.socket.pending() > 0  # type: ignore[attr-defined]

    def take(self) -> bool:
        """Take what has arrived, without waiting. Return whether it was anything."""
        try:
            size = self.socket.recv_into(self._buffer)
        except _NOT_YET:
            return False
        if not size:
            raise redis.ConnectionError("the server closed the connection")
        self._reader.feed(self._buffer, 0, size)
        return True

    def replies(self) -> list[Any]:
        """Return the replies that were taken."""
        found = []
        while (reply := self._reader.gets()) is not replies.NOTHING:
            found.append(reply)
        return found

    def cut(self) -> None:
        """End what another thread is waiting for here."""
        # Not in a fork: that would end the connection of the other process.
        if self._pid == os.getpid():
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self._connection.disconnect()
        self._closed(self)

    def _send(self, data: bytes | memoryview) -> int:
        try:
            return self.socket.send(data)
        except _NOT_YET:
            return 0


class Dialer:
    """Connects to one server.

    Args:
        source: a connection pool of redis-py, or `Settings`.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._lines: set[Line] = set()
        self._dialing: set[Any] = set()
        self._is_closed = False

    def dial(self, deadline: Deadline, **where: Any) -> Line:
        """Return a new connection. A name is looked up for as long as the system takes.

        Args:
            deadline: by when.
            where: host and port, if not those of the source.
        """
        if len(self._lines) >= self._source.max_connections:
            raise redis.exceptions.MaxConnectionsError("Too many connections")
        connection = make_connection(self._source, deadline.remaining(), **where)
        self._dialing.add(connection)
        try:
            # Whoever closes from here on cuts it.
            self._check_open()
            connection.connect()
            self._check_open()
            line = Line(connection, self._lines.discard)
        except BaseException:
            connection.disconnect()
            raise
        finally:
            self._dialing.discard(connection)
        self._lines.add(line)
        return line

    def close(self) -> None:
        """Make no more connections, and end what anybody is waiting for on those that are open."""
        self._is_closed = True
        for line in tuple(self._lines):
            line.cut()
        until = time.monotonic() + _TO_CONNECT
        while self._dialing and time.monotonic() < until:
            for connection in tuple(self._dialing):
                # redis-py does not show it, and has none before the other side has accepted it.
                made = connection._sock  # noqa: SLF001
                if made is not None:
                    with contextlib.suppress(OSError):
                        made.shutdown(socket.SHUT_RDWR)
            time.sleep(0.001)

    def _check_open(self) -> None:
        if self._is_closed:
            raise Closed("it was closed in the meantime; make a new one")


class SentinelDialer(Dialer):
    """Connects to the master that Sentinels name, each time anew.

    Args:
        pool: a `SentinelConnectionPool` of redis-py.
    """

    def __init__(self, pool: Any) -> None:
        super().__init__(sentinels.at_master(pool, redis.Connection, redis.SSLConnection))
        self._pool = pool
        # The one that answered last comes first.
        self._sentinels = [Dialer(each.connection_pool) for each in pool.sentinel_manager.sentinels]

    def dial(self, deadline: Deadline, **where: Any) -> Line:
        """Return a new connection to the master; see `Dialer.dial`."""
        host, port = self._master(deadline)
        line = super().dial(deadline, **where, host=host, port=port)
        try:
            (role,) = line.exchange(sentinels.ROLE, 1, deadline)
            sentinels.check_role(role, (host, port))
        except BaseException:
            line.close()
            raise
        return line

    def _master(self, deadline: Deadline) -> Address:
        failure: Exception = redis.ConnectionError("no Sentinel is given")
        asked = self._sentinels
        for place, sentinel in enumerate(asked):
            try:
                found = self._ask(sentinel, deadline.share(len(asked) - place + 1))
            except (redis.RedisError, OSError) as error:
                failure = error
                continue
            self._sentinels = [sentinel, *(each for each in asked if each is not sentinel)]
            return found
        raise failure

    def _ask(self, sentinel: Dialer, deadline: Deadline) -> Address:
        line = sentinel.dial(deadline)
        try:
            (reply,) = line.exchange(sentinels.question(self._pool), 1, deadline)
        finally:
            line.close()
        return sentinels.master(self._pool, reply)
