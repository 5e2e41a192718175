"""The threads that read an exporter's responses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from state_signals.exceptions import TransportError
from state_signals.transport.base import Inbox, Transport

__all__ = ["Listener"]


class Listener:
    """One daemon thread for each place that responses come to, from construction until `stop()`.

    Args:
        transport: where to listen.
        publisher_id: the exporter whose responses to collect.
        deliver: called with each batch, in the thread that read it.
        failed: called once a thread cannot go on.

    Raises:
        TransportError: if the server cannot be used; nothing is left behind then.
    """

    def __init__(
        self,
        transport: Transport,
        publisher_id: str,
        *,
        deliver: Callable[[Sequence[bytes]], None],
        failed: Callable[[TransportError], None],
    ) -> None:
        self._transport = transport
        self._publisher_id = publisher_id
        self._deliver = deliver
        self._failed = failed
        self._stopping = False
        self._inboxes = [transport.collect(publisher_id)]
        try:
            self._inboxes.append(transport.listen_for_responses())
        except BaseException:
            self._inboxes[0].close()
            with suppress(TransportError):
                transport.discard(publisher_id)
            raise
        self._threads = [
            threading.Thread(
                target=self._read, args=(inbox,), name=f"state-signals-{publisher_id}-{place}", daemon=True
            )
            for inbox, place in zip(self._inboxes, ("stream", "channel"), strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def is_alive(self) -> bool:
        """Whether responses are being read."""
        return all(thread.is_alive() for thread in self._threads)

    @property
    def is_stopping(self) -> bool:
        """Whether `stop()` was called."""
        return self._stopping

    def stop(self) -> None:
        """End the threads, give back the connections and delete the stream. Idempotent.

        Raises:
            TransportError: if the stream could not be deleted; it expires then.
        """
        if self._stopping:
            return
        self._stopping = True
        for inbox, thread in zip(self._inboxes, self._threads, strict=True):
            inbox.wake()
            thread.join()
            inbox.close()
        self._transport.discard(self._publisher_id)

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
