"""What an exporter for threads does at its server, below what its users call."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from state_signals.arguments import limits_for
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
from state_signals.sync.link import Link, perform
from state_signals.sync.listener import Listener
from state_signals.sync.turns import News, Reading, Turns
from state_signals.sync.workers import Guard
from state_signals.transport.base import Transport
from state_signals.transport.commands import RequestRefused
from state_signals.transport.connect import transport
from state_signals.waiters import CLAIM, READ, End, Waiter, Waiters

if TYPE_CHECKING:
    import redis

__all__ = ["Session"]

_LONGEST_WAIT = 86_400.0
"""Seconds that are waited in one go: the platform's clock takes no more than some centuries."""

_LONGEST_GATHERING = 0.0002
"""Seconds for which answers may gather, at the most: somebody may have begun another round meanwhile."""

_SLEEP_TAKES = 0.00005
"""Seconds that a sleep takes longer than it is told to."""

_Completed = TypeVar("_Completed", RoundCompleted, SubscriptionCompleted, SignalSent, ClaimHeld, CaughtUp)


class Session(ExporterEndpoint):
    """The state and the steps of an exporter: base of the class that users see."""

    _transport: Transport

    def _set_up(
        self,
        process_name: str,
        existing_redis_conn: redis.Redis | None,
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
        self._transport = transport(existing_redis_conn, url=url, host=redis_host, port=redis_port, namespace=namespace)
        super().__init__(process_name, runner_host, conn_timeout, log_level, limits=limits_for(max_payload), **options)
        self.conn_type = "new" if existing_redis_conn is None else "existing"
        self.init_listener: Listener | None = None
        # Guards the core.
        self._lock = Guard()
        self._waiters: Waiters[News] = Waiters(News)
        self._subscribing = threading.Lock()
        # Reentrant, because a signal handler may close what is being closed.
        self._closing = threading.RLock()
        self._is_ending = False
        self._link = Link(
            f"state-signals-{self.pub_id}",
            self._transport,
            self._commands,
            self._core,
            self._lock,
            self._outage,
            self._tell_waiters,
        )
        try:
            self._connect()
        except BaseException:
            self._give_up()
            raise

    def _end(self, *, lives_on: bool = False) -> None:
        is_first, self._is_ending = not self._is_ending, True
        try:
            if lives_on:
                # What was heard is to be saved, and nothing more heard after that.
                self._stop_listening()
            if lives_on or self._aborted is not None:
                self._tell_at_last(time.monotonic() + CLOSE_TIMEOUT, lives_on=lives_on)
            elif is_first and self._superseded is None and self._core.state is ExporterState.INITIALIZED:
                # With its tag, so that responders that are locked to that hear of it.
                self._shutdown(self._core.tag, CLOSE_TIMEOUT)
        except (TransportError, Closed, PublisherIdInUse, RunAborted) as error:
            self.logger.warning("closed without telling the responders: %s", error)
            # Nor is it told anything else.
            self._link.is_up = False
        finally:
            if self._link.is_up and not self._link.stop(timeout=CLOSE_TIMEOUT):
                # What is under way there takes too long.
                self._link.is_up = False
            if not self._link.is_up:
                # Our threads may be waiting for the server: nothing is said to that any more.
                self._transport.close()
            self._stop_listening()
            self._link.stop()
            # Unless somebody has aborted it at the last moment.
            lives_on = lives_on and self._aborted is None
            self._release(keeps_record=lives_on, lives_on=lives_on)
            with self._lock:
                self._core.close(time.monotonic())
            self._tell_waiters()
            with self._lock:
                self._waiters.fail(Closed("it was closed in the meantime; make a new one"))
            self._transport.close()

    def _tell_at_last(self, until: float, *, lives_on: bool = False) -> None:
        """Have everything sent that is on its way; our own thread may have to connect for that."""
        self._link.pump(until)
        while not self._link.is_up and (lives_on or self._core.has_to_tell) and time.monotonic() < until:
            time.sleep(DUE_AGAIN)
            self._link.pump(until)

    def _connect(self) -> None:
        while True:
            try:
                self._transport.connect()
            except ServerUnreachable as error:
                self._connection_failed(error)
                time.sleep(RETRY_INTERVAL)
            else:
                break
        if self._has_fixed_id and self._core.can_be_claimed:
            self._claim()

    def _claim(self) -> None:
        with self._lock:
            waiter = self._waiters.add(CLAIM)
            self._core.claim()
        until = time.monotonic() + self._patience_to_claim()
        self._send(until)
        try:
            held = self._wait(waiter, ClaimHeld, until)
        finally:
            with self._lock:
                self._waiters.remove(CLAIM)
        if not self._resumes:
            return
        if not held.found:
            self._release()
            raise self._unknown()
        if self._core.state is ExporterState.INITIALIZED:
            self._start_listening(until)
            self._catch_up(until)
            # It may have been heard before anybody waited for it.
            self._check_usable()

    def _catch_up(self, until: float) -> None:
        """Read what responders have said before: who has subscribed meanwhile is on the roster, who has left is not."""
        with self._lock:
            waiter = self._waiters.add(READ)
            is_behind = self._core.is_behind
        try:
            if is_behind:
                self._wait(waiter, CaughtUp, until)
        finally:
            with self._lock:
                self._waiters.remove(READ)

    def _initialize(
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
        with self._held(self._link.sending, until):
            before = self._core.state
            with self._lock:
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
                self._start_listening(until)
            except BaseException:
                self._take_back(before, announcement)
                raise
        try:
            self._send(until)
            self._wait(waiter, SignalSent, until)
        except BaseException:
            self._take_back(before, announcement)
            raise
        finally:
            self._forget(announcement)

    @contextmanager
    def _held(self, lock: threading.Lock | Guard, until: float) -> Generator[None]:
        """Hold a lock, which whoever waits for the server may have; raise if that is not possible until then."""
        left = until - time.monotonic()
        if not lock.acquire(timeout=-1.0 if left == math.inf else min(max(0.0, left), _LONGEST_WAIT)):
            raise self._unreachable("it did not work out in time", self._link.error)
        try:
            yield
        finally:
            lock.release()

    def _take_back(self, before: ExporterState, announcement: str) -> None:
        with self._lock:
            self._core.initialization_failed(before, announcement)
            self._waiters.remove(announcement)

    def _shutdown(self, tag: str | None, timeout: float | None, aborted: str | None = None) -> None:
        with self._lock:
            signal_id = self._core.shutdown(
                tag=tag, timeout=timeout, aborted=aborted, now=time.monotonic(), sent=time.time()
            )
            if aborted is not None:
                self._waiters.fail(self._abort_run(aborted))
            waiter = self._waiters.add(signal_id)
        self._tell_waiters()
        until = self._until(timeout)
        try:
            self._send(until)
            self._wait(waiter, SignalSent, until)
        except BaseException:
            self._stop_listening(waits=False)
            raise
        else:
            self._stop_listening()
        finally:
            self._forget(signal_id)

    def _start_listening(self, until: float) -> None:
        if self.init_listener is not None and self.init_listener.is_alive():
            return
        self._stop_listening(waits=False)
        self.init_listener = Listener(
            self._transport,
            self._link.perform,
            self._core,
            self._lock,
            self._outage,
            received=self._received,
            responses_lost=self._responses_lost,
            log=self._log,
        )
        try:
            self.init_listener.start(until)
        except BaseException:
            # An attempt to connect takes longer than callers have time.
            self._stop_listening(waits=False)
            raise

    def _stop_listening(self, *, waits: bool = True) -> None:
        if self.init_listener is not None:
            self.init_listener.stop(waits=waits)

    def _give_up(self) -> None:
        """End before it has begun. What was to be resumed still can be."""
        self._stop_listening()
        if self._aborted is not None:
            self._tell_at_last(time.monotonic() + CLOSE_TIMEOUT)
        self._link.stop()
        lives_on = self._resumes and self._core.state is ExporterState.INITIALIZED
        self._release(keeps_record=self._aborted is None, lives_on=lives_on)
        self._transport.close()

    def _release(self, *, keeps_record: bool = False, lives_on: bool = False) -> None:
        """Give the name up, if it is ours and the server reacts. Once."""
        with self._lock:
            request = self._core.release(keeps_record=keeps_record, lives_on=lives_on)
        if request is None:
            return
        if not self._link.is_up:
            if lives_on:
                self.logger.warning("left without a word: %s", self._link.error)
            return
        try:
            try:
                perform(self._transport, self._commands, request, CLOSE_TIMEOUT)
            except TransportError:
                if not lives_on:
                    raise
                # Until it is said that the run goes on, responders do not find it.
                self._transport.connect(CLOSE_TIMEOUT)
                perform(self._transport, self._commands, request, CLOSE_TIMEOUT)
        except (TransportError, Closed, RequestRefused) as error:
            self.logger.warning("what is on the server stays until it expires: %s", error)

    def _send(self, until: float) -> None:
        """Have sent what the core has to say, and see to what follows from it."""
        self._link.begin()
        self._link.pump(until, is_urgent=True)
        self._tell_waiters()
        self._wake_if_due()

    def _received(self, arrived: Sequence[bytes], position: bytes | None) -> None:
        now = time.monotonic()
        with self._lock:
            self._core.messages_received(arrived, now)
            if position is not None:
                self._core.responses_read(position)
            due, gathering = self._core.next_upkeep(), self._core.gathering(now)
        self._tell_waiters()
        if due <= now:
            self._link.wake()
        if gathering > _SLEEP_TAKES:
            # Else the server hands out the next one alone, and asking for the others takes as long as reading many.
            time.sleep(min(gathering, _LONGEST_GATHERING) - _SLEEP_TAKES)

    def _responses_lost(self) -> None:
        with self._lock:
            self._core.responses_lost()
        self._link.wake()

    def _wake_if_due(self) -> None:
        with self._lock:
            due = self._core.next_upkeep()
        if due <= time.monotonic():
            self._link.wake()

    def _tell_waiters(self) -> None:
        """Pass the news on to whoever waits."""
        if not self._core.has_events:
            return
        events: list[Event] = []
        endings: list[End] = []
        with self._lock:
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
                # Our own thread tells the responders: whoever waited has no time for that.
                self._link.wake()
                self._tell_of_abort(ending.reason)

    def _wait(self, waiter: Waiter[News], kind: type[_Completed], until: float) -> _Completed:
        not_before = -math.inf
        reading = Reading(waiter.news, self._turns if kind is RoundCompleted else _nobody)
        try:
            while True:
                with self._lock:
                    deadline = min(max(self._core.next_deadline() or math.inf, not_before), until)
                news = reading.next(min(max(0.0, deadline - time.monotonic()), _LONGEST_WAIT))
                if news is None:
                    self._time_is_up(waiter, until)
                    # Without a connection, what is due stays so.
                    not_before = time.monotonic() + DUE_AGAIN
                    continue
                self._raise_for(news, self._link.error)
                if isinstance(news, OutcomeKnown) and waiter.on_outcome is not None:
                    # It may take its time: somebody else reads meanwhile.
                    reading.end(is_urgent=len(self._waiters) > 1)
                    waiter.on_outcome(news.responder_id, news.report)
                elif isinstance(news, kind):
                    return news
        finally:
            reading.end(is_urgent=len(self._waiters) > 1)

    def _turns(self) -> Turns[Any] | None:
        listener = self.init_listener
        return None if listener is None else listener.turns()

    def _time_is_up(self, waiter: Waiter[News], until: float) -> None:
        now = time.monotonic()
        with self._lock:
            self._core.handle_timeout(now, time.time())
        self._tell_waiters()
        if now >= until + OVERTIME and waiter.news.empty():
            raise self._unreachable("it did not work out in time", self._link.error)
        # What is due while somebody waits: looks at who is alive, periodic announcements.
        self._link.pump(until)

    def _forget(self, signal_id: str) -> None:
        with self._lock:
            self._waiters.remove(signal_id)
            self._core.abandon(signal_id)


def _nobody() -> None:
    """Who waits for nothing that is read there leaves that to others."""
