"""A connection for the subscriptions of many threads: what is published is received once, and handed to each.

One of those who wait leads: it reads for all. Whoever leaves hands the lead on, first to those who have got something:
so one wakes the next. All at once, they would fight for the interpreter.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import redis

from state_signals.transport import base
from state_signals.transport.failures import explanation
from state_signals.transport.lines import Deadline, Line
from state_signals.transport.redis import Tried
from state_signals.transport.switchboard import Mail, Switchboard

__all__ = ["Fanout", "Post"]

_LONGEST_SLEEP = 86_400.0
"""Seconds; waiting much longer overflows."""


class _Feed(Tried):
    """The connection: it says what others want said, for only one thread at a time may use it.

    Attributes:
        is_in_use: whether somebody reads.
    """

    def __init__(self, line: Line, address: str) -> None:
        super().__init__(line, address, lambda _error: None)
        self.is_in_use = False
        self._unsent: deque[bytes] = deque()

    def post(self, data: bytes) -> None:
        """Have something sent."""
        if data:
            self._unsent.append(data)
            self.wake()

    def _arrived(self) -> list[Any]:
        while self._unsent:
            self._line.send(self._unsent.popleft(), Deadline(base.TIMEOUT))
        return self._line.replies()


class Post:
    """The inbox of one subscriber; see `Inbox`."""

    def __init__(self, fanout: Fanout, address: str) -> None:
        self.mail = Mail(lambda: fanout.served(self))
        # The main thread may be in a signal handler for long: others do not wait for that.
        self.is_main = False
        self._fanout = fanout
        self._address = address
        self._is_woken = False
        self._is_closed = False
        # No Event: a signal handler may wake us while it interrupts the same call.
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()

    @property
    def is_over(self) -> bool:
        """Whether nothing comes any more."""
        return self._is_closed or self.mail.error is not None

    def receive(self, timeout: float | None) -> Sequence[bytes]:
        """Return what has arrived; wait up to `timeout` seconds (None: for ever) for the first of it."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        is_late = False
        while True:
            arrived = self._fanout.take(self.mail)
            if arrived:
                return arrived
            if self._is_woken or self._is_closed or (is_late and self.mail.error is None):
                self._is_woken = False
                return []
            error = self.mail.error
            if error is not None:
                raise explanation(error, "receive", self._address) from error
            self._fanout.attend(self, until, self._has_news)
            is_late = time.monotonic() >= until

    def wake(self) -> None:
        """End the `receive()` under way, or the next one. Safe from any thread and from a signal handler."""
        self._is_woken = True
        self._fanout.rouse(self)

    def close(self) -> None:
        """Subscribe to nothing any more."""
        self._is_closed = True
        self._fanout.leave(self.mail)
        # Of whoever closes its transport, another thread may be in `receive()`.
        self._fanout.rouse(self)

    def notify(self) -> None:
        """End a `sleep()`."""
        self._wakes.put(None)

    def sleep(self, until: float) -> None:
        """Wait for a `notify()`."""
        with suppress(queue.Empty):
            self._wakes.get(timeout=min(max(0.0, until - time.monotonic()), _LONGEST_SLEEP))
            while True:
                self._wakes.get_nowait()

    def _has_news(self) -> bool:
        return self.mail.has_messages or self._is_woken or self.is_over


