"""Whatever arrives is counted and dropped: nothing raises, ends a listener, counts as an answer or writes elsewhere."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.parties import Parties, Wire, eventually

SIGNAL = {
    "publisher_id": "fio-1",
    "process_name": "fio",
    "event": "start",
    "runner_host": "h",
    "sample_no": 1,
    "tag": "t",
    "metadata": {"a": 1},
}
ENVELOPE = {"v": 2, "id": "0" * 32, "seq": 1, "sent": 1.5}
RESPONSE = {"responder_id": "pcp-1", "publisher_id": "fio-1", "event": "start", "ras": 1, "message": "m"}
WRONG = [None, True, 1, 1.5, "x", [], {}, ["x"], {"x": 1}, 10**400, -(10**30)]

NO_MESSAGE = [
    b"",
    b" ",
    b"{",
    b"nonsense",
    b"\xff\xfe\x00",
    b"null",
    b"true",
    b"17",
    b"NaN",
    b'"text"',
    b"[]",
    b"[1, 2]",
    b"{}",
    b'{"publisher_id":',
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b'"' * 500_000,
    b'{"a":"' + b"\\" * 500_000,
    b'"' + b"x" * 2_000_000 + b'"',
    "\ufeff{}".encode(),
    b"\x00" * 1000,
]


def damaged(good: dict[str, Any], wrong: list[Any]) -> Iterator[bytes]:
    """Yield each message that differs from a good one in the type of one field, or lacks it."""
    for field, right in good.items():
        for value in wrong:
            # True is a number to 1.0.1.
            if type(value) is not type(right) and not (value is True and type(right) is int):
                yield json.dumps(good | {field: value}).encode()
    for field in list(good)[:4]:
        yield json.dumps({key: value for key, value in good.items() if key != field}).encode()


def in_envelope(**changes: Any) -> bytes:
    return json.dumps(SIGNAL | {"metadata": {"_state_signals": ENVELOPE | changes}}).encode()


WRONG_IN_ENVELOPE: list[Any] = ["x", None, [], {}]
BAD_SIGNALS = [
    *NO_MESSAGE,
    *(data for data in damaged(SIGNAL, WRONG) if b'"metadata": null' not in data),
    *(in_envelope(**{field: value}) for field in ENVELOPE for value in WRONG_IN_ENVELOPE),
    in_envelope(v=1),
    in_envelope(seq=0),
    in_envelope(seq=-5),
    in_envelope(id="Z" * 32),
    in_envelope(sent=float("nan")),
    in_envelope(wait=-1),
    in_envelope(wait="x"),
    in_envelope(reply=5),
    json.dumps(SIGNAL | {"metadata": {"_state_signals": 5}}).encode(),
    json.dumps(SIGNAL | {"event": "x" * 5_000}).encode(),
    json.dumps(SIGNAL | {"tag": "\ud800"}).encode(),
    json.dumps(SIGNAL | {"metadata": {"a": "x" * 2_000_000}}).encode(),
]
ODD_BUT_GOOD_SIGNALS = [
    json.dumps(SIGNAL | {"unknown": [1, {"x": None}]}).encode(),
    json.dumps(SIGNAL | {"tag": "\x1b[31m\x00\r\n\u202e", "event": "a\x07b"}).encode(),
    json.dumps(SIGNAL | {"metadata": {"nan": float("nan"), "lone": "\ud800", "big": 10**300}}).encode(),
    json.dumps(SIGNAL | {"metadata": None}).encode(),
    b'{"publisher_id":"a","publisher_id":"b","process_name":"p","event":"e","runner_host":"h"}',
]


async def test_no_signal_ends_listen(parties: Parties, wire: Wire) -> None:
    responder, heard = await parties.listening()
    for data in BAD_SIGNALS:
        wire.say_signal(data)
    for data in ODD_BUT_GOOD_SIGNALS:
        wire.say_signal(data)
    wire.say_signal(json.dumps(SIGNAL | {"event": "good"}).encode())
    odd = [await heard.next() for _ in ODD_BUT_GOOD_SIGNALS]
    assert [signal.publisher_id for signal in odd] == ["fio-1"] * 4 + ["b"]
    assert odd[1].tag == "\x1b[31m\x00\r\n\u202e"
    assert (await heard.next()).event == "good"
    assert sum(responder.counters.values()) == len(BAD_SIGNALS)


async def test_log_lines_about_bad_messages_are_few(
    parties: Parties, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    responder = await parties.running()
    with caplog.at_level(logging.WARNING, "state_signals.responder"):
        for _ in range(500):
            wire.say_signal(b"nonsense\x1b[2J")
        await eventually(lambda: responder.counters.get("not-json") == 500, "500 refusals")
    assert len(caplog.messages) < 5
    assert "\x1b" not in caplog.text


async def test_no_signal_says_where_an_answer_is_written(redis_url: str, shell: str) -> None:
    parties, wire = Parties(shell, redis_url), Wire(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        for key in ("orders", "state-signals:{victim}:responses"):
            client.xadd(key, {"x": "1"})
        responder = await parties.running()
        wire.say_signal(in_envelope(reply="orders"))
        wire.say_signal(in_envelope(reply="state-signals:{victim}:responses"))
        await eventually(lambda: responder.counters.get("foreign-reply") == 2, "two refusals")
        # It goes on, and an answer to an exporter that is gone leaves nothing behind.
        wire.say_signal(in_envelope(reply="state-signals:{fio-1}:responses"))
        wire.say_signal(json.dumps(SIGNAL).encode())
        await eventually(wire.responses, "the answer to version 1")
        assert client.xlen("orders") == client.xlen("state-signals:{victim}:responses") == 1
        assert not client.exists("state-signals:{fio-1}:responses")
    await parties.close()
    wire.close()


WRONG_SECONDS: list[Any] = ["x", [], float("nan"), float("inf")]
WRONG_IDS: list[Any] = [1, [], {}, True]


async def test_nothing_but_an_answer_is_an_answer(parties: Parties, wire: Wire) -> None:
    responder, heard = await parties.listening("pcp", responder_id="pcp-1")
    exporter = await parties.exporter(publisher_id="fio-1")
    subscribing = parties.task(exporter.initialize_and_wait(1, ["start"], timeout=20))
    await responder.srespond(await heard.next("initialization"))
    assert await subscribing == 0
    round_ = parties.task(exporter.publish_signal("start", timeout=None))
    signal = await heard.next("start")

    right = RESPONSE | {"signal_id": signal.id, "sent": 1.0, "took": 0.1}
    forged = [
        *NO_MESSAGE,
        *(data for data in damaged(RESPONSE, WRONG) if b'"ras": null' not in data and b'"message": null' not in data),
        # In the name of a responder that has always named its signal.
        json.dumps(RESPONSE).encode(),
        json.dumps(RESPONSE | {"signal_id": None}).encode(),
        # For another signal, exporter or event.
        json.dumps(right | {"signal_id": "f" * 32}).encode(),
        json.dumps(right | {"publisher_id": "fio-2"}).encode(),
        json.dumps(right | {"event": "stop"}).encode(),
        # From somebody who is not on the roster.
        json.dumps(right | {"responder_id": "somebody"}).encode(),
        # No answer yet.
        json.dumps(right | {"ras": None}).encode(),
        json.dumps({**right, "state": "working"}).encode(),
        *(json.dumps(right | {"took": value}).encode() for value in WRONG_SECONDS),
        *(json.dumps(right | {"signal_id": value}).encode() for value in WRONG_IDS),
        json.dumps(right | {"message": "x" * 2_000_000}).encode(),
        # Ghosts: an answer to an announcement that was never made.
        json.dumps(right | {"responder_id": "ghost", "event": "initialization"}).encode(),
    ]
    for data in forged:
        wire.say_response(data)
        wire.say_to_stream("fio-1", data)
    await eventually(lambda: sum(exporter.counters.values()) >= 2 * len(forged), "the refusals")
    assert not round_.done()
    assert exporter.subs == {"pcp-1"}
    assert exporter.init_listener.is_alive()

    await responder.srespond(signal, 1, "the real one")
    result = await asyncio.wait_for(round_, 20)
    assert result.ok
    assert result.messages == {"pcp-1": "the real one", "somebody": "m"}


async def test_a_late_answer_counts_for_nothing(parties: Parties, wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    responder, heard = await parties.listening()
    exporter = await parties.exporter()
    subscribing = parties.task(exporter.initialize_and_wait(1, ["start"], timeout=20))
    await responder.srespond(await heard.next("initialization"))
    assert await subscribing == 0
    assert (await exporter.publish_signal("start", timeout=0)).code == 2
    late = await heard.next("start")
    round_ = parties.task(exporter.publish_signal("start", timeout=None))
    await responder.srespond(late, 1)
    await eventually(lambda: exporter.counters.get("late") == 1, "the report")
    # Counted first, logged then.
    await eventually(lambda: "does not count" in caplog.text, "the line")
    assert not round_.done()
    await responder.srespond(await heard.next("start"), 0)
    assert (await asyncio.wait_for(round_, 20)).code == 1


async def test_a_flood_of_late_answers_is_told_in_few_lines(
    parties: Parties, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = await parties.exporter(publisher_id="fio-1")
    await exporter.initialize(["start"], expected_resps=["pcp-1"])
    signal_id = (await exporter.publish_signal("start", timeout=0)).signal_id
    caplog.clear()
    for number in range(500):
        answer = RESPONSE | {"responder_id": f"pcp-{number}", "signal_id": signal_id}
        wire.say_to_stream("fio-1", json.dumps(answer).encode())
    await eventually(lambda: exporter.counters.get("late") == 500, "500 late answers")
    # It is logged by when close() returns.
    await exporter.close()
    # Enough to name those that are late in earnest.
    assert 5 < len(caplog.messages) < 50


@pytest.mark.parametrize("spoil", ["another type", "used-up ids"])
async def test_a_spoilt_stream_of_responses_does_not_end_a_responder(redis_url: str, shell: str, spoil: str) -> None:
    parties, wire = Parties(shell, redis_url), Wire(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        key = "state-signals:{fio-1}:responses"
        if spoil == "another type":
            client.set(key, "a text")
        else:
            client.xadd(key, {"x": "1"}, id=f"{2**64 - 1}-{2**64 - 1}")
        heard: list[str] = []
        await parties.running("pcp", {None: lambda signal: heard.append(signal.event)})
        wire.say_signal(in_envelope(reply=key))
        wire.say_signal(json.dumps(SIGNAL | {"event": "good"}).encode())
        await eventually(lambda: heard == ["start", "good"], "the signal after it")
        assert client.type(key) == (b"string" if spoil == "another type" else b"stream")
    await parties.close()
    wire.close()


async def test_a_spoilt_stream_of_responses_does_not_end_its_exporter(redis_url: str, shell: str) -> None:
    parties = Parties(shell, redis_url)
    await parties.running()
    exporter = await parties.exporter(publisher_id="fio-1")
    assert await exporter.initialize_and_wait(1, ["start"], timeout=20) == 0
    with redis.Redis.from_url(redis_url) as client:
        # The first makes the exporter ask for more, the second is what it finds.
        pipeline = client.pipeline(transaction=False)
        pipeline.xadd("state-signals:{fio-1}:responses", {"x": "1"})
        pipeline.set("state-signals:{fio-1}:responses", "a text")
        pipeline.execute()
        await eventually(lambda: client.type("state-signals:{fio-1}:responses") == b"stream", "the repair")
    assert (await exporter.publish_signal("start", timeout=20)).ok
    await parties.close()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*SIGNAL, *RESPONSE, "_state_signals", *ENVELOPE]), inner, max_size=6)
    ),
    max_leaves=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.binary(max_size=200) | _JSON.map(lambda value: json.dumps(value).encode()), max_size=20))
async def test_whatever_is_said_listeners_live_and_good_messages_arrive(
    parties: Parties, wire: Wire, said: list[bytes]
) -> None:
    responder, heard = await parties.listening()
    exporter = await parties.exporter()
    await exporter.initialize(["start"])
    for data in said:
        wire.say_signal(data)
        wire.say_response(data)
        wire.say_to_stream(exporter.pub_id, data)
    await responder.srespond(await heard.next("initialization"))
    await eventually(lambda: exporter.subs == {responder.responder_id}, "the subscription")
    await exporter.close()
    await responder.close()
