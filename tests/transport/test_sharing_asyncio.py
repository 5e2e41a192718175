"""Responders of one event loop share their connections: what only tasks can do to each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from state_signals.exceptions import Closed, ServerUnreachable
from state_signals.requests import Done
from state_signals.transport.base import Batch
from state_signals.transport.connect import async_transport
from tests.conftest import wait_until
from tests.parties import DEADLINE, eventually
from tests.transport.sides import connections

PING = Batch("", (("PING",),))


def shared(url: str) -> Any:
    return async_transport(url=url, host="", port=0, namespace=None, is_shared=True)


class Heralds:
    """Transports that share a connection, and what they show.

    Attributes:
        done: the names that were shown at once, in order.
        error: what becomes of that; None: it works.
    """

    def __init__(self, url: str, *names: str) -> None:
        self.transports = {name: shared(url) for name in names}
        self.done: list[tuple[str, ...]] = []
        self.error: Exception | None = None

    def show(self, name: str) -> asyncio.Task[Any]:
        return asyncio.create_task(self.transports[name].herald.show((name,), self.act))

    def withdraw(self, name: str) -> None:
        self.transports[name].herald.withdraw((name,))

    async def act(self, names: tuple[str, ...]) -> Any:
        self.done.append(names)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return "shown"

    async def close(self) -> None:
        for each in self.transports.values():
            await each.close()


@pytest.fixture
async def heralds(redis_url: str) -> AsyncIterator[Heralds]:
    """Three of them, each of which has shown that it lives."""
    made = Heralds(redis_url, "a", "b", "c")
    try:
        await asyncio.gather(*(made.show(name) for name in made.transports))
        assert made.done == [("a", "b", "c")]
        made.done.clear()
        yield made
    finally:
        await made.close()


async def test_who_closes_while_it_shows_that_all_live_takes_nobody_with_it(redis_url: str) -> None:
    first, second = shared(redis_url), shared(redis_url)
    done: list[tuple[str, ...]] = []

    async def fail(names: tuple[str, ...]) -> None:
        done.append(names)
        await first.close()
        raise Closed("it was closed in the meantime")

    async def act(names: tuple[str, ...]) -> str:
        done.append(names)
        return "shown"

    showing = asyncio.create_task(first.herald.show(("a",), fail))
    await asyncio.sleep(0)
    assert await second.herald.show(("b",), act) == "shown"
    await showing
    assert done == [("a", "b"), ("b",)]
    assert await second.herald.show(("b",), act) == "shown"
    await second.close()


async def test_only_the_first_proof_of_life_is_waited_for(heralds: Heralds) -> None:
    lead, other = heralds.show("a"), heralds.show("b")
    assert await other == Done()
    assert heralds.done == []
    assert await lead == "shown"
    assert heralds.done == [("a", "b")]


async def test_what_could_not_be_said_is_said_with_the_next_ones(heralds: Heralds) -> None:
    heralds.error = ServerUnreachable("cut")
    lead, other = heralds.show("a"), heralds.show("b")
    assert await other == Done()
    with pytest.raises(ServerUnreachable):
        await lead
    heralds.error = None
    assert await heralds.show("c") == "shown"
    assert heralds.done == [("a", "b"), ("a", "b", "c")]


async def test_who_has_left_is_not_shown_again(heralds: Heralds) -> None:
    lead, _ = heralds.show("a"), await heralds.show("b")
    heralds.withdraw("b")
    await lead
    # Nor if that was under way, and is said once more.
    heralds.error = ServerUnreachable("cut")
    lead, _ = heralds.show("a"), heralds.show("c")
    await eventually(lambda: len(heralds.done) == 2)
    heralds.withdraw("c")
    with pytest.raises(ServerUnreachable):
        await lead
    heralds.error = None
    await heralds.show("a")
    assert heralds.done == [("a",), ("a", "c"), ("a",)]


async def test_what_is_shown_of_nobody_needs_no_server(heralds: Heralds) -> None:
    lead = heralds.show("a")
    await asyncio.sleep(0)
    heralds.withdraw("a")
    assert await lead == Done()
    assert heralds.done == []


async def test_who_waits_for_a_proof_of_life_is_told_that_it_was_closed(redis_url: str) -> None:
    one, two = shared(redis_url), shared(redis_url)

    async def act(names: tuple[str, ...]) -> None:
        del names
        await asyncio.Event().wait()

    showing = asyncio.create_task(one.herald.show(("a",), act))
    await asyncio.sleep(0)
    given_up = asyncio.create_task(two.herald.show(("b",), act))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    await two.close()
    await one.close()
    with pytest.raises(Closed):
        await showing


async def test_who_closes_the_connection_leaves_no_task(redis_url: str) -> None:
    made = Heralds(redis_url, "a")
    await made.show("a")
    made.show("a").cancel()
    await asyncio.sleep(0)
    await made.close()
    assert not [each for each in asyncio.all_tasks() if each.get_name() == "state-signals-herald"]
    assert made.done == [("a",)]


async def test_one_who_gives_up_takes_nobody_elses_reply(redis_url: str) -> None:
    one, two = shared(redis_url), shared(redis_url)
    for number in range(20):
        impatient = asyncio.create_task(one.execute(Batch("", (("ECHO", f"one {number}"),))))
        patient = asyncio.create_task(two.execute(Batch("", (("ECHO", f"two {number}"),))))
        await asyncio.sleep(0)
        impatient.cancel()
        assert await asyncio.wait_for(patient, DEADLINE) == [f"two {number}".encode()]
    assert await one.execute(PING) == [b"PONG"]
    await one.close()
    await two.close()


async def test_a_subscription_that_is_given_up_leaves_the_others(redis_url: str, admin: Any) -> None:
    one, two = shared(redis_url), shared(redis_url)
    await one.subscribe(["warm"])
    giving_up = asyncio.create_task(one.subscribe(["x"]))
    staying = asyncio.create_task(two.subscribe(["x"]))
    await asyncio.sleep(0)
    giving_up.cancel()
    inbox = await asyncio.wait_for(staying, DEADLINE)
    again = await asyncio.wait_for(one.subscribe(["x"]), DEADLINE)
    admin.publish("x", "news")
    assert await asyncio.wait_for(inbox.receive(), DEADLINE) == [b"news"]
    assert await asyncio.wait_for(again.receive(), DEADLINE) == [b"news"]
    await again.close()
    await inbox.close()
    await eventually(lambda: admin.pubsub_numsub("x") == [(b"x", 0)], "that nobody is subscribed")
    await one.close()
    await two.close()


def test_each_loop_has_its_own(redis_url: str, admin: Any) -> None:
    async def use() -> None:
        transport = shared(redis_url)
        await transport.connect()
        assert await transport.execute(PING) == [b"PONG"]
        await transport.close()

    for _ in range(3):
        asyncio.run(use())
    wait_until(lambda: connections(admin) == 0)


async def test_who_is_alone_does_not_wait_for_what_others_might_say(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = shared(redis_url)
    await one.execute(PING)
    pieces: list[bytes] = []
    line = one._hub.pipeline._duplex._line
    write = line.write

    def watched(data: bytes) -> None:
        pieces.append(data)
        write(data)

    monkeypatch.setattr(line, "write", watched)
    executing = one.execute(PING)
    # Not only in the next turn of the loop.
    waited_for = executing.send(None)
    assert len(pieces) == 1
    two = shared(redis_url)
    both = asyncio.gather(*(each.execute(PING) for each in (two, two)))
    assert await both == [[b"PONG"], [b"PONG"]]
    # What several say comes together.
    assert [piece.count(b"PING") for piece in pieces] == [1, 2]
    await eventually(waited_for.done)
    with pytest.raises(StopIteration) as replied:
        executing.send(None)
    assert replied.value.value == [b"PONG"]
    await one.close()
    await two.close()