class Fanout:
    """The subscriptions.

    Args:
        dial: makes the connection.
        address: of the server, for messages.
    """

    def __init__(self, dial: Callable[[Deadline], Line], address: str) -> None:
        self._dial = dial
        self._address = address
        self._connecting = threading.RLock()
        # Guards all that follows, and is held for moments only. Reentrant, because a signal handler may close.
        self._lock = threading.RLock()
        self._board = Switchboard()
        self._feed: _Feed | None = None
        self._lead: Post | None = None
        self._waiting: dict[Post, None] = {}
        # Those of them who have got something, and were not woken for it.
        self._served: OrderedDict[Post, None] = OrderedDict()

    def subscribe(self, channels: Sequence[str], deadline: Deadline) -> Post:
        """Subscribe to channels; what is published after the return is received.

        Raises:
            redis.RedisError, OSError: if that does not work.
        """
        was_there = self._feed is not None
        try:
            return self._subscribed(channels, deadline)
        except redis.ConnectionError:
            if not was_there:
                raise
            # It may have been lost long ago: nobody reads while all are busy.
            return self._subscribed(channels, deadline)

    def attend(self, post: Post, until: float, is_done: Callable[[], bool]) -> None:
        """Wait for something, and read for all meanwhile if nobody else does. It may end before that."""
        post.is_main = threading.current_thread() is threading.main_thread()
        try:
            with self._lock:
                if is_done():
                    return
                lead = self._lead
                if lead is None:
                    self._lead = post
                else:
                    self._waiting[post] = None
                    if lead.is_main and self._feed is not None:
                        self._feed.wake()
            if lead is not None:
                post.sleep(until)
                with self._lock:
                    self._waiting.pop(post, None)
            # It may have been handed on to us meanwhile.
            while self._lead is post and not is_done() and not self._is_wanted(post):
                self._read(max(0.0, until - time.monotonic()))
                if time.monotonic() >= until:
                    return
        finally:
            try:
                self._depart(post)
            except BaseException:
                # A signal handler has ended that: nobody would read any more.
                self._depart(post)
                raise

    def take(self, mail: Mail) -> Sequence[bytes]:
        """Return what has come for somebody."""
        if not mail.has_messages:
            return []
        with self._lock:
            return mail.take()

    def served(self, post: Post) -> None:
        """Take note that somebody has got something. Called with the lock."""
        if post in self._waiting:
            if post.is_main:
                post.notify()
            else:
                self._served[post] = None

    def rouse(self, post: Post) -> None:
        """End the wait of somebody. Safe from a signal handler."""
        post.notify()
        feed = self._feed
        if feed is not None and self._lead is post:
            feed.wake()

    def leave(self, mail: Mail) -> None:
        """Hand nothing to somebody any more."""
        with self._lock:
            was_idle = self._board.is_idle
            data = self._board.leave(mail)
            if self._feed is not None:
                self._feed.post(data)
            if self._board.is_idle and not was_idle:
                self._lose(redis.ConnectionError("nobody is subscribed any more"))

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._lose(redis.ConnectionError("it was closed"))

    def _subscribed(self, channels: Sequence[str], deadline: Deadline) -> Post:
        self._connect(deadline)
        post = Post(self, self._address)
        with self._lock:
            if self._feed is None:
                raise redis.ConnectionError("the connection was lost at once")
            self._feed.post(self._board.join(post.mail, [name.encode() for name in channels]))
        mail = post.mail
        try:
            while not mail.is_subscribed:
                if mail.error is not None:
                    raise mail.error.with_traceback(None)
                until = time.monotonic() + deadline.remaining()
                self.attend(post, until, lambda: mail.is_subscribed or mail.error is not None)
        except BaseException:
            self.leave(mail)
            raise
        return post

    def _connect(self, deadline: Deadline) -> None:
        if not self._connecting.acquire(timeout=deadline.remaining()):
            raise deadline.error()
        try:
            if self._feed is None:
                self._feed = _Feed(self._dial(deadline), self._address)
        finally:
            self._connecting.release()

    def _read(self, seconds: float) -> None:
        """Wait for what arrives, and hand it to those whom it is for."""
        with self._lock:
            feed = self._feed
            if feed is None:
                return
            feed.is_in_use = True
        try:
            arrived = feed.wait(seconds)
            with self._lock:
                for reply in arrived if feed is self._feed else ():
                    feed.post(self._board.received(reply))
        except BaseException as error:
            with self._lock:
                if feed is self._feed:
                    # Also if a signal handler ends us: nobody knows how far we were.
                    self._lose(error if isinstance(error, redis.RedisError | OSError) else _interrupted())
            if not isinstance(error, redis.RedisError | OSError):
                raise
        finally:
            with self._lock:
                feed.is_in_use = False
                if feed is not self._feed:
                    feed.close()

    def _is_wanted(self, post: Post) -> bool:
        """Whether the lead is to be handed on: to who has got something, and from the main thread to any other."""
        return bool(self._served or (post.is_main and self._waiting))

    def _depart(self, post: Post) -> None:
        with self._lock:
            self._waiting.pop(post, None)
            if self._lead is post:
                self._hand_on()

    def _hand_on(self) -> None:
        heir = self._heir()
        # In this order: it can be done once more if a signal handler ends us in between.
        if heir is not None:
            heir.notify()
        self._lead = heir
        if heir is not None:
            self._served.pop(heir, None)

    def _heir(self) -> Post | None:
        """Return who is to lead next."""
        while self._served:
            post = next(iter(self._served))
            if post in self._waiting:
                return post
            del self._served[post]
        return next((post for post in self._waiting if not post.is_main), next(iter(self._waiting), None))

    def _lose(self, error: Exception) -> None:
        """Give the connection up, if there is one. Whoever reads closes it."""
        feed, self._feed = self._feed, None
        if feed is None:
            return
        self._board.lost(error)
        if feed.is_in_use:
            feed.wake()
        else:
            feed.close()
        if self._lead is None:
            self._hand_on()


def _interrupted() -> redis.ConnectionError:
    return redis.ConnectionError("a signal handler has interrupted whoever read for all")
