"""Where a Cluster's commands go, with nodes that say what they are told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest

from state_signals.exceptions import ServerUnreachable
from tests.transport.sides import DEADLINE, Side
from tests.transport.strangers import Stranger, stranger

HIGH, LOW = "foo", "bar"
"""Keys in slot 12182 and in slot 5061."""

MIDDLE = 8192


class Nodes:
    """Two nodes, each with half of the slots, until `owners` says otherwise."""

    def __init__(self, stack: ExitStack) -> None:
        self.low = stack.enter_context(stranger(lambda command: self.answer(self.low, command)))
        self.high = stack.enter_context(stranger(lambda command: self.answer(self.high, command)))
        self.owners: tuple[Stranger, ...] = (self.low, self.high)

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.low.port},127.0.0.1:{self.high.port}"

    def answer(self, node: Stranger, command: list[bytes]) -> bytes:
        if command[0] == b"CLUSTER":
            edges = ((0, MIDDLE - 1), (MIDDLE, 16383))
            ranges = zip(edges, self.owners, strict=True)
            return b"*2\r\n" + b"".join(
                b"*3\r\n:%d\r\n:%d\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % (*edge, owner.port) for edge, owner in ranges
            )
        if command[0] == b"SUBSCRIBE":
            return b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
        if command[:2] == [b"SET", HIGH.encode()] and self.owners[1] is not node:
            return b"-MOVED 12182 127.0.0.1:%d\r\n" % self.owners[1].port
        if command[0] == b"XREAD":
            # Whoever waits for entries waits for ever.
            return b"" if b"BLOCK" in command else b"*-1\r\n"
        return b"+OK\r\n"


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with ExitStack() as stack:
        yield Nodes(stack)


@pytest.fixture
async def side(shell: str, nodes: Nodes) -> AsyncIterator[Side]:
    made = Side(shell, url=nodes.url)
    yield made
    await made.close()


def written(node: Stranger) -> list[bytes]:
    """The keys that a node was told to set."""
    return [command[1] for command in node.heard if command[0] == b"SET"]


async def test_commands_go_to_who_has_their_key(side: Side, nodes: Nodes):
    for key in (HIGH, LOW, HIGH):
        assert await side.execute("SET", key, "1") == b"OK"
    assert written(nodes.high) == [HIGH.encode()] * 2
    assert written(nodes.low) == [LOW.encode()]
    # Who has what was asked once.
    assert [command[0] for command in nodes.high.heard + nodes.low.heard].count(b"CLUSTER") == 1


async def test_a_key_that_has_moved_is_followed_after_connecting_anew(side: Side, nodes: Nodes):
    await side.execute("SET", HIGH, "1")
    nodes.owners = (nodes.low, nodes.low)
    with pytest.raises(ServerUnreachable, match="MOVED"):
        await side.execute("SET", HIGH, "2")
    for key in (HIGH, LOW):
        with pytest.raises(ServerUnreachable):
            await side.execute("SET", key, "3")
    await side.connect()
    assert await side.execute("SET", HIGH, "4") == b"OK"
    # Nothing was sent twice, and nothing before somebody knew.
    assert (written(nodes.high), written(nodes.low)) == ([HIGH.encode()] * 2, [HIGH.encode()])


async def test_that_keys_have_moved_is_told_also_if_it_was_learnt_by_the_way(side: Side, nodes: Nodes):
    await side.execute("SET", LOW, "1")
    inbox = await side.collect(HIGH)
    receiving = asyncio.create_task(side.receive(inbox))
    assert not (await asyncio.wait([receiving], timeout=0.05))[0]
    nodes.owners = (nodes.low, nodes.low)
    nodes.high.hang_up()
    with pytest.raises(ServerUnreachable):
        await receiving
    # The next command, whatever it is for, asks where the keys are now.
    for _ in range(2):
        # Or else, if it was the other one that was asked in the beginning, it is noticed by that.
        with pytest.raises(
            ServerUnreachable, match=r"keys have moved to another node|the server closed the connection"
        ):
            await side.execute("SET", HIGH, "2")
    await side.connect()
    assert await side.execute("SET", HIGH, "3") == b"OK"
    assert (written(nodes.high), written(nodes.low)) == ([], [LOW.encode(), HIGH.encode()])


async def test_a_connection_that_is_lost_is_noticed_by_commands_to_other_nodes(side: Side, nodes: Nodes):
    for key in (LOW, HIGH):
        await side.execute("SET", key, "1")
    nodes.high.hang_up()
    with pytest.raises(ServerUnreachable, match="the server closed the connection"):
        async with asyncio.timeout(DEADLINE):
            while True:
                await side.execute("GET", LOW)
    for _ in range(2):
        with pytest.raises(ServerUnreachable, match="the server closed the connection"):
            await side.execute("SET", LOW, "2")
    await side.connect()
    for key in (LOW, HIGH):
        assert await side.execute("SET", key, "3") == b"OK"
    assert (written(nodes.high), written(nodes.low)) == ([HIGH.encode()] * 2, [LOW.encode()] * 2)


async def test_a_node_that_is_gone_holds_nobody_up_who_does_not_need_it(side: Side, nodes: Nodes):
    await side.execute("SET", LOW, "1")
    nodes.high.close()
    for _ in range(5):
        await side.subscribe("a")
        await side.connect()
        assert await side.execute("SET", LOW, "2") == b"OK"
    with pytest.raises(ServerUnreachable, match=r"[Rr]efused"):
        await side.execute("SET", HIGH, "3")
