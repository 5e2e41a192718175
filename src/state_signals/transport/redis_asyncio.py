"""Redis for asyncio. The counterpart of `state_signals.transport.redis`, method by method."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.sentinel import SentinelConnectionPool

from state_signals.exceptions import Closed
from state_signals.transport import base, replies
from state_signals.transport.base import TIMEOUT, AsyncHerald, Batch
from state_signals.transport.failures import explained, explanation
from state_signals.transport.futures import Lock
from state_signals.transport.keys import Keys
from state_signals.transport.lines import Deadline
from state_signals.transport.lines_asyncio import Dialer, Line, SentinelDialer, deadline
from state_signals.transport.settings import server_address

__all__ = ["AsyncRedisTransport", "BaseTransport", "Collection", "Commands", "Subscription"]

_GLANCE = 0.05
"""Seconds for which a late reader looks whether something has arrived before it takes the server for silent."""


class Commands:
    """A connection for commands, one batch at a time; see its counterpart for threads.

    Args:
        dial: makes the connection, within so many seconds.
    """

    def __init__(self, dial: Callable[[float], Awaitable[Line]]) -> None:
        self._dial = dial
        self._lock = Lock()
        self._idle: Line | None = None
        # Why it was lost, until it may be made again.
        self._error: Exception | None = None
        self._is_kept = True
        self._is_closed = False

    async def execute(self, batch: Batch, seconds: float) -> list[Any]:
        """Send a batch and return its outcomes.

        It is never sent twice: if the replies are lost with the connection, nobody knows whether it was carried out.
        A lost connection is not made again before `renew()`: the next one may be to a server that has lost data.

        Raises:
            Closed: after `close()`.
            redis.RedisError, OSError: without replies, and for errors that pass by themselves.
        """
        until = Deadline(seconds)
        try:
            if not self._lock.take():
                async with deadline(until.remaining()):
                    await self._lock.acquire()
            try:
                return await self._execute(batch, until)
            finally:
                self._lock.release()
        except (redis.RedisError, OSError):
            self._check_open()
            raise

    def check(self) -> None:
        """Raise why the connection was lost, if it was, as far as can be told without using it."""
        if self._error is None and self._idle is not None and self._idle.is_stale():
            self._error = redis.ConnectionError("the server closed the connection")
        if self._error is not None:
            raise self._error.with_traceback(None)

    async def renew(self) -> None:
        """Make a connection that was lost again, with the next batch."""
        if self._idle is not None and (self._error is not None or self._idle.is_stale()):
            await self._drop()
        self._error = None

    async def retire(self) -> None:
        """Keep the connection no longer than it is in use."""
        self._is_kept = False
        await self._drop()

    async def close(self) -> None:
        """Close the connection, for good."""
        self._is_closed = True
        await self.retire()

    async def _execute(self, batch: Batch, until: Deadline) -> list[Any]:
        data, count = replies.packed(batch)
        line: Line | None = None
        try:
            self.check()
            line, self._idle = self._idle, None
            if line is None:
                self._check_open()
                line = await self._dial(until.remaining())
            outcomes = replies.outcomes(batch, await line.exchange(data, count, until))
            if self._is_kept:
                self._idle, line = line, None
        except (redis.RedisError, OSError) as error:
            if line is not None:
                self._error = error
            raise
        else:
            return outcomes
        finally:
            # Replies may still come: nobody else may take them for theirs.
            if line is not None:
                await line.close()

    async def _drop(self) -> None:
        line, self._idle = self._idle, None
        if line is not None:
            await line.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise Closed("it was closed in the meantime; make a new one")


class _Inbox:
    """A connection of its own."""

    def __init__(self, line: Line, address: str, lost: Callable[[Exception], None]) -> None:
        self._line = line
        self._address = address
        self._lost = lost
        self._is_woken = self._is_closed = False
        # When the silence has lasted so long that something has to be done.
        self._due = time.monotonic() + base.IDLE

    async def receive(self, timeout: float | None = None) -> Sequence[bytes]:
        until = math.inf if timeout is None else time.monotonic() + timeout
        is_late = False
        try:
            while not self._is_closed:
                arrived = self._arrived()
                if arrived or is_late or self._is_woken:
                    self._is_woken &= bool(arrived)
                    return arrived
                await self._wait(until)
                is_late = time.monotonic() >= until
        except (redis.RedisError, OSError) as error:
            # close() has cut the connection under the read.
            if not self._is_closed:
                self._lost(error)
                raise explanation(error, "receive", self._address) from error
        return []

    async def hand_over(self, take: Callable[[Sequence[bytes]], object]) -> None:
        try:
            self._line.hand_over(lambda: self._pass_on(take))
            self._pass_on(take)
            while not self._is_closed:
                due = self._due
                await self._line.take(max(due - time.monotonic(), _GLANCE))
                # Somebody may have woken us.
                if self._due == due and time.monotonic() >= due:
                    self._check()
        except (redis.RedisError, OSError) as error:
            if not self._is_closed:
                self._lost(error)
                raise explanation(error, "receive", self._address) from error
        finally:
            self._line.hand_over(None)

    def wake(self) -> None:
        self._is_woken = True
        self._line.wake()

    async def close(self) -> None:
        self._is_closed = True
        await self._line.close()

    async def _wait(self, until: float) -> None:
        """Take what arrives, or make sure that the server is there once it has been silent for too long."""
        now = time.monotonic()
        # Whoever comes late has not listened: what has arrived in the meantime must be seen first.
        silence = max(self._due - now, _GLANCE)
        if await self._line.take(min(silence, until - now)):
            self._heard()
        elif not self._is_woken and silence <= until - now:
            self._check()

    def _pass_on(self, take: Callable[[Sequence[bytes]], object]) -> None:
        self._heard()
        if not self._is_closed and (arrived := self._arrived()):
            take(arrived)
            # More is asked for when whoever waits for that has it.
            self._line.hand_over_later()

    def _arrived(self) -> list[bytes]:
        """Return the messages that were taken, and ask for more if the server does not send them by itself."""
        raise NotImplementedError

    def _heard(self) -> None:
        """Take note of a sign of life."""
        self._due = time.monotonic() + base.IDLE

    def _check(self) -> None:
        """Make sure that the server is there, which has been silent for too long."""
        raise NotImplementedError


class Subscription(_Inbox):
    """What is published on channels."""

    _is_asked = False

    async def subscribe(self, channels: Sequence[str]) -> None:
        """Subscribe; what is published after the return is received."""
        await self._line.send(replies.pack(("SUBSCRIBE", *channels)))
        missing = len(channels)
        # What is published on the first channel may come before the others are confirmed.
        self._early: list[bytes] = []
        while missing:
            (reply,) = await self._line.read(1)
            replies.check(reply)
            if replies.confirmed(reply):
                missing -= 1
            elif (data := replies.published(reply)) is not None:
                self._early.append(data)

    def _arrived(self) -> list[bytes]:
        early, self._early = self._early, []
        return early + [data for reply in self._line.replies() if (data := replies.published(reply)) is not None]

    def _heard(self) -> None:
        super()._heard()
        self._is_asked = False

    def _check(self) -> None:
        if self._is_asked:
            raise replies.silent()
        self._is_asked = True
        self._due = time.monotonic() + base.TIMEOUT
        self._line.write(replies.PING)


class Collection(_Inbox):
    """What is appended to a stream."""

    async def follow(self, key: str, after: bytes) -> None:
        """Read a stream after the entry with an id."""
        # Whether that is allowed has to be known before anybody is asked to answer there.
        (reply,) = await self._line.exchange(replies.look_for_entries(key, after), 1)
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
            self._is_asked = True
            # An answer comes after IDLE at the latest.
            self._due = time.monotonic() + base.IDLE + base.TIMEOUT
            self._line.write(replies.wait_for_entries(self._key, self.last))
        return []

    def _check(self) -> None:
        raise replies.silent()


class BaseTransport(ABC):
    """The contract of `AsyncTransport` over Redis: what one server and a Cluster have in common."""

    address: str
    herald: AsyncHerald | None = None

    def __init__(self, keys: Keys) -> None:
        self.keys = keys

    async def connect(self, timeout: float = TIMEOUT) -> None:
        with explained("connect to the server", self.address):
            await self._connect(timeout)

    async def execute(self, batch: Batch, timeout: float = TIMEOUT) -> list[Any]:
        try:
            return await self._execute(batch, timeout)
        except (redis.RedisError, OSError) as error:
            raise explanation(error, replies.what(batch), self.address) from error

    async def subscribe(self, channels: Sequence[str], timeout: float = TIMEOUT) -> Subscription:
        with explained(f"subscribe to {', '.join(channels)}", self.address):
            return await self._subscribe(channels, timeout)

    async def collect(self, key: str, after: bytes, timeout: float = TIMEOUT) -> Collection:
        with explained("collect responses", self.address):
            return await self._collect(key, after, timeout)

    @abstractmethod
    async def close(self) -> None:
        """Close the connections that are our own. Idempotent."""

    @abstractmethod
    async def _connect(self, seconds: float) -> None: ...

    @abstractmethod
    async def _execute(self, batch: Batch, seconds: float) -> list[Any]: ...

    @abstractmethod
    async def _subscribe(self, channels: Sequence[str], seconds: float) -> Subscription: ...

    @abstractmethod
    async def _collect(self, key: str, after: bytes, seconds: float) -> Collection: ...

    async def _subscription(
        self, line: Line, channels: Sequence[str], lost: Callable[[Exception], None]
    ) -> Subscription:
        inbox = Subscription(line, self.address, lost)
        try:
            await inbox.subscribe(channels)
        except BaseException:
            await inbox.close()
            raise
        return inbox

    async def _collection(self, line: Line, key: str, after: bytes, lost: Callable[[Exception], None]) -> Collection:
        inbox = Collection(line, self.address, lost)
        try:
            await inbox.follow(key, after)
        except BaseException:
            await inbox.close()
            raise
        return inbox


class AsyncRedisTransport(BaseTransport):
    """One server, or the master that Sentinels name; see `RedisTransport` for the arguments."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys, *, is_ours: bool) -> None:
        super().__init__(keys)
        # redis-py's own annotations stop short of execute_command and its kind.
        self.client: Any = client
        pool: Any = client.connection_pool
        self.address = server_address(pool)
        self._dialer = SentinelDialer(pool) if isinstance(pool, SentinelConnectionPool) else Dialer(pool)
        self._commands = Commands(self._dialer.dial)
        self._is_ours = is_ours

    async def close(self) -> None:
        self._dialer.close()
        await self._commands.close()
        if self._is_ours:
            await self.client.aclose()
            await self.client.connection_pool.disconnect()

    async def _connect(self, seconds: float) -> None:
        await self._commands.renew()
        (reply,) = await self._commands.execute(Batch("", (("PING",),)), seconds)
        replies.check_refusal(reply)

    async def _execute(self, batch: Batch, seconds: float) -> list[Any]:
        return await self._commands.execute(batch, seconds)

    async def _subscribe(self, channels: Sequence[str], seconds: float) -> Subscription:
        async with deadline(seconds):
            return await self._subscription(await self._dialer.dial(seconds), channels, _nobody)

    async def _collect(self, key: str, after: bytes, seconds: float) -> Collection:
        async with deadline(seconds):
            return await self._collection(await self._dialer.dial(seconds), key, after, _nobody)


def _nobody(error: Exception) -> None:
    """Nobody needs to know that a connection was lost: the next one is made in the same way."""
