"""A connection for the subscriptions of many: what is published is received once, and handed to each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import redis

from state_signals.transport.duplex_asyncio import Duplex
from state_signals.transport.failures import explanation
from state_signals.transport.futures import happened, settle
from state_signals.transport.lines_asyncio import Line
from state_signals.transport.switchboard import Mail, Switchboard

__all__ = ["Fanout", "Post"]


class Post:
    """The inbox of one subscriber."""

    def __init__(self, leave: Callable[[Mail], None], address: str) -> None:
        self.mail = Mail(self._notify)
        self._leave = leave
        self._address = address
        self._is_woken = self._is_closed = False
        self._arrival: asyncio.Future[bool] | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing comes any more."""
        return self._is_closed or self.mail.error is not None

    async def receive(self, timeout: float | None = None) -> Sequence[bytes]:
        """Return what has arrived; wait for the first of it. See `AsyncInbox`."""
        is_late = False
        while not self._is_closed:
            if self.mail.has_messages:
                return self.mail.take()
            if self._is_woken:
                self._is_woken = False
                break
            if self.mail.error is not None:
                raise explanation(self.mail.error, "receive", self._address) from self.mail.error
            if is_late:
                break
            is_late = not await self._has_news(timeout)
        return []

    async def hand_over(self, take: Callable[[Sequence[bytes]], object]) -> None:
        """Call `take` with what arrives. See `AsyncInbox`."""
        while not self._is_closed:
            if arrived := await self.receive():
                take(arrived)

    async def subscribed(self) -> None:
        """Wait until the server has confirmed what was asked for; raise why it has not."""
        while not self.mail.is_subscribed:
            if self.mail.error is not None:
                raise self.mail.error
            await self._has_news(None)

    def wake(self) -> None:
        """End the `receive()` under way, or the next one."""
        self._is_woken = True
        self._notify()

    async def close(self) -> None:
        """Subscribe to nothing any more."""
        self._is_closed = True
        self._notify()
        self._leave(self.mail)

    async def _has_news(self, seconds: float | None) -> bool:
        self._arrival = asyncio.get_running_loop().create_future()
        try:
            return await happened(self._arrival, seconds)
        finally:
            self._arrival = None

    def _notify(self) -> None:
        settle(self._arrival)


class Fanout:
    """The subscriptions.

    Args:
        dial: makes the connection, within so many seconds.
        address: of the server, for messages.
    """

    def __init__(self, dial: Callable[[float], Awaitable[Line]], address: str) -> None:
        self._address = address
        self._board = Switchboard()
        self._duplex = Duplex("state-signals-subscriptions", dial, self._received, self._board.lost, is_tried=True)

    async def subscribe(self, channels: Sequence[str], seconds: float) -> Post:
        """Subscribe to channels; what is published after the return is received.

        Raises:
            redis.RedisError, OSError: if that does not work.
        """
        await self._duplex.connect(seconds)
        post = Post(self._leave, self._address)
        self._post(self._board.join(post.mail, [name.encode() for name in channels]))
        try:
            await post.subscribed()
        except BaseException:
            self._leave(post.mail)
            raise
        return post

    async def close(self) -> None:
        """Close the connection."""
        await self._duplex.close()

    def _leave(self, mail: Mail) -> None:
        was_idle = self._board.is_idle
        self._post(self._board.leave(mail))
        if self._board.is_idle and not was_idle:
            self._duplex.cut(redis.ConnectionError("nobody is subscribed any more"))

    def _received(self, arrived: list[Any]) -> None:
        for reply in arrived:
            self._post(self._board.received(reply))

    def _post(self, data: bytes) -> None:
        if data:
            self._duplex.post(data)
