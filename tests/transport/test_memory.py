"""The hub of a NAME, and its inboxes for threads and for asyncio."""

from __future__ import annotations

import asyncio
import gc
import itertools
import signal
import threading
import time
import uuid
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from state_signals.exceptions import Closed, ServerUnreachable
from state_signals.transport import memory
from state_signals.transport.base import Batch
from state_signals.transport.keys import Keys
from state_signals.transport.memory import AsyncMemoryTransport, MemoryTransport

KEY = "stream"


class Side:
    """A transport for threads or for asyncio, and its inboxes, as seen by asyncio."""

    def __init__(self, kind: str, name: str) -> None:
        self.transport: Any = MemoryTransport(name, Keys()) if kind == "sync" else AsyncMemoryTransport(name, Keys())
        self.inboxes: list[Any] = []
        self._is_sync = kind == "sync"

    async def call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        found = method(*arguments)
        return await found if isinstance(found, Awaitable) else found

    async def execute(self, *command: str | bytes | float) -> Any:
        (reply,) = await self.call(self.transport.execute, Batch("k", (command,)))
        return reply

    async def subscribe(self, *channels: str) -> Any:
        return await self._opened(self.transport.subscribe, channels)

    async def collect(self, key: str = KEY, after: bytes = b"0-0") -> Any:
        return await self._opened(self.transport.collect, key, after)

    async def receive(self, inbox: Any, timeout: float = 20.0) -> list[bytes]:
        if self._is_sync:
            return list(await asyncio.to_thread(inbox.receive, timeout))
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                return list(await inbox.receive())
        return []

    async def receive_all(self, inbox: Any, count: int) -> list[bytes]:
        arrived: list[bytes] = []
        while len(arrived) < count and (more := await self.receive(inbox)):
            arrived += more
        return arrived

    async def _opened(self, method: Callable[..., Any], *arguments: Any) -> Any:
        self.inboxes.append(await self.call(method, *arguments))
        return self.inboxes[-1]

    async def close(self) -> None:
        for inbox in self.inboxes:
            await self.call(inbox.close)
        await self.call(self.transport.close)


@pytest.fixture
def name() -> str:
    return str(uuid.uuid4())


@pytest.fixture(params=["sync", "asyncio"])
async def side(request: pytest.FixtureRequest, name: str) -> AsyncIterator[Side]:
    made = Side(request.param, name)
    yield made
    await made.close()


@pytest.fixture
def other(name: str) -> Iterator[MemoryTransport]:
    """Somebody else at the same hub."""
    transport = MemoryTransport(name, Keys())
    yield transport
    transport.close()


def execute(transport: MemoryTransport, *command: str | bytes | float) -> Any:
    (reply,) = transport.execute(Batch("k", (command,)))
    return reply


def subscribed(name: str) -> list[bytes]:
    """The channels and streams that somebody listens to."""
    return list(memory._hubs[name]._keyspace._subscribers)


# Subscriptions


async def test_what_is_published_on_its_channels_arrives_in_order(side: Side, other: MemoryTransport) -> None:
    inbox = await side.subscribe("a", "b", "a")
    numbers = [execute(other, "PUBLISH", channel, channel * 2) for channel in "abca"]
    assert numbers == [1, 1, 0, 1]
    stranger = MemoryTransport("stranger", Keys())
    assert execute(stranger, "PUBLISH", "a", "1") == 0
    stranger.close()
    assert await side.receive_all(inbox, 3) == [b"aa", b"bb", b"aa"]


async def test_wake_ends_a_wait(side: Side) -> None:
    for inbox in (await side.subscribe("a"), await side.collect()):
        receiving = asyncio.create_task(side.receive(inbox))
        assert not (await asyncio.wait([receiving], timeout=0.02))[0]
        inbox.wake()
        assert await receiving == []
        inbox.wake()
        assert await side.receive(inbox) == []


async def test_a_closed_inbox_has_nothing(side: Side, other: MemoryTransport, name: str) -> None:
    subscription, collection = await side.subscribe("a", "b"), await side.collect()
    execute(other, "PUBLISH", "a", "1")
    execute(other, "XADD", KEY, "*", "r", "1")
    for inbox in (subscription, collection, subscription):
        await side.call(inbox.close)
        assert await side.receive(inbox) == []
    assert subscribed(name) == []


