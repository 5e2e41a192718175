"""Who is lost, who has left, who is only slow: proofs of life and reports of progress."""

from __future__ import annotations

import time
from typing import Any

import pytest

from state_signals import Outcome
from tests.parties import EVENTS, Parties, Wire, eventually

SOON = 0.5
"""Seconds of presence in tests that wait for its end."""


# Lost


async def test_a_responder_that_dies_in_a_round_is_lost(parties: Parties) -> None:
    exporter, (a, b) = await parties.crew("a", "b", presence_ttl=SOON)
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    await a[0].srespond(await a[1].next(), 1)
    await b[1].next()
    await parties.crash(b[0])
    result = await publishing
    assert result == (2, {})
    assert not result.ok
    assert (list(result.succeeded), list(result.lost)) == (["a"], ["b"])
    assert result.lost["b"].outcome is Outcome.LOST
    assert result.lost["b"].elapsed is None


async def test_a_responder_that_has_died_between_rounds_is_lost(parties: Parties) -> None:
    exporter, (a,) = await parties.crew("a", presence_ttl=SOON)
    await parties.crash(a[0])
    for _ in range(2):
        assert list((await exporter.publish_signal("start", timeout=-1)).lost) == ["a"]
    # It may come back, and then its state is to be known: it stays on the roster.
    assert exporter.subs == {"a"}


async def test_a_responder_may_ask_for_less_patience_than_its_exporter_has(parties: Parties) -> None:
    exporter, (a,) = await parties.crew("a", presence_ttl=3600, responders={"presence_ttl": SOON})
    await parties.crash(a[0])
    assert list((await exporter.publish_signal("start", timeout=-1)).lost) == ["a"]


@pytest.mark.parametrize("who", ["exporter", "responder"])
async def test_without_presence_the_dead_are_missing(parties: Parties, who: str) -> None:
    ttls: dict[str, float | None] = {"exporter": SOON, "responder": SOON, who: None}
    exporter, (a,) = await parties.crew(
        "a", presence_ttl=ttls["exporter"], responders={"presence_ttl": ttls["responder"]}
    )
    await parties.crash(a[0])
    assert list((await exporter.publish_signal("start", timeout=3 * SOON)).missing) == ["a"]


async def test_who_was_expected_and_never_came_is_missing(parties: Parties) -> None:
    exporter = await parties.exporter(presence_ttl=SOON)
    await exporter.initialize(EVENTS, None, ["a"])
    assert list((await exporter.publish_signal("start", timeout=3 * SOON)).missing) == ["a"]
    assert exporter.absent == {"a"}


async def test_a_slow_responder_is_not_lost_as_long_as_it_lives(parties: Parties, wire: Wire) -> None:
    # Not too short: on a busy machine a proof may be late.
    exporter, (a,) = await parties.crew("a", presence_ttl=2 * SOON)
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    signal = await a[1].next()
    seen = set()

    def lives_long() -> bool:
        # Proofs are given three times as often as needed: so many take longer than a presence lasts.
        seen.add(wire.ask("ZMSCORE", wire.keys.presence, "a")[0])
        return len(seen) > 6

    await eventually(lives_long, "that many proofs of life")
    assert not publishing.done()
    await a[0].srespond(signal, 1)
    assert (await publishing).ok


async def test_on_lost_wait_waits_for_whoever_comes_back(parties: Parties) -> None:
    exporter, (a,) = await parties.crew("a", presence_ttl=SOON)
    told: list[str] = []
    publishing = parties.task(
        exporter.publish_signal("start", timeout=-1, on_lost="wait", on_outcome=lambda name, _: told.append(name))
    )
    await a[1].next()
    await parties.crash(a[0])
    core = getattr(exporter, "subject", exporter)._core
    await eventually(lambda: core._presence.is_lost("a"), "the end of its presence")
    assert not publishing.done()
    again, heard = await parties.listening("a", responder_id="a")
    await again.srespond(await heard.next("initialization"))
    await again.srespond(await heard.next("start"), 1, "back")
    assert await publishing == (0, {"a": "back"})
    assert told == ["a"]


async def test_on_lost_wait_waits_no_longer_than_the_timeout(parties: Parties) -> None:
    exporter, (a,) = await parties.crew("a", presence_ttl=SOON)
    await parties.crash(a[0])
    result = await exporter.publish_signal("start", timeout=4 * SOON, on_lost="wait")
    assert list(result.lost) == ["a"]
    assert result.elapsed >= 4 * SOON


async def test_fail_fast_ends_with_the_first_that_is_lost(parties: Parties) -> None:
    exporter, (a, b) = await parties.crew("a", "b", presence_ttl=SOON)
    publishing = parties.task(exporter.publish_signal("start", timeout=-1, fail_fast=True))
    await b[1].next()
    await parties.crash(a[0])
    result = await publishing
    assert (list(result.lost), result.pending) == (["a"], {"b"})


# Left


async def test_a_responder_that_closes_in_a_round_has_left(parties: Parties, wire: Wire) -> None:
    exporter, (a, b) = await parties.crew("a", "b", publisher_id="fio-1")
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    await b[1].next()
    await b[0].close()
    await a[0].srespond(await a[1].next(), 1)
    result = await publishing
    assert (list(result.succeeded), list(result.left)) == (["a"], ["b"])
    assert result.left["b"].outcome is Outcome.LEFT
    assert result.ok
    # From now on nobody waits for it.
    assert exporter.subs == {"a"}
    await eventually(lambda: set(wire.roster("fio-1")) == {"a"})
    await eventually(lambda: wire.ask("ZMSCORE", wire.keys.presence, "b") == [None])


