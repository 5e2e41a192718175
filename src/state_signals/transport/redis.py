"""Redis for threads: one server, or the master that Sentinels name. For Cluster see `state_signals.transport.cluster`.

Commands share a connection, which is held on to: finding one in a pool takes as long as a command. Each inbox has one
of its own. None reconnects behind anybody's back: what was published in between would be missed unnoticed.
"""

from __future__ import annotations

import select
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.sentinel import SentinelConnectionPool

from state_signals.transport import base, replies
from state_signals.transport.base import TIMEOUT, Batch, Herald
from state_signals.transport.failures import explained, explanation
from state_signals.transport.keys import Keys
from state_signals.transport.lines import Deadline, Dialer, Line, SentinelDialer
from state_signals.transport.pipeline import Pipeline
from state_signals.transport.settings import server_address

__all__ = ["BaseTransport", "Collection", "Inbox", "RedisTransport", "Subscription", "Tried"]


class Inbox:
    """A connection that is waited for together with a wake-up."""

    def __init__(self, line: Line, address: str, lost: Callable[[Exception], None]) -> None:
        self._line = line
        self._address = address
        self._lost = lost
        self._is_closed = False
        try:
            self._wake_reader, self._wake_writer = socket.socketpair()
        except OSError:
            line.close()
            raise
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._waiter = select.poll()
        self._waiter.register(self._wake_reader, select.POLLIN)
        self._waiter.register(line.socket, select.POLLIN)
        # When the silence has lasted so long that something has to be done.
        self._due = time.monotonic() + base.IDLE

    def receive(self, timeout: float | None) -> Sequence[Any]:
        try:
            return self.wait(timeout)
        except (redis.RedisError, OSError) as error:
            self._lost(error)
            raise explanation(error, "receive", self._address) from error

    def wait(self, timeout: float | None) -> list[Any]:
        """As `receive`, but raise the errors of redis-py."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._is_closed:
            arrived = self._arrived()
            if arrived:
                return arrived
            until = self._due if deadline is None else min(self._due, deadline)
            ready = self._wait(until - time.monotonic())
            if self._wake_reader.fileno() in ready:
                self._wake_reader.recv(4096)
                return []
            now = time.monotonic()
            if ready:
                self._line.take()
                self._heard(now)
            elif now >= self._due:
                self._check(now)
            if deadline is not None and now >= deadline:
                return self._arrived()
        return []

    def wake(self) -> None:
        try:
            self._wake_writer.send(b"w")
        except OSError:
            return  # It is awake many times over, or closed.

    def close(self) -> None:
        self._is_closed = True
        self._wake_reader.close()
        self._wake_writer.close()
        self._line.close()

    def _wait(self, seconds: float) -> Sequence[int]:
        """Wait for something to read; return where there is."""
        pending = [self._line.socket.fileno()] if self._line.has_pending() else []
        ready = self._waiter.poll(0 if pending else max(0.0, seconds) * 1000)
        return [*pending, *(number for number, _ in ready)]

    def _arrived(self) -> list[Any]:
        """Return the messages that were taken, and ask for more if the server does not send them by itself."""
        raise NotImplementedError

    def _heard(self, now: float) -> None:
        """Take note of a sign of life."""
        self._due = now + base.IDLE

    def _check(self, now: float) -> None:
        """Make sure that the server is there, which has been silent for too long."""
        raise NotImplementedError


class Tried(Inbox):
    """One whose server says nothing for as long as nothing is published."""

    _is_asked = False

    def _heard(self, now: float) -> None:
        super()._heard(now)
        self._is_asked = False

    def _check(self, now: float) -> None:
        if self._is_asked:
            raise replies.silent()
        self._is_asked = True
        self._due = now + base.TIMEOUT
        self._line.send(replies.PING, Deadline(base.TIMEOUT))


class Subscription(Tried):
    """What is published on channels."""

    def subscribe(self, channels: Sequence[str], deadline: Deadline) -> None:
        self._line.send(replies.pack(("SUBSCRIBE", *channels)), deadline)
        missing = len(channels)
        # What is published on the first channel may come before the others are confirmed.
        self._early: list[bytes] = []
        while missing:
            (reply,) = self._line.read(1, deadline)
            replies.check(reply)
            if replies.confirmed(reply):
                missing -= 1
            elif (data := replies.published(reply)) is not None:
                self._early.append(data)

    def _arrived(self) -> list[bytes]:
        early, self._early = self._early, []
        return early + [data for reply in self._line.replies() if (data := replies.published(reply)) is not None]


class Collection(Inbox):
    """What is appended to a stream."""

    def follow(self, key: str, after: bytes, deadline: Deadline) -> None:
        # Whether that is allowed has to be known before anybody is asked to answer there.
        (reply,) = self._line.exchange(replies.look_for_entries(key, after), 1, deadline)
        replies.check_passing(reply)
        self._key = key
        self.last = after
        self._is_asked = False

    def _arrived(self) -> list[bytes]:
        for reply in self._line.replies():
            self._is_asked = False
            replies.check_passing(reply)
            found = replies.entries(reply)
            if found:
                self.last = found[-1][0]
                arrived = replies.responses(found)
                if arrived:
                    return arrived
        if not self._is_asked:
            self._line.send(replies.wait_for_entries(self._key, self.last), Deadline(base.TIMEOUT))
            self._is_asked = True
            # An answer comes after IDLE at the latest.
            self._due = time.monotonic() + base.IDLE + base.TIMEOUT
        return []

    def _check(self, now: float) -> None:
        raise replies.silent()


class BaseTransport(ABC):
    """The contract of `Transport` over Redis: what one server and a Cluster have in common."""

    address: str
    herald: Herald | None = None

    def __init__(self, keys: Keys) -> None:
        self.keys = keys

    def connect(self, timeout: float = TIMEOUT) -> None:
        with explained("connect to the server", self.address):
            self._connect(Deadline(timeout))

    def execute(self, batch: Batch, timeout: float = TIMEOUT) -> list[Any]:
        try:
            return self._execute(batch, Deadline(timeout))
        except (redis.RedisError, OSError) as error:
            raise explanation(error, replies.what(batch), self.address) from error

    def subscribe(self, channels: Sequence[str], timeout: float = TIMEOUT) -> Inbox:
        with explained(f"subscribe to {', '.join(channels)}", self.address):
            return self._subscribe(channels, Deadline(timeout))

    def collect(self, key: str, after: bytes, timeout: float = TIMEOUT) -> Collection:
        with explained("collect responses", self.address):
            return self._collect(key, after, Deadline(timeout))

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def _connect(self, deadline: Deadline) -> None: ...

    @abstractmethod
    def _execute(self, batch: Batch, deadline: Deadline) -> list[Any]: ...

    @abstractmethod
    def _subscribe(self, channels: Sequence[str], deadline: Deadline) -> Subscription: ...

    @abstractmethod
    def _collect(self, key: str, after: bytes, deadline: Deadline) -> Collection: ...

    def _subscription(
        self, line: Line, channels: Sequence[str], deadline: Deadline, lost: Callable[[Exception], None]
    ) -> Subscription:
        inbox = Subscription(line, self.address, lost)
        try:
            inbox.subscribe(channels, deadline)
        except BaseException:
            inbox.close()
            raise
        return inbox

    def _collection(
        self, line: Line, key: str, after: bytes, deadline: Deadline, lost: Callable[[Exception], None]
    ) -> Collection:
        inbox = Collection(line, self.address, lost)
        try:
            inbox.follow(key, after, deadline)
        except BaseException:
            inbox.close()
            raise
        return inbox


class RedisTransport(BaseTransport):
    """One server, or the master that Sentinels name.

    Args:
        client: a client of redis-py; its settings are used, its connections are not.
        keys: the names to use.
        is_ours: whether to close the client with the transport.
    """

    def __init__(self, client: redis.Redis, keys: Keys, *, is_ours: bool) -> None:
        super().__init__(keys)
        # redis-py's own annotations stop short of execute_command and its kind.
        self.client: Any = client
        pool: Any = client.connection_pool
        self.address = server_address(pool)
        self._dialer = SentinelDialer(pool) if isinstance(pool, SentinelConnectionPool) else Dialer(pool)
        self._commands = Pipeline(self._dialer.dial)
        self._is_ours = is_ours

    def close(self) -> None:
        self._commands.close(self._dialer.close)
        if self._is_ours:
            self.client.close()
            self.client.connection_pool.disconnect()

    def _connect(self, deadline: Deadline) -> None:
        self._commands.renew(deadline)
        (reply,) = self._commands.execute(Batch("", (("PING",),)), deadline)
        replies.check_refusal(reply)

    def _execute(self, batch: Batch, deadline: Deadline) -> list[Any]:
        return self._commands.execute(batch, deadline)

    def _subscribe(self, channels: Sequence[str], deadline: Deadline) -> Subscription:
        return self._subscription(self._dialer.dial(deadline), channels, deadline, _nobody)

    def _collect(self, key: str, after: bytes, deadline: Deadline) -> Collection:
        return self._collection(self._dialer.dial(deadline), key, after, deadline, _nobody)


def _nobody(error: Exception) -> None:
    """Nobody needs to know that a connection was lost: the next one is made in the same way."""
