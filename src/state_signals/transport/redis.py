"""Redis for threads, by redis-py.

Each inbox has a connection of its own, which it reads without redis-py's PubSub: that reconnects behind the reader's
back, and what was published in between would be missed unnoticed.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

import redis

from state_signals.exceptions import Closed
from state_signals.transport import streams
from state_signals.transport.failures import explained
from state_signals.transport.keys import Keys

__all__ = ["RedisTransport"]


class _Commands:
    """A connection for commands, one at a time.

    It is held on to, because finding one in the pool and redis-py's bookkeeping around a command take as long as the
    command.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        # Reentrant, because a signal handler may have something to say while it interrupts a command.
        self._lock = threading.RLock()
        self._idle: Any = None
        self._is_closed = False

    def execute(self, *command: Any) -> Any:
        """Send a command and return its reply.

        It is never sent twice: if the reply is lost with the connection, nobody knows whether it was carried out.

        Raises:
            Closed: after `close()`.
        """
        with self._lock:
            connection, self._idle = self._idle, None
            if connection is None:
                self._check_open()
                connection = self._pool.get_connection()
            try:
                return self._execute(connection, command)
            except redis.ConnectionError:
                self._check_open()
                raise
            finally:
                if self._idle is None and not self._is_closed:
                    self._idle = connection
                else:
                    self._give_back(connection)

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            connection, self._idle = self._idle, None
            if connection is not None:
                self._give_back(connection)

    def _check_open(self) -> None:
        if self._is_closed:
            raise Closed("it was closed in the meantime; make a new one")

    def _give_back(self, connection: Any) -> None:
        connection.disconnect()
        self._pool.release(connection)

    def _reconnect_if_stale(self, connection: Any) -> None:
        """Notice that the server has hung up since the last command, before there is something to lose."""
        try:
            if connection.can_read(timeout=0):
                connection.disconnect()
        except redis.ConnectionError:
            connection.disconnect()

    def _execute(self, connection: Any, command: tuple[Any, ...]) -> Any:
        try:
            self._reconnect_if_stale(connection)
            connection.send_command(*command)
            return connection.read_response(disable_decoding=True)
        except redis.ResponseError:
            raise
        except BaseException:
            # The reply is still to come: nobody else may take it for theirs.
            connection.disconnect()
            raise


class _Inbox:
    """A connection that is waited for together with a wake-up."""

    def __init__(self, transport: RedisTransport) -> None:
        self._transport = transport
        self._pool = transport.client.connection_pool
        self._connection: Any = self._pool.get_connection()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        # redis-py offers no way to wait for a connection together with something else.
        self._selector.register(self._connection._sock, selectors.EVENT_READ)  # noqa: SLF001

    def receive(self, timeout: float | None) -> Sequence[bytes]:
        with explained("receive", self._transport.address):
            deadline = None if timeout is None else time.monotonic() + timeout
            while True:
                self._request()
                try:
                    if not self._is_ready(None if deadline is None else max(0.0, deadline - time.monotonic())):
                        return []
                    arrived = self._take()
                except UnicodeDecodeError:
                    # Only before redis-py 7, see streams._raw: it has read the message that is no text, and drops it.
                    continue
                if arrived or (deadline is not None and time.monotonic() >= deadline):
                    return arrived

    def wake(self) -> None:
        try:
            self._wake_writer.send(b"w")
        except (BlockingIOError, OSError):
            return  # It is awake many times over, or closed.

    def close(self) -> None:
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()
        self._connection.disconnect()
        self._pool.release(self._connection)

    def _is_ready(self, timeout: float | None) -> bool:
        """Wait for something to read; False when the time is up or somebody woke us."""
        if self._connection.can_read(timeout=0):
            return True
        ready = [key.fileobj for key, _ in self._selector.select(timeout)]
        if self._wake_reader in ready:
            self._wake_reader.recv(4096)
            return False
        return bool(ready)

    def _request(self) -> None:
        """Ask the server for what comes next, unless it sends that by itself."""

    def _take(self) -> list[bytes]:
        """Read what is there; empty if it holds no message."""
        raise NotImplementedError


class _Subscription(_Inbox):
    """What is published on a channel."""

    def subscribe(self, channel: str) -> None:
        self._connection.send_command("SUBSCRIBE", channel)
        # The confirmation: from here on nothing is missed.
        self._read()

    def _take(self) -> list[bytes]:
        arrived = streams.published(self._read())
        # Not without end: somebody may publish faster than we read.
        while len(arrived) < streams.BATCH and self._connection.can_read(timeout=0):
            arrived += streams.published(self._read())
        return arrived

    def _read(self) -> Any:
        return self._connection.read_response(disable_decoding=True, push_request=True)


