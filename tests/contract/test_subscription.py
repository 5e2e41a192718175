"""How responders come to be on the roster."""

from __future__ import annotations

import json

import pytest

from state_signals import IllegalEvent
from tests.parties import EVENTS, Parties, Wire, eventually


def events_on(wire: Wire) -> list[str]:
    return [json.loads(data)["event"] for data in wire.signals()]


async def test_initialize_announces_and_whoever_answers_is_on_the_roster(parties: Parties) -> None:
    pcp = await parties.running("pcp")
    exporter = await parties.exporter()
    assert exporter.legal_events is None
    await exporter.initialize(EVENTS)
    await eventually(lambda: exporter.subs == {pcp.responder_id})
    assert exporter.legal_events == EVENTS


async def test_initialize_waits_for_nobody(parties: Parties) -> None:
    exporter = await parties.exporter()
    await exporter.initialize(EVENTS)
    assert exporter.subs == set()


async def test_the_announcement_carries_the_tag(parties: Parties) -> None:
    _, heard = await parties.listening()
    exporter = await parties.exporter()
    await exporter.initialize(EVENTS, "nightly")
    assert (await heard.next("initialization")).tag == "nightly"


async def test_initialize_and_wait_returns_0_once_enough_have_subscribed(parties: Parties) -> None:
    names = {(await parties.running(name)).responder_id for name in ("pcp", "perf", "tcpdump")}
    exporter = await parties.exporter()
    assert await exporter.initialize_and_wait(3, EVENTS, timeout=-1) == 0
    assert exporter.subs == names


async def test_initialize_and_wait_for_nobody_returns_0(parties: Parties) -> None:
    exporter = await parties.exporter()
    assert await exporter.initialize_and_wait(0, EVENTS, timeout=-1) == 0


async def test_initialize_and_wait_returns_1_when_the_time_is_up(parties: Parties) -> None:
    pcp = await parties.running()
    exporter = await parties.exporter()
    assert await exporter.initialize_and_wait(2, EVENTS, timeout=0.3) == 1
    # Whoever came is on the roster all the same, and the exporter can be used.
    assert exporter.subs == {pcp.responder_id}
    assert (await exporter.publish_signal("start", timeout=-1)).ok


async def test_an_expected_responder_is_waited_for_by_its_fixed_id(parties: Parties) -> None:
    expected, heard = await parties.listening(responder_id="pcp-1")
    other = await parties.running("other")
    exporter = await parties.exporter()
    waiting = parties.task(exporter.initialize_and_wait(1, EVENTS, expected_resps=["pcp-1"], timeout=-1))
    await eventually(lambda: exporter.subs == {"pcp-1", other.responder_id})
    assert not waiting.done()
    await expected.srespond(await heard.next("initialization"), ras=1)
    assert await waiting == 0


async def test_who_is_expected_is_on_the_roster_even_if_it_never_comes(parties: Parties) -> None:
    exporter = await parties.exporter()
    await exporter.initialize(EVENTS, None, ["pcp-1"])
    assert exporter.subs == {"pcp-1"}
    assert list((await exporter.publish_signal("start", timeout=0.05)).missing) == ["pcp-1"]


