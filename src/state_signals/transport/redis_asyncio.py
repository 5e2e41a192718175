"""Redis for asyncio, by redis-py. The counterpart of `state_signals.transport.redis`, method by method."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio

from state_signals.exceptions import Closed
from state_signals.transport import streams
from state_signals.transport.failures import explained
from state_signals.transport.keys import Keys

__all__ = ["AsyncRedisTransport"]


class _Cancellations:
    """Sees to it that none gets lost: before Python 3.12, `asyncio.wait_for`, which redis-py uses, swallows some."""

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._before = self._task.cancelling() if self._task else 0

    def check(self) -> None:
        """Raise CancelledError if the task was cancelled since the construction."""
        if self._task and self._task.cancelling() > self._before:
            raise asyncio.CancelledError


class _Commands:
    """A connection for commands, one at a time; see its counterpart for threads."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._lock = asyncio.Lock()
        self._connection: Any = None
        self._is_closed = False

    async def execute(self, *command: Any) -> Any:
        """Send a command and return its reply.

        It is never sent twice: if the reply is lost with the connection, nobody knows whether it was carried out.

        Raises:
            Closed: after `close()`.
        """
        async with self._lock:
            if self._is_closed:
                raise Closed("it was closed in the meantime; make a new one")
            cancellations = _Cancellations()
            if self._connection is None:
                self._connection = await self._pool.get_connection()
            reply = await self._execute(command)
            cancellations.check()
            return reply

    async def close(self) -> None:
        self._is_closed = True
        async with self._lock:
            if self._connection is not None:
                await self._connection.disconnect()
                await self._pool.release(self._connection)
                self._connection = None

    async def _reconnect_if_stale(self) -> None:
        """Notice that the server has hung up since the last command, before there is something to lose."""
        reader = self._connection._reader  # noqa: SLF001 - redis-py's own look may wait
        if reader is not None and reader.at_eof():
            await self._connection.disconnect(nowait=True)

    async def _execute(self, command: tuple[Any, ...]) -> Any:
        try:
            await self._reconnect_if_stale()
            await self._connection.send_command(*command)
            return await self._connection.read_response(disable_decoding=True)
        except redis.ResponseError:
            raise
        except BaseException:
            # The reply is still to come: nobody else may take it for theirs.
            await self._connection.disconnect(nowait=True)
            raise


class _Inbox:
    """A connection of its own."""

    def __init__(self, transport: AsyncRedisTransport, connection: Any) -> None:
        self._transport = transport
        self._pool = transport.client.connection_pool
        self._connection = connection
        self._is_ending = False

    async def receive(self) -> Sequence[bytes]:
        with explained("receive", self._transport.address):
            try:
                while not (arrived := await self._take()):
                    pass
            except redis.exceptions.ConnectionError:
                # wake() has cut the connection under the read.
                if self._is_ending:
                    return []
                raise
            return arrived

    def wake(self) -> None:
        self._is_ending = True
        # redis-py has no way to end a read from outside but to close the stream below it.
        if self._connection._writer is not None:  # noqa: SLF001
            self._connection._writer.close()  # noqa: SLF001

    async def close(self) -> None:
        self._is_ending = True
        await self._connection.disconnect(nowait=True)
        await self._pool.release(self._connection)

    async def _read(self) -> Any:
        # Infinite, for None is the client's socket_timeout here, which an idle reader would run into. No disconnect:
        # a cancelled read is resumed by the next one.
        return await self._connection.read_response(
            disable_decoding=True, timeout=math.inf, disconnect_on_error=False, push_request=True
        )

    async def _take(self) -> list[bytes]:
        """Wait for the server's next reply; empty if it holds no message."""
        raise NotImplementedError


class _Subscription(_Inbox):
    """What is published on a channel."""

    async def subscribe(self, channel: str) -> None:
        await self._connection.send_command("SUBSCRIBE", channel)
        # The confirmation: from here on nothing is missed.
        await self._read()

    async def _take(self) -> list[bytes]:
        return streams.published(await self._read())


