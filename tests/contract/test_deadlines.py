"""When calls end: a timeout is for the answers, and no call waits for a server without end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from state_signals import ServerUnreachable
from tests.parties import EVENTS, Parties, Wire, eventually


@contextmanager
def out_of_action(wire: Wire) -> Iterator[None]:
    """Make a server accept what is written, and carry nothing of it out."""
    if not wire._memory:
        wire.client.execute_command("CLIENT", "PAUSE", 600_000, "WRITE")
        try:
            yield
        finally:
            wire.client.execute_command("CLIENT", "UNPAUSE")
        return
    is_held, may_go = threading.Event(), threading.Event()
    hub = wire._memory._open_hub()

    def hold() -> None:
        with hub._lock:
            is_held.set()
            may_go.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait()
    try:
        yield
    finally:
        may_go.set()
        thread.join()


@pytest.fixture
def reacting_at_last(shell: str, url: str) -> None:
    if shell == "asyncio" and url.startswith("memory"):
        pytest.skip("a server in memory does its work in the one thread of the loop")


@pytest.mark.parametrize("timeout", [0, 0.2])
async def test_a_round_that_nobody_answers_ends_with_its_timeout(parties: Parties, wire: Wire, timeout: float) -> None:
    exporter = await parties.exporter()
    await exporter.initialize(EVENTS, expected_resps=["a", "b"])
    result = await exporter.publish_signal("start", timeout=timeout)
    assert set(result.missing) == {"a", "b"}
    assert result.elapsed >= timeout
    # However short it is, the signal went out.
    assert len(wire.signals()) == 2


async def test_many_rounds_that_nobody_waits_for_go_out_in_order(parties: Parties) -> None:
    _, heard = await parties.listening()
    exporter = await parties.exporter()
    await exporter.initialize(EVENTS, expected_resps=["a"])
    for number in range(20):
        await exporter.publish_signal("start", number, timeout=0)
    await heard.next("initialization")
    assert [(await heard.next()).sample_no for _ in range(20)] == list(range(20))


async def test_a_wait_for_subscribers_ends_with_its_timeout(parties: Parties, wire: Wire) -> None:
    exporter = await parties.exporter()
    assert await exporter.initialize_and_wait(1, EVENTS, timeout=1) == 1
    assert len(wire.signals()) == 1


@pytest.mark.usefixtures("reacting_at_last")
async def test_a_signal_that_does_not_get_through_is_given_up(parties: Parties, wire: Wire) -> None:
    _, heard = await parties.listening()
    exporter = await parties.exporter()
    await exporter.initialize(EVENTS, expected_resps=["a"])
    with out_of_action(wire):
        for number in range(2):
            with pytest.raises(ServerUnreachable, match="not published within its timeout"):
                await exporter.publish_signal("start", number, timeout=0.2)
    await exporter.publish_signal("stop", timeout=5, wait=False)
    await heard.next("initialization")
    # What was given up does not come later, unless the server had it already; either way, none is left out.
    heard_last = await heard.next("stop")
    assert heard_last.seq in {2, 3, 4}
    assert heard_last.seq == 2 + sum(signal["event"] == "start" for signal in wire.journal(exporter.pub_id))


@pytest.mark.usefixtures("reacting_at_last")
async def test_a_signal_that_gets_through_in_time_is_answered(parties: Parties, wire: Wire) -> None:
    await parties.running("a", responder_id="a")
    exporter = await parties.exporter()
    assert await exporter.initialize_and_wait(1, EVENTS, timeout=-1) == 0
    core = getattr(exporter, "subject", exporter)._core
    with out_of_action(wire):
        publishing = parties.task(exporter.publish_signal("start", timeout=None))
        await eventually(lambda: core._responses.has_open_rounds)
        assert not publishing.done()
    assert (await publishing).ok


@pytest.mark.usefixtures("reacting_at_last")
@pytest.mark.parametrize("kind", ["exporter", "responder"])
async def test_closing_does_not_wait_for_a_server_that_does_not_react(parties: Parties, wire: Wire, kind: str) -> None:
    exporter, (a,) = await parties.crew("a")
    party: Any = {"exporter": exporter, "responder": a[0]}[kind]
    with out_of_action(wire):
        await party.close()


async def test_answers_that_come_too_late_are_counted_by_what_they_are(parties: Parties) -> None:
    exporter, (a,) = await parties.crew("a")
    assert list((await exporter.publish_signal("start", timeout=0)).missing) == ["a"]
    await a[0].srespond(await a[1].next("start"), 1)
    await eventually(lambda: exporter.counters.get("late") == 1)
    # Nobody waited for this one.
    await exporter.publish_signal("stop", wait=False)
    await a[0].srespond(await a[1].next("stop"), 1)
    await eventually(lambda: exporter.counters.get("not-awaited") == 1)
    assert exporter.counters == {"late": 1, "not-awaited": 1}
