"""The exporter for asyncio."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from state_signals.arguments import check_callback, limits_for
from state_signals.asyncio.listener import Listener
from state_signals.endpoint import DEFAULT_RETENTION, RETRY_INTERVAL, ExporterEndpoint
from state_signals.exceptions import Closed, RoundFailed, ServerUnreachable, TransportError
from state_signals.protocol.events import Event, OutcomeKnown, RoundCompleted, SubscriptionCompleted
from state_signals.protocol.states import ExporterState
from state_signals.results import PublishResult, Report
from state_signals.transport.base import AsyncTransport
from state_signals.transport.connect import async_transport
from state_signals.waiters import SUBSCRIPTION, Waiter, Waiters

if TYPE_CHECKING:
    import redis.asyncio

__all__ = ["SignalExporter"]

_Completed = TypeVar("_Completed", RoundCompleted, SubscriptionCompleted)


_News = asyncio.Queue[Event | TransportError | Closed]


class SignalExporter(ExporterEndpoint):
    """Publishes signals, and knows by name who has acted on them.

    Connects when it is first used. Use it as an async context manager, or await `close()`.

    Args:
        process_name: what responders see as the signals' `process_name`.
        existing_redis_conn: a client to use instead of an own one; it is never closed.
        redis_host: the server's host, unless `url` is given.
        redis_port: the server's port, unless `url` is given.
        runner_host: host that the signals name; default: this one's name.
        conn_timeout: attempts to connect, one second apart; -1 or None: for ever.
        log_level: print log lines of this level and above to standard error; None: leave logging alone.
        url: the server, as `redis://`, `rediss://`, `unix://` or `memory://`.
        namespace: scope on a shared server; version 1 parties are in the one that has no name (None).
        publisher_id: fixed identifier; default: the process name and a uuid.
        strict_v1: send nothing beyond version 1.
        retention: seconds that keys on the server outlive the last activity.
        max_payload: bytes in one message, at the most, both ways; default: 1 MiB.

    Raises:
        InvalidType, InvalidArgument: for arguments that cannot work.
    """

    _transport: AsyncTransport

    def __init__(
        self,
        process_name: str,
        existing_redis_conn: redis.asyncio.Redis | None = None,
        redis_host: str = "localhost",
        redis_port: int = 6379,
        runner_host: str | None = None,
        conn_timeout: float | timedelta | None = 20,
        log_level: str | int | None = None,
        *,
        url: str | None = None,
        namespace: str | None = None,
        publisher_id: str | None = None,
        strict_v1: bool = False,
        retention: float = DEFAULT_RETENTION,
        max_payload: int | None = None,
    ) -> None:
        self._transport = async_transport(
            existing_redis_conn, url=url, host=redis_host, port=redis_port, namespace=namespace, retention=retention
        )
        super().__init__(
            process_name,
            runner_host,
            conn_timeout,
            log_level,
            publisher_id=publisher_id,
            strict_v1=strict_v1,
            limits=limits_for(max_payload),
        )
        self.conn_type = "new" if existing_redis_conn is None else "existing"
        self.init_listener: Listener | None = None
        self._is_connected = False
        # Held around the core by whoever sends, so that `seq` is the order on the wire.
        self._sending = asyncio.Lock()
        self._waiters: Waiters[_News] = Waiters(_News)
        self._subscribing = asyncio.Lock()
        self._listening_error: TransportError | None = None

    @property
    def redis(self) -> Any:
        """The client of redis-py; None with `memory://`."""
        return self._transport.client

    async def connect(self) -> None:
        """Connect, if that was not done; every method does it by itself.

        Raises:
            TransportError: (also a `redis.ConnectionError`) if the server cannot be used.
            Closed: after `close()`, or in another process.
        """
        self._check_usable()
        while not self._is_connected:
            try:
                await self._transport.connect()
            except ServerUnreachable as error:
                self._connection_failed(error)
                await asyncio.sleep(RETRY_INTERVAL)
            else:
                self._is_connected = True

    async def initialize(
        self, legal_events: list[str], tag: str | None = None, expected_resps: list[str] | None = None
    ) -> None:
        """Open the roster: responders may subscribe from now on, and signals wait for those that have.

        Args:
            legal_events: the events that may be published.
            tag: tag of the announcement.
            expected_resps: responder_ids that are on the roster from the start.

        Raises:
            InvalidType, InvalidArgument: for arguments that cannot work; nothing was sent.
            TransportError: if the server cannot be used.
        """
        await self._initialize(legal_events, tag, expected_resps)

    async def initialize_and_wait(
        self,
        await_sub_count: int,
        legal_events: list[str],
        tag: str | None = None,
        expected_resps: list[str] | None = None,
        timeout: float | timedelta | None = 60,
        periodic: bool = False,
    ) -> int:
        """Open the roster, and wait until enough responders have subscribed.

        Args:
            await_sub_count: how many are enough; all of `expected_resps` are waited for in any case.
            legal_events: the events that may be published.
            tag: tag of the announcement.
            expected_resps: responder_ids that are on the roster from the start.
            timeout: seconds to wait; -1 or None: for ever.
            periodic: announce again every second, for version 1 responders that start late.

        Returns:
            0 if enough have subscribed, 1 if the time is up.

        Raises:
            InvalidType, InvalidArgument: for arguments that cannot work; nothing was sent.
            TransportError: if the server cannot be used.
        """
        async with self._subscribing:
            waiter = self._waiters.add(SUBSCRIPTION)
            try:
                await self._initialize(
                    legal_events, tag, expected_resps, await_count=await_sub_count, timeout=timeout, periodic=periodic
                )
                return 0 if (await self._wait(waiter, SubscriptionCompleted)).enough else 1
            finally:
                self._waiters.remove(SUBSCRIPTION)
                self._core.abandon_subscription()

    async def publish_signal(
        self,
        event: str,
        sample: int = -1,
        tag: str | None = None,
        metadata: dict[str, Any] | None = None,
        timeout: float | timedelta | None = 20,
        *,
        min_success: float | None = None,
        fail_fast: bool = False,
        on_outcome: Callable[[str, Report], object] | None = None,
        wait: bool = True,
    ) -> PublishResult:
        """Announce a state, and wait until every responder on the roster has acted on it.

        Before `initialize` and after `shutdown` nobody is on the roster, and nobody is waited for.

        Args:
            event: the state, one of the legal events.
            sample: number of the sample that it belongs to; -1: none.
            tag: free text that groups signals.
            metadata: anything that is a JSON object.
            timeout: seconds to wait for answers; -1 or None: for ever.
            min_success: how many successes make the round a success: a count (int) or a share (float, 0 to 1);
                default: all.
            fail_fast: return as soon as success is out of reach.
            on_outcome: called, and awaited if it is to be, with responder_id and report, as each outcome becomes known.
            wait: False: return at once.

        Returns:
            The version 1 tuple `(code, messages)`, and the outcome of each roster member by name.

        Raises:
            IllegalEvent, InvalidType, InvalidArgument: (`ValueError` or `TypeError`) nothing was sent.
            TransportError: if the server cannot be used.
            Closed: after `close()`, or in another process.
        """
        await self.connect()
        check_callback("on_outcome", on_outcome)
        self._warn_if_not_initialized()
        if wait and self._listening_error is not None:
            raise self._listening_error
        async with self._sending:
            signal_id = self._core.publish(
                event,
                sample=sample,
                tag=tag,
                metadata=metadata,
                timeout=timeout,
                min_success=min_success,
                fail_fast=fail_fast,
                wait=wait,
                now=time.monotonic(),
                sent=time.time(),
            )
            waiter = self._waiters.add(signal_id, on_outcome)
            try:
                await self._send()
            except BaseException:
                self._forget(signal_id)
                raise
        try:
            return (await self._wait(waiter, RoundCompleted)).result
        finally:
            self._forget(signal_id)

    async def shutdown(self, tag: str | None = None) -> None:
        """Close the roster and tell the responders. Nobody is waited for; rounds that other tasks wait in end.

        Args:
            tag: tag of the announcement.

        Raises:
            InvalidType, InvalidArgument: for a tag that cannot be sent.
            TransportError: if the server cannot be used.
        """
        await self.connect()
        async with self._sending:
            self._core.shutdown(tag=tag, now=time.monotonic(), sent=time.time())
            self._tell_waiters()
            try:
                await self._send()
            finally:
                await self._stop_listening()

    @asynccontextmanager
    async def phase(
        self,
        name: str,
        *,
        sample: int = -1,
        tag: str | None = None,
        metadata: dict[str, Any] | None = None,
        timeout: float | timedelta | None = 20,
        check: bool = True,
    ) -> AsyncGenerator[PublishResult]:
        """Announce `NAME-start` before the body and `NAME-stop` after it, also when the body raises.

        Args:
            name: both events, `NAME-start` and `NAME-stop`, have to be legal.
            sample: as for `publish_signal`.
            tag: as for `publish_signal`.
            metadata: as for `publish_signal`.
            timeout: as for `publish_signal`, for each of the two.
            check: raise `RoundFailed` if either round was no success. If it was the first, the body does not run, and
                those that did start are told to stop.

        Yields:
            The result of `NAME-start`.
        """

        async def publish(edge: str, *, wait: bool = True) -> PublishResult:
            return await self.publish_signal(f"{name}-{edge}", sample, tag, metadata, timeout, wait=wait)

        self._core.check_event(f"{name}-stop")
        try:
            started = await publish("start")
            if check and not started.ok:
                raise RoundFailed(f"{name}-start was no success: {started}", started)
            yield started
        except BaseException as error:
            # Whoever has started is to stop. What went wrong is not to be covered by what goes wrong now, and whoever
            # interrupts does not want to wait.
            with suppress(TransportError):
                await publish("stop", wait=isinstance(error, Exception))
            raise
        stopped = await publish("stop")
        if check and not stopped.ok:
            raise RoundFailed(f"{name}-stop was no success: {stopped}", stopped)

    async def close(self) -> None:
        """Shut down if that was not done, and leave no task, connection or key behind. Idempotent."""
        if self._is_foreign_process():
            self._closed = True
            return
        try:
            if not self._closed and self._core.state is ExporterState.INITIALIZED:
                # With its tag, so that responders that are locked to that hear of it.
                await self.shutdown(self._core.tag)
        except (TransportError, Closed) as error:
            self.logger.warning("closed without telling the responders: %s", error)
        finally:
            self._closed = True
            await self._stop_listening()
            self._core.close(time.monotonic())
            self._tell_waiters()
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

    async def _initialize(
        self,
        legal_events: list[str],
        tag: str | None,
        expected_resps: list[str] | None,
        **waiting: Any,
    ) -> None:
        await self.connect()
        async with self._sending:
            before = self._core.state
            self._core.initialize(
                legal_events,
                tag=tag,
                expected=() if expected_resps is None else expected_resps,
                now=time.monotonic(),
                sent=time.time(),
                **waiting,
            )
            try:
                await self._start_listening()
                await self._send()
            except BaseException:
                self._core.initialization_failed(before)
                raise

    async def _start_listening(self) -> None:
        if self.init_listener is not None and self.init_listener.is_alive():
            return
        await self._stop_listening()
        self._listening_error = None
        self.init_listener = Listener(
            self._transport, self.pub_id, deliver=self._received, failed=self._listening_failed
        )
        await self.init_listener.start()

    async def _stop_listening(self) -> None:
        if self.init_listener is None:
            return
        try:
            await self.init_listener.stop()
        except (TransportError, Closed) as error:
            self.logger.warning("a key is left until it expires: %s", error)

    async def _send(self) -> None:
        """Send what the core has to say. The caller holds `_sending`."""
        outbox = self._core.messages_to_send()
        for signal in outbox:
            await self._transport.broadcast(self.pub_id, signal)
        self._tell_waiters()

    def _received(self, arrived: Sequence[bytes]) -> None:
        now = time.monotonic()
        for data in arrived:
            self._core.message_received(data, now)
        self._tell_waiters()

    def _listening_failed(self, error: TransportError) -> None:
        self.logger.error("responses are no longer received: %s", error)
        self._listening_error = error
        self._waiters.fail(error)

    def _tell_waiters(self) -> None:
        while (event := self._core.next_event()) is not None:
            self._waiters.tell(event)
            self._log(event)

    async def _wait(self, waiter: Waiter[_News], kind: type[_Completed]) -> _Completed:
        while True:
            deadline = self._core.next_deadline()
            try:
                async with asyncio.timeout(None if deadline is None else max(0.0, deadline - time.monotonic())):
                    news = await waiter.news.get()
            except TimeoutError:
                self._core.handle_timeout(time.monotonic(), time.time())
                self._tell_waiters()
                if kind is SubscriptionCompleted:
                    # Nothing else is announced again. A round must not wait here for another one's sending.
                    async with self._sending:
                        await self._send()
                continue
            if isinstance(news, TransportError | Closed):
                raise news
            if isinstance(news, OutcomeKnown) and waiter.on_outcome is not None:
                returned = waiter.on_outcome(news.responder_id, news.report)
                if inspect.isawaitable(returned):
                    await returned
            elif isinstance(news, kind):
                return news

    def _forget(self, signal_id: str) -> None:
        self._waiters.remove(signal_id)
        self._core.abandon(signal_id)
