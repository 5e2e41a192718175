"""Lost connections: who has to know, when to try again, and what to say about it."""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import Any, Protocol

from state_signals.exceptions import TransportError
from state_signals.requests import CatchUp, CheckJournal, CheckPresence, Discover, Introduce, Look

__all__ = ["SHORTEST_TRY", "SHORTEST_WAIT", "Backoff", "Core", "Outage", "shows_that_it_works"]

SHORTEST_TRY = 0.05
"""Seconds that are left when something begins that is not urgent: cut short, it would cost a connection that works."""

SHORTEST_WAIT = 0.01
"""Seconds between two rounds of upkeep, at the least, unless somebody asks for one."""

_WORKS_AFTER = 0.02
"""Seconds that a connection has to last before the next one is made as soon as it is lost."""

_READS = (CatchUp, CheckJournal, CheckPresence, Discover, Introduce, Look)

_FIRST = 0.02
_LONGEST = 2.0


class Core(Protocol):
    """What the core of an exporter and that of a responder have in common."""

    def next_request(self, now: float, *, is_urgent: bool = False) -> Any:
        """Return what to ask the server for, one at a time; None: nothing."""

    def next_aside(self, now: float) -> Any:
        """Return what to ask for beside that, whose order does not matter and for which nobody waits; None: nothing."""

    def reply_received(self, request: Any, reply: Any, now: float) -> None:
        """Take the reply to a request."""

    def request_refused(self, request: Any, kind: str, text: str, now: float) -> None:
        """Take note that the server refuses a request."""

    def connection_lost(self) -> None:
        """Take note that nobody knows whether the last request was carried out."""

    def connection_restored(self, now: float) -> None:
        """Take note that the server can be reached again."""

    def next_upkeep(self) -> float:
        """Return when `next_request` or `next_aside` is due though nobody waits; infinite: never."""


def shows_that_it_works(request: Any) -> bool:
    """Whether a server that has carried a request out does its work: one that only reads may be a replica."""
    return not isinstance(request, _READS)


class Backoff:
    """The waits between attempts to connect: none before the first, then each twice as long as the one before.

    With jitter: thousands that have lost the same server must not come back to it in step.
    """

    def __init__(self) -> None:
        self._wait = 0.0

    def next(self) -> float:
        """Return how many seconds to wait, up to 2."""
        wait, self._wait = self._wait, min(max(_FIRST, 2 * self._wait), _LONGEST)
        return wait * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

    def reset(self) -> None:
        """Begin anew: the connection has worked."""
        self._wait = 0.0

    def lasted(self, seconds: float) -> None:
        """Take note how long the connection has lasted that was lost."""
        if seconds >= _WORKS_AFTER:
            self.reset()


class Outage:
    """From the first connection that an endpoint loses to the last that it gets back: one warning each.

    Args:
        logger: where the warnings go.
        address: the server, without password.
    """

    def __init__(self, logger: logging.Logger, address: str) -> None:
        self._logger = logger
        self._address = address
        # Each connection may have a thread of its own. Reentrant, because a signal handler may interrupt us.
        self._lock = threading.RLock()
        self._lost: dict[str, None] = {}
        self._began = 0.0

    @property
    def is_over(self) -> bool:
        """Whether no connection is lost."""
        return not self._lost

    def lost(self, connection: str, error: TransportError) -> None:
        """Take note that one of the connections is lost."""
        with self._lock:
            is_first = not self._lost
            self._lost[connection] = None
            if is_first:
                self._began = time.monotonic()
        if is_first:
            self._logger.warning("connection lost: %s Trying again until it is back.", error)

    def restored(self, connection: str) -> None:
        """Take note that it is back."""
        with self._lock:
            is_last = self._lost.pop(connection, self) is None and not self._lost
            seconds = time.monotonic() - self._began
        if is_last:
            text = "connected to %s again after %.1f s; nothing else is to be done"
            self._logger.warning(text, self._address, seconds)
