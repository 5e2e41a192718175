"""Responders of one process that use the same server share its connections, and show together that they live."""

from __future__ import annotations

import asyncio
import math
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import redis
import redis.asyncio

from state_signals.exceptions import Closed, StateSignalsError
from state_signals.transport import replies
from state_signals.transport.base import Batch
from state_signals.transport.commands import RequestRefused
from state_signals.transport.fanout_asyncio import Fanout, Post
from state_signals.transport.keys import Keys
from state_signals.transport.lines_asyncio import Dialer, deadline
from state_signals.transport.pipeline_asyncio import Pipeline
from state_signals.transport.redis_asyncio import AsyncRedisTransport

__all__ = ["SharedTransport"]

_TOGETHER = 0.02
"""Seconds that a proof of life waits for those of others."""

_JUST_NOW = 0.05
"""Seconds for which a reply to somebody else counts as a new one."""

Act = Callable[[tuple[str, ...]], Awaitable[Any]]


class _Proofs:
    """Proofs of life that go out together: the first who comes gives them for all that come within a moment."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}
        self._shown: asyncio.Future[Any] | None = None
        self._task: asyncio.Task[None] | None = None

    async def show(self, names: Iterable[str], act: Act, delay: float) -> Any:
        """Have some responders shown; return, or raise, what `act` does."""
        mine = tuple(names)
        self._names.update(dict.fromkeys(mine))
        is_first = self._shown is None
        if self._shown is None:
            self._shown = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._show(self._shown, act, delay), name="state-signals-herald")
        try:
            return await asyncio.shield(self._shown)
        except (StateSignalsError, RequestRefused):
            if is_first:
                raise
            # That the first one has closed, or has to connect again, is not our affair.
            return await act(mine)

    async def close(self) -> None:
        """Give none any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _show(self, shown: asyncio.Future[Any], act: Act, delay: float) -> None:
        try:
            await asyncio.sleep(delay)
            names, self._names, self._shown = tuple(self._names), {}, None
            shown.set_result(await act(names))
        except BaseException as error:
            if self._shown is shown:
                self._names, self._shown = {}, None
            shown.set_exception(error if isinstance(error, Exception) else _closed())
            # Whoever waited may have given up.
            shown.exception()
            if not isinstance(error, Exception):
                raise


class _Looks:
    """Replies of the server that others have just had, or are about to have."""

    def __init__(self) -> None:
        self._replies: dict[tuple[Any, int], tuple[float, asyncio.Future[Any]]] = {}

    async def look(self, request: Any, act: Callable[[], Awaitable[Any]], turn: int) -> Any:
        """Return the reply to a request over the connection of that turn."""
        key, now = (request, turn), time.monotonic()
        asked_at, reply = self._replies.get(key, (-math.inf, None))
        if reply is not None and now < asked_at + _JUST_NOW:
            # None: that one has closed, or has to connect again, which is not our affair.
            return await asyncio.shield(reply) or await act()
        mine = asyncio.get_running_loop().create_future()
        self._replies = {name: each for name, each in self._replies.items() if now < each[0] + _JUST_NOW}
        self._replies[key] = now, mine
        found = None
        try:
            found = await act()
        finally:
            mine.set_result(found)
        return found


class _Hub:
    """The connections to one server, of one event loop."""

    def __init__(self, source: Any, address: str) -> None:
        self.dialer = Dialer(source)
        self.pipeline = Pipeline(self.dialer.dial)
        self.fanout = Fanout(self.dialer.dial, address)
        self.proofs: dict[Keys, _Proofs] = {}
        self.looks: dict[Keys, _Looks] = {}
        self.users = 0

    async def close(self) -> None:
        for proofs in self.proofs.values():
            await proofs.close()
        self.dialer.close()
        await self.pipeline.close()
        await self.fanout.close()


_hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Hub]] = weakref.WeakKeyDictionary()


class SharedTransport(AsyncRedisTransport):
    """The part of one responder in connections that it shares with others; but for that, as its base.

    Args:
        client: a client of our own.
        keys: the names to use.
        server: what those have in common that share.
    """

    def __init__(self, client: redis.asyncio.Redis, keys: Keys, server: str) -> None:
        super().__init__(client, keys, is_ours=True)
        self._server = server
        self._hub: _Hub | None = None
        self._turn = 0
        self._posts: list[Post] = []
        self._has_shown = False
        self._is_closed = False
        self.herald = self

    async def show(self, names: Iterable[str], act: Act) -> Any:
        """Show that responders live, with others that are to show it just now; see `Herald`."""
        proofs = self._joined().proofs
        if self.keys not in proofs:
            proofs[self.keys] = _Proofs()
        # Somebody waits for the answer that comes after the first one.
        delay, self._has_shown = _TOGETHER if self._has_shown else 0.0, True
        return await proofs[self.keys].show(names, act, delay)

    async def look(self, request: Any, act: Callable[[], Awaitable[Any]]) -> Any:
        """Return the reply to a request that changes nothing; see `Herald`."""
        return await self._joined().looks.setdefault(self.keys, _Looks()).look(request, act, self._turn)

    async def close(self) -> None:
        """Leave the connections to the others; who is the last one closes them. Idempotent."""
        was_closed, self._is_closed = self._is_closed, True
        for post in self._posts:
            await post.close()
        hub, self._hub = self._hub, None
        if hub is not None:
            hub.users -= 1
            if not hub.users:
                hubs = _hubs.get(asyncio.get_running_loop(), {})
                if hubs.get(self._server) is hub:
                    del hubs[self._server]
                await hub.close()
        if not was_closed:
            await super().close()

    async def _connect(self, seconds: float) -> None:
        hub = self._joined()
        async with deadline(seconds):
            self._turn = await hub.pipeline.connect(seconds)
            self._check_open()
            (reply,) = await hub.pipeline.execute(Batch("", (("PING",),)), self._turn, seconds)
        replies.check_refusal(reply)

    async def _execute(self, batch: Batch, seconds: float) -> list[Any]:
        hub = self._joined()
        if not self._turn:
            async with deadline(seconds):
                self._turn = await hub.pipeline.connect(seconds)
        try:
            return await hub.pipeline.execute(batch, self._turn, seconds, is_alone=hub.users == 1)
        except (redis.RedisError, OSError):
            self._check_open()
            raise

    async def _subscribe(self, channels: Sequence[str], seconds: float) -> Post:  # type: ignore[override]
        hub = self._joined()
        async with deadline(seconds):
            post = await hub.fanout.subscribe(channels, seconds)
        if self._is_closed:
            await post.close()
            self._check_open()
        self._posts = [*(each for each in self._posts if not each.is_over), post]
        return post

    def _joined(self) -> _Hub:
        self._check_open()
        if self._hub is None:
            hubs = _hubs.setdefault(asyncio.get_running_loop(), {})
            hub = hubs.get(self._server)
            if hub is None:
                hub = hubs[self._server] = _Hub(self.client.connection_pool, self.address)
            hub.users += 1
            self._hub = hub
        return self._hub

    def _check_open(self) -> None:
        if self._is_closed:
            raise _closed()


def _closed() -> Closed:
    return Closed("it was closed in the meantime; make a new one")
