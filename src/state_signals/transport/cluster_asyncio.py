"""Redis Cluster for asyncio. The counterpart of `state_signals.transport.cluster`, method by method."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import redis

from state_signals.exceptions import Closed
from state_signals.transport import replies
from state_signals.transport.base import Batch
from state_signals.transport.keys import Keys
from state_signals.transport.lines_asyncio import Dialer, Line, deadline
from state_signals.transport.redis_asyncio import BaseTransport, Collection, Commands, Subscription
from state_signals.transport.settings import Address, ClusterSettings, cluster_address
from state_signals.transport.topology import SLOTS, Topology

__all__ = ["AsyncClusterTransport"]


class AsyncClusterTransport(BaseTransport):
    """A Cluster; see `ClusterTransport` for the arguments."""

    def __init__(
        self, cluster: ClusterSettings, keys: Keys, *, client: Any = None, make_client: Callable[[], Any] | None = None
    ) -> None:
        super().__init__(keys)
        self.address = cluster_address(cluster)
        self._given = client
        self._make_client = make_client
        self._dialer = Dialer(cluster.node)
        self._topology = Topology(cluster.startup, cluster.remap)
        self._learning = asyncio.Lock()
        self._commands: dict[Address, Commands] = {}
        self._is_closed = False

    @cached_property
    def client(self) -> Any:
        """A `redis.asyncio.RedisCluster`: the user's, or one of our own, made when it is first asked for."""
        return self._given if self._make_client is None else self._make_client()

    async def close(self) -> None:
        """Close the connections that are our own. Idempotent."""
        self._is_closed = True
        self._dialer.close()
        for commands in tuple(self._commands.values()):
            await commands.close()
        if self._make_client is not None and "client" in vars(self):
            await self.client.aclose()

    async def _connect(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        for commands in tuple(self._commands.values()):
            await commands.renew()
        # Any node will do: that of our keys may be there while others are not.
        self._topology.is_stale = True
        async with deadline(seconds), self._learning:
            await self._learn(until)
        self._topology.has_moved = False

    async def _execute(self, batch: Batch, seconds: float) -> list[Any]:
        until = time.monotonic() + seconds
        self._check_held()
        node = await self._owner(batch.key, until)
        # What was asked on the way may have changed it.
        self._check_held()
        with self._watched(node):
            return await self._commands_to(node).execute(batch, until - time.monotonic())

    async def _subscribe(self, channels: Sequence[str], seconds: float) -> Subscription:
        until = time.monotonic() + seconds
        failure: Exception = redis.ConnectionError("no node is given")
        nodes = self._topology.candidates()
        for left, node in zip(range(len(nodes), 0, -1), nodes, strict=True):
            share = (until - time.monotonic()) / min(left, 2)
            try:
                with self._watched(node):
                    async with deadline(share):
                        line = await self._dial(node, share)
                        return await self._subscription(line, channels, self._lost(node))
            except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
                failure = error
        raise failure

    async def _collect(self, key: str, after: bytes, seconds: float) -> Collection:
        until = time.monotonic() + seconds
        node = await self._owner(key, until)
        with self._watched(node):
            left = until - time.monotonic()
            async with deadline(left):
                return await self._collection(await self._dial(node, left), key, after, self._lost(node))

    def _check_held(self) -> None:
        """Refuse to go on elsewhere where nobody knows what is left of what was written: `connect` comes first then."""
        if self._topology.has_moved:
            raise redis.ConnectionError("keys have moved to another node")
        for commands in self._commands.values():
            commands.check()

    async def _owner(self, key: str, until: float) -> Address:
        if self._topology.is_stale:
            async with deadline(until - time.monotonic()), self._learning:
                await self._learn(until)
        return self._topology.owner(key)

    async def _learn(self, until: float) -> None:
        """Ask a node which has what."""
        nodes = self._topology.candidates() if self._topology.is_stale else []
        failure: Exception | None = None
        for left, node in zip(range(len(nodes), 0, -1), nodes, strict=True):
            try:
                await self._ask(node, (until - time.monotonic()) / min(left + 1, 3))
            except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
                failure = error
            else:
                return
        if failure is not None:
            raise failure

    async def _ask(self, node: Address, seconds: float) -> None:
        with self._watched(node):
            (slots,) = await self._commands_to(node).execute(Batch("", (SLOTS,)), seconds)
            replies.check_refusal(slots)
        self._topology.update(slots, node)
        for gone in self._commands.keys() - self._topology.nodes:
            await self._commands.pop(gone).retire()

    def _commands_to(self, node: Address) -> Commands:
        if self._is_closed:
            raise Closed("it was closed in the meantime; make a new one")
        if node not in self._commands:
            self._commands[node] = Commands(lambda seconds: self._dial(node, seconds))
        return self._commands[node]

    async def _dial(self, node: Address, seconds: float) -> Line:
        return await self._dialer.dial(seconds, host=node[0], port=node[1])

    @contextmanager
    def _watched(self, node: Address) -> Iterator[None]:
        """Take note if a node fails, and if it works."""
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            self._topology.failed(node, error)
            raise
        self._topology.works(node)

    def _lost(self, node: Address) -> Callable[[Exception], None]:
        return lambda error: self._topology.failed(node, error)
