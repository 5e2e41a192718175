"""A connection for the commands of many threads: what comes while it is in use goes out together, in one piece."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import redis

from state_signals.exceptions import Closed
from state_signals.transport import replies
from state_signals.transport.base import Batch
from state_signals.transport.lines import Deadline, Line

__all__ = ["Pipeline"]

_PATIENCE = 0.5
"""Seconds that closing waits for whoever uses the connection, which was cut."""

_AT_ONCE = 256 * 1024
"""Bytes beyond which no more is sent in one piece."""


class _Sending:
    """A batch that is to be sent, and what has become of it."""

    __slots__ = ("batch", "count", "data", "error", "found", "is_over", "turn")

    def __init__(self, batch: Batch, turn: int | None) -> None:
        self.batch = batch
        self.turn = turn
        self.data, self.count = replies.packed(batch)
        self.found: list[Any] | None = None
        self.error: Exception | None = None
        # Whether nobody waits for it any more.
        self.is_over = False

    @property
    def is_done(self) -> bool:
        return self.found is not None or self.error is not None


class Pipeline:
    """The connection. Whoever comes first sends for all that have come, and reads the replies.

    A lost connection is not made again before somebody asks for that: the next one may be to a server that has lost
    data, and all who have written those have to know first. So who shares it says which one is meant, by its turn.

    Args:
        dial: makes the connection.
    """

    def __init__(self, dial: Callable[[Deadline], Line]) -> None:
        self._dial = dial
        # Held by whoever sends. Reentrant, because a signal handler may have something to say in between.
        self._lock = threading.RLock()
        self._unsent: deque[_Sending] = deque()
        self._idle: Line | None = None
        self._turn = 1
        # Why it was lost, until it may be made again.
        self._error: Exception | None = None
        self._is_kept = True
        self._is_closed = False

    def execute(self, batch: Batch, deadline: Deadline, turn: int | None = None) -> list[Any]:
        """Send a batch and return its outcomes.

        It is never sent twice: if the replies are lost with the connection, nobody knows whether it was carried out.

        Args:
            batch: what to send.
            deadline: by when.
            turn: the connection that is meant, from `renew()`; None: whichever there is.

        Raises:
            Closed: after `close()`.
            redis.RedisError, OSError: without replies, and for errors that pass by themselves.
        """
        mine = _Sending(batch, turn)
        self._unsent.append(mine)
        try:
            if self._lock.acquire(timeout=deadline.remaining()):
                try:
                    while not mine.is_done:
                        self._exchange(mine, deadline)
                finally:
                    self._lock.release()
            elif not mine.is_done:
                raise deadline.error()
        finally:
            mine.is_over = True
        if mine.found is None:
            self._check_open()
            raise (mine.error or _interrupted()).with_traceback(None)
        return mine.found

    def check(self) -> None:
        """Raise why the connection was lost, if it was, as far as can be told without using it."""
        if self._error is None and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        if self._error is not None:
            raise self._error.with_traceback(None)

    def renew(self, deadline: Deadline | None = None) -> int:
        """Make a connection that was lost again, with the next batch. Return its turn.

        Args:
            deadline: until when to wait for whoever uses it; None: not at all, for then it works as far as is known.

        Raises:
            redis.TimeoutError: if it is in use until then.
        """
        if self._lock.acquire(timeout=0.0 if deadline is None else deadline.remaining()):
            try:
                self._look()
                if self._error is not None:
                    self._error = None
                    self._turn += 1
                    self._drop()
            finally:
                self._lock.release()
        elif deadline is not None:
            raise deadline.error()
        else:
            self._error = None
        return self._turn

    def retire(self) -> None:
        """Keep the connection no longer than it is in use."""
        self._is_kept = False
        if self._lock.acquire(blocking=False):
            try:
                self._drop()
            finally:
                self._lock.release()

    def close(self, cut: Callable[[], None]) -> None:
        """Close the connection, for good.

        Args:
            cut: ends what another thread is waiting for there.
        """
        self._is_closed, self._is_kept = True, False
        cut()
        # Not for ever: who has it, and looks a name up, say, gives the connection back when that is done.
        if self._lock.acquire(timeout=_PATIENCE):
            try:
                self._drop()
            finally:
                self._lock.release()

    def _exchange(self, mine: _Sending, deadline: Deadline) -> None:
        """Send what there is, as much as fits, and read the replies."""
        self._look()
        taken = self._taken()
        if not taken:
            # Else it was taken by somebody whom a signal handler has ended.
            mine.error = mine.error or _interrupted()
            return
        line: Line | None = None
        try:
            self._check_open()
            line, self._idle = self._idle, None
            if line is None:
                line = self._dial(deadline)
            data = b"".join([each.data for each in taken])
            arrived = line.exchange(data, sum([each.count for each in taken]), deadline)
            self._hand_out(arrived, taken)
            if self._idle is None and self._is_kept:
                self._idle, line = line, None
        except (redis.RedisError, OSError, Closed) as error:
            if line is not None:
                self._error = error
            for each in taken:
                each.error = each.error or error
        finally:
            for each in taken:
                if not each.is_done:
                    each.error = _interrupted()
            # Replies may still come: nobody else may take them for theirs.
            if line is not None:
                line.close()

    def _taken(self) -> list[_Sending]:
        """Take what is to be sent next, all for this connection."""
        taken: list[_Sending] = []
        size = 0
        while self._unsent and size < _AT_ONCE:
            each = self._unsent.popleft()
            if each.is_over:
                continue
            if self._error is not None or each.turn not in (None, self._turn):
                each.error = self._error or redis.ConnectionError("it was lost, and has been made again")
                continue
            taken.append(each)
            size += len(each.data)
        return taken

    def _hand_out(self, arrived: list[Any], taken: list[_Sending]) -> None:
        """Give each its replies; raise an error that passes by itself: it is about the server, not the batch."""
        passing: Exception | None = None
        place = 0
        for each in taken:
            end = place + each.count
            try:
                each.found = replies.outcomes(each.batch, arrived[place:end])
            except (redis.RedisError, OSError) as error:
                each.error = passing = error
            place = end
        if passing is not None:
            raise passing

    def _look(self) -> None:
        """See whether the connection is lost, as far as can be told without using it."""
        if self._error is None and self._idle is not None and self._idle.is_stale():
            self._error = redis.ConnectionError("the server closed the connection")

    def _drop(self) -> None:
        line, self._idle = self._idle, None
        if line is not None:
            line.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise Closed("it was closed in the meantime; make a new one")


def _interrupted() -> redis.ConnectionError:
    return redis.ConnectionError("a signal handler has interrupted it")
