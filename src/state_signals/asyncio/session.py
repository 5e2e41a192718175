"""What an exporter for asyncio does at its server; the counterpart of `state_signals.sync.session`."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from state_signals.arguments import limits_for
from state_signals.asyncio.link import Link, perform
from state_signals.asyncio.listener import Listener
from state_signals.asyncio.news import News
from state_signals.endpoint import (
    CLOSE_TIMEOUT,
    DUE_AGAIN,
    OVERTIME,
    RETRY_INTERVAL,
)
from state_signals.exceptions import Closed, PublisherIdInUse, RunAborted, ServerUnreachable, TransportError
from state_signals.exporter_endpoint import ExporterEndpoint
from state_signals.protocol.events import (
    CaughtUp,
    ClaimHeld,
    Event,
    OutcomeKnown,
    RoundCompleted,
    SignalSent,
    SubscriptionCompleted,
)
from state_signals.protocol.states import ExporterState
from state_signals.requests import Release
from state_signals.transport.base import AsyncTransport
from state_signals.transport.commands import RequestRefused
from state_signals.transport.connect import async_transport
from state_signals.waiters import CLAIM, READ, End, Waiter, Waiters

if TYPE_CHECKING:
    import redis.asyncio

__all__ = ["Session"]

_Completed = TypeVar("_Completed", RoundCompleted, SubscriptionCompleted, SignalSent, ClaimHeld, CaughtUp)


class Session(ExporterEndpoint):
    """The state and the steps of an exporter: base of the class that users see."""

    _transport: AsyncTransport

    def _set_up(
        self,
        process_name: str,
        existing_redis_conn: redis.asyncio.Redis | None,
        redis_host: str,
        redis_port: int,
        runner_host: str | None,
        conn_timeout: float | timedelta | None,
        log_level: str | int | None,
        *,
        url: str | None,
        namespace: str | None,
        max_payload: int | None,
        **options: Any,
    ) -> None:
        self._transport = async_transport(
            existing_redis_conn, url=url, host=redis_host, port=redis_port, namespace=namespace
        )
        super().__init__(process_name, runner_host, conn_timeout, log_level, limits=limits_for(max_payload), **options)
        self.conn_type = "new" if existing_redis_conn is None else "existing"
        self.init_listener: Listener | None = None
        self._connecting = asyncio.Lock()
        self._is_connected = False
        self._waiters: Waiters[News] = Waiters(News)
        self._subscribing = asyncio.Lock()
        self._closing = asyncio.Lock()
        self._is_ending = False
        self._unreleased: Release | None = None
        self._link = Link(
            f"state-signals-{self.pub_id}",
            self._transport,
            self._commands,
            self._core,
            self._outage,
            self._tell_waiters,
        )

    async def _end(self, *, lives_on: bool = False) -> None:
        is_first, self._is_ending = not self._is_ending, True
        try:
            if lives_on:
                # What was heard is to be saved, and nothing more heard after that.
                await self._stop_listening()
            if lives_on or self._aborted is not None:
                await self._tell_at_last(time.monotonic() + CLOSE_TIMEOUT, lives_on=lives_on)
            elif is_first and self._superseded is None and self._core.state is ExporterState.INITIALIZED:
                # With its tag, so that responders that are locked to that hear of it.
                await self._shutdown(self._core.tag, CLOSE_TIMEOUT)
        except (TransportError, Closed, PublisherIdInUse, RunAborted) as error:
            self.logger.warning("closed without telling the responders: %s", error)
            # Nor is it told anything else.
            self._link.is_up = False
        finally:
            await self._stop_listening()
            await self._link.stop()
            # Unless somebody has aborted it at the last moment.
            lives_on = lives_on and self._aborted is None
            await self._release(keeps_record=lives_on, lives_on=lives_on)
            self._core.close(time.monotonic())
            self._tell_waiters()
            self._waiters.fail(Closed("it was closed in the meantime; make a new one"))
            await self._transport.close()

    async def _tell_at_last(self, until: float, *, lives_on: bool = False) -> None:
        """Have everything sent that is on its way; our own task may have to connect for that."""
        await self._link.pump(until)
        while not self._link.is_up and (lives_on or self._core.has_to_tell) and time.monotonic() < until:
            await asyncio.sleep(DUE_AGAIN)
            await self._link.pump(until)

    async def _connect(self) -> None:
        while True:
            try:
                await self._transport.connect()
            except ServerUnreachable as error:
                self._connection_failed(error)
                await asyncio.sleep(RETRY_INTERVAL)
            else:
                break
        if self._has_fixed_id and self._core.can_be_claimed:
            await self._claim()

    async def _claim(self) -> None:
        waiter = self._waiters.add(CLAIM)
        self._core.claim()
        until = time.monotonic() + self._patience_to_claim()
        await self._send(until)
        try:
            held = await self._wait(waiter, ClaimHeld, until)
        finally:
            self._waiters.remove(CLAIM)
        if not self._resumes:
            return
        if not held.found:
            await self._release()
            raise self._unknown()
        if self._core.state is ExporterState.INITIALIZED:
            await self._start_listening(until)
            await self._catch_up(until)
            # It may have been heard before anybody waited for it.
            self._check_usable()

    async def _catch_up(self, until: float) -> None:
        """Read what responders have said before: who has subscribed meanwhile is on the roster, who has left is not."""
        waiter = self._waiters.add(READ)
        try:
            if self._core.is_behind:
                await self._wait(waiter, CaughtUp, until)
        finally:
            self._waiters.remove(READ)

    async def _initialize(
        self,
        legal_events: list[str],
        tag: str | None,
        expected_resps: list[str] | None,
        began: float,
        **waiting: Any,
    ) -> None:
        self._check_usable()
        until = self._until(waiting["timeout"], began)
        # Nothing is sent before we listen: an answer might come before that.
        async with self._held(self._link.sending, until):
            before = self._core.state
            announcement = self._core.initialize(
                legal_events,
                tag=tag,
                expected=() if expected_resps is None else expected_resps,
                now=began,
                sent=time.time(),
                **waiting,
            )
            waiter = self._waiters.add(announcement)
            try:
                await self._start_listening(until)
            except BaseException:
                self._take_back(before, announcement)
                raise
        try:
            await self._send(until)
            await self._wait(waiter, SignalSent, until)
        except BaseException:
            self._take_back(before, announcement)
            raise
        finally:
            self._forget(announcement)

    @asynccontextmanager
    async def _held(self, lock: asyncio.Lock, until: float) -> AsyncGenerator[None]:
        """Hold a lock, which whoever waits for the server may have; raise if that is not possible until then."""
        try:
            async with asyncio.timeout(None if until == math.inf else max(0.0, until - time.monotonic())):
                await lock.acquire()
        except TimeoutError:
            raise self._unreachable("it did not work out in time", self._link.error) from None
        try:
            yield
        finally:
            lock.release()

    def _take_back(self, before: ExporterState, announcement: str) -> None:
        self._core.initialization_failed(before, announcement)
        self._waiters.remove(announcement)

    async def _shutdown(self, tag: str | None, timeout: float | None, aborted: str | None = None) -> None:
        signal_id = self._core.shutdown(
            tag=tag, timeout=timeout, aborted=aborted, now=time.monotonic(), sent=time.time()
        )
        if aborted is not None:
            self._waiters.fail(self._abort_run(aborted))
        waiter = self._waiters.add(signal_id)
        self._tell_waiters()
        until = self._until(timeout)
        try:
            await self._send(until)
            await self._wait(waiter, SignalSent, until)
        finally:
            self._forget(signal_id)
            await self._stop_listening()

    async def _start_listening(self, until: float) -> None:
        if self.init_listener is not None and self.init_listener.is_alive():
            return
        await self._stop_listening()
        self.init_listener = Listener(
            self._transport,
            self._link.perform,
            self._core,
            self._outage,
            received=self._received,
            responses_lost=self._responses_lost,
            log=self._log,
        )
        try:
            await self.init_listener.start(until)
        except BaseException:
            await self._stop_listening()
            raise

    async def _stop_listening(self) -> None:
        if self.init_listener is not None:
            await self.init_listener.stop()

    async def _give_up(self) -> None:
        """End before it has begun. What was to be resumed still can be."""
        self._closed = True
        await self._stop_listening()
        if self._aborted is not None:
            await self._tell_at_last(time.monotonic() + CLOSE_TIMEOUT)
        await self._link.stop()
        lives_on = self._resumes and self._core.state is ExporterState.INITIALIZED
        await self._release(keeps_record=self._aborted is None, lives_on=lives_on)
        await self._transport.close()

    async def _release(self, *, keeps_record: bool = False, lives_on: bool = False) -> None:
        """Give the name up, if it is ours and the server reacts. Once."""
        # Again, if that was cancelled the last time.
        request = self._core.release(keeps_record=keeps_record, lives_on=lives_on) or self._unreleased
        self._unreleased = request
        if request is None:
            return
        if not self._link.is_up:
            if lives_on:
                self.logger.warning("left without a word: %s", self._link.error)
            return
        try:
            try:
                await perform(self._transport, self._commands, request, CLOSE_TIMEOUT)
            except TransportError:
                if not lives_on:
                    raise
                # Until it is said that the run goes on, responders do not find it.
                await self._transport.connect(CLOSE_TIMEOUT)
                await perform(self._transport, self._commands, request, CLOSE_TIMEOUT)
        except (TransportError, Closed, RequestRefused) as error:
            self.logger.warning("what is on the server stays until it expires: %s", error)
        self._unreleased = None

    async def _send(self, until: float) -> None:
        """Have sent what the core has to say, and see to what follows from it."""
        self._link.begin()
        await self._link.pump(until, is_urgent=True)
        self._tell_waiters()
        self._wake_if_due()

    def _received(self, arrived: Sequence[bytes], position: bytes | None) -> None:
        now = time.monotonic()
        self._core.messages_received(arrived, now)
        if position is not None:
            self._core.responses_read(position)
        self._tell_waiters()
        self._wake_if_due()

    def _responses_lost(self) -> None:
        self._core.responses_lost()
        self._link.wake()

    def _wake_if_due(self) -> None:
        due = self._core.next_upkeep()
        if due <= time.monotonic():
            self._link.wake()

    def _tell_waiters(self) -> None:
        """Pass the news on to whoever waits."""
        if not self._core.has_events:
            return
        events: list[Event] = []
        endings: list[End] = []
        while (event := self._core.next_event()) is not None:
            events.append(event)
            self._waiters.tell(event)
            ending = self._ends_calls(event)
            if ending is not None:
                endings.append(ending)
                self._waiters.fail(ending)
        for event in events:
            self._log(event)
        for ending in endings:
            if isinstance(ending, RunAborted):
                # Our own task tells the responders: whoever waited has no time for that.
                self._link.wake()
                self._tell_of_abort(ending.reason)

    async def _wait(self, waiter: Waiter[News], kind: type[_Completed], until: float) -> _Completed:
        not_before = -math.inf
        while True:
            deadline = min(max(self._core.next_deadline() or math.inf, not_before), until)
            news = await waiter.news.get(None if deadline == math.inf else deadline - time.monotonic())
            if news is None:
                await self._time_is_up(waiter, until)
                # Without a connection, what is due stays so.
                not_before = time.monotonic() + DUE_AGAIN
                continue
            self._raise_for(news, self._link.error)
            if isinstance(news, OutcomeKnown) and waiter.on_outcome is not None:
                returned = waiter.on_outcome(news.responder_id, news.report)
                if inspect.isawaitable(returned):
                    await returned
            elif isinstance(news, kind):
                return news

    async def _time_is_up(self, waiter: Waiter[News], until: float) -> None:
        now = time.monotonic()
        self._core.handle_timeout(now, time.time())
        self._tell_waiters()
        if now >= until + OVERTIME and waiter.news.empty():
            raise self._unreachable("it did not work out in time", self._link.error)
        # What is due while somebody waits: looks at who is alive, periodic announcements.
        await self._link.pump(until)

    def _forget(self, signal_id: str) -> None:
        self._waiters.remove(signal_id)
        self._core.abandon(signal_id)
