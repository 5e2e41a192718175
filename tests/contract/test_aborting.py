"""A run that is aborted, by its exporter or by somebody else: everybody is told why, and nobody waits on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from state_signals import Closed, InvalidType, RunAborted, UnknownExporter
from tests.parties import Parties, Wire, eventually


def ask_for_the_end(wire: Wire, publisher_id: str, reason: str = "disk full", **facts: Any) -> None:
    """Do what `state-signals abort` does to an exporter that is alive."""
    record = wire.ask("HGETALL", wire.keys.record(publisher_id))
    info = json.loads(dict(zip(record[::2], record[1::2], strict=True))[b"info"])
    message = {
        "responder_id": "operator",
        "publisher_id": publisher_id,
        "event": "shutdown",
        "state": "abort",
        "message": reason,
        "signal_id": info["announcement"],
        "sent": 0.0,
        "took": 0.0,
    }
    wire.say_to_stream(publisher_id, json.dumps(message | facts).encode())


async def test_an_exporter_aborts_its_own_run(parties: Parties, wire: Wire) -> None:
    exporter, [(responder, heard)] = await parties.crew("a")
    round_ = parties.task(exporter.publish_signal("start", timeout=-1))
    await heard.next("start")
    await exporter.abort("disk full")
    with pytest.raises(RunAborted, match="disk full") as caught:
        await round_
    parties.forget(round_)
    assert caught.value.reason == "disk full"
    assert exporter.aborted == "disk full"
    assert (await heard.next("shutdown")).aborted == "disk full"
    with pytest.raises(RunAborted):
        await exporter.publish_signal("stop")
    with pytest.raises(RunAborted):
        await exporter.abort("once more")
    await exporter.close()
    await responder.close()
    assert [signal["event"] for signal in wire.journal(exporter.pub_id)] == ["initialization", "start", "shutdown"]
    assert not wire.leftovers()


async def test_a_reason_that_is_no_text_changes_nothing(parties: Parties) -> None:
    exporter, _ = await parties.crew("a")
    with pytest.raises(InvalidType, match="reason"):
        await exporter.abort(None)
    assert exporter.aborted is None


async def test_somebody_else_aborts_a_round(parties: Parties, wire: Wire) -> None:
    told: list[str] = []
    exporter, [(_, heard)] = await parties.crew("a", on_abort=told.append)
    round_ = parties.task(exporter.publish_signal("start", timeout=-1))
    await heard.next("start")
    ask_for_the_end(wire, exporter.pub_id)
    ask_for_the_end(wire, exporter.pub_id, "another reason")
    with pytest.raises(RunAborted, match="disk full"):
        await round_
    parties.forget(round_)
    assert (await heard.next("shutdown")).aborted == "disk full"
    await eventually(lambda: told == ["disk full"])


async def test_responders_are_told_though_nobody_calls_the_exporter(parties: Parties, wire: Wire) -> None:
    exporter, [(_, heard)] = await parties.crew("a")
    ask_for_the_end(wire, exporter.pub_id)
    assert (await heard.next("shutdown")).aborted == "disk full"
    await eventually(lambda: exporter.aborted == "disk full")


async def test_the_wait_for_subscribers_ends(parties: Parties, wire: Wire) -> None:
    exporter = await parties.exporter()
    waiting = parties.task(exporter.initialize_and_wait(1, ["start"], timeout=-1))
    await eventually(lambda: wire.journal(exporter.pub_id))
    ask_for_the_end(wire, exporter.pub_id)
    with pytest.raises(RunAborted):
        await waiting
    parties.forget(waiting)


async def test_what_is_meant_for_another_run_is_dropped(parties: Parties, wire: Wire) -> None:
    exporter, _ = await parties.crew("a")
    ask_for_the_end(wire, exporter.pub_id, signal_id="0" * 32)
    await eventually(lambda: exporter.counters.get("unknown-signal"))
    assert exporter.aborted is None


async def test_an_on_abort_that_raises_harms_nobody(parties: Parties, wire: Wire) -> None:
    def fail(_: str) -> None:
        raise RuntimeError

    exporter, [(_, heard)] = await parties.crew("a", on_abort=fail)
    ask_for_the_end(wire, exporter.pub_id)
    await heard.next("shutdown")
    await eventually(lambda: exporter.aborted)


async def test_who_closes_at_once_has_still_told_everybody(parties: Parties, wire: Wire) -> None:
    exporter, [(_, heard)] = await parties.crew("a")
    ask_for_the_end(wire, exporter.pub_id)
    await eventually(lambda: exporter.aborted)
    closing = parties.task(exporter.close())
    assert (await heard.next("shutdown")).aborted == "disk full"
    await closing
    with pytest.raises(Closed):
        await exporter.publish_signal("start")


async def test_who_resumes_what_was_aborted_meanwhile_is_told_and_tells(parties: Parties, wire: Wire) -> None:
    exporter, [(responder, heard)] = await parties.crew("a", publisher_id="fio-1")
    await exporter.detach()
    ask_for_the_end(wire, "fio-1")
    with pytest.raises(RunAborted, match="disk full"):
        await parties.resumed("fio-1")
    assert (await heard.next("shutdown")).aborted == "disk full"
    # Nobody can go on with it.
    with pytest.raises(UnknownExporter):
        await parties.resumed("fio-1")
    await responder.close()
    assert not wire.leftovers()


async def test_an_error_that_is_raised_again_and_again_does_not_grow(parties: Parties) -> None:
    exporter, _ = await parties.crew("a")
    await exporter.abort("disk full")
    lengths = []
    for _ in range(3):
        with pytest.raises(RunAborted) as caught:
            await exporter.publish_signal("start")
        lengths.append(len(caught.traceback))
    assert lengths[1] == lengths[2]
