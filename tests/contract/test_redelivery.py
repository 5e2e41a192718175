"""A responder that died while it acted, and comes back under its name, gets the signal again; others do not."""

from __future__ import annotations

from typing import Any

from state_signals import Signal
from tests.parties import EVENTS, Heard, Parties, Wire, eventually


async def died_while_acting(parties: Parties, **options: Any) -> tuple[Any, Any, Signal]:
    """Return an exporter, its round, and the signal that a responder named `a` died over."""
    exporter, (a,) = await parties.crew("a", **options)
    publishing = parties.task(exporter.publish_signal("start", 7, "nightly", {"b": [1]}, timeout=-1, on_lost="wait"))
    signal = await a[1].next("start")
    await parties.crash(a[0])
    return exporter, publishing, signal


async def test_the_unanswered_signal_comes_again_and_says_so(parties: Parties) -> None:
    exporter, publishing, signal = await died_while_acting(parties)
    assert not signal.redelivered
    again, heard = await parties.listening("a", responder_id="a")
    announcement = await heard.next()
    assert (announcement.event, announcement.redelivered) == ("initialization", False)
    await again.srespond(announcement)
    redelivered = await heard.next()
    assert redelivered.redelivered
    assert redelivered == signal
    assert (redelivered.id, redelivered.seq, redelivered.wait) == (signal.id, signal.seq, signal.wait)
    await again.srespond(redelivered, 1, "at last")
    assert await publishing == (0, {"a": "at last"})
    assert exporter.subs == {"a"}


async def test_run_acts_on_it(parties: Parties) -> None:
    _, publishing, _ = await died_while_acting(parties)
    acted: list[bool] = []
    await parties.running("a", {"start": lambda signal: acted.append(signal.redelivered)}, responder_id="a")
    assert (await publishing).ok
    assert acted == [True]


async def test_every_unanswered_signal_comes_again_in_order(parties: Parties) -> None:
    exporter, (a,) = await parties.crew("a")
    rounds = [parties.task(exporter.publish_signal("start", 0, timeout=-1, on_lost="wait"))]
    await a[1].next("start")
    rounds.append(parties.task(exporter.publish_signal("start", 1, timeout=-1, on_lost="wait")))
    await a[1].next("start")
    await parties.crash(a[0])
    samples: list[int] = []
    await parties.running("a", {"start": lambda signal: samples.append(signal.sample_no)}, responder_id="a")
    for each in rounds:
        assert (await each).ok
    assert samples == [0, 1]


async def test_what_it_has_answered_does_not_come_again(parties: Parties) -> None:
    exporter, (a, b) = await parties.crew("a", "b")
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    await a[0].srespond(await a[1].next("start"), 1)
    await b[1].next("start")
    core = getattr(exporter, "subject", exporter)._core
    await eventually(lambda: core._responses.pending() == {"b"})
    await parties.crash(a[0])
    again, heard = await parties.listening("a", responder_id="a")
    await again.srespond(await heard.next("initialization"))
    await b[0].respond(exporter.pub_id, "start", 1)
    assert (await publishing).ok
    publishing = parties.task(exporter.publish_signal("stop", timeout=-1))
    assert (await heard.next()).event == "stop"
    await again.respond(exporter.pub_id, "stop", 1)
    await b[0].srespond(await b[1].next("stop"), 1)
    assert (await publishing).ok


async def test_who_is_alive_and_subscribes_again_does_not_act_twice(parties: Parties) -> None:
    exporter, (a,) = await parties.crew("a")
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    signal = await a[1].next("start")
    await a[0].respond(exporter.pub_id, "initialization")
    await eventually(lambda: a[0].counters.get("repeated"), "the redelivery")
    assert a[1].is_empty
    await a[0].srespond(signal, 1)
    assert (await publishing).ok


async def test_a_name_that_is_assigned_is_told_again_too(parties: Parties) -> None:
    responder = await parties.responder()
    responder.responder_id = "a"
    heard = Heard(responder)
    exporter = await parties.exporter()
    waiting = parties.task(exporter.initialize_and_wait(1, EVENTS, timeout=-1))
    await responder.srespond(await heard.next("initialization"))
    assert await waiting == 0
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    signal = await heard.next("start")
    await responder.respond(exporter.pub_id, "initialization")
    await eventually(lambda: responder.counters.get("repeated"), "the redelivery")
    await responder.srespond(signal, 1)
    assert (await publishing).ok
    await parties.close()
    await heard.ended


async def test_another_responder_of_that_name_at_another_time_is_not_told_of_ended_rounds(parties: Parties) -> None:
    exporter, (a,) = await parties.crew("a", presence_ttl=0.5)
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    await a[1].next("start")
    await parties.crash(a[0])
    assert list((await publishing).lost) == ["a"]
    again, heard = await parties.listening("a", responder_id="a")
    await again.srespond(await heard.next("initialization"))
    await exporter.shutdown()
    assert (await heard.next()).event == "shutdown"


async def test_only_the_one_that_died_gets_it_again(parties: Parties, wire: Wire) -> None:
    exporter, (a, b) = await parties.crew("a", "b")
    publishing = parties.task(exporter.publish_signal("start", timeout=-1, on_lost="wait"))
    await b[0].srespond(await b[1].next("start"), 1)
    await a[1].next("start")
    said = len(wire.signals())
    await parties.crash(a[0])
    await parties.running("a", responder_id="a")
    assert (await publishing).ok
    assert len(wire.signals()) == said
    assert b[1].is_empty


async def test_a_name_that_is_made_up_is_another_responder(parties: Parties) -> None:
    exporter = await parties.exporter()
    responder, heard = await parties.listening("a")
    waiting = parties.task(exporter.initialize_and_wait(1, EVENTS, timeout=-1))
    await responder.srespond(await heard.next("initialization"))
    assert await waiting == 0
    publishing = parties.task(exporter.publish_signal("start", timeout=1.0, on_lost="wait"))
    await heard.next("start")
    await parties.crash(responder)
    other = await parties.running("a")
    await eventually(lambda: exporter.subs == {responder.responder_id, other.responder_id})
    assert list((await publishing).missing) == [responder.responder_id]


# Whose answer to the initialization is lost


async def test_a_responder_that_acts_though_it_is_not_on_the_roster_is_asked_again(parties: Parties) -> None:
    exporter, (_, b) = await parties.crew("a", "b")
    # As if the server had lost its answer.
    core = getattr(exporter, "subject", exporter)._core
    for names in (core.subs, core._server.registration._names):
        names.discard("b")
    core._has_been_out_of_touch = True
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    await b[0].srespond(await b[1].next("start"), 1)
    await eventually(lambda: exporter.subs == {"a", "b"})
    assert b[0].counters["repeated"] == 1
    await exporter.shutdown()
    await publishing
