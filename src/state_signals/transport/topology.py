"""Which node of a Cluster has which keys: pure, for threads and for asyncio alike.

redis-py knows that, too, but learns it by commands that wait as long as they please.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Final

from redis.crc import key_slot

from state_signals.transport.failures import Passing
from state_signals.transport.settings import Address

__all__ = ["SLOTS", "Topology"]

SLOTS: Final = ("CLUSTER", "SLOTS")
"""The command that asks a node for the topology."""


class Topology:
    """What is known about the nodes of a Cluster.

    Args:
        startup: nodes to ask first.
        remap: from the address that a node announces to the one to connect to.

    Attributes:
        is_stale: whether a node has to be asked for it (`CLUSTER SLOTS`) before it is used.
        has_moved: whether slots have another master than before, which may not have all that was written.
    """

    def __init__(self, startup: Sequence[Address], remap: Callable[[Address], Address] | None = None) -> None:
        self.is_stale = True
        self.has_moved = False
        self._startup = tuple(startup)
        self._remap = remap
        self._starts: list[int] = []
        self._ranges: list[tuple[int, Address]] = []
        self._nodes: tuple[Address, ...] = ()
        # Those that failed, the last one last: others are better asked.
        self._failed: list[Address] = []
        self._hint: Address | None = None

    @property
    def nodes(self) -> frozenset[Address]:
        """Where connections may be held to."""
        return frozenset((*self._nodes, *self._startup))

    def owner(self, key: str) -> Address:
        """Return the master that has a key.

        Raises:
            Passing: if no node has its slot.
        """
        slot = key_slot(key.encode())
        place = bisect_right(self._starts, slot) - 1
        if place >= 0 and slot <= self._ranges[place][0]:
            return self._ranges[place][1]
        self.is_stale = True
        raise Passing("CLUSTERDOWN", f"no node has the slot {slot}")

    def candidates(self) -> list[Address]:
        """Return every known node, in the order in which to try them: at random, and last those that failed lately."""
        known = list({*self._nodes, *self._startup})
        random.shuffle(known)
        failed = {node: place for place, node in enumerate(self._failed, 1)}
        known.sort(key=lambda node: failed.get(node, 0))
        if self._hint is not None:
            # It knows at least what is its own.
            known = [self._hint, *(node for node in known if node != self._hint)]
        return known

    def update(self, slots: Any, asked: Address) -> None:
        """Take over a node's reply to `CLUSTER SLOTS`."""
        found = sorted((first, last, [self._address(node, asked) for node in nodes]) for first, last, *nodes in slots)
        before = (self._starts, self._ranges)
        self._starts = [first for first, _, _ in found]
        self._ranges = [(last, nodes[0]) for _, last, nodes in found]
        self.has_moved |= bool(before[0]) and before != (self._starts, self._ranges)
        self._nodes = tuple(dict.fromkeys(node for _, _, nodes in found for node in nodes))
        self._hint = None
        self.is_stale = False

    def failed(self, node: Address, error: BaseException) -> None:
        """Take note that a node failed: where its keys are has to be asked."""
        self.is_stale = True
        if isinstance(error, Passing) and error.kind in ("MOVED", "ASK"):
            # "MOVED 3999 127.0.0.1:6381"; without a host it is the same as of the node that says so.
            host, _, port = error.text.split()[2].rpartition(":")
            if error.kind == "MOVED" and port.isdecimal():
                self._hint = self._remapped((host or node[0], int(port)))
            return
        self._failed = [*(each for each in self._failed if each != node), node]
        if self._hint == node:
            self._hint = None

    def works(self, node: Address) -> None:
        """Take note that a node answers."""
        if node in self._failed:
            self._failed = [each for each in self._failed if each != node]

    def _address(self, node: Any, asked: Address) -> Address:
        host = (node[0] or b"").decode()
        # A node that does not know its own name leaves it away, or says "?".
        return self._remapped((host if host not in ("", "?") else asked[0], int(node[1])))

    def _remapped(self, address: Address) -> Address:
        return address if self._remap is None else self._remap(address)
