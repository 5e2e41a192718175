"""The tasks that read an exporter's responses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from state_signals.exceptions import TransportError
from state_signals.transport.base import AsyncInbox

__all__ = ["Listener"]


class Listener:
    """One task per inbox, in a group, from construction until `stop()`.

    Args:
        name: of the tasks.
        inboxes: what to read; closed at the end.
        deliver: called with each batch.
        failed: called once a task cannot go on.
    """

    def __init__(
        self,
        name: str,
        inboxes: Sequence[AsyncInbox],
        deliver: Callable[[Sequence[bytes]], None],
        failed: Callable[[TransportError], None],
    ) -> None:
        self._inboxes = inboxes
        self._deliver = deliver
        self._failed = failed
        self.is_stopped = False
        self._task = asyncio.create_task(self._run(), name=name)

    def is_alive(self) -> bool:
        """Whether responses are being read."""
        return not self._task.done()

    async def stop(self) -> None:
        """End the tasks and close the inboxes. Idempotent."""
        if self.is_stopped:
            return
        self.is_stopped = True
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for inbox in self._inboxes:
                    group.create_task(self._read(inbox), name=self._task.get_name())
        except* TransportError as errors:
            self._failed(next(error for error in errors.exceptions if isinstance(error, TransportError)))
        finally:
            for inbox in self._inboxes:
                await inbox.close()

    async def _read(self, inbox: AsyncInbox) -> None:
        while True:
            self._deliver(await inbox.receive())
