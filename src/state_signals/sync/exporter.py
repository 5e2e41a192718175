"""The exporter for threads."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from state_signals.arguments import check_callback, limits_for
from state_signals.endpoint import DEFAULT_RETENTION, RETRY_INTERVAL, ExporterEndpoint
from state_signals.exceptions import Closed, RoundFailed, ServerUnreachable, TransportError
from state_signals.protocol.events import Event, OutcomeKnown, RoundCompleted, SubscriptionCompleted
from state_signals.protocol.states import ExporterState
from state_signals.results import PublishResult, Report
from state_signals.sync.listener import Listener
from state_signals.transport.base import Transport
from state_signals.transport.connect import transport
from state_signals.waiters import SUBSCRIPTION, Waiter, Waiters

if TYPE_CHECKING:
    import redis

__all__ = ["SignalExporter"]

_LONGEST_WAIT = 86_400.0
"""Seconds that are waited in one go."""

_Completed = TypeVar("_Completed", RoundCompleted, SubscriptionCompleted)


_News = queue.SimpleQueue[Event | TransportError | Closed]


class SignalExporter(ExporterEndpoint):
    """Publishes signals, and knows by name who has acted on them.

    Connects when it is made. Safe to use from several threads. Use it as a context manager, or call `close()`.

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
        TransportError: (also a `redis.ConnectionError`) if the server cannot be used.
    """

    _transport: Transport

    def __init__(
        self,
        process_name: str,
        existing_redis_conn: redis.Redis | None = None,
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
        self._transport = transport(
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
        # Guards the core. Whoever sends holds `_sending` around it, so that `seq` is the order on the wire. Reentrant,
        # because a signal handler may close what it interrupts.
        self._lock = threading.RLock()
        self._sending = threading.RLock()
        self._waiters: Waiters[_News] = Waiters(_News)
        self._subscribing = threading.Lock()
        self._listening_error: TransportError | None = None
        try:
            self._connect()
        except BaseException:
            self._transport.close()
            raise

    @property
    def redis(self) -> Any:
        """The client of redis-py; None with `memory://`."""
        return self._transport.client

    def initialize(
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
        self._initialize(legal_events, tag, expected_resps)

    def initialize_and_wait(
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
        self._check_usable()
        with self._subscribing:
            with self._lock:
                waiter = self._waiters.add(SUBSCRIPTION)
            try:
                self._initialize(
                    legal_events, tag, expected_resps, await_count=await_sub_count, timeout=timeout, periodic=periodic
                )
                return 0 if self._wait(waiter, SubscriptionCompleted).enough else 1
            finally:
                with self._lock:
                    self._waiters.remove(SUBSCRIPTION)
                    self._core.abandon_subscription()

    def publish_signal(
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
            on_outcome: called in this thread with responder_id and report, as each outcome becomes known.
            wait: False: return at once.

        Returns:
            The version 1 tuple `(code, messages)`, and the outcome of each roster member by name.

        Raises:
            IllegalEvent, InvalidType, InvalidArgument: (`ValueError` or `TypeError`) nothing was sent.
            TransportError: if the server cannot be used.
            Closed: after `close()`, or in another process.
        """
        self._check_usable()
        check_callback("on_outcome", on_outcome)
        self._warn_if_not_initialized()
        with self._sending:
            with self._lock:
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
                # A signal handler may have closed it before there was somebody to tell.
                self._check_usable()
                self._send()
            except BaseException:
                self._forget(signal_id)
                raise
        try:
            return self._wait(waiter, RoundCompleted).result
        finally:
            self._forget(signal_id)

    def shutdown(self, tag: str | None = None) -> None:
        """Close the roster and tell the responders. Nobody is waited for; rounds that other threads wait in end.

        Args:
            tag: tag of the announcement.

        Raises:
            InvalidType, InvalidArgument: for a tag that cannot be sent.
            TransportError: if the server cannot be used.
        """
        self._check_usable()
        with self._sending:
            with self._lock:
                self._core.shutdown(tag=tag, now=time.monotonic(), sent=time.time())
            self._tell_waiters()
            try:
                self._send()
            finally:
                self._stop_listening()

    @contextmanager
    def phase(
        self,
        name: str,
        *,
        sample: int = -1,
        tag: str | None = None,
        metadata: dict[str, Any] | None = None,
        timeout: float | timedelta | None = 20,
        check: bool = True,
    ) -> Generator[PublishResult]:
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

        def publish(edge: str, *, wait: bool = True) -> PublishResult:
            return self.publish_signal(f"{name}-{edge}", sample, tag, metadata, timeout, wait=wait)

        self._core.check_event(f"{name}-stop")
        try:
            started = publish("start")
            if check and not started.ok:
                raise RoundFailed(f"{name}-start was no success: {started}", started)
            yield started
        except BaseException as error:
            # Whoever has started is to stop. What went wrong is not to be covered by what goes wrong now, and whoever
            # interrupts does not want to wait.
            with suppress(TransportError):
                publish("stop", wait=isinstance(error, Exception))
            raise
        stopped = publish("stop")
        if check and not stopped.ok:
            raise RoundFailed(f"{name}-stop was no success: {stopped}", stopped)

    def close(self) -> None:
        """Shut down if that was not done, and leave no thread, connection or key behind. Idempotent."""
        if self._is_foreign_process():
            self._closed = True
            return
        try:
            if not self._closed and self._core.state is ExporterState.INITIALIZED:
                # With its tag, so that responders that are locked to that hear of it.
                self.shutdown(self._core.tag)
        except (TransportError, Closed) as error:
            self.logger.warning("closed without telling the responders: %s", error)
        finally:
            self._closed = True
            self._stop_listening()
            with self._lock:
                self._core.close(time.monotonic())
            self._tell_waiters()
            with self._lock:
                self._waiters.fail(Closed("it was closed in the meantime; make a new one"))
            self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _connect(self) -> None:
        while True:
            try:
                self._transport.connect()
            except ServerUnreachable as error:
                self._connection_failed(error)
                time.sleep(RETRY_INTERVAL)
            else:
                return

    def _initialize(
        self,
        legal_events: list[str],
        tag: str | None,
        expected_resps: list[str] | None,
        **waiting: Any,
    ) -> None:
        self._check_usable()
        with self._sending:
            before = self._core.state
            with self._lock:
                self._core.initialize(
                    legal_events,
                    tag=tag,
                    expected=() if expected_resps is None else expected_resps,
                    now=time.monotonic(),
                    sent=time.time(),
                    **waiting,
                )
            try:
                self._start_listening()
                self._send()
            except BaseException:
                with self._lock:
                    self._core.initialization_failed(before)
                raise

    def _start_listening(self) -> None:
        if self.init_listener is not None and self.init_listener.is_alive():
            return
        self._stop_listening()
        self._listening_error = None
        self.init_listener = Listener(
            self._transport, self.pub_id, deliver=self._received, failed=self._listening_failed
        )

    def _stop_listening(self) -> None:
        if self.init_listener is None:
            return
        try:
            self.init_listener.stop()
        except (TransportError, Closed) as error:
            self.logger.warning("a key is left until it expires: %s", error)

    def _send(self) -> None:
        """Send what the core has to say. The caller holds `_sending`."""
        with self._lock:
            outbox = self._core.messages_to_send()
        for signal in outbox:
            self._transport.broadcast(self.pub_id, signal)
        self._tell_waiters()

    def _received(self, arrived: Sequence[bytes]) -> None:
        now = time.monotonic()
        # A signal handler that closes us joins this thread, and may have interrupted whoever holds the lock.
        while not self._lock.acquire(timeout=0.1):
            if self.init_listener is not None and self.init_listener.is_stopping:
                return
        try:
            for data in arrived:
                self._core.message_received(data, now)
            events = self._take_events()
        finally:
            self._lock.release()
        for event in events:
            self._log(event)

    def _listening_failed(self, error: TransportError) -> None:
        self.logger.error("responses are no longer received: %s", error)
        with self._lock:
            self._listening_error = error
            self._waiters.fail(error)

    def _tell_waiters(self) -> None:
        with self._lock:
            events = self._take_events()
        for event in events:
            self._log(event)

    def _take_events(self) -> list[Event]:
        """Pass the news on to whoever waits, and return it. The caller holds the lock."""
        events: list[Event] = []
        while (event := self._core.next_event()) is not None:
            events.append(event)
            self._waiters.tell(event)
        return events

    def _wait(self, waiter: Waiter[_News], kind: type[_Completed]) -> _Completed:
        while True:
            with self._lock:
                deadline = self._core.next_deadline()
            try:
                # What is beyond a day is waited for in turns: the platform's clock takes no more than some centuries.
                news = waiter.news.get(timeout=None if deadline is None else _until(deadline))
            except queue.Empty:
                with self._lock:
                    self._core.handle_timeout(time.monotonic(), time.time())
                self._tell_waiters()
                if kind is SubscriptionCompleted:
                    # Nothing else is announced again. A round must not wait here for another one's sending.
                    with self._sending:
                        self._send()
                continue
            if isinstance(news, TransportError | Closed):
                raise news
            if isinstance(news, OutcomeKnown) and waiter.on_outcome is not None:
                waiter.on_outcome(news.responder_id, news.report)
            elif isinstance(news, kind):
                return news

    def _forget(self, signal_id: str) -> None:
        with self._lock:
            self._waiters.remove(signal_id)
            self._core.abandon(signal_id)


def _until(deadline: float) -> float:
    return min(max(0.0, deadline - time.monotonic()), _LONGEST_WAIT)
