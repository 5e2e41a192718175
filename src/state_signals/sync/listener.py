"""The threads that read an exporter's responses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from state_signals.exceptions import TransportError
from state_signals.transport.base import Inbox

__all__ = ["Listener"]


class Listener:
    """One daemon thread per inbox, from construction until `stop()`.

    Args:
        name: of the threads, followed by a number.
        inboxes: what to read; closed at the end.
        deliver: called with each batch, in the thread that read it.
        failed: called once a thread cannot go on.
    """

    def __init__(
        self,
        name: str,
        inboxes: Sequence[Inbox],
        deliver: Callable[[Sequence[bytes]], None],
        failed: Callable[[TransportError], None],
    ) -> None:
        self._inboxes = inboxes
        self._deliver = deliver
        self._failed = failed
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._read, args=(inbox,), name=f"{name}-{number}", daemon=True)
            for number, inbox in enumerate(inboxes, 1)
        ]
        for thread in self._threads:
            thread.start()

    def is_alive(self) -> bool:
        """Whether responses are being read."""
        return all(thread.is_alive() for thread in self._threads)

    @property
    def is_stopped(self) -> bool:
        """Whether `stop()` was called."""
        return self._stopping

    def stop(self) -> None:
        """End the threads and close the inboxes. Idempotent."""
        if self._stopping:
            return
        self._stopping = True
        for inbox, thread in zip(self._inboxes, self._threads, strict=True):
            inbox.wake()
            thread.join()
            inbox.close()

    def _read(self, inbox: Inbox) -> None:
        while not self._stopping:
            try:
                arrived = inbox.receive(None)
            except TransportError as error:
                if not self._stopping:
                    self._failed(error)
                return
            if arrived:
                self._deliver(arrived)