async def test_periodic_announces_again_until_enough_are_there(
    parties: Parties, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("state_signals.protocol.roster.ANNOUNCE_INTERVAL", 0.02)
    exporter = await parties.exporter()
    waiting = parties.task(exporter.initialize_and_wait(1, EVENTS, timeout=-1, periodic=True))
    await eventually(lambda: len(wire.signals()) >= 5)
    await parties.running()
    assert await waiting == 0
    assert set(events_on(wire)) == {"initialization"}


async def test_without_periodic_it_is_announced_once(
    parties: Parties, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("state_signals.protocol.roster.ANNOUNCE_INTERVAL", 0.02)
    exporter = await parties.exporter()
    assert await exporter.initialize_and_wait(1, EVENTS, timeout=0.2) == 1
    assert events_on(wire) == ["initialization"]


async def test_a_responder_may_subscribe_at_any_time_until_shutdown(parties: Parties) -> None:
    exporter = await parties.exporter()
    await exporter.initialize(EVENTS)
    late = await parties.responder("late")
    await late.respond(exporter.pub_id, "initialization")
    await eventually(lambda: exporter.subs == {late.responder_id})


async def test_an_answer_to_initialization_needs_no_ras(parties: Parties) -> None:
    responder, heard = await parties.listening()
    exporter = await parties.exporter()
    await exporter.initialize(EVENTS)
    await responder.srespond(await heard.next("initialization"))
    await eventually(lambda: exporter.subs == {responder.responder_id})


async def test_the_roster_can_be_changed_and_assigned(parties: Parties) -> None:
    pcp = await parties.running()
    exporter = await parties.exporter()
    await exporter.initialize_and_wait(1, EVENTS, timeout=-1)
    exporter.subs.add("ghost")
    assert list((await exporter.publish_signal("start", timeout=0.3)).missing) == ["ghost"]
    exporter.subs.discard("ghost")
    assert list((await exporter.publish_signal("start", timeout=-1)).succeeded) == [pcp.responder_id]
    exporter.subs = {"ghost"}
    assert list((await exporter.publish_signal("start", timeout=0.05)).missing) == ["ghost"]


async def test_the_legal_events_can_be_assigned(parties: Parties) -> None:
    exporter = await parties.exporter()
    await exporter.initialize(["start"])
    exporter.legal_events = ["pause"]
    with pytest.raises(IllegalEvent):
        await exporter.publish_signal("start", timeout=-1)
    await exporter.publish_signal("pause", timeout=-1)


async def test_initializing_again_keeps_the_roster_and_replaces_the_legal_events(parties: Parties) -> None:
    await parties.running()
    exporter = await parties.exporter()
    await exporter.initialize_and_wait(1, ["start"], timeout=-1)
    await exporter.initialize_and_wait(1, ["stop"], timeout=-1)
    assert (await exporter.publish_signal("stop", timeout=-1)).ok
    with pytest.raises(IllegalEvent):
        await exporter.publish_signal("start", timeout=-1)


async def test_an_exporter_can_be_initialized_anew_after_shutdown(parties: Parties) -> None:
    responder, heard = await parties.listening()
    exporter = await parties.exporter()
    for _ in range(2):
        waiting = parties.task(exporter.initialize_and_wait(1, EVENTS, timeout=-1))
        await responder.srespond(await heard.next("initialization"), ras=1)
        assert await waiting == 0
        assert exporter.init_listener.is_alive()
        await exporter.shutdown()
        assert exporter.subs == set()
        assert not exporter.init_listener.is_alive()
        assert (await heard.next()).event == "shutdown"


async def test_shutdown_ends_a_wait_for_subscribers(parties: Parties) -> None:
    exporter = await parties.exporter()
    waiting = parties.task(exporter.initialize_and_wait(1, EVENTS, timeout=-1))
    await eventually(lambda: exporter.legal_events == EVENTS)
    await exporter.shutdown()
    assert await waiting == 1


async def test_shutdown_before_initialize_works(parties: Parties, wire: Wire) -> None:
    exporter = await parties.exporter()
    await exporter.shutdown("over")
    (signal,) = map(json.loads, wire.signals())
    assert (signal["event"], signal["tag"]) == ("shutdown", "over")


async def test_init_listener_is_alive_from_initialize_to_shutdown(parties: Parties) -> None:
    exporter = await parties.exporter()
    assert not exporter.init_listener
    await exporter.initialize(EVENTS)
    assert exporter.init_listener.is_alive()
    await exporter.shutdown()
    assert not exporter.init_listener.is_alive()


async def test_namespaces_never_see_each_other(parties: Parties) -> None:
    _, heard = await parties.listening(namespace="b")
    await parties.running("a", namespace="a")
    await parties.running("none")
    theirs = await parties.exporter(namespace="a")
    assert await theirs.initialize_and_wait(1, EVENTS, timeout=-1) == 0
    assert len(theirs.subs) == 1
    assert (await theirs.publish_signal("start", timeout=-1)).ok
    nobodys = await parties.exporter(namespace="c")
    assert await nobodys.initialize_and_wait(1, EVENTS, timeout=0.1) == 1
    assert heard.is_empty
