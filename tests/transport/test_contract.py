"""What every transport promises: memory and Redis, for threads and for asyncio."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import pytest

from state_signals.exceptions import Closed, ServerUnreachable
from state_signals.transport.base import Refusal
from tests.parties import eventually
from tests.transport.sides import DEADLINE, Side


@pytest.fixture(params=["memory", "redis", "shared redis"])
def kind(request: pytest.FixtureRequest) -> str:
    """What kind of transport it is; on Redis, its connections may be shared with others."""
    name: str = request.param
    return name


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest) -> str:
    if kind == "memory":
        return f"memory://{uuid.uuid4()}"
    found: str = request.getfixturevalue("redis_url")
    return found


@pytest.fixture
async def side(shell: str, url: str, kind: str) -> AsyncIterator[Side]:
    made = Side(shell, url=url, is_shared=kind == "shared redis")
    yield made
    await made.close()


@pytest.fixture
async def other(shell: str, url: str) -> AsyncIterator[Side]:
    """Somebody else at the same server."""
    made = Side("asyncio", url=url)
    yield made
    await made.close()


# Commands


async def test_replies_are_those_of_the_server_undecoded(side: Side) -> None:
    await side.connect()
    assert await side.execute("SET", "k", "ä") == b"OK"
    assert await side.execute("GET", "k") == "ä".encode()
    assert await side.execute("GET", "none") is None
    assert await side.execute("DEL", "k") == 1
    assert await side.batch(("XADD", "s", "1-0", "r", b"\x00\r\n"), ("XRANGE", "s", "-", "+")) == [
        b"1-0",
        [[b"1-0", [b"r", b"\x00\r\n"]]],
    ]
    assert await side.batch() == []


async def test_numbers_are_sent_as_they_are_written(side: Side) -> None:
    assert await side.batch(("ZADD", "z", 1732398000.125, "a", 3, "b"), ("ZMSCORE", "z", "a", "b", "c")) == [
        2,
        [b"1732398000.125", b"3", None],
    ]


async def test_a_refusal_stands_where_the_reply_would_be(side: Side) -> None:
    good, bad, unknown, after = await side.batch(("SET", "k", "1"), ("HGETALL", "k"), ("NOSUCHCOMMAND",), ("GET", "k"))
    assert (good, after) == (b"OK", b"1")
    assert isinstance(bad, Refusal)
    assert bad.kind == "WRONGTYPE"
    assert bad.text.startswith("WRONGTYPE Operation against a key")
    assert isinstance(unknown, Refusal)
    assert unknown.kind == "ERR"
    assert "unknown command" in unknown.text


async def test_an_atomic_batch_that_cannot_begin_is_refused_as_a_whole(side: Side) -> None:
    replies = await side.batch(("SET", "k", "1"), ("GET",), ("GET", "k"), is_atomic=True)
    assert [reply.kind for reply in replies] == ["ERR"] * 3
    assert "wrong number of arguments" in replies[0].text
    assert await side.execute("GET", "k") is None


async def test_an_atomic_batch_goes_on_after_a_refusal(side: Side) -> None:
    one, two, three = await side.batch(("SET", "k", "1"), ("HGETALL", "k"), ("GET", "k"), is_atomic=True)
    assert (one, two.kind, three) == (b"OK", "WRONGTYPE", b"1")


async def test_commands_of_many_at_once_do_not_mix(side: Side) -> None:
    async def count(name: str) -> list[Any]:
        return [(await side.batch(("SET", name, number), ("GET", name)))[1] for number in range(50)]

    found = await asyncio.gather(*(count(f"k{number}") for number in range(8)))
    assert found == [[b"%d" % number for number in range(50)]] * 8


async def test_large_commands_and_replies_arrive_whole(side: Side) -> None:
    data = bytes(range(256)) * 20_000
    assert await side.batch(("SET", "k", data), ("GET", "k")) == [b"OK", data]


# Inboxes


async def test_what_is_published_after_subscribing_arrives_in_order(side: Side, other: Side) -> None:
    inbox = await side.subscribe("a", "b")
    for number in range(500):
        assert await other.execute("PUBLISH", "ab"[number % 2], number) == 1
    assert await other.execute("PUBLISH", "c", "1") == 0
    assert await side.receive_all(inbox, 500) == [b"%d" % number for number in range(500)]


async def test_entries_are_collected_after_a_position(side: Side, other: Side) -> None:
    await other.batch(*(("XADD", "s", f"{number}-0", "r", number) for number in range(1, 5)))
    inbox = await side.collect("s", b"2-0")
    assert await side.receive_all(inbox, 2) == [b"3", b"4"]
    assert inbox.last == b"4-0"
    receiving = asyncio.create_task(side.receive(inbox))
    await other.execute("XADD", "s", "5-0", "r", b"\x00\xff")
    assert await receiving == [b"\x00\xff"]
    assert inbox.last == b"5-0"


async def test_foreign_entries_are_passed_over(side: Side, other: Side) -> None:
    inbox = await side.collect("s")
    await other.batch(("XADD", "s", "1-0", "o", ""), ("XADD", "s", "2-0", "x", "1", "r", "2"))
    assert await side.receive_all(inbox, 1) == [b"2"]
    assert inbox.last == b"2-0"


async def test_a_stream_that_is_deleted_is_no_end(side: Side, other: Side) -> None:
    inbox = await side.collect("s")
    await other.execute("XADD", "s", "1-0", "r", "1")
    assert await side.receive(inbox) == [b"1"]
    await other.execute("DEL", "s")
    receiving = asyncio.create_task(side.receive(inbox))
    assert not (await asyncio.wait([receiving], timeout=0.05))[0]
    await other.execute("XADD", "s", "2-0", "r", "2")
    assert await receiving == [b"2"]


async def test_what_is_no_stream_cannot_be_collected(side: Side, other: Side) -> None:
    await other.execute("SET", "s", "1")
    # At once, or with the first look.
    with pytest.raises(ServerUnreachable, match="WRONGTYPE"):
        await side.receive(await side.collect("s"))


async def test_wake_ends_a_wait(side: Side, other: Side) -> None:
    for inbox in (await side.subscribe("a"), await side.collect("s")):
        receiving = asyncio.create_task(side.receive(inbox))
        assert not (await asyncio.wait([receiving], timeout=0.05))[0]
        inbox.wake()
        assert await receiving == []
        inbox.wake()
        assert await side.receive(inbox) == []


async def test_a_wake_takes_nothing_away(side: Side, other: Side) -> None:
    for inbox, command in (
        (await side.subscribe("a"), ("PUBLISH", "a", "1")),
        (await side.collect("s"), ("XADD", "s", "*", "r", "1")),
    ):
        assert await side.receive(inbox, 0.01) == []
        inbox.wake()
        await other.execute(*command)
        assert (await side.receive(inbox) or await side.receive(inbox)) == [b"1"]


@pytest.mark.parametrize("shell", ["asyncio"])
async def test_close_ends_the_wait_of_another_task(side: Side) -> None:
    for inbox in (await side.subscribe("a"), await side.collect("s")):
        receiving = asyncio.create_task(inbox.receive())
        assert not (await asyncio.wait([receiving], timeout=0.05))[0]
        await inbox.close()
        assert await receiving == []


async def test_a_closed_inbox_has_nothing(side: Side, other: Side) -> None:
    for inbox in (await side.subscribe("a"), await side.collect("s")):
        await other.batch(("PUBLISH", "a", "1"), ("XADD", "s", "*", "r", "1"))
        await side.call(inbox.close)
        assert await side.receive(inbox) == []
        await side.call(inbox.close)
        inbox.wake()


@pytest.mark.parametrize("shell", ["asyncio"])
async def test_a_cancelled_wait_loses_nothing(side: Side, other: Side) -> None:
    for inbox, command in (
        (await side.subscribe("a"), ("PUBLISH", "a")),
        (await side.collect("s"), ("XADD", "s", "*", "r")),
    ):
        arrived: list[bytes] = []
        for number in range(100):
            receiving = asyncio.create_task(inbox.receive())
            sending = asyncio.create_task(other.execute(*command, number))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            receiving.cancel()
            with suppress(asyncio.CancelledError):
                arrived += await receiving
            await sending
        arrived += await side.receive_all(inbox, 100 - len(arrived))
        assert arrived == [b"%d" % number for number in range(100)]


@pytest.mark.parametrize("shell", ["asyncio"])
async def test_a_cancelled_command_confuses_nobody(side: Side) -> None:
    for number in range(100):
        executing = asyncio.create_task(side.execute("SET", "k", number))
        for _ in range(number % 7):
            await asyncio.sleep(0)
        executing.cancel()
        with suppress(asyncio.CancelledError):
            assert await executing == b"OK"
        assert await side.execute("GET", "none") is None


@pytest.mark.parametrize("shell", ["asyncio"])
async def test_what_arrives_is_handed_over_until_it_is_closed(side: Side, other: Side) -> None:
    for inbox, command in (
        (await side.subscribe("a"), ("PUBLISH", "a")),
        (await side.collect("s"), ("XADD", "s", "*", "r")),
    ):
        arrived: list[bytes] = []
        handing = asyncio.create_task(inbox.hand_over(arrived.extend))
        for number in range(100):
            await other.execute(*command, number)
            if number == 25:
                # That is for whoever is in receive().
                await eventually(lambda: len(arrived) == 26)  # noqa: B023
                for _ in range(3):
                    inbox.wake()
                    for _ in range(10):
                        await asyncio.sleep(0)
                assert not handing.done()
            if number == 50:
                # Nothing is lost in between, nor told twice.
                handing.cancel()
                with suppress(asyncio.CancelledError):
                    await handing
                handing = asyncio.create_task(inbox.hand_over(arrived.extend))
        await eventually(lambda: len(arrived) >= 100)  # noqa: B023
        assert arrived == [b"%d" % number for number in range(100)]
        await inbox.close()
        await asyncio.wait_for(handing, DEADLINE)
        await other.execute(*command, 100)
        await asyncio.wait_for(inbox.hand_over(arrived.extend), DEADLINE)
        assert len(arrived) == 100


@pytest.mark.parametrize("shell", ["asyncio"])
async def test_who_cannot_take_it_is_heard(side: Side, other: Side) -> None:
    def refuse(arrived: Sequence[bytes]) -> None:
        raise ValueError(arrived)

    for inbox, command in (
        (await side.subscribe("a"), ("PUBLISH", "a", "1")),
        (await side.collect("s"), ("XADD", "s", "*", "r", "1")),
    ):
        handing = asyncio.create_task(inbox.hand_over(refuse))
        await other.execute(*command)
        with pytest.raises(ValueError, match="b'1'"):
            await asyncio.wait_for(handing, DEADLINE)


async def test_receive_returns_when_its_time_is_up(side: Side, other: Side) -> None:
    channel, stream = await side.subscribe("a"), await side.collect("s")
    for inbox in (channel, stream):
        for timeout in (-1, 0, 0.02):
            assert await side.call(inbox.receive, timeout) == []
    # Nothing was lost by that.
    await other.execute("PUBLISH", "a", "1")
    await other.execute("XADD", "s", "*", "r", "2")
    assert await side.call(channel.receive, DEADLINE) == [b"1"]
    assert await side.call(stream.receive, DEADLINE) == [b"2"]


# The end


async def test_after_close_nothing_can_be_asked_for(side: Side) -> None:
    await side.connect()
    await side.call(side.transport.close)
    await side.call(side.transport.close)
    for ask in (side.connect, lambda: side.execute("PING"), lambda: side.subscribe("a"), lambda: side.collect("s")):
        with pytest.raises((Closed, ServerUnreachable)):
            await ask()


async def test_inboxes_are_independent_of_each_other(side: Side, other: Side) -> None:
    first, second = await side.subscribe("a"), await side.subscribe("a")
    await side.call(first.close)
    await other.execute("PUBLISH", "a", "1")
    assert await side.receive(second) == [b"1"]


async def test_an_inbox_that_nobody_reads_holds_nobody_up(side: Side, other: Side) -> None:
    inbox = await side.subscribe("a")
    for number in range(1000):
        await other.execute("PUBLISH", "a", number)
    assert await side.execute("PING") == b"PONG"
    arrived: list[bytes] = []

    async def read() -> bool:
        arrived.extend(await side.receive(inbox))
        return len(arrived) == 1000

    while not await read():
        pass
    await eventually(lambda: arrived[-1] == b"999")