async def test_a_responder_that_closes_between_rounds_is_not_waited_for(parties: Parties) -> None:
    exporter, (a, b) = await parties.crew("a", "b")
    await b[0].close()
    await eventually(lambda: exporter.subs == {"a"})
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    await a[0].srespond(await a[1].next(), 1)
    result = await publishing
    assert result.ok
    assert list(result.reports) == ["a"]


async def test_who_has_left_may_come_back(parties: Parties) -> None:
    exporter, (a,) = await parties.crew("a")
    await a[0].close()
    await eventually(lambda: exporter.subs == set())
    again = await parties.running("a", responder_id="a")
    await eventually(lambda: exporter.subs == {again.responder_id})
    assert (await exporter.publish_signal("start", timeout=-1)).ok


async def test_closing_tells_each_exporter(parties: Parties) -> None:
    responder = await parties.running("a")
    exporters = [await parties.exporter(f"e{number}") for number in range(3)]
    for exporter in exporters:
        assert await exporter.initialize_and_wait(1, EVENTS, timeout=-1) == 0
    await responder.close()
    await eventually(lambda: all(exporter.subs == set() for exporter in exporters))


# Working


async def test_whoever_shows_no_sign_of_work_is_missing_after_the_stall_timeout(parties: Parties) -> None:
    exporter, (a, b) = await parties.crew("a", "b")
    publishing = parties.task(exporter.publish_signal("start", timeout=-1, stall_timeout=SOON))
    await a[0].srespond(await a[1].next(), 1)
    await b[1].next()
    result = await publishing
    assert (list(result.succeeded), list(result.missing)) == (["a"], ["b"])
    assert result.elapsed >= SOON


async def test_whoever_says_working_is_not_cut_off(parties: Parties) -> None:
    stall = 1.0
    exporter, (a,) = await parties.crew("a")
    publishing = parties.task(exporter.publish_signal("start", timeout=-1, stall_timeout=stall))
    signal = await a[1].next()
    began = time.monotonic()
    while time.monotonic() - began < 2 * stall:
        reports = exporter.counters.get("progress", 0)
        await a[0].working(signal, "still copying")
        await eventually(lambda reports=reports: exporter.counters.get("progress", 0) > reports)  # type: ignore[misc]
        assert not publishing.done()
    await a[0].srespond(signal, 1, "copied")
    assert await publishing == (0, {"a": "copied"})


async def test_whoever_stops_saying_so_is_missing(parties: Parties) -> None:
    exporter, (a,) = await parties.crew("a")
    publishing = parties.task(exporter.publish_signal("start", timeout=-1, stall_timeout=SOON))
    signal = await a[1].next()
    await a[0].working(signal)
    assert list((await publishing).missing) == ["a"]
    # What comes then is late.
    await a[0].srespond(signal, 1)
    await eventually(lambda: exporter.counters.get("late") == 1)


async def test_working_is_no_answer_and_does_not_move_the_deadline(parties: Parties) -> None:
    exporter, (a,) = await parties.crew("a")
    publishing = parties.task(exporter.publish_signal("start", timeout=SOON, stall_timeout=-1))
    await a[0].working(await a[1].next(), "busy")
    result = await publishing
    assert list(result.missing) == ["a"]
    assert result.messages == {}


async def test_a_version_1_exporter_is_not_told_of_work(parties: Parties, wire: Wire) -> None:
    exporter, (a,) = await parties.crew("a", strict_v1=True)
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    signal = await a[1].next()
    await a[0].working(signal, "busy")
    await a[0].srespond(signal, 1, "done")
    assert await publishing == (0, {"a": "done"})
    assert all(b"working" not in data for data in wire.responses())


async def test_a_handler_may_say_that_it_is_working(parties: Parties) -> None:
    responder = await parties.responder("a", responder_id="a")

    def act(signal: Any) -> str:
        responder.subject.working(signal, "half way")
        return "done"

    async def act_async(signal: Any) -> str:
        await responder.working(signal, "half way")
        return "done"

    responder.on("start")(act if parties.shell == "sync" else act_async)
    parties.task(responder.run())
    exporter = await parties.exporter()
    assert await exporter.initialize_and_wait(1, EVENTS, timeout=-1) == 0
    assert await exporter.publish_signal("start", timeout=-1) == (0, {"a": "done"})
    assert exporter.counters["progress"] == 1


# Exporters are there, too


async def test_exporters_show_that_they_live_until_they_close(parties: Parties, wire: Wire) -> None:
    exporter = await parties.exporter(publisher_id="fio-1", presence_ttl=SOON)
    await exporter.initialize(EVENTS)
    scores = set()

    def renewed() -> bool:
        scores.add(wire.ask("ZMSCORE", wire.keys.exporters, "fio-1")[0])
        return len(scores) > 5

    await eventually(renewed)
    assert None not in scores
    await exporter.close()
    assert wire.ask("ZMSCORE", wire.keys.exporters, "fio-1") == [None]


async def test_a_responder_that_nobody_knows_shows_nothing(parties: Parties, wire: Wire) -> None:
    await parties.responder(responder_id="a")
    assert wire.stored() == []
