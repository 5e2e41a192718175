"""What is kept on the server: late responders, missed signals, and that all of it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from state_signals.protocol import feed
from tests.parties import EVENTS, Parties, Wire, eventually


async def under_way(parties: Parties, **options: Any) -> Any:
    """Return an exporter that has said some things already."""
    exporter = await parties.exporter("fio", publisher_id="fio-1", **options)
    await exporter.initialize(EVENTS, "nightly")
    for event in ("benchmark-start", "start"):
        await exporter.publish_signal(event, wait=False)
    return exporter


def swallow(party: Any, is_lost: Callable[[bytes], bool]) -> None:
    """Lose broadcasts on their way to a responder."""
    core = getattr(party, "subject", party)._core
    receive = core.message_received

    def message_received(data: bytes, now: float) -> None:
        if not is_lost(data):
            receive(data, now)

    core.message_received = message_received


# Who comes late


async def test_a_late_responder_subscribes_though_nothing_is_announced_again(parties: Parties, wire: Wire) -> None:
    exporter = await parties.exporter()
    await exporter.initialize(EVENTS)
    late = await parties.running("late")
    await eventually(lambda: exporter.subs == {late.responder_id})
    assert (await exporter.publish_signal("start", timeout=-1)).ok
    assert len(wire.signals()) == 2


async def test_it_ends_the_wait_for_subscribers(parties: Parties, wire: Wire) -> None:
    exporter = await parties.exporter()
    waiting = parties.task(exporter.initialize_and_wait(1, EVENTS, timeout=-1))
    await eventually(wire.signals)
    await parties.running("late")
    assert await waiting == 0


@pytest.mark.parametrize("replay", [{}, {"replay": "state"}], ids=["default", "state"])
async def test_it_hears_the_initialization_and_what_comes_from_then_on(
    parties: Parties, replay: dict[str, Any]
) -> None:
    exporter = await under_way(parties)
    _, heard = await parties.listening(**replay)
    await exporter.publish_signal("stop", wait=False)
    assert [((signal := await heard.next()).event, signal.seq) for _ in range(2)] == [
        ("initialization", 1),
        ("stop", 4),
    ]


async def test_it_hears_everything_if_it_asks_for_that(parties: Parties) -> None:
    exporter = await under_way(parties)
    _, heard = await parties.listening(replay="all")
    await exporter.publish_signal("stop", wait=False)
    signals = [await heard.next() for _ in range(4)]
    assert [signal.event for signal in signals] == ["initialization", "benchmark-start", "start", "stop"]
    assert [signal.seq for signal in signals] == [1, 2, 3, 4]
    assert len({signal.id for signal in signals}) == 4
    assert signals[0].tag == "nightly"


async def test_it_hears_nothing_of_what_was_if_it_asks_for_that(parties: Parties) -> None:
    exporter = await under_way(parties)
    _, heard = await parties.listening(replay="none")
    await exporter.publish_signal("stop", wait=False)
    assert (await heard.next()).event == "stop"


@pytest.mark.parametrize("replay", ["state", "none", "all"])
async def test_what_comes_after_it_is_heard_from_the_beginning(parties: Parties, replay: str) -> None:
    _, heard = await parties.listening(replay=replay)
    await under_way(parties)
    assert [(await heard.next()).event for _ in range(3)] == ["initialization", "benchmark-start", "start"]


async def test_a_long_journal_is_heard_in_order(parties: Parties) -> None:
    exporter = await under_way(parties)
    for number in range(200):
        await exporter.publish_signal("stop", number, wait=False)
    _, heard = await parties.listening(replay="all")
    assert [(await heard.next("stop")).sample_no for _ in range(200)] == list(range(200))


async def test_each_of_several_exporters_is_heard(parties: Parties) -> None:
    exporters = [await parties.exporter(f"e{number}") for number in range(3)]
    for exporter in exporters:
        await exporter.initialize(EVENTS)
    late = await parties.running("late")
    await eventually(lambda: all(exporter.subs == {late.responder_id} for exporter in exporters))


@pytest.mark.parametrize("replay", ["state", "all"])
async def test_an_exporter_that_has_closed_is_not_heard_of(parties: Parties, replay: str) -> None:
    await (await under_way(parties)).close()
    _, heard = await parties.listening(replay=replay)
    other = await parties.exporter("other")
    await other.initialize(EVENTS)
    assert (await heard.next()).publisher_id == other.pub_id


async def test_after_shutdown_there_is_no_state_to_hear_of(parties: Parties) -> None:
    exporter = await under_way(parties)
    await exporter.shutdown()
    _, heard = await parties.listening()
    await exporter.publish_signal("over", wait=False)
    assert (await heard.next()).event == "over"


async def test_late_responders_respect_their_lock(parties: Parties) -> None:
    wanted, other = await parties.exporter("wanted"), await parties.exporter("other")
    await other.initialize(EVENTS)
    await wanted.initialize(EVENTS)
    responder = await parties.responder()
    responder.lock_id(wanted.pub_id)
    parties.task(responder.run())
    await eventually(lambda: wanted.subs)
    assert (await wanted.publish_signal("start", timeout=-1)).ok
    assert other.subs == set()


# What goes astray


async def test_a_broadcast_that_goes_astray_is_read_from_the_journal(parties: Parties) -> None:
    responder, heard = await parties.listening()
    swallow(responder, lambda data: b'"sample_no":1,' in data or b'"sample_no":2,' in data)
    exporter = await parties.exporter()
    for number in range(5):
        await exporter.publish_signal("start", number)
    assert [(await heard.next()).sample_no for _ in range(5)] == [0, 1, 2, 3, 4]
    assert responder.counters.get("missed", 0) == 0


@pytest.mark.parametrize("answers", [False, True])
async def test_a_broadcast_that_goes_astray_is_missed_in_the_silence_after_it(
    parties: Parties, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    monkeypatch.setattr(feed, "_LOOK_EVERY", 0.2)
    exporter = await under_way(parties)
    responder, heard = await parties.listening()
    announcement = await heard.next()
    if answers:
        await responder.srespond(announcement)
    swallow(responder, lambda data: b'"stop"' in data)
    await exporter.publish_signal("stop", wait=False)
    assert (await heard.next()).event == "stop"
    # It goes on as before.
    await exporter.publish_signal("start", wait=False)
    assert (await heard.next()).event == "start"


async def test_a_round_whose_broadcast_goes_astray_is_answered_late_but_answered(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("state_signals.protocol.feed._LOOK_EVERY", 0.3)
    responder = await parties.running("pcp", {"start": lambda _: "done"})
    exporter = await parties.exporter()
    assert await exporter.initialize_and_wait(1, EVENTS, timeout=-1) == 0
    swallow(responder, lambda data: b'"event":"start"' in data)
    # Nothing follows that would show the gap: the journal is looked at after a silence.
    assert await exporter.publish_signal("start", timeout=-1) == (0, {responder.responder_id: "done"})


async def test_a_signal_that_comes_twice_is_heard_once(parties: Parties, wire: Wire) -> None:
    responder, heard = await parties.listening()
    exporter = await parties.exporter()
    await exporter.publish_signal("start")
    wire.say_signal(wire.signals()[0])
    await exporter.publish_signal("stop")
    assert [(await heard.next()).event for _ in range(2)] == ["start", "stop"]
    assert responder.counters["repeated"] == 1


# What is stored


async def test_the_journal_holds_what_was_broadcast(parties: Parties, wire: Wire) -> None:
    exporter = await under_way(parties)
    await exporter.shutdown()
    entries = wire.ask("XRANGE", "state-signals:{fio-1}:signals", "-", "+")
    assert [bytes(position) for position, _ in entries] == [b"1-0", b"2-0", b"3-0", b"4-0"]
    assert [list(fields) for _, fields in entries] == [[b"s", data] for data in wire.signals()]
    assert [signal["event"] for signal in wire.journal("fio-1")] == [
        "initialization",
        "benchmark-start",
        "start",
        "shutdown",
    ]


async def test_the_roster_is_stored_and_forgotten_with_shutdown(parties: Parties, wire: Wire) -> None:
    exporter, _ = await parties.crew("a", "b", publisher_id="fio-1")
    exporter.subs.discard("nobody")
    await eventually(lambda: set(wire.roster("fio-1")) == {"a", "b"})
    await exporter.shutdown()
    await eventually(lambda: wire.roster("fio-1") == {})


async def test_everything_that_is_stored_expires(parties: Parties, wire: Wire) -> None:
    exporter, (a,) = await parties.crew("a", publisher_id="fio-1", retention=500)
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    await a[0].srespond(await a[1].next(), 1)
    assert (await publishing).ok
    await eventually(lambda: wire.roster("fio-1"))
    lifetimes = {key.removeprefix("state-signals:"): wire.lifetime(key) for key in wire.stored()}
    common = {"exporters", "presence"}
    mine = {"{fio-1}:record", "{fio-1}:responses", "{fio-1}:roster", "{fio-1}:signals"}
    assert set(lifetimes) == {*common, *mine, "{fio-1}:owner"}
    assert all(0 < lifetimes[key] <= 86_400 for key in common)
    assert all(400 < lifetimes[key] <= 500 for key in mine)
    # Whoever comes after a dead one does not wait for that.
    assert 0 < lifetimes["{fio-1}:owner"] <= 15


async def test_retention_is_a_day_by_default(parties: Parties, wire: Wire) -> None:
    exporter = await parties.exporter(publisher_id="fio-1")
    await exporter.initialize(EVENTS)
    for name in ("signals", "responses", "record"):
        assert 86_000 < wire.lifetime(f"state-signals:{{fio-1}}:{name}") <= 86_400


async def test_what_is_stored_is_renewed_while_its_exporter_lives(parties: Parties, wire: Wire) -> None:
    exporter = await parties.exporter(publisher_id="fio-1", retention=500, presence_ttl=0.3)
    await exporter.initialize(EVENTS)
    names = ("signals", "responses", "record")
    for name in names:
        wire.ask("PEXPIRE", f"state-signals:{{fio-1}}:{name}", 60_000)
    await eventually(lambda: all(wire.lifetime(f"state-signals:{{fio-1}}:{name}") > 100 for name in names))


@pytest.mark.parametrize("ends", ["close", "crash"])
async def test_it_is_gone_once_the_retention_is_over(parties: Parties, wire: Wire, ends: str) -> None:
    exporter = await parties.exporter(publisher_id="fio-1", retention=0.5, presence_ttl=0.5)
    await exporter.initialize(EVENTS)
    if ends == "close":
        await exporter.close()
        assert set(wire.stored()) <= {"state-signals:{fio-1}:responses", "state-signals:{fio-1}:signals"}
    else:
        await parties.crash(exporter)
    # Who has not said good-bye is in the list of exporters for a day.
    await eventually(lambda: set(wire.stored()) <= {"state-signals:exporters"}, "the end of what was stored")


async def test_a_namespace_has_a_journal_of_its_own(parties: Parties, wire: Wire) -> None:
    exporter = await parties.exporter(publisher_id="fio-1", namespace="team-a")
    await exporter.initialize(EVENTS)
    other = await parties.exporter(publisher_id="fio-1", namespace="team-b")
    await other.initialize(EVENTS)
    late = await parties.running("late", namespace="team-a")
    await eventually(lambda: exporter.subs == {late.responder_id})
    assert other.subs == set()
    assert wire.journal("fio-1") == []


# Without a journal


async def test_without_a_journal_nothing_is_stored_and_rounds_work(parties: Parties, wire: Wire) -> None:
    exporter, (a,) = await parties.crew("a", publisher_id="fio-1", journal=False, responders={"presence_ttl": None})
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    signal = await a[1].next()
    await a[0].srespond(signal, 1, "done")
    assert await publishing == (0, {"a": "done"})
    assert signal.id
    assert wire.stored() == []
    await exporter.close()
    assert wire.stored() == []


async def test_without_a_journal_a_changed_identifier_stores_nothing_either(parties: Parties, wire: Wire) -> None:
    exporter = await parties.exporter(journal=False)
    exporter.pub_id = "fio-7"
    await exporter.initialize(EVENTS)
    assert wire.stored() == []


async def test_without_a_journal_signals_are_heard_in_their_order(parties: Parties) -> None:
    _, heard = await parties.listening()
    exporter = await parties.exporter(journal=False)
    for number in range(20):
        await exporter.publish_signal("start", number)
    assert [(await heard.next()).sample_no for _ in range(20)] == list(range(20))


async def test_strict_v1_stores_nothing_not_even_presence(parties: Parties, wire: Wire) -> None:
    exporter, (a,) = await parties.crew("a", publisher_id="fio-1", strict_v1=True)
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    signal = await a[1].next()
    await a[0].srespond(signal, 1, "done")
    assert await publishing == (0, {"a": "done"})
    assert signal.id is None
    await a[0].close()
    await exporter.close()
    assert wire.stored() == []
