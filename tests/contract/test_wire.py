"""What a bystander sees on the wire: version 1, and nothing beyond it where 1.0.1 would not bear it."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.parties import EVENTS, Parties, Wire, eventually

SIGNAL_KEYS = ["publisher_id", "process_name", "event", "runner_host", "sample_no", "tag", "metadata"]


async def rounds(parties: Parties, **options: Any) -> None:
    """Initialize, a round without and one with metadata, shutdown."""
    await parties.running(responder_id="pcp", on={"start": lambda _: "done"})
    exporter = await parties.exporter("fio", publisher_id="fio-1", runner_host="h", **options)
    assert await exporter.initialize_and_wait(1, EVENTS, tag="t", timeout=-1) == 0
    assert await exporter.publish_signal("start", 0, "", timeout=-1) == (0, {"pcp": "done"})
    assert (await exporter.publish_signal("stop", 1, "t", {"a": [1]}, timeout=20)).ok
    await exporter.shutdown()


async def test_a_signal_has_exactly_the_keys_of_version_1_in_their_order(parties: Parties, wire: Wire) -> None:
    await rounds(parties)
    signals = [json.loads(data) for data in wire.signals()]
    assert [signal["event"] for signal in signals] == ["initialization", "start", "stop", "shutdown"]
    assert all(list(signal) == SIGNAL_KEYS for signal in signals)
    assert [signal["sample_no"] for signal in signals] == [-1, 0, 1, -1]
    assert [signal["tag"] for signal in signals] == ["t", "", "t", "No tag specified"]


async def test_version_2_is_in_the_metadata_under_one_key(parties: Parties, wire: Wire) -> None:
    await rounds(parties)
    envelopes = []
    for data, metadata in zip(wire.signals(), ({}, {}, {"a": [1]}, {}), strict=True):
        found = json.loads(data)["metadata"]
        envelopes.append(found.pop("_state_signals"))
        assert found == metadata
    assert [envelope["v"] for envelope in envelopes] == [2] * 4
    assert [envelope["seq"] for envelope in envelopes] == [1, 2, 3, 4]
    assert all(uuid.UUID(hex=envelope["id"]).hex == envelope["id"] for envelope in envelopes)
    assert {envelope["reply"] for envelope in envelopes} == {"state-signals:{fio-1}:responses"}
    assert [envelope.get("wait", "absent") for envelope in envelopes] == ["absent", None, 20.0, "absent"]


async def test_answers_to_version_2_do_not_burden_the_channel_of_version_1(parties: Parties, wire: Wire) -> None:
    await rounds(parties)
    assert wire.responses() == []


async def test_strict_v1_sends_nothing_beyond_version_1(parties: Parties, wire: Wire) -> None:
    await rounds(parties, strict_v1=True)
    common = {"publisher_id": "fio-1", "process_name": "fio", "runner_host": "h"}
    assert [json.loads(data) for data in wire.signals()] == [
        {**common, "event": "initialization", "sample_no": -1, "tag": "t"},
        {**common, "event": "start", "sample_no": 0, "tag": ""},
        {**common, "event": "stop", "sample_no": 1, "tag": "t", "metadata": {"a": [1]}},
        {**common, "event": "shutdown", "sample_no": -1, "tag": "No tag specified"},
    ]
    assert list(json.loads(wire.signals()[2])) == SIGNAL_KEYS


async def test_a_version_1_signal_is_answered_with_version_1_keys_on_its_channel(parties: Parties, wire: Wire) -> None:
    await rounds(parties, strict_v1=True)
    answers = [json.loads(data) for data in wire.responses()]
    common = {"responder_id": "pcp", "publisher_id": "fio-1"}
    assert answers == [
        {**common, "event": "initialization", "ras": 1},
        {**common, "event": "start", "ras": 1, "message": "done"},
        {**common, "event": "stop", "ras": 1},
    ]
    assert list(answers[1]) == ["responder_id", "publisher_id", "event", "ras", "message"]


async def test_ras_and_message_are_left_out_when_none(parties: Parties, wire: Wire) -> None:
    responder = await parties.responder(responder_id="pcp")
    await responder.respond("fio-1", "initialization")
    assert wire.responses() == [b'{"responder_id":"pcp","publisher_id":"fio-1","event":"initialization"}']


async def test_a_namespace_has_channels_and_keys_of_its_own(parties: Parties, url: str, wire: Wire) -> None:
    own = Wire(url, namespace="team-a")
    try:
        exporter = await parties.exporter("fio", publisher_id="fio-1", namespace="team-a")
        await exporter.initialize(EVENTS)
        names = ["exporters", *(f"{{fio-1}}:{name}" for name in ("owner", "record", "responses", "signals"))]
        assert sorted(own.stored()) == [f"state-signals:team-a:{name}" for name in names]
        await exporter.shutdown()
        assert len(own.signals()) == 2
        assert own.responses() == wire.signals() == wire.responses() == []
        assert own.keys.signals == "event-signal-pubsub:team-a"
    finally:
        own.close()


@pytest.mark.parametrize("url", ["redis"], indirect=True)
async def test_the_stream_of_answers_holds_json_with_what_version_2_adds(parties: Parties, wire: Wire) -> None:
    # Another reader of the stream sees what the exporter sees, for it is not trimmed so soon.
    responder, heard = await parties.listening(responder_id="pcp")
    exporter = await parties.exporter("fio", publisher_id="fio-1")
    await exporter.initialize(EVENTS)
    signal = await heard.next()
    await responder.srespond(signal, 1, "here")
    await eventually(lambda: exporter.subs)
    entries: Any = wire.client.xrange("state-signals:{fio-1}:responses")
    (_, opening), (_, entry) = entries
    assert b"r" not in opening
    assert list(entry) == [b"r"]
    answer = json.loads(entry[b"r"])
    assert list(answer)[:5] == ["responder_id", "publisher_id", "event", "ras", "message"]
    assert answer["signal_id"] == signal.id
    assert answer["took"] >= 0


async def test_an_exporter_that_was_idle_beyond_the_retention_still_gets_answers(parties: Parties, wire: Wire) -> None:
    await parties.running()
    exporter = await parties.exporter(publisher_id="a", retention=0.2)
    assert await exporter.initialize_and_wait(1, EVENTS, timeout=-1) == 0
    await eventually(lambda: "state-signals:{a}:responses" not in wire.stored())
    assert (await exporter.publish_signal("start", timeout=20)).ok


@pytest.mark.parametrize("url", ["redis"], indirect=True)
async def test_thousands_of_answers_at_once_are_counted(parties: Parties, wire: Wire) -> None:
    responder, heard = await parties.listening(responder_id="pcp")
    exporter = await parties.exporter("fio", publisher_id="fio-1")
    await exporter.initialize(EVENTS, None, ["pcp"])
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    signal = await heard.next("start")
    pipeline = wire.client.pipeline(transaction=False)
    for number in range(3000):
        answer = {"responder_id": f"x{number}", "publisher_id": "fio-1", "event": "start", "ras": 1}
        pipeline.xadd("state-signals:{fio-1}:responses", {"r": json.dumps({**answer, "signal_id": signal.id})})
    pipeline.execute()
    await responder.srespond(signal, 1)
    assert (await publishing).ok
    assert exporter.counters["not-in-roster"] == 3000