async def test_a_closed_transport_says_so(side: Side) -> None:
    await side.call(side.transport.connect)
    await side.call(side.transport.close)
    await side.call(side.transport.close)
    for call in (side.call(side.transport.connect), side.execute("PING"), side.subscribe("a"), side.collect()):
        with pytest.raises(Closed):
            await call


# Slow readers


async def test_who_does_not_read_is_cut_off(side: Side, other: MemoryTransport) -> None:
    inbox, reader = await side.subscribe("a"), await side.subscribe("a")
    for _ in range(5):
        other.execute(Batch("k", (("PUBLISH", "a", "1"),) * (memory._MOST_MESSAGES // 4)))
        assert len(await side.receive(reader)) == memory._MOST_MESSAGES // 4
    assert len(inbox._mail._waiting) == 0
    for _ in range(2):
        with pytest.raises(ServerUnreachable, match="10,000 messages"):
            await side.receive(inbox)


async def test_who_leaves_too_many_bytes_is_cut_off(side: Side, other: MemoryTransport) -> None:
    inbox = await side.subscribe("a")
    data = bytes(memory._MOST_BYTES // 4)
    for _ in range(2):
        other.execute(Batch("k", (("PUBLISH", "a", data),) * 4))
        assert len(await side.receive(inbox)) == 4
    other.execute(Batch("k", (("PUBLISH", "a", data),) * 5))
    with pytest.raises(ServerUnreachable, match="8,388,608 bytes"):
        await side.receive(inbox)
    # Else nobody could ever receive it.
    inbox = await side.subscribe("b")
    execute(other, "PUBLISH", "b", data * 5)
    assert await side.receive(inbox) == [data * 5]


async def test_a_wait_ends_when_its_reader_is_cut_off(side: Side, other: MemoryTransport) -> None:
    inbox = await side.subscribe("a")
    receiving = asyncio.create_task(side.receive(inbox))
    assert not (await asyncio.wait([receiving], timeout=0.02))[0]
    other.execute(Batch("k", (("PUBLISH", "a", "1"),) * (2 * memory._MOST_MESSAGES)))
    with pytest.raises(ServerUnreachable):
        # A thread may have taken a part in between.
        assert await receiving
        await side.receive_all(inbox, memory._MOST_MESSAGES)


async def test_entries_after_an_id_are_collected(side: Side, other: MemoryTransport) -> None:
    other.execute(Batch("k", tuple(("XADD", KEY, number, "r", number) for number in range(1, 6))))
    inbox = await side.collect(after=b"2-0")
    execute(other, "XADD", KEY, "6-0", "r", "6")
    assert await side.receive(inbox) == [b"3", b"4", b"5", b"6"]
    assert inbox.last == b"6-0"
    assert await side.receive(inbox, 0.02) == []


async def test_what_is_new_ends_a_wait(side: Side, other: MemoryTransport) -> None:
    ways = ((await side.collect(), ("XADD", KEY, "*", "r", "é")), (await side.subscribe("a"), ("PUBLISH", "a", "é")))
    for inbox, command in ways * 2:
        receiving = asyncio.create_task(side.receive(inbox))
        assert not (await asyncio.wait([receiving], timeout=0.02))[0]
        execute(other, *command)
        assert await receiving == ["é".encode()]


async def test_foreign_entries_are_passed_over(side: Side, other: MemoryTransport) -> None:
    inbox = await side.collect()
    execute(other, "XADD", KEY, "1", "o", "")
    assert await side.receive(inbox, 0.02) == []
    assert inbox.last == b"1-0"
    other.execute(Batch("k", tuple(("XADD", KEY, number, "x", "r") for number in range(2, 12_000))))
    execute(other, "XADD", KEY, "12000", "x", "1", "r", "2")
    assert await side.receive(inbox) == [b"2"]


async def test_an_inbox_keeps_no_entries(side: Side, other: MemoryTransport) -> None:
    inbox = await side.collect()
    other.execute(Batch("k", (("XADD", KEY, "MAXLEN", 10, "*", "r", "1"),) * 1000))
    assert await side.receive(inbox) == [b"1"] * 10


async def test_what_is_no_stream_cannot_be_collected(side: Side, other: MemoryTransport) -> None:
    inbox = await side.collect()
    execute(other, "SET", KEY, "1")
    with pytest.raises(ServerUnreachable, match=f"{side.transport.address}: WRONGTYPE"):
        await side.receive(inbox)


async def test_nothing_is_lost_between_threads(side: Side, other: MemoryTransport) -> None:
    collection, subscription = await side.collect(), await side.subscribe("a")

    def write(writer: int) -> None:
        for data in (f"{writer}-{number}" for number in range(500)):
            other.execute(Batch("k", (("XADD", KEY, "*", "r", data), ("PUBLISH", "a", data)), is_atomic=True))

    writing = [asyncio.to_thread(write, writer) for writer in range(4)]
    receiving = (side.receive_all(inbox, 2000) for inbox in (collection, subscription))
    collected: Any
    collected, published, *_ = await asyncio.gather(*receiving, *writing)
    assert collected == published
    for writer in range(4):
        numbers = [data for data in collected if data.startswith(b"%d-" % writer)]
        assert numbers == [b"%d-%d" % (writer, number) for number in range(500)]


async def test_nobody_waits_for_ever_for_whoever_holds_the_hub_up(side: Side, name: str) -> None:
    collection, subscription = await side.collect(), await side.subscribe("a")
    await side.execute("XADD", KEY, "*", "r", "1")
    held, done = threading.Barrier(2, timeout=20), threading.Event()

    def hold() -> None:
        with memory._hubs[name]._lock:
            held.wait()
            done.wait(20)

    holding = asyncio.create_task(asyncio.to_thread(hold))
    await asyncio.to_thread(held.wait)
    batch = Batch("k", (("PING",),))
    with pytest.raises(ServerUnreachable, match=f"{side.transport.address}: it was busy for 0.01 seconds"):
        await side.call(side.transport.execute, batch, 0.01)
    with pytest.raises(ServerUnreachable):
        await side.call(side.transport.subscribe, ("a",), 0.01)
    # To read and to close take no turn.
    assert await side.receive(collection) == [b"1"]
    for inbox in (collection, subscription):
        await side.call(inbox.close)
    done.set()
    await holding
    assert await side.call(side.transport.execute, batch) == [b"PONG"]
    assert subscribed(name) == []


async def test_a_hub_is_forgotten_with_the_last_who_uses_it(side: Side, other: MemoryTransport, name: str) -> None:
    hub, inbox = weakref.ref(memory._hubs[name]), await side.subscribe("a")
    execute(other, "SET", "k", "1")
    other.close()
    await side.call(side.transport.close)
    late = MemoryTransport(name, Keys())
    assert execute(late, "GET", "k") == b"1"
    execute(late, "PUBLISH", "a", "1")
    late.close()
    assert await side.receive(inbox) == [b"1"]
    await side.call(inbox.close)
    # Without the help of the garbage collector.
    assert hub() is None
    late = MemoryTransport(name, Keys())
    assert execute(late, "GET", "k") is None
    late.close()


def test_a_transport_that_is_dropped_keeps_no_hub(name: str) -> None:
    MemoryTransport(name, Keys()).subscribe(("a",))
    gc.collect()
    assert name not in memory._hubs


def test_a_signal_handler_may_wake_and_close_what_it_interrupts(name: str) -> None:
    transport = MemoryTransport(name, Keys())
    inbox = transport.subscribe(("a",))
    ways: Iterator[Callable[[], Any]] = itertools.cycle([inbox.wake, lambda: execute(transport, "PUBLISH", "a", "1")])
    before = signal.signal(signal.SIGALRM, lambda *_: next(ways)())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.001)
        arrived = [inbox.receive(20) for _ in range(200)]
        assert {tuple(found) for found in arrived} >= {(), (b"1",)}
        ways = itertools.repeat(inbox.close)
        deadline = time.monotonic() + 20
        while inbox._hub is not None:
            # A wake from before may end the first.
            inbox.receive(20)
            assert time.monotonic() < deadline
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert inbox.receive(None) == []
    transport.close()


def test_any_time_can_be_waited(name: str, other: MemoryTransport) -> None:
    inbox = other.subscribe(("a",))
    for timeout in (-1, 0, 0.001):
        assert inbox.receive(timeout) == []
    for wait in (None, float("inf"), 1e300):
        execute(other, "PUBLISH", "a", "1")
        assert inbox.receive(wait) == [b"1"]
    inbox.close()


def test_wakes_and_calls_do_not_pile_up(other: MemoryTransport) -> None:
    inbox = other.collect(KEY, b"0-0")
    for _ in range(1000):
        execute(other, "XADD", KEY, "*", "r", "1")
        assert inbox.receive(20) == [b"1"]
    assert inbox._calls.qsize() == 1
    inbox.close()


# Tasks


async def test_a_cancelled_wait_loses_nothing(name: str, other: MemoryTransport) -> None:
    transport = AsyncMemoryTransport(name, Keys())
    inboxes = await transport.subscribe(("a",)), await transport.collect(KEY, b"0-0")
    arrived: list[bytes] = []
    for inbox in inboxes:
        for number in range(100):
            receiving = asyncio.create_task(inbox.receive())
            for _ in range(number % 4):
                await asyncio.sleep(0)
            other.execute(Batch("k", (("PUBLISH", "a", number), ("XADD", KEY, "*", "r", number))))
            for _ in range(number % 3):
                await asyncio.sleep(0)
            receiving.cancel()
            with suppress(asyncio.CancelledError):
                arrived += await receiving
        execute(other, "PUBLISH", "a", "last")
        execute(other, "XADD", KEY, "*", "r", "last")
        arrived += await inbox.receive()
        assert arrived[-101:] == [*(b"%d" % number for number in range(100)), b"last"]
        await inbox.close()
    await transport.close()


async def test_close_ends_the_receive_of_another_task_for_good_and_wake_once(name: str, other: MemoryTransport) -> None:
    transport = AsyncMemoryTransport(name, Keys())
    for how, left in (("close", []), ("wake", [b"1"])):
        inbox = await transport.subscribe(("a",))
        receiving = asyncio.create_task(inbox.receive())
        assert not (await asyncio.wait([receiving], timeout=0.02))[0]
        await inbox.close() if how == "close" else await asyncio.to_thread(inbox.wake)
        assert await receiving == []
        execute(other, "PUBLISH", "a", "1")
        assert await inbox.receive() == left
        await inbox.close()
    await transport.close()


async def test_a_reader_that_always_has_something_lets_others_work(name: str, other: MemoryTransport) -> None:
    transport, is_over = AsyncMemoryTransport(name, Keys()), asyncio.Event()
    inbox = await transport.subscribe(("a",))
    asyncio.get_running_loop().call_later(0.01, is_over.set)
    async with asyncio.timeout(20):
        while not is_over.is_set():
            execute(other, "PUBLISH", "a", "1")
            assert await inbox.receive() == [b"1"]
    await inbox.close()
    await transport.close()


@pytest.mark.parametrize("is_called", [True, False])
def test_an_inbox_whose_loop_is_gone_is_dropped(name: str, other: MemoryTransport, is_called: bool) -> None:
    async def leave() -> Any:
        transport = AsyncMemoryTransport(name, Keys())
        inboxes = await transport.subscribe(("a",)), await transport.collect(KEY, b"0-0")
        if is_called:
            other.execute(Batch("k", (("PUBLISH", "a", "1"), ("XADD", KEY, "*", "r", "1"))))
        return inboxes

    inboxes = asyncio.run(leave())
    assert subscribed(name) == [b"a", KEY.encode()]
    other.execute(Batch("k", (("PUBLISH", "a", "1"), ("XADD", KEY, "*", "r", "1"))))
    assert subscribed(name) == []
    for inbox in inboxes:
        inbox.wake()
