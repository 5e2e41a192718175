"""The responder for asyncio."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from state_signals.arguments import limits_for
from state_signals.asyncio.link import Link, perform
from state_signals.asyncio.sigterm import called_on_sigterm
from state_signals.endpoint import (
    CLOSE_TIMEOUT,
    DEFAULT_PRESENCE_TTL,
    DUE_AGAIN,
    NO_REDELIVERY,
    RETRY_INTERVAL,
)
from state_signals.exceptions import Closed, ServerRefused, ServerUnreachable, TransportError
from state_signals.messages import SHUTDOWN, Signal
from state_signals.outages import Backoff
from state_signals.protocol.events import Degraded, SignalReceived
from state_signals.requests import CatchUp, Discover
from state_signals.responder_endpoint import ResponderEndpoint
from state_signals.transport.base import AsyncInbox, AsyncTransport
from state_signals.transport.commands import RequestRefused
from state_signals.transport.connect import async_transport

if TYPE_CHECKING:
    import redis.asyncio

__all__ = ["SignalResponder"]


class SignalResponder(ResponderEndpoint):
    """Receives signals, acts on them and answers.

    Connects and subscribes when it is first used: no signal that is published after `connect()` is missed, also when
    connections drop or the server restarts. From its first answer on it shows in the background that it lives, while
    your code acts. A function that blocks the loop keeps it from that: after `presence_ttl` seconds it counts as lost,
    until the loop runs again; so what takes long belongs into a thread (`asyncio.to_thread`). Signals are read by one
    task at a time. Use it as an async context manager, or await `close()`.

    Args:
        existing_redis_conn: a client to use instead of an own one; it is never closed.
        redis_host: the server's host, unless `url` is given.
        redis_port: the server's port, unless `url` is given.
        responder_name: beginning of the `responder_id`; default: this host's name.
        conn_timeout: attempts to connect, one second apart; -1 or None: for ever.
        log_level: print log lines of this level and above to standard error; None: leave logging alone.
        url: the server, as `redis://`, `rediss://`, `unix://`, `memory://`, `redis+sentinel://` or `redis+cluster://`.
        namespace: scope on a shared server; version 1 parties are in the one that has no name (None).
        responder_id: fixed identifier; default: the responder name and a uuid. A responder that has died while it acted
            and comes back under the same one gets the signal again, with `signal.redelivered`.
        replay: what to hear of exporters that are there already: `"state"`: their initialization, so that a late
            responder subscribes, too; `"all"`: their whole journal; `"none"`: nothing.
        presence_ttl: seconds without proof of life after which exporters take this responder for lost, unless they ask
            for fewer; -1 or None: it gives none.
        max_payload: bytes in one message, at the most, both ways; default: 1 MiB.

    Raises:
        InvalidType, InvalidArgument: for arguments that cannot work.
    """

    _transport: AsyncTransport

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
        replay: Literal["state", "none", "all"] = "state",
        presence_ttl: float | timedelta | None = DEFAULT_PRESENCE_TTL,
        max_payload: int | None = None,
    ) -> None:
        self._transport = async_transport(
            existing_redis_conn, url=url, host=redis_host, port=redis_port, namespace=namespace, is_shared=True
        )
        super().__init__(
            responder_name,
            conn_timeout,
            log_level,
            responder_id=responder_id,
            replay=replay,
            presence_ttl=presence_ttl,
            limits=limits_for(max_payload),
            can_await=True,
        )
        self.conn_type = "new" if existing_redis_conn is None else "existing"
        self._connecting = asyncio.Lock()
        self._closing = asyncio.Lock()
        self._is_ending = False
        self._is_connected = False
        self._stopped = asyncio.Event()
        self._link = Link(
            f"state-signals-{self.responder_id}",
            self._transport,
            self._commands,
            self._core,
            self._outage,
            self._call_reader,
        )
        self._inbox: AsyncInbox | None = None

    @property
    def redis(self) -> Any:
        """The client of redis-py; None with `memory://`."""
        return self._transport.client

    async def connect(self) -> None:
        """Connect and subscribe, if that was not done; every method does it by itself.

        Raises:
            TransportError: (also a `redis.ConnectionError`) if the server cannot be used.
            Closed: after `close()`, or in another process.
        """
        self._check_usable()
        if self._is_connected:
            return
        async with self._connecting:
            if not self._is_connected:
                await self._connect()
                self._is_connected = True

    async def listen(self) -> AsyncIterator[Signal]:
        """Yield each signal that passes the locks, the reserved ones included; end upon `close()`.

        Each comes once and in its exporter's order. Lost connections are made again, and what was missed is read from
        the journal. Whatever else arrives is counted (`counters`), logged and dropped.
        """
        await self.connect()
        while not self._stopping:
            event = self._core.next_event()
            if isinstance(event, SignalReceived):
                yield event.signal
            elif event is not None:
                self._log(event)
            elif not await self._query():
                await self._receive()

    async def respond(self, publisher_id: str, event: str, ras: int | None = None, message: str | None = None) -> None:
        """Answer the newest signal of that event from that exporter.

        Args:
            publisher_id: the exporter.
            event: the event.
            ras: 1 for success, any other number for failure; None suffices for `initialization`.
            message: text for the exporter's user.

        Raises:
            InvalidType, InvalidArgument: for arguments that cannot work; nothing was sent.
            ServerRefused: if the server refuses it. Without a connection the answer is kept, and sent later.
        """
        await self.connect()
        self._core.respond(publisher_id, event, ras, message, now=time.monotonic(), sent=time.time())
        await self._send()

    async def srespond(self, signal: Signal, ras: int | None = None, message: str | None = None) -> None:
        """Answer a signal. Arguments and errors as for `respond`."""
        await self.connect()
        self._core.respond_to(signal, ras, message, now=time.monotonic(), sent=time.time())
        await self._send()

    async def working(self, signal: Signal, message: str | None = None) -> None:
        """Tell the exporter that a signal is still being worked on: that keeps its `stall_timeout` from running out.

        Args:
            signal: the signal.
            message: what is being done.

        Raises:
            InvalidType, InvalidArgument, ServerRefused: as `respond`.
        """
        await self.connect()
        self._core.respond_to(signal, None, message, state="working", now=time.monotonic(), sent=time.time())
        await self._send()

    async def run(self) -> None:
        """Subscribe, act on each signal by the functions of `on()` (plain or async), and answer.

        Returns when the last exporter whose signals were acted on has shut down, upon `close()`, and upon SIGTERM if
        it runs in the main thread.
        """
        with called_on_sigterm(self._stop):
            async for signal in self.listen():
                await self._act(signal)
                if self._handlers.is_finished(signal):
                    return

    async def close(self) -> None:
        """Tell the exporters, end `listen()` and `run()`, and leave no connection behind. Idempotent."""
        self._closed = True
        if self._is_foreign_process():
            return
        self._stop()
        async with self._closing:
            is_first, self._is_ending = not self._is_ending, True
            try:
                if is_first:
                    await self._leave()
            finally:
                await self._link.stop()
                await self._disconnect()
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

    async def _connect(self) -> None:
        while True:
            try:
                await self._transport.connect()
                await self._read_clock()
                self._inbox = await self._subscribe()
            except ServerUnreachable as error:
                self._connection_failed(error)
                await asyncio.sleep(RETRY_INTERVAL)
            else:
                break
        # Who is there now was there before us, and who comes from now on was not.
        while await self._query(only_the_first=True):
            pass

    async def _read_clock(self) -> None:
        # Where that is not allowed, it is known a little less well who was there first.
        with suppress(RequestRefused):
            found = await perform(self._transport, self._commands, Discover(0.0))
            self._core.clock_read(found.server_time)

    async def _subscribe(self) -> AsyncInbox:
        self._is_renamed = False
        try:
            inbox = await self._transport.subscribe(self._channels)
        except ServerRefused as error:
            if len(self._channels) == 1:
                raise
            inbox = await self._transport.subscribe(self._channels[:1])
            del self._channels[1:]
            self._log(Degraded(NO_REDELIVERY, str(error)))
        self._core.subscribed(time.monotonic())
        return inbox

    async def _query(self, *, only_the_first: bool = False) -> bool:
        """Ask the server for what may have been missed. Return whether there was something to ask."""
        if not self._link.is_up:
            return False
        request = self._core.next_query(time.monotonic())
        if request is None and self._inbox is not None:
            # Not before: only who asks what was missed sees whether the connection for commands is lost, too.
            self._outage.restored("signals")
        if request is None or (only_the_first and isinstance(request, CatchUp)):
            return False
        try:
            return await self._link.ask(request)
        except Closed:
            # Somebody has closed it in between: then listen() just ends.
            if not self._stopping:
                raise
            return False

    async def _receive(self) -> None:
        arrived: Sequence[bytes] = ()
        try:
            if self._is_renamed:
                await self._disconnect()
            if self._inbox is None:
                self._inbox = await self._subscribe_again()
            if self._inbox is not None and not self._stopping:
                arrived = await self._inbox.receive(self._patience())
        except ServerUnreachable as error:
            if not self._stopping:
                self._outage.lost("signals", error)
            await self._disconnect()
            return
        now = time.monotonic()
        for data in arrived:
            self._core.message_received(data, now)
        # An exporter may ask again for an answer that it has not got, and nobody else would send that soon.
        self._link.expect(self._core.next_upkeep())

    def _patience(self) -> float | None:
        """Return the seconds until there is something to ask the server for; None: for ever."""
        due = self._core.next_deadline()
        # Whoever only listens is looked after by then.
        self._link.expect(self._core.next_upkeep())
        if due == math.inf:
            return None
        # Without a connection, what is due stays so.
        return max(0.0 if self._link.is_up else DUE_AGAIN, due - time.monotonic())

    def _call_reader(self) -> None:
        """Have whoever waits for signals ask for what was missed, if a look has shown that there is something."""
        if self._inbox is not None and self._core.next_deadline() <= time.monotonic():
            self._inbox.wake()

    async def _subscribe_again(self) -> AsyncInbox | None:
        backoff = Backoff()
        while not self._stopping:
            try:
                inbox = await self._subscribe()
            except Closed:
                return None
            except TransportError as error:
                self._outage.lost("signals", error)
                with suppress(TimeoutError):
                    async with asyncio.timeout(backoff.next()):
                        await self._stopped.wait()
            else:
                return inbox
        return None

    async def _disconnect(self) -> None:
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            await inbox.close()

    async def _act(self, signal: Signal) -> None:
        handler = self._handlers.find(signal)
        try:
            returned = handler(signal) if handler else None
            if returned is not None and inspect.isawaitable(returned):
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
        except ServerRefused as error:
            # The next answer may get through: a server that is full does not stay so.
            self.logger.warning("the answer to %r of %r is lost: %s", signal.event, signal.publisher_id, error)

    async def _answer(self, signal: Signal, ras: int, message: str | None) -> None:
        try:
            await self.srespond(signal, ras, message)
        except ValueError as error:
            # The message cannot be sent (too long, say): the answer still can.
            await self.srespond(signal, ras, f"(the message was dropped: {error})"[:1000])

    async def _send(self) -> None:
        """Send the answers; in the background if there is no connection. What the server refuses is raised."""
        self._link.begin()
        await self._link.pump(is_urgent=True)
        self._link.expect(self._core.next_upkeep())
        refusals = self._core.refusals()
        if refusals:
            raise self._refused("answer a signal", refusals[0])

    async def _leave(self) -> None:
        """Say good-bye, if the server reacts."""
        self._core.leave(now=time.monotonic(), sent=time.time())
        await self._link.pump_at_last(time.monotonic() + CLOSE_TIMEOUT)
        await self._link.stop()

    def _stop(self) -> None:
        self._stopping = True
        self._stopped.set()
        if self._inbox is not None:
            self._inbox.wake()