class _Collection(_Inbox):
    """What is appended to the stream of an exporter's responses."""

    def create(self, key: str) -> None:
        self._key = key
        self._last = self._transport.create(key)
        self._is_asked = False
        self._untrimmed = 0

    def _request(self) -> None:
        if not self._is_asked:
            self._trim()
            self._connection.send_command(*streams.read(self._key, self._last))
            self._is_asked = True

    def _take(self) -> list[bytes]:
        self._is_asked = False
        try:
            found = streams.entries(self._connection.read_response(disable_decoding=True))
        except redis.ResponseError as error:
            if not streams.is_another_type(error):
                raise
            # The key is ours: whoever has put something else there must not end the exporter.
            self._last = self._transport.create(self._key)
            return []
        if not found:
            return []
        self._last = found[-1][0]
        self._untrimmed += len(found)
        return streams.responses(found)

    def _trim(self) -> None:
        if self._untrimmed >= streams.TRIM_AFTER:
            self._untrimmed = 0
            # Without the permission, what responders write bounds the stream.
            with contextlib.suppress(redis.ResponseError):
                self._transport.commands.execute(*streams.trim(self._key, self._last))


class RedisTransport:
    """The contract of `Transport` over a Redis client.

    Args:
        client: a client of redis-py.
        keys: the names to use.
        is_ours: whether to close the client with the transport.
        retention: seconds after which an exporter's keys expire when it no longer does anything.
    """

    def __init__(self, client: redis.Redis, keys: Keys, *, is_ours: bool, retention: float) -> None:
        self.keys = keys
        # redis-py's own annotations stop short of execute_command and its kind.
        self.client: Any = client
        self.address = streams.server_address(client.connection_pool)
        self.commands = _Commands(client.connection_pool)
        self._is_ours = is_ours
        self._retention = retention
        self._renewed: dict[str, float] = {}

    def connect(self) -> None:
        with explained("connect to the server", self.address):
            self.commands.execute("PING")

    def broadcast(self, publisher_id: str, signal: bytes) -> None:
        with explained("publish a signal", self.address):
            self._keep(self.keys.reply(publisher_id))
            self.commands.execute("PUBLISH", self.keys.signals, signal)

    def answer(self, response: bytes, reply: str | None) -> None:
        with explained("answer a signal", self.address):
            if reply is None or not self._append(reply, response):
                self.commands.execute("PUBLISH", self.keys.responses, response)

    def listen_for_signals(self) -> _Inbox:
        with explained("subscribe to signals", self.address):
            return self._subscribe(self.keys.signals)

    def listen_for_responses(self) -> _Inbox:
        with explained("subscribe to responses", self.address):
            return self._subscribe(self.keys.responses)

    def collect(self, publisher_id: str) -> _Inbox:
        with explained("collect responses", self.address):
            inbox = _Collection(self)
            try:
                inbox.create(self.keys.reply(publisher_id))
            except BaseException:
                inbox.close()
                raise
            return inbox

    def create(self, key: str) -> bytes:
        """Create a stream, empty but for the entry whose id is returned."""
        self.commands.execute("DEL", key)
        opening: bytes = self.commands.execute(*streams.create(key))
        self._renew(key)
        return opening

    def discard(self, publisher_id: str) -> None:
        with explained("delete an exporter's keys", self.address):
            key = self.keys.reply(publisher_id)
            self._renewed.pop(key, None)
            self.commands.execute("DEL", key)

    def close(self) -> None:
        self.commands.close()
        if self._is_ours:
            self.client.close()
            self.client.connection_pool.disconnect()

    def _subscribe(self, channel: str) -> _Inbox:
        inbox = _Subscription(self)
        try:
            inbox.subscribe(channel)
        except BaseException:
            inbox.close()
            raise
        return inbox

    def _append(self, reply: str, response: bytes) -> bool:
        """Append to a stream. Return whether it could be: it may be out of reach (another database), or gone."""
        try:
            return self.commands.execute(*streams.append(reply, response)) is not None
        except redis.ResponseError as error:
            if not streams.is_no_stream(error):
                raise
            return False

    def _keep(self, key: str) -> None:
        """Put the expiry of a stream off when that is due; create it again if it was idle for too long."""
        renewed = self._renewed.get(key)
        if renewed is None or time.monotonic() - renewed <= min(streams.REFRESH, self._retention / 4):
            return
        if not self._renew(key):
            self.commands.execute(*streams.create(key))
            self._renew(key)

    def _renew(self, key: str) -> bool:
        self._renewed[key] = time.monotonic()
        return bool(self.commands.execute(*streams.renew(key, self._retention)))
