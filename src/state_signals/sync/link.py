"""The requests of one endpoint on their way to the server, one at a time and in order."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

from state_signals.exceptions import Closed, TransportError
from state_signals.outages import SHORTEST_TRY, Backoff, Core, Outage, shows_that_it_works
from state_signals.requests import Done, Leave, Look, ShowPresence
from state_signals.sync.upkeep import upkeep_for
from state_signals.sync.workers import Guard
from state_signals.transport.base import TIMEOUT, Transport
from state_signals.transport.commands import Commands, RequestRefused

__all__ = ["Link", "perform"]

_PATIENCE = 0.1
"""Seconds that our own thread waits for whoever is sending: it may have others to look after."""

_AT_ONCE = 0.05
"""Seconds for which it goes on with what can wait, before it looks after whatever is due then."""


def perform(transport: Transport, commands: Commands, request: Any, timeout: float = TIMEOUT) -> Any:
    """Carry out a request within `timeout` seconds, and return the reply.

    Raises:
        TransportError: if the server cannot be reached.
        RequestRefused: if it refuses.
    """
    deadline = time.monotonic() + timeout
    herald = transport.herald
    if herald is not None:
        if isinstance(request, ShowPresence):
            herald.show(
                request.responder_ids,
                lambda names: _perform(transport, commands, ShowPresence(names), deadline),
                timeout,
            )
            return Done()
        if isinstance(request, Leave):
            herald.withdraw(request.responder_ids, timeout)
        if isinstance(request, Look):
            return herald.look(request, lambda: _perform(transport, commands, request, deadline), timeout)
    return _perform(transport, commands, request, deadline)


def _perform(transport: Transport, commands: Commands, request: Any, deadline: float) -> Any:
    steps = commands.steps(request)
    try:
        batch = next(steps)
        while True:
            batch = steps.send(transport.execute(batch, max(0.0, deadline - time.monotonic())))
    except StopIteration as end:
        return end.value


class Link:
    """Carries out what the core asks for, in the threads of those who wait and in one of our own.

    Whoever calls never connects: that can take long, and calls have deadlines. Our own thread does, and carries out
    what is due although nobody waits; those that share their connections have one together.

    Args:
        name: the thread's name.
        transport: where to.
        commands: what requests mean there.
        core: what asks.
        lock: guards the core.
        outage: is told when the connection is lost and restored.
        changed: called without the lock when the core may have events.

    Attributes:
        is_up: whether there is a connection, as far as is known.
        error: why there was none, the last time.
        is_stopping: whether it is at its end.
        busy: held by our own thread while it does something here.
    """

    def __init__(
        self,
        name: str,
        transport: Transport,
        commands: Commands,
        core: Core,
        lock: Guard,
        outage: Outage,
        changed: Callable[[], None],
    ) -> None:
        self.is_stopping = False
        self.busy = threading.Lock()
        self.is_up = True
        self.error: TransportError | None = None
        self.sending = Guard()
        self._transport = transport
        self._commands = commands
        self._core = core
        self._lock = lock
        self._outage = outage
        self._changed = changed
        self._backoff = Backoff()
        # When it was made, and when to make the next one, at the earliest.
        self._up_since = self._retry_at = -math.inf
        self._has_begun = False
        # When our own thread goes on by itself; it does not wait before it knows that.
        self._due = -math.inf
        self._under_way = 0
        self._is_under_way = False
        self._upkeep = upkeep_for(self, name, None if transport.herald is None else transport.address)

    def begin(self) -> None:
        """Have our own thread begin, if that was not done."""
        if not self._has_begun:
            self._upkeep.begin(self)
            self._has_begun = True

    def wake(self) -> None:
        """Have our own thread do what is due, now. Safe from any thread and from a signal handler."""
        self._upkeep.call(self)

    def expect(self, due: float) -> None:
        """Have our own thread do what is due at a moment, if it would not have done that by then."""
        if not self._has_begun and due < math.inf:
            self.begin()
        elif due < self._due:
            self.wake()

    def stop(self, timeout: float | None = None) -> bool:
        """Have our own thread end, as far as we are concerned, and wait for that. Idempotent.

        Return whether it has ended within `timeout` seconds, or is the one that calls.
        """
        return self._upkeep.dismiss(self, timeout)

    def pump(self, until: float = math.inf, *, is_urgent: bool = False, patience: float = TIMEOUT) -> None:
        """Carry out what the core asks for, until the time `until` at the latest; it goes on in the background then.

        With `is_urgent`, only what signals depend on. `patience` is how many seconds to wait for who else does it.
        """
        if not self.is_up or not self.sending.acquire(timeout=min(patience, max(0.0, until - time.monotonic()))):
            return
        try:
            if self._is_under_way:
                # A signal handler has interrupted ourselves: nobody knows how far that went.
                self._lose_track()
            least = 0.0 if is_urgent else SHORTEST_TRY
            while self.is_up and (remaining := until - time.monotonic()) > least:
                with self._lock:
                    request = self._core.next_request(time.monotonic(), is_urgent=is_urgent)
                if request is None or not self._carry_out(request, min(TIMEOUT, remaining)):
                    return
        finally:
            self.sending.release()

    def pump_at_last(self, until: float) -> None:
        """As `pump`, but connect once more if the connection turns out to be lost: nothing goes on afterwards."""
        was_up = self.is_up
        self.pump(until)
        if was_up and not self.is_up and self._connect(max(0.0, until - time.monotonic())):
            self.pump(until)

    def ask(self, request: Any) -> bool:
        """Carry out a request beside those of `pump`. Return whether there was a reply, or a refusal."""
        try:
            self._answered(request, self.perform(request))
        except RequestRefused as refused:
            self._refused(request, refused)
        except TransportError:
            return False
        return True

    def perform(self, request: Any) -> Any:
        """Carry out a request of which the core knows nothing, and return the reply. Raises as `perform`."""
        try:
            return perform(self._transport, self._commands, request)
        except TransportError as error:
            self.lost(error)
            raise

    def lost(self, error: TransportError) -> None:
        """Take note that the connection is lost: it is made again in the background."""
        self.error = error
        self._lose_track()
        if self.is_up:
            self.is_up = False
            # Wakes do not shorten it: else a server that takes connections and refuses all else would be stormed.
            now = time.monotonic()
            self._backoff.lasted(now - self._up_since)
            self._retry_at = now + self._backoff.next()
            if not self.is_stopping:
                self._outage.lost("commands", error)
        self.begin()
        self.wake()

    def keep_up(self) -> float:
        """Connect if that is due, and carry out what nobody waits for."""
        try:
            if self.is_up or (time.monotonic() >= self._retry_at and self._connect(TIMEOUT)):
                self.pump(patience=_PATIENCE)
                self._work_aside(time.monotonic() + _AT_ONCE)
        except Closed:
            return math.inf
        if not self.is_up:
            self._due = self._retry_at
            return self._due
        # Not before: one node of a Cluster may be there while the one with our keys is not.
        self._outage.restored("commands")
        # Both with the lock: what is due earlier from then on is expected after that.
        with self._lock:
            self._due = self._core.next_upkeep()
            return self._due

    def _work_aside(self, until: float) -> None:
        """Carry out what can wait, for a while, and hold up nobody that sends."""
        while self.is_up and not self.is_stopping and time.monotonic() < until:
            with self._lock:
                request = self._core.next_aside(time.monotonic())
            if request is None or not self.ask(request):
                return

    def _connect(self, timeout: float) -> bool:
        """Connect. Return whether that worked."""
        try:
            self._transport.connect(timeout)
        except TransportError as error:
            self.error = error
            self._retry_at = time.monotonic() + self._backoff.next()
            return False
        self._up_since = time.monotonic()
        with self._lock:
            self._core.connection_restored(self._up_since)
        self.is_up = True
        return True

    def _carry_out(self, request: Any, timeout: float) -> bool:
        self._under_way += 1
        mine = self._under_way
        self._is_under_way = True
        try:
            reply = perform(self._transport, self._commands, request, timeout)
        except RequestRefused as refused:
            if mine == self._under_way:
                self._refused(request, refused)
        except TransportError as error:
            self.lost(error)
            return False
        except BaseException:
            self._lose_track()
            raise
        else:
            if mine == self._under_way:
                self._answered(request, reply)
            elif self.is_stopping:
                # A signal handler has closed what it interrupted.
                raise Closed("it was closed in the meantime; make a new one")
        finally:
            self._is_under_way = False
        return True

    def _answered(self, request: Any, reply: Any) -> None:
        if shows_that_it_works(request):
            self._backoff.reset()
        with self._lock:
            self._core.reply_received(request, reply, time.monotonic())
        self._changed()

    def _refused(self, request: Any, refused: RequestRefused) -> None:
        with self._lock:
            self._core.request_refused(request, refused.refusal.kind, refused.refusal.text, time.monotonic())
        self._changed()

    def _lose_track(self) -> None:
        self._under_way += 1
        with self._lock:
            self._core.connection_lost()