class _Collection(_Inbox):
    """What is appended to the stream of an exporter's responses."""

    async def create(self, key: str) -> None:
        self._key = key
        self._last = await self._transport.create(key)
        self._is_asked = False
        self._untrimmed = 0

    async def _take(self) -> list[bytes]:
        if not self._is_asked:
            await self._trim()
            cancellations = _Cancellations()
            await self._connection.send_command(*streams.read(self._key, self._last))
            self._is_asked = True
            cancellations.check()
        try:
            reply = await self._read()
        except redis.ResponseError as error:
            if not streams.is_another_type(error):
                raise
            # The key is ours: whoever has put something else there must not end the exporter.
            self._is_asked = False
            self._last = await self._transport.create(self._key)
            return []
        self._is_asked = False
        found = streams.entries(reply)
        if not found:
            return []
        self._last = found[-1][0]
        self._untrimmed += len(found)
        return streams.responses(found)

    async def _trim(self) -> None:
        if self._untrimmed >= streams.TRIM_AFTER:
            self._untrimmed = 0
            # Without the permission, what responders write bounds the stream.
            with contextlib.suppress(redis.ResponseError):
                await self._transport.commands.execute(*streams.trim(self._key, self._last))


class AsyncRedisTransport:
    """The contract of `AsyncTransport` over a Redis client; see `RedisTransport` for the arguments."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys, *, is_ours: bool, retention: float) -> None:
        self.keys = keys
        # redis-py's own annotations stop short of execute_command and its kind.
        self.client: Any = client
        self.address = streams.server_address(client.connection_pool)
        self.commands = _Commands(client.connection_pool)
        self._is_ours = is_ours
        self._retention = retention
        self._renewed: dict[str, float] = {}

    async def connect(self) -> None:
        with explained("connect to the server", self.address):
            await self.commands.execute("PING")

    async def broadcast(self, publisher_id: str, signal: bytes) -> None:
        with explained("publish a signal", self.address):
            await self._keep(self.keys.reply(publisher_id))
            await self.commands.execute("PUBLISH", self.keys.signals, signal)

    async def answer(self, response: bytes, reply: str | None) -> None:
        with explained("answer a signal", self.address):
            if reply is None or not await self._append(reply, response):
                await self.commands.execute("PUBLISH", self.keys.responses, response)

    async def listen_for_signals(self) -> _Inbox:
        with explained("subscribe to signals", self.address):
            return await self._subscribe(self.keys.signals)

    async def listen_for_responses(self) -> _Inbox:
        with explained("subscribe to responses", self.address):
            return await self._subscribe(self.keys.responses)

    async def collect(self, publisher_id: str) -> _Inbox:
        with explained("collect responses", self.address):
            cancellations = _Cancellations()
            inbox = _Collection(self, await self.client.connection_pool.get_connection())
            try:
                await inbox.create(self.keys.reply(publisher_id))
                cancellations.check()
            except BaseException:
                await inbox.close()
                raise
            return inbox

    async def create(self, key: str) -> bytes:
        """Create a stream, empty but for the entry whose id is returned."""
        await self.commands.execute("DEL", key)
        opening: bytes = await self.commands.execute(*streams.create(key))
        await self._renew(key)
        return opening

    async def discard(self, publisher_id: str) -> None:
        with explained("delete an exporter's keys", self.address):
            key = self.keys.reply(publisher_id)
            self._renewed.pop(key, None)
            await self.commands.execute("DEL", key)

    async def close(self) -> None:
        await self.commands.close()
        if self._is_ours:
            await self.client.aclose()
            await self.client.connection_pool.disconnect()

    async def _subscribe(self, channel: str) -> _Inbox:
        cancellations = _Cancellations()
        inbox = _Subscription(self, await self.client.connection_pool.get_connection())
        try:
            await inbox.subscribe(channel)
            cancellations.check()
        except BaseException:
            await inbox.close()
            raise
        return inbox

    async def _append(self, reply: str, response: bytes) -> bool:
        """Append to a stream. Return whether it could be: it may be out of reach (another database), or gone."""
        try:
            return await self.commands.execute(*streams.append(reply, response)) is not None
        except redis.ResponseError as error:
            if not streams.is_no_stream(error):
                raise
            return False

    async def _keep(self, key: str) -> None:
        """Put the expiry of a stream off when that is due; create it again if it was idle for too long."""
        renewed = self._renewed.get(key)
        if renewed is None or time.monotonic() - renewed <= min(streams.REFRESH, self._retention / 4):
            return
        if not await self._renew(key):
            await self.commands.execute(*streams.create(key))
            await self._renew(key)

    async def _renew(self, key: str) -> bool:
        self._renewed[key] = time.monotonic()
        return bool(await self.commands.execute(*streams.renew(key, self._retention)))
