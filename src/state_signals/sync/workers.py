"""Threads of our own, and a lock that does not hold up their end."""

from __future__ import annotations

import math
import queue
import threading
import time
from abc import abstractmethod
from contextlib import suppress
from types import TracebackType

__all__ = ["LONGEST_WAIT", "Guard", "Stopping", "Worker"]

LONGEST_WAIT = 86_400.0
"""Seconds that are waited in one go: the platform's clock takes no more than some centuries."""


class Stopping(Exception):
    """A thread of ours gives up waiting for a lock, because it is to end."""


class Worker(threading.Thread):
    """A daemon thread from `start()` until `stop()`.

    Args:
        name: the thread's name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.is_stopping = False
        # No Event: a signal handler may wake us while it interrupts the same call.
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()

    def run(self) -> None:
        """Work until told to stop."""
        with suppress(Stopping):
            self.work()

    @abstractmethod
    def work(self) -> None:
        """Do what there is to do, until `is_stopping`."""

    def has_to_end(self) -> bool:
        """Whether what is being done is to be given up."""
        return self.is_stopping

    def wake(self) -> None:
        """End a `pause()`. Safe from any thread and from a signal handler."""
        self._wakes.put(None)

    def pause(self, seconds: float) -> None:
        """Wait until the time is up or somebody wakes us."""
        with suppress(queue.Empty):
            self._wakes.get(timeout=min(max(0.0, seconds), LONGEST_WAIT))
            while True:
                self._wakes.get_nowait()

    def stop(self, *, waits: bool = True, timeout: float | None = None) -> bool:
        """End the thread, and wait for its end unless told not to. Idempotent, also from a signal handler.

        Return whether it has ended, or is the one that calls.
        """
        self.is_stopping = True
        self.wake()
        if self is threading.current_thread():
            return True
        if waits and self.is_alive():
            self.join(timeout)
        return not self.is_alive()


class Guard:
    """A reentrant lock.

    A signal handler that closes an endpoint waits for the endpoint's threads, and may have interrupted whoever holds
    the lock: so they give up once they are to end.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def acquire(self, timeout: float = -1.0) -> bool:
        """Take the lock; return whether that worked within `timeout` seconds (negative: for ever).

        Raises:
            Stopping: in a thread of ours that is to end.
        """
        if self._lock.acquire(blocking=False):
            return True
        thread = threading.current_thread()
        if not isinstance(thread, Worker):
            return self._lock.acquire(timeout=timeout if timeout < 0 else min(timeout, LONGEST_WAIT))
        deadline = math.inf if timeout < 0 else time.monotonic() + timeout
        while not self._lock.acquire(timeout=0.1):
            if thread.has_to_end():
                raise Stopping
            if time.monotonic() >= deadline:
                return False
        return True

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()
