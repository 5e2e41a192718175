"""The tasks that read an exporter's responses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from state_signals.exceptions import TransportError
from state_signals.transport.base import AsyncInbox, AsyncTransport

__all__ = ["Listener"]


class Listener:
    """One task for each place that responses come to, in a group, from `start()` until `stop()`.

    Args:
        transport: where to listen.
        publisher_id: the exporter whose responses to collect.
        deliver: called with each batch.
        failed: called once a task cannot go on.
    """

    def __init__(
        self,
        transport: AsyncTransport,
        publisher_id: str,
        *,
        deliver: Callable[[Sequence[bytes]], None],
        failed: Callable[[TransportError], None],
    ) -> None:
        self._transport = transport
        self._publisher_id = publisher_id
        self._deliver = deliver
        self._failed = failed
        self._inboxes: list[AsyncInbox] = []
        self._is_stopped = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen. Once it returns, no response is missed.

        Raises:
            TransportError: if the server cannot be used; nothing is left behind then.
        """
        collection = await self._transport.collect(self._publisher_id)
        try:
            channel = await self._transport.listen_for_responses()
        except BaseException:
            await collection.close()
            with suppress(TransportError):
                await self._transport.discard(self._publisher_id)
            raise
        self._inboxes = [collection, channel]
        self._task = asyncio.create_task(self._run(), name=f"state-signals-{self._publisher_id}")

    def is_alive(self) -> bool:
        """Whether responses are being read."""
        return self._task is not None and not self._task.done()

    async def stop(self) -> None:
        """End the tasks, give back the connections and delete the stream. Idempotent, also after a cancellation.

        Raises:
            TransportError: if the stream could not be deleted; it expires then.
        """
        if self._is_stopped:
            return
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        while self._inboxes:
            await self._inboxes.pop().close()
        await self._transport.discard(self._publisher_id)
        self._is_stopped = True

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for inbox in self._inboxes:
                    group.create_task(self._read(inbox), name=f"state-signals-{self._publisher_id}")
        except* TransportError as errors:
            self._failed(next(error for error in errors.exceptions if isinstance(error, TransportError)))

    async def _read(self, inbox: AsyncInbox) -> None:
        while True:
            self._deliver(await inbox.receive())
