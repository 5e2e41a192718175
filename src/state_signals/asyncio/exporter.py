"""The exporter for asyncio."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from state_signals.arguments import check_callback, check_on_lost, check_text
from state_signals.asyncio.session import Session
from state_signals.endpoint import (
    DEFAULT_PRESENCE_TTL,
    DEFAULT_RETENTION,
)
from state_signals.exceptions import Closed, PublisherIdInUse, RoundFailed, RunAborted, TransportError
from state_signals.protocol.events import (
    RoundCompleted,
    SubscriptionCompleted,
)
from state_signals.results import PublishResult, Report
from state_signals.waiters import SUBSCRIPTION

if TYPE_CHECKING:
    import redis.asyncio

__all__ = ["SignalExporter"]


class SignalExporter(Session):
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
        url: the server, as `redis://`, `rediss://`, `unix://`, `memory://`, `redis+sentinel://` or `redis+cluster://`.
        namespace: scope on a shared server; version 1 parties are in the one that has no name (None).
        publisher_id: fixed identifier; default: the process name and a uuid.
        strict_v1: send nothing beyond version 1, and keep nothing on the server.
        journal: keep the signals on the server, so that nothing is lost when connections drop; False: only broadcast.
        presence_ttl: seconds after which a responder without proof of life is lost, unless it asks for fewer itself,
            and after which this exporter counts as gone; -1 or None: nobody is lost.
        retention: seconds that what is kept on the server outlives the last activity.
        max_payload: bytes in one message, at the most, both ways; default: 1 MiB.
        on_abort: called in the event loop, with the reason, when somebody else aborts the run.

    Raises:
        InvalidType, InvalidArgument: for arguments that cannot work.
    """

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
        journal: bool = True,
        presence_ttl: float | timedelta | None = DEFAULT_PRESENCE_TTL,
        retention: float = DEFAULT_RETENTION,
        max_payload: int | None = None,
        on_abort: Callable[[str], object] | None = None,
    ) -> None:
        self._set_up(
            process_name,
            existing_redis_conn,
            redis_host,
            redis_port,
            runner_host,
            conn_timeout,
            log_level,
            url=url,
            namespace=namespace,
            publisher_id=publisher_id,
            strict_v1=strict_v1,
            journal=journal,
            presence_ttl=presence_ttl,
            retention=retention,
            max_payload=max_payload,
            resumes=False,
            on_abort=on_abort,
        )

    @classmethod
    async def resume(
        cls,
        publisher_id: str,
        *,
        existing_redis_conn: redis.asyncio.Redis | None = None,
        redis_host: str = "localhost",
        redis_port: int = 6379,
        conn_timeout: float | timedelta | None = 20,
        log_level: str | int | None = None,
        url: str | None = None,
        namespace: str | None = None,
        presence_ttl: float | timedelta | None = DEFAULT_PRESENCE_TTL,
        retention: float = DEFAULT_RETENTION,
        max_payload: int | None = None,
        on_abort: Callable[[str], object] | None = None,
    ) -> Self:
        """Go on where an exporter ended that has crashed: its roster, legal events and numbering come back.

        If it is not known whether that is dead (it ran on another host), this waits until its presence runs out.

        Args:
            publisher_id: its identifier.
            existing_redis_conn: this and all others: as in the constructor.
            redis_host: the server's host, unless `url` is given.
            redis_port: the server's port, unless `url` is given.
            conn_timeout: attempts to connect.
            log_level: level to print log lines from.
            url: the server.
            namespace: scope on a shared server.
            presence_ttl: seconds that proofs of life are good for.
            retention: seconds that what is kept outlives the last activity.
            max_payload: bytes in one message.
            on_abort: as in the constructor.

        Raises:
            UnknownExporter: if there is nothing to resume.
            PublisherIdInUse: if the exporter is alive.
            InvalidType, InvalidArgument, TransportError: as the constructor.
        """
        exporter = cls.__new__(cls)
        exporter._set_up(  # noqa: SLF001 - our own
            publisher_id,
            existing_redis_conn,
            redis_host,
            redis_port,
            None,
            conn_timeout,
            log_level,
            url=url,
            namespace=namespace,
            publisher_id=publisher_id,
            strict_v1=False,
            journal=True,
            presence_ttl=presence_ttl,
            retention=retention,
            max_payload=max_payload,
            resumes=True,
            on_abort=on_abort,
        )
        try:
            await exporter.connect()
        except BaseException:
            await exporter._give_up()  # noqa: SLF001 - our own
            raise
        return exporter

    @property
    def redis(self) -> Any:
        """The client of redis-py; None with `memory://`."""
        return self._transport.client

    async def connect(self) -> None:
        """Connect, if that was not done; every method does it by itself.

        Raises:
            TransportError: (also a `redis.ConnectionError`) if the server cannot be used.
            PublisherIdInUse: if another exporter with this `publisher_id` is alive.
            RunAborted: if somebody has aborted the run.
            Closed: after `close()`, or in another process.
        """
        self._check_usable()
        if self._is_connected:
            return
        async with self._connecting:
            if not self._is_connected:
                await self._connect()
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
            TransportError: if it could not be announced within `conn_timeout` seconds, or the server refuses.
        """
        await self.connect()
        await self._initialize(legal_events, tag, expected_resps, time.monotonic(), timeout=self._conn_timeout)

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
        await self.connect()
        began = time.monotonic()
        until = self._until(timeout, began)
        async with self._held(self._subscribing, until):
            waiter = self._waiters.add(SUBSCRIPTION)
            try:
                await self._initialize(
                    legal_events,
                    tag,
                    expected_resps,
                    began,
                    await_count=await_sub_count,
                    timeout=timeout,
                    periodic=periodic,
                )
                return 0 if (await self._wait(waiter, SubscriptionCompleted, until)).enough else 1
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
        on_lost: Literal["fail", "wait"] = "fail",
        stall_timeout: float | timedelta | None = None,
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
            on_lost: what to do with a responder whose presence runs out: `"fail"`: it is lost at once; `"wait"`: wait
                for it until the deadline, for it may come back.
            stall_timeout: seconds after which a responder is missing that has neither answered nor said `working`;
                -1 or None: never.
            on_outcome: called, and awaited if it is to be, with responder_id and report, as each outcome becomes known.
            wait: False: return at once.

        Returns:
            The version 1 tuple `(code, messages)`, and the outcome of each roster member by name.

        Raises:
            IllegalEvent, InvalidType, InvalidArgument: (`ValueError` or `TypeError`) nothing was sent.
            TransportError: if the signal could not be published within the timeout, or the server refuses it. Once it
                is published, lost connections raise nothing: the round goes on when they are back.
            PublisherIdInUse: if another exporter has taken our `publisher_id`.
            RunAborted: if somebody has aborted the run.
            Closed: after `close()`, or in another process.
        """
        await self.connect()
        check_callback("on_outcome", on_outcome)
        waits_for_lost = check_on_lost(on_lost)
        self._warn_if_not_initialized()
        until = self._until(timeout)
        signal_id = self._core.publish(
            event,
            sample=sample,
            tag=tag,
            metadata=metadata,
            timeout=timeout,
            min_success=min_success,
            fail_fast=fail_fast,
            waits_for_lost=waits_for_lost,
            stall_timeout=stall_timeout,
            wait=wait,
            tells_outcomes=on_outcome is not None,
            now=time.monotonic(),
            sent=time.time(),
        )
        waiter = self._waiters.add(signal_id, on_outcome, is_for_round=True)
        try:
            await self._send(until)
            return (await self._wait(waiter, RoundCompleted, until)).result
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
        await self._shutdown(tag, self._conn_timeout)

    async def abort(self, reason: str) -> None:
        """Tell the responders that the run is over, and why; whoever waits in another call gets `RunAborted`.

        From then on this exporter can only be closed. Others abort it with `state-signals abort`.

        Args:
            reason: why, in a few words.

        Raises:
            InvalidType, InvalidArgument: for a reason that cannot be sent.
            RunAborted: if somebody was faster.
            TransportError: if the server cannot be used.
        """
        check_text("reason", reason)
        await self.connect()
        await self._shutdown(self._core.tag, self._conn_timeout, reason)

    async def detach(self) -> None:
        """End here, and leave the run to whoever resumes the exporter: another process, minutes or hours later.

        Until then its roster stands, and responders can still subscribe. What nobody resumes is forgotten when the
        retention time is over.

        Raises:
            InvalidArgument: if there is nothing to resume: it is not initialized, or has no journal.
            Closed, RunAborted, PublisherIdInUse: if it cannot be used any more.
        """
        self._check_usable()
        self._check_detachable()
        self._closed = True
        async with self._closing:
            await self._end(lives_on=True)

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
            with suppress(TransportError, Closed, PublisherIdInUse, RunAborted):
                await publish("stop", wait=isinstance(error, Exception))
            raise
        stopped = await publish("stop")
        if check and not stopped.ok:
            raise RoundFailed(f"{name}-stop was no success: {stopped}", stopped)

    async def close(self) -> None:
        """Shut down if that was not done, and leave no task or connection behind. Idempotent.

        On the server, the journal and the responses stay until their retention ends, for whoever looks back.
        """
        if self._is_foreign_process():
            self._closed = True
            return
        # Before all else: what others begin now would come after the shutdown, and nobody would be waited for.
        self._closed = True
        async with self._closing:
            await self._end()

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
