"""Responders of one process that use the same server share its connections, and show together that they live."""

from __future__ import annotations

import asyncio
import math
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import redis
import redis.asyncio

from state_signals.exceptions import Closed, StateSignalsError
from state_signals.requests import Done
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
    """Proofs of life that go out together: the first who comes gives them for all that come within a moment.

    Only who has never given one waits for that. What could not be said is said with the next ones.
    """

    def __init__(self) -> None:
        self._acts: dict[str, Act] = {}
        self._under_way: list[dict[str, Act]] = []
        self._gathering: asyncio.Task[Any] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def show(self, names: tuple[str, ...], act: Act, delay: float) -> Any:
        """Have responders shown; unless that can wait for `delay` seconds, return, or raise, what `act` does."""
        self._acts.update(dict.fromkeys(names, act))
        task, is_first = self._gathering, self._gathering is None
        if task is None:
            self._gathering = task = asyncio.create_task(self._show(delay), name="state-signals-herald")
            self._tasks.add(task)
            task.add_done_callback(self._shown)
        elif delay:
            return Done()
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                # Not we were, but the connection was closed.
                raise _closed() from None
            raise
        except (StateSignalsError, RequestRefused):
            if is_first:
                raise
            # That the first one has to connect again is not our affair.
            return await act(names)

    def withdraw(self, names: Iterable[str]) -> None:
        """Show responders no longer."""
        for acts in (self._acts, *self._under_way):
            for name in names:
                acts.pop(name, None)

    async def close(self) -> None:
        """Give none any more."""
        if self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    async def _show(self, delay: float) -> Any:
        await asyncio.sleep(delay)
        mine, self._acts, self._gathering = self._acts, {}, None
        self._under_way.append(mine)
        try:
            for act in tuple(mine.values()):
                # Who closes meanwhile takes nobody with it.
                with suppress(Closed):
                    return await act(tuple(mine)) if mine else Done()
            return Done()
        except BaseException:
            self._acts = mine | self._acts
            raise
        finally:
            self._under_way.remove(mine)

    def _shown(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Whoever waited may have given up.
            task.exception()


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
        self._shown: dict[str, None] = {}
        self._is_closed = False
        self.herald = self

    async def show(self, names: tuple[str, ...], act: Act) -> Any:
        """Show that responders live, with others that are to show it just now; see `Herald`."""
        proofs = self._joined().proofs.setdefault(self.keys, _Proofs())
        # Somebody waits for the answer that comes after the first one.
        delay = _TOGETHER if self._shown.keys() >= set(names) else 0.0
        self._shown.update(dict.fromkeys(names))
        return await proofs.show(names, act, delay)

    def withdraw(self, names: tuple[str, ...]) -> None:
        """Show them no longer; see `Herald`."""
        hub = self._hub
        if hub is not None and self.keys in hub.proofs:
            hub.proofs[self.keys].withdraw(names)

    async def look(self, request: Any, act: Callable[[], Awaitable[Any]]) -> Any:
        """Return the reply to a request that changes nothing; see `Herald`."""
        return await self._joined().looks.setdefault(self.keys, _Looks()).look(request, act, self._turn)

    async def close(self) -> None:
        """Leave the connections to the others; who is the last one closes them. Idempotent."""
        was_closed, self._is_closed = self._is_closed, True
        self.withdraw(tuple(self._shown))
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
