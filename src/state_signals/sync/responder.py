"""The responder for threads."""

from __future__ import annotations

import signal as process_signals
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from state_signals.arguments import limits_for
from state_signals.endpoint import DEFAULT_RETENTION, RETRY_INTERVAL, ResponderEndpoint
from state_signals.exceptions import Closed, ServerUnreachable
from state_signals.messages import SHUTDOWN, Signal
from state_signals.protocol.events import SignalReceived
from state_signals.transport.base import Inbox
from state_signals.transport.connect import transport

if TYPE_CHECKING:
    import redis

__all__ = ["SignalResponder"]


class SignalResponder(ResponderEndpoint):
    """Receives signals, acts on them and answers.

    Connects and subscribes when it is made: no signal that is published after that is missed. Answers may be sent
    from any thread; signals are read by one at a time. Use it as a context manager, or call `close()`.

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
        TransportError: (also a `redis.ConnectionError`) if the server cannot be used.
    """

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
        max_payload: int | None = None,
    ) -> None:
        self._transport = transport(
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
            can_await=False,
        )
        self.conn_type = "new" if existing_redis_conn is None else "existing"
        self._lock = threading.RLock()
        # Held by whoever is in `receive()`. Reentrant, because a signal handler may close what it interrupts.
        self._reading = threading.RLock()
        self._reader: int | None = None
        try:
            self._inbox = self._connect()
        except BaseException:
            self._transport.close()
            raise
        self._inbox_is_open = True

    @property
    def redis(self) -> Any:
        """The client of redis-py; None with `memory://`."""
        return self._transport.client

    def listen(self) -> Iterator[Signal]:
        """Yield each signal that passes the locks, the reserved ones included; end upon `close()`.

        Whatever else arrives is counted (`counters`), logged and dropped.

        Raises:
            TransportError: if the connection is lost.
        """
        self._check_usable()
        while not self._stopping:
            with self._lock:
                event = self._core.next_event()
            if isinstance(event, SignalReceived):
                yield event.signal
            elif event is not None:
                self._log(event)
            else:
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
            TransportError: if the server cannot be used.
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

    def run(self) -> None:
        """Subscribe, act on each signal by the functions of `on()`, and answer.

        Returns when the last exporter whose signals were acted on has shut down, upon `close()`, and upon SIGTERM if
        it runs in the main thread.

        Raises:
            TransportError: if the connection is lost.
        """
        with self._ended_by_sigterm():
            for signal in self.listen():
                self._act(signal)
                if self._handlers.is_finished(signal):
                    return

    def close(self) -> None:
        """End `listen()` and `run()`, and leave no connection behind. Idempotent, also from a signal handler."""
        self._closed = True
        if self._is_foreign_process():
            return
        self._stop()
        if self._reader != threading.get_ident():
            self._release()
        # Else a signal handler has interrupted our own receive(): listen() releases when that returns.

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _connect(self) -> Inbox:
        while True:
            try:
                self._transport.connect()
                return self._transport.listen_for_signals()
            except ServerUnreachable as error:
                self._connection_failed(error)
                time.sleep(RETRY_INTERVAL)

    def _receive(self) -> None:
        with self._reading:
            # Before the look: a signal handler that comes in between leaves the closing to us.
            self._reader = threading.get_ident()
            try:
                if self._stopping:
                    return
                arrived = self._inbox.receive(None)
            finally:
                self._reader = None
        now = time.monotonic()
        with self._lock:
            for data in arrived:
                self._core.message_received(data, now)

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

    def _answer(self, signal: Signal, ras: int, message: str | None) -> None:
        try:
            self.srespond(signal, ras, message)
        except ValueError as error:
            # The message cannot be sent (too long, say): the answer still can.
            self.srespond(signal, ras, f"(the message was dropped: {error})"[:1000])

    def _send(self) -> None:
        with self._lock:
            outbox = self._core.messages_to_send()
        for answer in outbox:
            self._transport.answer(answer.data, answer.reply)

    @contextmanager
    def _ended_by_sigterm(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = process_signals.signal(process_signals.SIGTERM, lambda *_: self._stop())
        try:
            yield
        finally:
            process_signals.signal(process_signals.SIGTERM, previous)

    def _stop(self) -> None:
        self._stopping = True
        self._inbox.wake()

    def _release(self) -> None:
        with self._reading:
            if self._closed and self._inbox_is_open:
                self._inbox_is_open = False
                self._inbox.close()
                self._transport.close()
