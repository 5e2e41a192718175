"""Redis Cluster for threads.

Commands go to the master that has their key, over one held connection per node; a subscription to any node, for what
is published anywhere is published everywhere. Which node has what is asked before the first command, and again after a
node has failed or has sent us to another: by the next attempt, for nothing is ever sent twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import redis

from state_signals.exceptions import Closed
from state_signals.transport import replies
from state_signals.transport.base import Batch
from state_signals.transport.failures import explained
from state_signals.transport.keys import Keys
from state_signals.transport.lines import Deadline, Dialer, Line
from state_signals.transport.pipeline import Pipeline
from state_signals.transport.redis import BaseTransport, Collection, Subscription
from state_signals.transport.settings import Address, ClusterSettings, cluster_address
from state_signals.transport.topology import SLOTS, Topology

__all__ = ["ClusterTransport"]


class ClusterTransport(BaseTransport):
    """A Cluster.

    Args:
        cluster: how to connect to it.
        keys: the names to use.
        client: the user's `redis.RedisCluster`; its settings are used, its connections are not.
        make_client: makes such a client for who asks for it, when none is given: redis-py's connects at once.
    """

    def __init__(
        self, cluster: ClusterSettings, keys: Keys, *, client: Any = None, make_client: Callable[[], Any] | None = None
    ) -> None:
        super().__init__(keys)
        self.address = cluster_address(cluster)
        self._given = client
        self._make_client = make_client
        self._dialer = Dialer(cluster.node)
        self._topology = Topology(cluster.startup, cluster.remap)
        # Reentrant, because a signal handler may have something to say.
        self._learning = threading.RLock()
        self._pipelines: dict[Address, Pipeline] = {}
        self._is_closed = False

    @cached_property
    def client(self) -> Any:
        """A `redis.RedisCluster`: the user's, or one of our own, which connects when it is first asked for."""
        if self._make_client is None:
            return self._given
        with explained("connect to the server", self.address):
            return self._make_client()

    def close(self) -> None:
        """Close the connections that are our own. Idempotent."""
        self._is_closed = True
        for pipeline in tuple(self._pipelines.values()):
            pipeline.close(self._dialer.close)
        self._dialer.close()
        if self._make_client is not None and "client" in vars(self):
            self.client.close()

    def _connect(self, deadline: Deadline) -> None:
        for pipeline in tuple(self._pipelines.values()):
            pipeline.renew()
        # Any node will do: that of our keys may be there while others are not.
        self._topology.is_stale = True
        self._learn(deadline)
        self._topology.has_moved = False

    def _execute(self, batch: Batch, deadline: Deadline) -> list[Any]:
        self._check_held()
        node = self._owner(batch.key, deadline)
        # What was asked on the way may have changed it.
        self._check_held()
        with self._watched(node):
            return self._pipeline_to(node).execute(batch, deadline)

    def _subscribe(self, channels: Sequence[str], deadline: Deadline) -> Subscription:
        failure: Exception = redis.ConnectionError("no node is given")
        nodes = self._topology.candidates()
        for left, node in zip(range(len(nodes), 0, -1), nodes, strict=True):
            try:
                with self._watched(node):
                    share = deadline.share(min(left, 2))
                    return self._subscription(self._dial(node, share), channels, share, self._lost(node))
            except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
                failure = error
        raise failure

    def _collect(self, key: str, after: bytes, deadline: Deadline) -> Collection:
        node = self._owner(key, deadline)
        with self._watched(node):
            return self._collection(self._dial(node, deadline), key, after, deadline, self._lost(node))

    def _check_held(self) -> None:
        """Refuse to go on elsewhere where nobody knows what is left of what was written: `connect` comes first then."""
        if self._topology.has_moved:
            raise redis.ConnectionError("keys have moved to another node")
        for pipeline in tuple(self._pipelines.values()):
            pipeline.check()

    def _owner(self, key: str, deadline: Deadline) -> Address:
        if self._topology.is_stale:
            self._learn(deadline)
        return self._topology.owner(key)

    def _learn(self, deadline: Deadline) -> None:
        """Ask a node which has what."""
        if not self._learning.acquire(timeout=deadline.remaining()):
            raise deadline.error()
        try:
            nodes = self._topology.candidates() if self._topology.is_stale else []
            failure: Exception | None = None
            for left, node in zip(range(len(nodes), 0, -1), nodes, strict=True):
                try:
                    self._ask(node, deadline.share(min(left + 1, 3)))
                except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
                    failure = error
                else:
                    return
            if failure is not None:
                raise failure
        finally:
            self._learning.release()

    def _ask(self, node: Address, deadline: Deadline) -> None:
        with self._watched(node):
            (slots,) = self._pipeline_to(node).execute(Batch("", (SLOTS,)), deadline)
            replies.check_refusal(slots)
        self._topology.update(slots, node)
        for gone in self._pipelines.keys() - self._topology.nodes:
            self._pipelines.pop(gone).retire()

    def _pipeline_to(self, node: Address) -> Pipeline:
        # Atomic: threads that come at once get the same.
        made = self._pipelines.get(node) or self._pipelines.setdefault(
            node, Pipeline(lambda when: self._dial(node, when))
        )
        if self._is_closed:
            raise Closed("it was closed in the meantime; make a new one")
        return made

    def _dial(self, node: Address, deadline: Deadline) -> Line:
        return self._dialer.dial(deadline, host=node[0], port=node[1])

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
