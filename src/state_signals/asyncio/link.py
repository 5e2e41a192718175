"""The requests of one endpoint on their way to the server; the counterpart of `state_signals.sync.link`."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

from state_signals.exceptions import Closed, TransportError
from state_signals.outages import SHORTEST_TRY, SHORTEST_WAIT, Backoff, Core, Outage, shows_that_it_works
from state_signals.requests import Leave, Look, ShowPresence
from state_signals.transport.base import TIMEOUT, AsyncTransport
from state_signals.transport.commands import Commands, RequestRefused
from state_signals.transport.futures import Bell, Lock

__all__ = ["Link", "end", "perform"]

_AT_ONCE = 0.05
"""Seconds for which our own task goes on with what can wait, before it looks after whatever is due then."""

_STEP = 0.25
"""Seconds between the moments at which long waits end, so that proofs of life go out together."""

_LONG = 2.0
"""Seconds from which on a wait is long: answers that are spread over a while are not to come together."""

_LAST_WAIT = 0.5
"""Seconds that a request under way has at the end."""

_CANCEL_AGAIN = 0.1
"""Seconds after which a task that was cancelled, and goes on, is cancelled again."""


async def perform(transport: AsyncTransport, commands: Commands, request: Any, timeout: float = TIMEOUT) -> Any:
    """Carry out a request within `timeout` seconds, and return the reply.

    Raises:
        TransportError: if the server cannot be reached.
        RequestRefused: if it refuses.
    """
    if transport.herald is not None and isinstance(request, ShowPresence):

        async def show(names: tuple[str, ...]) -> Any:
            return await _perform(transport, commands, ShowPresence(names), timeout)

        return await transport.herald.show(request.responder_ids, show)
    if transport.herald is not None and isinstance(request, Leave):
        transport.herald.withdraw(request.responder_ids)
    if transport.herald is not None and isinstance(request, Look):
        return await transport.herald.look(request, lambda: _perform(transport, commands, request, timeout))
    return await _perform(transport, commands, request, timeout)


async def _perform(transport: AsyncTransport, commands: Commands, request: Any, timeout: float) -> Any:
    deadline = time.monotonic() + timeout
    steps = commands.steps(request)
    try:
        batch = next(steps)
        while True:
            batch = steps.send(await transport.execute(batch, max(0.0, deadline - time.monotonic())))
    except StopIteration as end:
        return end.value


async def end(task: asyncio.Task[None]) -> None:
    """Cancel a task, and wait for its end."""
    while not task.done():
        # Once is not always enough: before Python 3.12, redis-py may swallow it while it connects.
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_AGAIN)


def _until(due: float) -> float | None:
    """Return how many seconds to wait for a moment; None: for ever."""
    if due == math.inf:
        return None
    now = time.monotonic()
    if due - now >= _LONG:
        due = math.ceil(due / _STEP) * _STEP
    return max(SHORTEST_WAIT, due - now)


class Link:
    """Carries out what the core asks for, in the tasks of those who wait and in one of its own.

    Arguments and attributes as for the one for threads.
    """

    def __init__(
        self,
        name: str,
        transport: AsyncTransport,
        commands: Commands,
        core: Core,
        outage: Outage,
        changed: Callable[[], None],
    ) -> None:
        self.is_up = True
        self.error: TransportError | None = None
        self.sending = Lock()
        self._name = name
        self._transport = transport
        self._commands = commands
        self._core = core
        self._outage = outage
        self._changed = changed
        self._backoff = Backoff()
        # When it was made, and when to make the next one, at the earliest.
        self._up_since = self._retry_at = -math.inf
        self._under_way = 0
        # When our own task goes on by itself; it does not wait before it knows that.
        self._due = -math.inf
        # No Event with a timeout: that takes longer than most of what is done in between.
        self._bell = Bell()
        self._is_woken = False
        self._task: asyncio.Task[None] | None = None
        self._is_stopped = False

    def begin(self) -> None:
        """Start our own task, if that was not done."""
        if self._task is None and not self._is_stopped:
            self._task = asyncio.create_task(self._work(), name=self._name)

    def wake(self) -> None:
        """Do what is due now."""
        self._is_woken = True
        self._bell.ring()

    def expect(self, due: float) -> None:
        """Do what is due at a moment, if it would not have been done by then."""
        if self._task is None and due < math.inf:
            self.begin()
        elif due < self._due:
            self.wake()

    async def stop(self) -> None:
        """End our own task. Idempotent."""
        self._is_stopped = True
        if self._task is None:
            return
        self.wake()
        try:
            if self.is_up:
                # Cut off, it might be carried out after all that is said from now on.
                await asyncio.wait([self._task], timeout=_LAST_WAIT)
        finally:
            await end(self._task)
            self._bell.put_away()

    async def pump(self, until: float = math.inf, *, is_urgent: bool = False) -> None:
        """Carry out what the core asks for, until the time `until` at the latest; it goes on in the background then.

        With `is_urgent`, only what signals depend on.
        """
        if not self.is_up:
            return
        # Mostly nobody else is sending, and a timeout takes longer than all the rest.
        if not self.sending.take():
            try:
                async with asyncio.timeout(min(TIMEOUT, max(0.0, until - time.monotonic()))):
                    await self.sending.acquire()
            except TimeoutError:
                return
        try:
            await self.pump_alone(until, is_urgent=is_urgent)
        finally:
            self.sending.release()

    async def pump_alone(self, until: float = math.inf, *, is_urgent: bool = False) -> None:
        """As `pump`, for who holds `sending`."""
        least = 0.0 if is_urgent else SHORTEST_TRY
        while self.is_up and (remaining := until - time.monotonic()) > least:
            request = self._core.next_request(time.monotonic(), is_urgent=is_urgent)
            if request is None or not await self._carry_out(request, min(TIMEOUT, remaining)):
                return

    async def pump_at_last(self, until: float) -> None:
        """As `pump`, but connect once more if the connection turns out to be lost: nothing goes on afterwards."""
        was_up = self.is_up
        await self.pump(until)
        if was_up and not self.is_up and await self._connect(max(0.0, until - time.monotonic())):
            await self.pump(until)

    async def ask(self, request: Any) -> bool:
        """Carry out a request beside those of `pump`. Return whether there was a reply, or a refusal."""
        try:
            self._answered(request, await self.perform(request))
        except RequestRefused as refused:
            self._refused(request, refused)
        except TransportError:
            return False
        return True

    async def perform(self, request: Any) -> Any:
        """Carry out a request of which the core knows nothing, and return the reply. Raises as `perform`."""
        try:
            return await perform(self._transport, self._commands, request)
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
            self._outage.lost("commands", error)
        self.begin()
        self.wake()

    async def _work(self) -> None:
        while not self._is_stopped:
            self._is_woken = False
            self._due = due = await self._keep_up()
            if not self._is_woken:
                await self._bell.wait(_until(due))

    async def _keep_up(self) -> float:
        """Connect if that is due, and carry out what nobody waits for. Return when to be called again."""
        try:
            if self.is_up or (time.monotonic() >= self._retry_at and await self._connect(TIMEOUT)):
                await self.pump()
                await self._work_aside(time.monotonic() + _AT_ONCE)
        except Closed:
            return math.inf
        if not self.is_up:
            return self._retry_at
        # Not before: one node of a Cluster may be there while the one with our keys is not.
        self._outage.restored("commands")
        return self._core.next_upkeep()

    async def _work_aside(self, until: float) -> None:
        """Carry out what can wait, for a while, and hold up nobody that sends."""
        while self.is_up and not self._is_stopped and time.monotonic() < until:
            request = self._core.next_aside(time.monotonic())
            if request is None or not await self.ask(request):
                return

    async def _connect(self, timeout: float) -> bool:
        """Connect. Return whether that worked."""
        try:
            await self._transport.connect(timeout)
        except TransportError as error:
            self.error = error
            self._retry_at = time.monotonic() + self._backoff.next()
            return False
        self._up_since = time.monotonic()
        self._core.connection_restored(self._up_since)
        self.is_up = True
        return True

    async def _carry_out(self, request: Any, timeout: float) -> bool:
        self._under_way += 1
        mine = self._under_way
        try:
            reply = await perform(self._transport, self._commands, request, timeout)
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
        return True

    def _answered(self, request: Any, reply: Any) -> None:
        if shows_that_it_works(request):
            self._backoff.reset()
        self._core.reply_received(request, reply, time.monotonic())
        self._changed()

    def _refused(self, request: Any, refused: RequestRefused) -> None:
        self._core.request_refused(request, refused.refusal.kind, refused.refusal.text, time.monotonic())
        self._changed()

    def _lose_track(self) -> None:
        self._under_way += 1
        self._core.connection_lost()
