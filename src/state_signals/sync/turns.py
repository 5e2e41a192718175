"""Who waits for answers reads them: a thread switch for each would take as long as all the rest.

A reader's thread has the inbox until somebody who waits asks for it, and takes it back a moment after the last one has
finished: whoever publishes signal after signal finds it free.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

from state_signals.exceptions import TransportError
from state_signals.transport.base import Inbox

__all__ = ["Interrupted", "News", "Reading", "Turns"]

_LINGER = 0.02
"""Seconds for which an inbox that was given back is left to the next one who asks."""

_PATIENCE = 1.0
"""Seconds that the end of a reader waits for whoever has its inbox, which was woken."""

_AnyInbox = TypeVar("_AnyInbox", bound=Inbox)


class Interrupted(TransportError):
    """Whoever read was interrupted: the inbox is to be opened again, and nothing is wrong with the connection."""


class News:
    """What a caller waits for, in the order in which it became known.

    Attributes:
        wake: called when there is some, while its owner waits elsewhere.
    """

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.wake: Callable[[], None] | None = None

    def put_nowait(self, item: Any) -> None:
        """Add something."""
        self._items.put(item)
        wake = self.wake
        if wake is not None:
            wake()

    def get(self, timeout: float = 0.0) -> Any:
        """Return the oldest; None: there is none in that time."""
        with suppress(queue.Empty):
            return self._items.get(timeout=timeout) if timeout > 0 else self._items.get_nowait()
        return None

    def empty(self) -> bool:
        """Whether there is none."""
        return self._items.empty()


class Turns(Generic[_AnyInbox]):
    """Whose turn it is to read an inbox: that of its own thread, which makes this, or of somebody who waits.

    Args:
        inbox: what is read.
        deliver: called by whoever reads, with the inbox and each batch.

    Attributes:
        inbox: for whoever has the turn.
        deliver: likewise.
        is_over: whether it is not to be read any more.
    """

    def __init__(self, inbox: _AnyInbox, deliver: Callable[[_AnyInbox, Sequence[bytes]], None]) -> None:
        self.inbox = inbox
        self.deliver = deliver
        self.is_over = False
        # Held by whoever has the turn; at the end by nobody in particular, for ever.
        self._turn = threading.Lock()
        self._turn.acquire()
        self._is_ours = True
        self._borrower = 0
        # A signal handler has interrupted whoever has the turn: nobody knows how far that is, nor when it goes on.
        self._is_left = False
        self._applicant: News | None = None
        # What its own thread waits for while others have the turn: it is told nothing that it need not know.
        self._mail: queue.SimpleQueue[TransportError | None] = queue.SimpleQueue()
        self._is_asleep = False
        self._returned_at = -math.inf

    # For its own thread

    def is_wanted(self) -> bool:
        """Whether somebody asks for the turn."""
        return self._applicant is not None

    def lend(self) -> None:
        """Let others read until nobody has wanted to for a while, or it is over.

        Raises:
            TransportError: what one of them has come upon.
        """
        applicant, self._applicant = self._applicant, None
        self._is_ours = False
        self._turn.release()
        if applicant is not None:
            applicant.put_nowait(self)
        self._returned_at = time.monotonic()
        while not self.is_over:
            error = self._next_mail()
            if error is not None:
                self._is_ours = self._turn.acquire(timeout=_PATIENCE)
                raise error
            if time.monotonic() >= self._returned_at + _LINGER and self._turn.acquire(blocking=False):
                self._is_ours = True
                return
        if self._is_left:
            raise _interrupted()

    def close(self) -> None:
        """Close the inbox; if somebody else has the turn, that one does it."""
        self.is_over = True
        if self._is_ours or self._turn.acquire(timeout=0.0 if self._is_left else _PATIENCE):
            self.inbox.close()

    # For everybody

    @property
    def is_left(self) -> bool:
        """Whether its own thread reads from another inbox by now, because a signal handler needs that."""
        return self._is_left

    def stop(self) -> None:
        """Have it end, whoever has the turn. Safe from a signal handler."""
        self._is_left |= self._borrower == threading.get_ident()
        self.is_over = True
        self._mail.put(None)
        self.inbox.wake()

    def take(self, applicant: News) -> bool:
        """Take the turn if it is free; else ask for it: `applicant` gets this object when it may be."""
        if self.is_over:
            return False
        if self._turn.acquire(blocking=False):
            self._borrower = threading.get_ident()
            return True
        if self._borrower == threading.get_ident():
            # We are the signal handler: who reads does not go on before we have what we wait for.
            self._leave()
        elif self._applicant is None:
            self._applicant = applicant
            if self._is_ours:
                self.inbox.wake()
        return False

    def give_back(self, error: TransportError | None = None, *, is_urgent: bool = False) -> None:
        """Give the turn back, and say why the inbox cannot be used any more, if that is so."""
        self._borrower = 0
        self._returned_at = -math.inf if is_urgent else time.monotonic()
        self._turn.release()
        if error is not None or is_urgent or self._is_asleep:
            self._mail.put(error)
        if self.is_over and self._turn.acquire(blocking=False):
            # Its own thread has not waited for us.
            self.inbox.close()

    def forget(self, applicant: News) -> None:
        """Take note that somebody does not want the turn any more."""
        if self._applicant is applicant:
            self._applicant = None

    def _leave(self) -> None:
        self._is_left = self.is_over = True
        self._mail.put(None)

    def _next_mail(self) -> TransportError | None:
        if not self._turn.locked():
            with suppress(queue.Empty):
                return self._mail.get(timeout=max(0.0, self._returned_at + _LINGER - time.monotonic()))
        self._is_asleep = True
        try:
            # It may have been given back before anybody could know that we want to be told.
            return self._mail.get() if self._turn.locked() else None
        finally:
            self._is_asleep = False


class Reading:
    """The wait of one caller for its news, who reads them from an inbox by itself when that can be had.

    Args:
        news: what is waited for.
        turns: returns the turns of the inbox at the moment; None: there is none.
    """

    def __init__(self, news: News, turns: Callable[[], Turns[Any] | None]) -> None:
        self._news = news
        self._turns = turns
        self._mine: Turns[Any] | None = None
        self._asked: Turns[Any] | None = None

    def next(self, timeout: float) -> Any:
        """Return the oldest news; None: there is none within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        left = 0.0
        while True:
            item = self._news.get(left)
            if isinstance(item, Turns):
                self._take(item)
            elif item is not None:
                return item
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return self._news.get()
            if self._mine is None:
                self._take(self._turns())
            if self._mine is None:
                left = remaining
            else:
                left = 0.0
                self._read(self._mine, remaining)

    def end(self, *, is_urgent: bool) -> None:
        """Let others read; at once if somebody waits for that."""
        if self._mine is not None:
            mine, self._mine = self._mine, None
            mine.give_back(is_urgent=is_urgent)
        elif self._asked is not None:
            self._asked.forget(self._news)

    def _take(self, turns: Turns[Any] | None) -> None:
        self._asked = turns
        if turns is not None and self._mine is None and turns.take(self._news):
            self._mine = turns

    def _read(self, turns: Turns[Any], seconds: float) -> None:
        error: TransportError | None = None
        is_done = False
        self._news.wake = turns.inbox.wake
        try:
            arrived = turns.inbox.receive(seconds) if self._news.empty() and not turns.is_over else ()
            self._news.wake = None
            # If it was left to somebody else meanwhile, that has read the same.
            if arrived and not turns.is_left:
                turns.deliver(turns.inbox, arrived)
            is_done = not turns.is_over
        except TransportError as lost:
            error = lost
        finally:
            self._news.wake = None
            if not is_done:
                # Also if a signal handler has raised: nobody knows how far that went, and the stream is read again.
                self._mine = None
                turns.give_back(error or _interrupted())


def _interrupted() -> Interrupted:
    return Interrupted("its reader was interrupted")
