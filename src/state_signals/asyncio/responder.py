"""The responder for asyncio."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from state_signals.arguments import limits_for
from state_signals.asyncio.sigterm import called_on_sigterm
from state_signals.endpoint import DEFAULT_RETENTION, RETRY_INTERVAL, ResponderEndpoint
from state_signals.exceptions import Closed, ServerUnreachable
from state_signals.messages import SHUTDOWN, Signal
from state_signals.protocol.events import SignalReceived
from state_signals.transport.base import AsyncInbox
from state_signals.transport.connect import async_transport

if TYPE_CHECKING:
    import redis.asyncio

__all__ = ["SignalResponder"]


class SignalResponder(ResponderEndpoint):
    """Receives signals, acts on them and answers.

    Connects and subscribes when it is first used: no signal that is published after `connect()` is missed. Signals are
    read by one task at a time. Use it as an async context manager, or await `close()`.

    Args:
        existing_redis_conn: a client to use instead of an own one; it is never closed.
        redis_host: the server's host, unless `url` is given.
        redis_port: the server's port, unless `url` is given.
        responder_name: beginning of the `responder_id`; default: this host's name.
        conn_timeout: attempts to connect, one second apart; -1 or None: for ever.
        log_level: print log lines of this level and above to standard error; None: leave logging alone.
        url: the server, as `redis://`, `rediss://`, `unix://` or `memory://`.
        namespace: scope on a shared server; version 1 parties are in the one that has no name (None).
        responder_id: fixed identifier; default: the responder name and a uuid.
        max_payload: bytes in one message, at the most, both ways; default: 1 MiB.

    Raises:
        InvalidType, InvalidArgument: for arguments that cannot work.
    """

    def __init__(
        self,
        existing_redis_conn: redis.asyncio.Redis | None = None,
        redis_host: str = "localhost",
        redis_port: int = 6379,
        responder_name: str | None = None,
        conn_timeout: float | timedelta | None = 20,
        log_level: str | int | None = None,
        *,
        url: str | None = None,
        namespace: str | None = None,
        responder_id: str | None = None,
        max_payload: int | None = None,
    ) -> None:
        self._transport = async_transport(
            existing_redis_conn,
            url=url,
            host=redis_host,
            port=redis_port,
            namespace=namespace,
            retention=DEFAULT_RETENTION,
        )
        super().__init__(
            responder_name,
            conn_timeout,
            log_level,
            responder_id=responder_id,
            keys=self._transport.keys,
            limits=limits_for(max_payload),
            can_await=True,
        )
        self.conn_type = "new" if existing_redis_conn is None else "existing"
        self._connecting = asyncio.Lock()
        self._inbox: AsyncInbox | None = None

    @property
    def redis(self) -> Any:
        """The client of redis-py; None with `memory://`."""
        return self._transport.client

    async def connect(self) -> AsyncInbox:
        """Connect and subscribe, if that was not done; every method does it by itself.

        Raises:
            TransportError: (also a `redis.ConnectionError`) if the server cannot be used.
            Closed: after `close()`, or in another process.
        """
        self._check_usable()
        async with self._connecting:
            if self._inbox is not None:
                return self._inbox
            inbox = await self._subscribe()
            if self._closed:
                await inbox.close()
            self._check_usable()
            self._inbox = inbox
        return inbox

    async def listen(self) -> AsyncIterator[Signal]:
        """Yield each signal that passes the locks, the reserved ones included; end upon `close()`.

        Whatever else arrives is counted (`counters`), logged and dropped.

        Raises:
            TransportError: if the connection is lost.
        """
        inbox = await self.connect()
        while not self._stopping:
            event = self._core.next_event()
            if isinstance(event, SignalReceived):
                yield event.signal
            elif event is not None:
                self._log(event)
            else:
                await self._receive(inbox)

    async def respond(self, publisher_id: str, event: str, ras: int | None = None, message: str | None = None) -> None:
        """Answer the newest signal of that event from that exporter.

        Args:
            publisher_id: the exporter.
            event: the event.
            ras: 1 for success, any other number for failure; None suffices for `initialization`.
            message: text for the exporter's user.

        Raises:
            InvalidType, InvalidArgument: for arguments that cannot work; nothing was sent.
            TransportError: if the server cannot be used.
        """
        await self.connect()
        self._core.respond(publisher_id, event, ras, message, now=time.monotonic(), sent=time.time())
        await self._send()

    async def srespond(self, signal: Signal, ras: int | None = None, message: str | None = None) -> None:
        """Answer a signal. Arguments and errors as for `respond`."""
        await self.connect()
        self._core.respond_to(signal, ras, message, now=time.monotonic(), sent=time.time())
        await self._send()

    async def run(self) -> None:
        """Subscribe, act on each signal by the functions of `on()` (plain or async), and answer.

        Returns when the last exporter whose signals were acted on has shut down, upon `close()`, and upon SIGTERM if
        it runs in the main thread.

        Raises:
            TransportError: if the connection is lost.
        """
        with called_on_sigterm(self._stop):
            async for signal in self.listen():
                await self._act(signal)
                if self._handlers.is_finished(signal):
                    return

    async def close(self) -> None:
        """End `listen()` and `run()`, and leave no connection behind. Idempotent."""
        self._closed = True
        if self._is_foreign_process():
            return
        self._stopping = True
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            await inbox.close()
        await self._transport.close()

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _subscribe(self) -> AsyncInbox:
        while True:
            try:
                await self._transport.connect()
                return await self._transport.listen_for_signals()
            except ServerUnreachable as error:
                self._connection_failed(error)
                await asyncio.sleep(RETRY_INTERVAL)

    async def _receive(self, inbox: AsyncInbox) -> None:
        arrived = await inbox.receive()
        now = time.monotonic()
        for data in arrived:
            self._core.message_received(data, now)

    async def _act(self, signal: Signal) -> None:
        handler = self._handlers.find(signal)
        try:
            returned = handler(signal) if handler else None
            if inspect.isawaitable(returned):
                returned = await returned
            answer = self._handlers.success(returned)
        except Exception as error:
            self.logger.warning("acting on %r of %r failed", signal.event, signal.publisher_id, exc_info=error)
            answer = self._handlers.failure(error)
        if signal.event == SHUTDOWN or self._closed:
            return
        try:
            await self._answer(signal, *answer)
        except Closed:
            # Somebody has closed it in between: then run() just ends.
            if not self._closed:
                raise

    async def _answer(self, signal: Signal, ras: int, message: str | None) -> None:
        try:
            await self.srespond(signal, ras, message)
        except ValueError as error:
            # The message cannot be sent (too long, say): the answer still can.
            await self.srespond(signal, ras, f"(the message was dropped: {error})"[:1000])

    async def _send(self) -> None:
        for answer in self._core.messages_to_send():
            await self._transport.answer(answer.data, answer.reply)

    def _stop(self) -> None:
        self._stopping = True
        if self._inbox is not None:
            self._inbox.wake()
