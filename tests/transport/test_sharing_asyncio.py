"""Responders of one event loop share their connections: what only tasks can do to each other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from state_signals.exceptions import Closed
from state_signals.transport.base import Batch
from state_signals.transport.connect import async_transport
from tests.conftest import wait_until
from tests.parties import DEADLINE, eventually
from tests.transport.sides import connections

PING = Batch("", (("PING",),))


def shared(url: str) -> Any:
    return async_transport(url=url, host="", port=0, namespace=None, is_shared=True)


async def test_who_closes_while_it_shows_that_all_live_takes_nobody_with_it(redis_url: str) -> None:
    first, second = shared(redis_url), shared(redis_url)
    done: list[tuple[str, ...]] = []

    async def fail(names: tuple[str, ...]) -> None:
        done.append(names)
        raise Closed("it was closed in the meantime")

    async def act(names: tuple[str, ...]) -> str:
        done.append(names)
        return "shown"

    showing = asyncio.create_task(first.herald.show(["a"], fail))
    await asyncio.sleep(0)
    assert await second.herald.show(["b"], act) == "shown"
    with pytest.raises(Closed):
        await showing
    assert done == [("a", "b"), ("b",)]
    assert await second.herald.show(["b"], act) == "shown"
    await first.close()
    await second.close()


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
