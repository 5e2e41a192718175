"""A connection for the subscriptions of many: what is published is received once, and handed to each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import hiredis
import redis

from state_signals.transport import replies
from state_signals.transport.duplex_asyncio import Duplex, once_more
from state_signals.transport.failures import explanation
from state_signals.transport.lines_asyncio import Line

__all__ = ["Fanout", "Post"]

_MOST_MESSAGES = 4_096
_MOST_BYTES = 4 * 1024 * 1024
"""What waits for one subscriber; who falls behind farther starts anew, with the journal, as if disconnected."""


class Post:
    """What was published on the channels of one subscriber, and that has not taken yet."""

    def __init__(self, fanout: Fanout, address: str) -> None:
        self._fanout = fanout
        self._address = address
        self._messages: list[bytes] = []
        self._bytes = 0
        self._error: Exception | None = None
        self._is_ending = False
        self._arrival: asyncio.Future[None] | None = None

    async def receive(self) -> Sequence[bytes]:
        """Return what has arrived; wait for the first of it. See `AsyncInbox`."""
        while not self._is_ending:
            if self._messages:
                arrived, self._messages, self._bytes = self._messages, [], 0
                return arrived
            if self._error is not None:
                raise explanation(self._error, "receive", self._address) from self._error
            self._arrival = asyncio.get_running_loop().create_future()
            try:
                await self._arrival
            finally:
                self._arrival = None
        return []

    @property
    def is_over(self) -> bool:
        """Whether nothing comes any more."""
        return self._is_ending or self._error is not None

    def wake(self) -> None:
        """End the `receive()` under way, for good."""
        self._is_ending = True
        self._notify()

    async def close(self) -> None:
        """Subscribe to nothing any more."""
        self.wake()
        self._fanout.leave(self)

    def put(self, data: bytes) -> None:
        """Take a message."""
        if len(self._messages) >= _MOST_MESSAGES or self._bytes > _MOST_BYTES:
            self._fanout.leave(self)
            self.fail(redis.ConnectionError("more was published than could be acted on"))
            return
        self._messages.append(data)
        self._bytes += len(data)
        self._notify()

    def fail(self, error: Exception) -> None:
        """Take note that nothing comes any more."""
        self._error = error
        self._notify()

    def _notify(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


class Fanout:
    """The subscriptions.

    Args:
        dial: makes the connection, within so many seconds.
        address: of the server, for messages.
    """

    def __init__(self, dial: Callable[[float], Awaitable[Line]], address: str) -> None:
        self._address = address
        self._posts: dict[bytes, list[Post]] = {}
        # By channel, until the server has confirmed; and what it was asked, in that order (None: to unsubscribe).
        self._subscribing: dict[bytes, asyncio.Future[None]] = {}
        self._asked: deque[bytes | None] = deque()
        self._duplex = Duplex("state-signals-subscriptions", dial, self._received, self._lost, is_tried=True)

    async def subscribe(self, channels: Sequence[str], seconds: float) -> Post:
        """Subscribe to channels; what is published after the return is received.

        Raises:
            redis.RedisError, OSError: if that does not work.
        """
        await self._duplex.connect(seconds)
        post = Post(self, self._address)
        try:
            for future in [self._join(post, name.encode()) for name in channels]:
                if future is not None:
                    # Others may wait for the same.
                    await asyncio.shield(future)
        except BaseException:
            self.leave(post)
            raise
        return post

    def leave(self, post: Post) -> None:
        """Hand nothing to somebody any more."""
        left = [name for name, posts in self._posts.items() if post in posts]
        for name in left:
            self._posts[name].remove(post)
        empty = [name for name in left if not self._posts[name]]
        for name in empty:
            del self._posts[name]
            self._subscribing.pop(name, None)
        if left and not self._posts:
            self._duplex.cut(redis.ConnectionError("nobody is subscribed any more"))
        for name in empty:
            self._ask("UNSUBSCRIBE", name)

    async def close(self) -> None:
        """Close the connection."""
        await self._duplex.close()

    def _join(self, post: Post, name: bytes) -> asyncio.Future[None] | None:
        posts = self._posts.get(name)
        if posts is None:
            self._posts[name] = [post]
            self._subscribing[name] = asyncio.get_running_loop().create_future()
            self._ask("SUBSCRIBE", name)
        else:
            posts.append(post)
        return self._subscribing.get(name)

    def _ask(self, command: str, name: bytes) -> None:
        if self._duplex.is_up:
            self._asked.append(name if command == "SUBSCRIBE" else None)
            self._duplex.post(replies.pack((command, name)))

    def _received(self, arrived: list[Any]) -> None:
        for reply in arrived:
            data = replies.published(reply)
            if data is not None:
                for post in tuple(self._posts.get(reply[1], ())):
                    post.put(data)
            elif isinstance(reply, hiredis.ReplyError) or (isinstance(reply, list) and reply[0] != b"pong"):
                self._replied(reply)

    def _replied(self, reply: Any) -> None:
        name = self._asked.popleft() if self._asked else None
        future = None if name is None else self._subscribing.pop(name, None)
        if name is None or future is None:
            return
        try:
            replies.check(reply)
        except (redis.RedisError, OSError) as error:
            self._posts.pop(name, None)
            future.set_exception(error)
            # Whoever waited may have given up.
            future.exception()
        else:
            future.set_result(None)

    def _lost(self, error: Exception) -> None:
        self._asked.clear()
        subscribing, self._subscribing = self._subscribing, {}
        for future in subscribing.values():
            future.set_exception(once_more(error))
            future.exception()
        posts, self._posts = self._posts, {}
        for post in {id(each): each for many in posts.values() for each in many}.values():
            post.fail(once_more(error))
