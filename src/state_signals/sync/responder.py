"""The responder for threads."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from state_signals.arguments import limits_for
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
from state_signals.sync.link import Link, perform
from state_signals.sync.sigterm import called_on_sigterm
from state_signals.sync.workers import Guard
from state_signals.transport.base import Inbox, Transport
from state_signals.transport.commands import RequestRefused
from state_signals.transport.connect import transport

if TYPE_CHECKING:
    import redis

__all__ = ["SignalResponder"]


class SignalResponder(ResponderEndpoint):
    """Receives signals, acts on them and answers.

    Connects and subscribes when it is made: no signal that is published after that is missed, also when connections
    drop or the server restarts. From its first answer on it shows in the background that it lives, while your code
    acts. Answers may be sent from any thread; signals are read by one at a time. Use it as a context manager, or call
    `close()`.

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
        TransportError: (also a `redis.ConnectionError`) if the server cannot be used.
    """

    _transport: Transport

    def __init__(
        self,
        existing_redis_conn: redis.Redis | None = None,
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
        self._transport = transport(
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
            can_await=False,
        )
        self.conn_type = "new" if existing_redis_conn is None else "existing"
        # Guards the core.
        self._lock = Guard()
        # Held by whoever is in `receive()`. Reentrant, because a signal handler may close what it interrupts.
        self._reading = threading.RLock()
        self._reader: int | None = None
        self._link = Link(
            f"state-signals-{self.responder_id}",
            self._transport,
            self._commands,
            self._core,
            self._lock,
            self._outage,
            self._call_reader,
        )
        self._stops: queue.SimpleQueue[None] = queue.SimpleQueue()
        # Whether there is nothing left to say: until then the connections are needed.
        self._has_left = False
        # Reentrant, because a signal handler may close what is being closed.
        self._closing = threading.RLock()
        self._is_ending = False
        self._inbox: Inbox | None = None
        try:
            self._connect()
        except BaseException:
            self._link.stop()
            self._transport.close()
            raise

    @property
    def redis(self) -> Any:
        """The client of redis-py; None with `memory://`."""
        return self._transport.client

    def listen(self) -> Iterator[Signal]:
        """Yield each signal that passes the locks, the reserved ones included; end upon `close()`.

        Each comes once and in its exporter's order. Lost connections are made again, and what was missed is read from
        the journal. Whatever else arrives is counted (`counters`), logged and dropped.
        """
        self._check_usable()
        while not self._stopping:
            with self._lock:
                event = self._core.next_event()
            if isinstance(event, SignalReceived):
                yield event.signal
            elif event is not None:
                self._log(event)
            elif not self._query():
                self._receive()
        self._release()

    def respond(self, publisher_id: str, event: str, ras: int | None = None, message: str | None = None) -> None:
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
        self._check_usable()
        with self._lock:
            self._core.respond(publisher_id, event, ras, message, now=time.monotonic(), sent=time.time())
        self._send()

    def srespond(self, signal: Signal, ras: int | None = None, message: str | None = None) -> None:
        """Answer a signal. Arguments and errors as for `respond`."""
        self._check_usable()
        with self._lock:
            self._core.respond_to(signal, ras, message, now=time.monotonic(), sent=time.time())
        self._send()

    def working(self, signal: Signal, message: str | None = None) -> None:
        """Tell the exporter that a signal is still being worked on: that keeps its `stall_timeout` from running out.

        Args:
            signal: the signal.
            message: what is being done.

        Raises:
            InvalidType, InvalidArgument, ServerRefused: as `respond`.
        """
        self._check_usable()
        with self._lock:
            self._core.respond_to(signal, None, message, state="working", now=time.monotonic(), sent=time.time())
        self._send()

    def run(self) -> None:
        """Subscribe, act on each signal by the functions of `on()`, and answer.

        Returns when the last exporter whose signals were acted on has shut down, upon `close()`, and upon SIGTERM if
        it runs in the main thread.
        """
        with called_on_sigterm(self._stop):
            for signal in self.listen():
                self._act(signal)
                if self._handlers.is_finished(signal):
                    return

    def close(self) -> None:
        """Tell the exporters, end `listen()` and `run()`, and leave no connection behind.

        Idempotent, also from a signal handler.
        """
        self._closed = True
        if self._is_foreign_process():
            return
        self._stop()
        # Not for ever: a signal handler may have interrupted what another thread needs to get done with it.
        is_alone = self._closing.acquire(timeout=2 * CLOSE_TIMEOUT)
        try:
            is_first, self._is_ending = not self._is_ending, True
            if is_first:
                try:
                    self._leave()
                finally:
                    self._has_left = True
            if self._reader != threading.get_ident():
                self._release()
            # Else a signal handler has interrupted our own receive(): listen() releases when that returns.
        finally:
            if is_alone:
                self._closing.release()

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
                self._read_clock()
                self._inbox = self._subscribe()
            except ServerUnreachable as error:
                self._connection_failed(error)
                time.sleep(RETRY_INTERVAL)
            else:
                break
        # Who is there now was there before us, and who comes from now on was not.
        while self._query(only_the_first=True):
            pass

    def _read_clock(self) -> None:
        # Where that is not allowed, it is known a little less well who was there first.
        with suppress(RequestRefused):
            found = perform(self._transport, self._commands, Discover(0.0))
            with self._lock:
                self._core.clock_read(found.server_time)

    def _subscribe(self) -> Inbox:
        self._is_renamed = False
        try:
            inbox = self._transport.subscribe(self._channels)
        except ServerRefused as error:
            if len(self._channels) == 1:
                raise
            inbox = self._transport.subscribe(self._channels[:1])
            del self._channels[1:]
            self._log(Degraded(NO_REDELIVERY, str(error)))
        with self._lock:
            self._core.subscribed(time.monotonic())
        return inbox

    def _query(self, *, only_the_first: bool = False) -> bool:
        """Ask the server for what may have been missed. Return whether there was something to ask."""
        if not self._link.is_up:
            return False
        with self._lock:
            request = self._core.next_query(time.monotonic())
        if request is None and self._inbox is not None:
            # Not before: only who asks what was missed sees whether the connection for commands is lost, too.
            self._outage.restored("signals")
        if request is None or (only_the_first and isinstance(request, CatchUp)):
            return False
        try:
            return self._link.ask(request)
        except Closed:
            # Somebody has closed it in between: then listen() just ends.
            if not self._stopping:
                raise
            return False

    def _receive(self) -> None:
        with self._reading:
            # Before the look: a signal handler that comes in between leaves the closing to us.
            self._reader = threading.get_ident()
            try:
                if self._stopping:
                    return
                if self._is_renamed:
                    self._disconnect()
                if self._inbox is None:
                    self._inbox = self._subscribe_again()
                arrived: Sequence[bytes] = () if self._inbox is None else self._inbox.receive(self._patience())
            except ServerUnreachable as error:
                if not self._stopping:
                    self._outage.lost("signals", error)
                self._disconnect()
                return
            finally:
                self._reader = None
        now = time.monotonic()
        with self._lock:
            for data in arrived:
                self._core.message_received(data, now)
            due = self._core.next_upkeep()
        # An exporter may ask again for an answer that it has not got, and nobody else would send that soon.
        self._link.expect(due)

    def _patience(self) -> float | None:
        """Return the seconds until there is something to ask the server for; None: for ever."""
        with self._lock:
            due, upkeep = self._core.next_deadline(), self._core.next_upkeep()
        # Whoever only listens is looked after by then.
        self._link.expect(upkeep)
        if due == math.inf:
            return None
        # Without a connection, what is due stays so.
        return max(0.0 if self._link.is_up else DUE_AGAIN, due - time.monotonic())

    def _call_reader(self) -> None:
        """Have whoever waits for signals ask for what was missed, if a look has shown that there is something."""
        with self._lock:
            is_due = self._core.next_deadline() <= time.monotonic()
        inbox = self._inbox
        if is_due and inbox is not None and self._reader not in (None, threading.get_ident()):
            inbox.wake()

    def _subscribe_again(self) -> Inbox | None:
        backoff = Backoff()
        while not self._stopping:
            try:
                inbox = self._subscribe()
            except Closed:
                return None
            except TransportError as error:
                self._outage.lost("signals", error)
                with suppress(queue.Empty):
                    self._stops.get(timeout=backoff.next())
            else:
                return inbox
        return None

    def _disconnect(self) -> None:
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            inbox.close()

    def _act(self, signal: Signal) -> None:
        handler = self._handlers.find(signal)
        try:
            answer = self._handlers.success(handler(signal) if handler else None)
        except Exception as error:
            self.logger.warning("acting on %r of %r failed", signal.event, signal.publisher_id, exc_info=error)
            answer = self._handlers.failure(error)
        if signal.event == SHUTDOWN or self._closed:
            return
        try:
            self._answer(signal, *answer)
        except Closed:
            # Somebody has closed it in between: then run() just ends.
            if not self._closed:
                raise
        except ServerRefused as error:
            # The next answer may get through: a server that is full does not stay so.
            self.logger.warning("the answer to %r of %r is lost: %s", signal.event, signal.publisher_id, error)

    def _answer(self, signal: Signal, ras: int, message: str | None) -> None:
        try:
            self.srespond(signal, ras, message)
        except ValueError as error:
            # The message cannot be sent (too long, say): the answer still can.
            self.srespond(signal, ras, f"(the message was dropped: {error})"[:1000])

    def _send(self) -> None:
        """Send the answers; in the background if there is no connection. What the server refuses is raised."""
        self._link.begin()
        self._link.pump(is_urgent=True)
        with self._lock:
            refusals, due = self._core.refusals(), self._core.next_upkeep()
        self._link.expect(due)
        if refusals:
            raise self._refused("answer a signal", refusals[0])

    def _leave(self) -> None:
        """Say good-bye, if the server reacts."""
        with self._lock:
            self._core.leave(now=time.monotonic(), sent=time.time())
        self._link.pump_at_last(time.monotonic() + CLOSE_TIMEOUT)
        with self._lock:
            is_said = self._core.next_upkeep() > -math.inf
        if not self._link.is_up or not is_said:
            # Its thread may be waiting for the server: nothing is said to that any more.
            self._transport.close()
        # What it waits for may be the others' affair, too.
        self._link.stop(timeout=CLOSE_TIMEOUT)

    def _stop(self) -> None:
        self._stopping = True
        self._stops.put(None)
        inbox = self._inbox
        if inbox is not None:
            inbox.wake()

    def _release(self) -> None:
        if self._has_left:
            # Before the wait for whoever reads, for that may be waiting for the server.
            self._transport.close()
        # Not for ever: that server may hang, and connections that others use are not cut. Then listen() does the rest.
        if self._reading.acquire(timeout=CLOSE_TIMEOUT):
            try:
                if self._has_left:
                    self._disconnect()
                    self._transport.close()
            finally:
                self._reading.release()
