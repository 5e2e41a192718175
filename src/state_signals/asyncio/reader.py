"""A task that reads one source of messages, and opens it again when its connection is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from state_signals.asyncio.link import end
from state_signals.exceptions import Closed, ServerRefused, ServerUnreachable, TransportError
from state_signals.outages import Backoff, Outage
from state_signals.transport.base import AsyncInbox

__all__ = ["Reader"]

_AnyInbox = TypeVar("_AnyInbox", bound=AsyncInbox)


class Reader(Generic[_AnyInbox]):
    """Reads from `start()` until `stop()`; the counterpart of the one for threads.

    Args:
        name: the task's name, and what the outage calls the connection.
        open_inbox: connects; called again after a connection was lost.
        deliver: called with the inbox and each batch that it has received.
        refused: called when the server no longer allows it; the task ends then.
        outage: is told when the connection is lost and restored.
    """

    def __init__(
        self,
        name: str,
        open_inbox: Callable[[], Awaitable[_AnyInbox]],
        deliver: Callable[[_AnyInbox, Sequence[bytes]], None],
        refused: Callable[[ServerRefused], None],
        outage: Outage,
    ) -> None:
        self.name = name
        self._open_inbox = open_inbox
        self._deliver = deliver
        self._outage = outage
        self._refused = refused
        self._was_open = False
        self._error: TransportError | Closed | None = None
        self._decided = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read, in a task of our own."""
        self._task = asyncio.create_task(self._work(), name=self.name)

    def is_alive(self) -> bool:
        """Whether it reads, or will once a lost connection is back."""
        return self._task is not None and not self._task.done()

    async def stop(self) -> None:
        """End the task, and wait for its end. Idempotent."""
        if self._task is not None:
            await end(self._task)

    async def wait_until_open(self, until: float) -> None:
        """Wait until the inbox is open for the first time.

        Raises:
            ServerRefused: if the server will not have it so; the task has ended then.
            ServerUnreachable: if it is not open at the time `until`.
            Closed: if it was stopped before.
        """
        try:
            async with asyncio.timeout(max(0.0, min(until - time.monotonic(), 86_400.0))):
                await self._decided.wait()
        except TimeoutError:
            raise self._error or ServerUnreachable("the server does not react") from None
        if not self._was_open and self._error is not None:
            raise self._error

    async def _work(self) -> None:
        backoff = Backoff()
        try:
            while True:
                if not await self._read_once(backoff):
                    return
                await asyncio.sleep(backoff.next())
        finally:
            if not self._decided.is_set():
                # Whoever waits for that need not wait any more.
                self._error = Closed("it was closed in the meantime; make a new one")
                self._decided.set()

    async def _read_once(self, backoff: Backoff) -> bool:
        """Open the inbox, and read until it is lost. Return whether to try again."""
        try:
            inbox = await self._open_inbox()
        except Closed:
            return False
        except TransportError as error:
            return self._failed(error)
        self._outage.restored(self.name)
        self._was_open = True
        self._decided.set()
        return await self._read(inbox, backoff)

    def _failed(self, error: TransportError) -> bool:
        """Take note that it cannot be opened. Return whether to try again."""
        self._error = error
        if not self._was_open and not isinstance(error, ServerUnreachable):
            self._decided.set()
            return False
        self._outage.lost(self.name, error)
        return True

    async def _read(self, inbox: _AnyInbox, backoff: Backoff) -> bool:
        began = time.monotonic()

        def take(arrived: Sequence[bytes]) -> None:
            backoff.reset()
            self._deliver(inbox, arrived)

        try:
            await inbox.hand_over(take)
        except ServerRefused as error:
            self._refused(error)
            return False
        except TransportError as error:
            self._outage.lost(self.name, error)
            backoff.lasted(time.monotonic() - began)
            return True
        else:
            return False
        finally:
            await inbox.close()
