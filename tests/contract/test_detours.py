"""Answers and attributes that take another way than usual."""

from __future__ import annotations

import json

import pytest
import redis

from state_signals import InvalidArgument, Signal
from tests.parties import EVENTS, Parties, Wire, eventually


@pytest.mark.parametrize("spoil", ["gone", "another type"])
async def test_an_answer_whose_stream_cannot_take_it_goes_to_the_channel(
    shell: str, redis_url: str, spoil: str
) -> None:
    parties, wire = Parties(shell, redis_url), Wire(redis_url)
    responder = await parties.running("pcp", {"start": lambda _: "done"})
    exporter = await parties.exporter(publisher_id="fio-1")
    assert await exporter.initialize_and_wait(1, EVENTS, timeout=20) == 0
    with redis.Redis.from_url(redis_url) as client:
        client.delete("state-signals:{fio-1}:responses")
    result = parties.task(exporter.publish_signal("start", timeout=5))
    await eventually(wire.responses, "the answer on the channel")
    [answer] = [json.loads(data) for data in wire.responses()]
    assert (answer["responder_id"], answer["message"]) == (responder.responder_id, "done")
    assert len(answer["signal_id"]) == 32
    assert (await result).ok
    await parties.close()
    wire.close()


async def test_parties_on_two_databases_of_a_server_find_each_other(shell: str, redis_url: str) -> None:
    parties = Parties(shell, redis_url)
    await parties.running("pcp", url=f"{redis_url}/0")
    exporter = await parties.exporter(url=f"{redis_url}/1")
    assert await exporter.initialize_and_wait(1, EVENTS, timeout=20) == 0
    assert (await exporter.publish_signal("start", timeout=20)).ok
    await parties.close()


async def test_a_signal_that_was_rebuilt_from_its_json_can_be_answered(parties: Parties) -> None:
    responder, heard = await parties.listening()
    exporter = await parties.exporter()
    waiting = parties.task(exporter.initialize_and_wait(1, EVENTS, timeout=20))
    await responder.srespond(Signal(**json.loads((await heard.next()).to_json_str())))
    assert await waiting == 0
    round_ = parties.task(exporter.publish_signal("start", timeout=20))
    await responder.srespond(Signal(**json.loads((await heard.next("start")).to_json_str())), ras=True)
    assert (await round_).ok


async def test_close_reaches_responders_that_are_locked_to_the_tag(parties: Parties) -> None:
    responder, heard = await parties.listening()
    responder.lock_tag("nightly")
    exporter = await parties.exporter()
    await exporter.initialize(EVENTS, tag="nightly")
    await exporter.close()
    assert (await heard.next()).event == "initialization"
    assert (await heard.next()).event == "shutdown"


async def test_the_attributes_of_an_exporter_can_be_assigned(parties: Parties, wire: Wire) -> None:
    exporter = await parties.exporter()
    exporter.pub_id, exporter.proc_name, exporter.runner_host = "fio-7", "fio 3", "elsewhere"
    await exporter.initialize(EVENTS)
    said = json.loads(wire.signals()[0])
    assert (said["publisher_id"], said["process_name"], said["runner_host"]) == ("fio-7", "fio 3", "elsewhere")
    assert said["metadata"]["_state_signals"]["reply"].endswith("{fio-7}:responses")
    with pytest.raises(InvalidArgument, match="cannot change any more"):
        exporter.pub_id = "fio-8"
