"""What is due although nobody waits for it: proofs of life, lost connections, what is left to say."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections import deque
from typing import Protocol

from state_signals.outages import SHORTEST_WAIT
from state_signals.sync.workers import LONGEST_WAIT, Stopping, Worker

__all__ = ["Charge", "Upkeep", "upkeep_for"]

_SLACK = 1 / 8
"""Part of a wait by which something may come later, so that what is due at about the same time is done together."""

_lock = threading.RLock()
_shared: dict[str, Upkeep] = {}


class Charge(Protocol):
    """Somebody for whom something is done.

    Attributes:
        is_stopping: whether nothing is to be done any more.
        busy: held while something is being done.
    """

    is_stopping: bool
    busy: threading.Lock

    def keep_up(self) -> float:
        """Do what is due, and return when to be called again (monotonic; infinite: when asked for)."""


class Upkeep(Worker):
    """A thread that does it, for one or for many.

    Args:
        name: the thread's name.
        slack: part of a wait by which something may come later.
    """

    def __init__(self, name: str, slack: float = 0.0) -> None:
        super().__init__(name)
        self._slack = slack
        self._has_begun = threading.Lock()
        self._charges: set[Charge] = set()
        self._called: deque[Charge] = deque()
        self._current: Charge | None = None

    def add(self, charge: Charge) -> None:
        """Do what is due for somebody, from `begin()` on, until `dismiss()`."""
        self._charges.add(charge)

    def begin(self, charge: Charge) -> None:
        """Begin with somebody; start the thread, unless that was done or somebody is about to."""
        if self._has_begun.acquire(blocking=False):
            try:
                self.start()
            except BaseException:
                self._has_begun.release()
                raise
        self.call(charge)

    def call(self, charge: Charge) -> None:
        """Do what is due for somebody, now. Safe from any thread and from a signal handler."""
        self._called.append(charge)
        self.wake()

    def dismiss(self, charge: Charge, timeout: float | None = None) -> bool:
        """Do nothing for somebody any more; wait for the end of what is being done, and of the thread with the last.

        Idempotent, also from a signal handler. Return whether it has ended, or is this thread's own doing.
        """
        charge.is_stopping = True
        with _lock:
            self._charges.discard(charge)
            self.is_stopping = not self._charges
        if self.is_stopping:
            return self.stop(timeout=timeout)
        if self._has_begun.locked():
            # It is kept in mind no longer.
            self.call(charge)
        if self is threading.current_thread():
            return True
        is_free = charge.busy.acquire(timeout=-1 if timeout is None else timeout)
        if is_free:
            charge.busy.release()
        return is_free

    def has_to_end(self) -> bool:
        """Whether what is being done is to be given up."""
        current = self._current
        return self.is_stopping or (current is not None and current.is_stopping)

    def work(self) -> None:
        """Do whatever is due, and wait for the next."""
        # When something is due, at the earliest and at the latest.
        due: dict[Charge, tuple[float, float]] = {}
        while not self.is_stopping:
            while self._called:
                due[self._called.popleft()] = (-math.inf, -math.inf)
            now = time.monotonic()
            for charge in [charge for charge, (earliest, _) in due.items() if earliest <= now]:
                if charge.is_stopping:
                    del due[charge]
                elif not self.is_stopping:
                    earliest = self._keep_up(charge)
                    due[charge] = earliest, earliest + self._slack * max(0.0, earliest - time.monotonic())
            if not self.is_stopping:
                latest = min((each for _, each in due.values()), default=math.inf)
                self.pause(max(SHORTEST_WAIT, latest - time.monotonic()) if latest < math.inf else LONGEST_WAIT)

    def _keep_up(self, charge: Charge) -> float:
        with charge.busy:
            self._current = charge
            try:
                return charge.keep_up()
            except Stopping:
                return math.inf
            except Exception:  # noqa: BLE001 - it would end a thread of its own, and the others know nothing of it
                threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), self)))
                return math.inf
            finally:
                self._current = None


def upkeep_for(charge: Charge, name: str, server: str | None) -> Upkeep:
    """Return the thread for somebody.

    Args:
        charge: for whom.
        name: its name, if it is for nobody else.
        server: what those have in common for whom there is one; None: it is for nobody else.
    """
    with _lock:
        upkeep = None if server is None else _shared.get(server)
        if upkeep is None or upkeep.is_stopping:
            upkeep = Upkeep(name) if server is None else Upkeep(f"state-signals-{server}", _SLACK)
        if server is not None:
            _shared[server] = upkeep
        upkeep.add(charge)
        return upkeep


def _forget() -> None:
    """Leave a process's threads to it, in a fork."""
    global _lock  # noqa: PLW0603 - nobody else may hold it
    _lock = threading.RLock()
    _shared.clear()


os.register_at_fork(after_in_child=_forget)
