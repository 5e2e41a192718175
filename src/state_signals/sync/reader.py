"""A thread that reads one source of messages, and opens it again when its connection is lost."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from state_signals.exceptions import Closed, ServerRefused, ServerUnreachable, TransportError
from state_signals.outages import Backoff, Outage
from state_signals.sync.turns import Interrupted, Turns
from state_signals.sync.workers import Worker
from state_signals.transport.base import Inbox

__all__ = ["Reader"]

_AnyInbox = TypeVar("_AnyInbox", bound=Inbox)


class Reader(Worker, Generic[_AnyInbox]):
    """Reads from `start()` until `stop()`.

    Args:
        name: the thread's name, and what the outage calls the connection.
        open_inbox: connects; called in this thread, also again after a connection was lost.
        deliver: called in this thread with the inbox and each batch that it has received.
        refused: called in this thread, which ends then, when the server no longer allows it.
        outage: is told when the connection is lost and restored.

    Attributes:
        turns: lets others read; None: there is no connection.
    """

    def __init__(
        self,
        name: str,
        open_inbox: Callable[[], _AnyInbox],
        deliver: Callable[[_AnyInbox, Sequence[bytes]], None],
        refused: Callable[[ServerRefused], None],
        outage: Outage,
    ) -> None:
        super().__init__(name)
        self._open_inbox = open_inbox
        self._deliver = deliver
        self._outage = outage
        self.turns: Turns[_AnyInbox] | None = None
        self._refused = refused
        self._was_open = False
        self._opened: queue.SimpleQueue[TransportError | Closed | None] = queue.SimpleQueue()

    def wait_until_open(self, until: float) -> None:
        """Wait until the inbox is open for the first time.

        Raises:
            ServerRefused: if the server will not have it so; the thread has ended then.
            ServerUnreachable: if it is not open at the time `until`.
            Closed: if it was stopped before.
        """
        error: TransportError | Closed | None = None
        while True:
            try:
                error = self._opened.get(timeout=max(0.0, min(until - time.monotonic(), 86_400.0)))
            except queue.Empty:
                raise error or ServerUnreachable("the server does not react") from None
            if error is None:
                return
            if not isinstance(error, ServerUnreachable):
                raise error

    def wake(self) -> None:
        """End the wait for messages, too."""
        super().wake()
        turns = self.turns
        if turns is not None and self.is_stopping:
            turns.stop()

    def work(self) -> None:
        """Read, and connect again, until told to stop."""
        backoff = Backoff()
        try:
            while not self.is_stopping:
                if not self._read_once(backoff):
                    return
                self.pause(backoff.next())
        finally:
            if not self._was_open:
                # Whoever waits for that need not wait any more.
                self._opened.put(Closed("it was closed in the meantime; make a new one"))

    def _read_once(self, backoff: Backoff) -> bool:
        """Open the inbox, and read until it is lost. Return whether to try again."""
        try:
            inbox = self._open_inbox()
        except Closed:
            return False
        except TransportError as error:
            return not self.is_stopping and self._failed(error)
        self._outage.restored(self.name)
        if not self._was_open:
            self._was_open = True
            self._opened.put(None)
        return self._read(inbox, backoff)

    def _failed(self, error: TransportError) -> bool:
        """Take note that it cannot be opened. Return whether to try again."""
        if not self._was_open:
            self._opened.put(error)
            if not isinstance(error, ServerUnreachable):
                return False
        self._outage.lost(self.name, error)
        return True

    def _read(self, inbox: _AnyInbox, backoff: Backoff) -> bool:
        began = time.monotonic()
        self.turns = turns = Turns(inbox, self._deliver)
        try:
            while not self.is_stopping:
                arrived = inbox.receive(None)
                if arrived:
                    backoff.reset()
                    self._deliver(inbox, arrived)
                if turns.is_wanted():
                    turns.lend()
        except ServerRefused as error:
            if not self.is_stopping:
                self._refused(error)
            return False
        except Interrupted:
            backoff.reset()
            return not self.is_stopping
        except TransportError as error:
            if not self.is_stopping:
                self._outage.lost(self.name, error)
            backoff.lasted(time.monotonic() - began)
            return not self.is_stopping
        else:
            return False
        finally:
            self.turns = None
            turns.close()
