"""What cannot work raises before anything is sent or any thread is started, and says what, where and why."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

import state_signals
import state_signals.asyncio
from state_signals import IllegalEvent, InvalidArgument, InvalidType, MessageTooLarge, Signal
from tests.parties import Parties, Wire

circular: dict[str, Any] = {}
circular["again"] = circular
deep: dict[str, Any] = {}
for _ in range(100):
    deep = {"deeper": deep}
bottomless: list[Any] = []
for _ in range(100_000):
    bottomless = [bottomless]

PUBLISH: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"event": 3}, IllegalEvent, "legal events"),
    ({"event": None}, IllegalEvent, "legal events"),
    ({"event": "unheard-of"}, IllegalEvent, "'unheard-of' is not one of the legal events"),
    ({"event": "initialization"}, IllegalEvent, r"initialize\(\)"),
    ({"event": "shutdown"}, IllegalEvent, r"shutdown\(\)"),
    ({"sample": "3"}, InvalidType, "sample_no must be int"),
    ({"sample": 1.5}, InvalidType, "sample_no must be int"),
    ({"tag": 3}, InvalidType, "tag must be str"),
    ({"tag": "x" * 2_000}, InvalidArgument, "tag has 2000 characters"),
    ({"tag": "\udcff"}, InvalidArgument, "tag is not valid Unicode"),
    ({"metadata": []}, InvalidType, "metadata must be dict or None"),
    ({"metadata": "x"}, InvalidType, "metadata must be dict or None"),
    ({"metadata": {"a": {"b": [1, object()]}}}, InvalidType, r"metadata\['a'\]\['b'\]\[1\] cannot be sent as JSON"),
    ({"metadata": {"a": {1, 2}}}, InvalidType, r"metadata\['a'\].*set"),
    ({"metadata": {"a": b"x"}}, InvalidType, r"metadata\['a'\].*bytes"),
    ({"metadata": {("a", "b"): 1}}, InvalidType, r"metadata key \('a', 'b'\)"),
    ({"metadata": circular}, InvalidArgument, "metadata cannot be sent"),
    ({"metadata": deep}, MessageTooLarge, "nested too deep; the limit is 64"),
    ({"metadata": {"a": bottomless}}, MessageTooLarge, "nested too deep; the limit is 64"),
    ({"metadata": {"a": "x" * 1024 * 1024}}, MessageTooLarge, "the limit is 1048576"),
    ({"metadata": {"_state_signals": 1}}, InvalidArgument, "'_state_signals' is reserved"),
    ({"timeout": "3"}, InvalidType, "timeout must be seconds"),
    ({"timeout": True}, InvalidType, "timeout must be seconds"),
    ({"timeout": -2}, InvalidArgument, "timeout must not be negative"),
    ({"timeout": float("nan")}, InvalidArgument, "timeout"),
    ({"timeout": timedelta(seconds=-5)}, InvalidArgument, "timeout"),
    ({"timeout": 10**400}, InvalidArgument, "timeout is beyond"),
    ({"on_outcome": "print"}, InvalidType, "on_outcome must be a function, not str"),
    ({"min_success": "1"}, InvalidType, "min_success"),
    ({"min_success": True}, InvalidType, "min_success"),
    ({"min_success": -1}, InvalidArgument, "min_success"),
    ({"min_success": 1.5}, InvalidArgument, "as a share must be from 0.0 to 1.0"),
    ({"on_lost": "ignore"}, InvalidArgument, "on_lost must be 'fail' or 'wait', not 'ignore'"),
    ({"stall_timeout": "3"}, InvalidType, "stall_timeout must be seconds"),
    ({"stall_timeout": -2}, InvalidArgument, "stall_timeout must not be negative"),
]


@pytest.mark.parametrize(("arguments", "error", "says"), PUBLISH, ids=range(len(PUBLISH)))
async def test_publish_signal_refuses(
    parties: Parties, wire: Wire, arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    exporter = await parties.exporter()
    await exporter.initialize(["start"])
    sent = len(wire.signals())
    with pytest.raises(error, match=says):
        await exporter.publish_signal(**{"event": "start"} | arguments)
    assert len(wire.signals()) == sent
    # Nothing has changed: the next signal has the next number.
    await exporter.publish_signal("start", wait=False)
    assert b'"seq":2,' in wire.signals()[-1]


@pytest.mark.parametrize("event", [3, None, ["start"]])
async def test_an_event_that_is_no_text_is_refused_before_initialize_too(parties: Parties, event: object) -> None:
    exporter = await parties.exporter()
    with pytest.raises((InvalidType, IllegalEvent)):
        await exporter.publish_signal(event)


INITIALIZE: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"legal_events": "start"}, InvalidType, "legal_events must be a list of str, not str"),
    ({"legal_events": None}, InvalidType, "legal_events must be a list of str"),
    ({"legal_events": ["start", 3]}, InvalidType, "legal_events must be a list of str, but holds 3"),
    ({"legal_events": ["start", ""]}, InvalidArgument, "empty"),
    ({"legal_events": ["x" * 2_000]}, InvalidArgument, "2000 characters"),
    ({"expected_resps": "pcp"}, InvalidType, "expected_resps must be a list of str, not str"),
    ({"expected_resps": [None]}, InvalidType, "expected_resps must be a list of str"),
    ({"tag": 3}, InvalidType, "tag must be str"),
    ({"await_sub_count": "2"}, InvalidType, "await_sub_count must be int"),
    ({"await_sub_count": True}, InvalidType, "await_sub_count must be int"),
    ({"await_sub_count": -1}, InvalidArgument, "await_sub_count must not be negative"),
    ({"timeout": "x"}, InvalidType, "timeout must be seconds"),
]


@pytest.mark.parametrize(("arguments", "error", "says"), INITIALIZE, ids=range(len(INITIALIZE)))
async def test_initialize_refuses(
    parties: Parties, wire: Wire, arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    exporter = await parties.exporter()
    before = {thread for thread in threading.enumerate() if thread.name.startswith("state-signals")}
    with pytest.raises(error, match=says):
        await exporter.initialize_and_wait(**{"await_sub_count": 0, "legal_events": ["start"]} | arguments)
    if not {"await_sub_count", "timeout"} & arguments.keys():
        with pytest.raises(error, match=says):
            await exporter.initialize(**{"legal_events": ["start"]} | arguments)
    assert wire.signals() == []
    assert (exporter.init_listener, exporter.legal_events, exporter.subs) == (None, None, set())
    assert {thread for thread in threading.enumerate() if thread.name.startswith("state-signals")} == before


EXPORTER: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"process_name": 3, "url": "memory://a"}, InvalidType, "process_name must be str"),
    ({"process_name": "x" * 2_000, "url": "memory://a"}, InvalidArgument, "process_name"),
    ({"runner_host": 3, "url": "memory://a"}, InvalidType, "runner_host must be str"),
    ({"publisher_id": 3, "url": "memory://a"}, InvalidType, "publisher_id must be str"),
    ({"publisher_id": "", "url": "memory://a"}, InvalidArgument, "publisher_id must be printable"),
    ({"publisher_id": "a\nb", "url": "memory://a"}, InvalidArgument, "publisher_id must be printable"),
    ({"retention": 0, "url": "memory://a"}, InvalidArgument, "retention must be positive"),
    ({"retention": "1", "url": "memory://a"}, InvalidType, "retention must be seconds"),
    ({"retention": True, "url": "memory://a"}, InvalidType, "retention must be seconds"),
    ({"retention": float("inf"), "url": "memory://a"}, InvalidArgument, "retention must be positive and finite"),
]
BOTH: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"url": 3}, InvalidType, "url must be str"),
    ({"url": "localhost:6379"}, InvalidArgument, "url must be redis://"),
    ({"url": "http://:secret@localhost"}, InvalidArgument, r"not 'http://:\*\*\*@localhost'"),
    ({"url": "redis://localhost:x"}, InvalidArgument, "cannot be used"),
    ({"url": "memory://a", "existing_redis_conn": object()}, InvalidArgument, "either url or existing_redis_conn"),
    ({"existing_redis_conn": object()}, InvalidType, "existing_redis_conn must be a redis"),
    ({"redis_port": "http"}, InvalidType, "redis_port must be int"),
    ({"redis_port": 70_000}, InvalidArgument, "from 1 to 65535"),
    ({"redis_host": 3}, InvalidType, "redis_host"),
    ({"namespace": 3, "url": "memory://a"}, InvalidType, "namespace must be str"),
    ({"namespace": "a:b", "url": "memory://a"}, InvalidArgument, "namespace must be 1 to 64"),
    ({"conn_timeout": "20", "url": "memory://a"}, InvalidType, "conn_timeout"),
    ({"log_level": "LOUD", "url": "memory://a"}, InvalidArgument, "log_level"),
    ({"max_payload": 0, "url": "memory://a"}, InvalidArgument, "max_payload must be positive"),
    ({"max_payload": "1", "url": "memory://a"}, InvalidType, "max_payload must be int"),
    ({"presence_ttl": "1", "url": "memory://a"}, InvalidType, "presence_ttl must be seconds"),
    ({"presence_ttl": 0, "url": "memory://a"}, InvalidArgument, r"presence_ttl must be from 0\.1 to"),
    ({"presence_ttl": 1e9, "url": "memory://a"}, InvalidArgument, r"presence_ttl must be from 0\.1 to"),
]
RESPONDER: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"responder_name": 3, "url": "memory://a"}, InvalidType, "responder_name must be str"),
    ({"responder_id": 3, "url": "memory://a"}, InvalidType, "responder_id must be str"),
    ({"responder_id": "", "url": "memory://a"}, InvalidArgument, "responder_id must be printable"),
    ({"replay": "some", "url": "memory://a"}, InvalidArgument, "replay must be .*'some'"),
    ({"replay": None, "url": "memory://a"}, InvalidType, "replay must be .*None"),
]
RESUME: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"publisher_id": 3}, InvalidType, "must be str"),
    ({"publisher_id": ""}, InvalidArgument, "publisher_id must be printable"),
    ({"publisher_id": "a\nb"}, InvalidArgument, "publisher_id must be printable"),
    ({"retention": 0}, InvalidArgument, "retention must be positive"),
    ({"url": "localhost:6379"}, InvalidArgument, "url must be redis://"),
    ({"conn_timeout": "20"}, InvalidType, "conn_timeout"),
]


@pytest.mark.parametrize(("arguments", "error", "says"), EXPORTER + BOTH)
def test_an_exporter_refuses(shell: str, arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    module: Any = state_signals if shell == "sync" else state_signals.asyncio
    with pytest.raises(error, match=says):
        module.SignalExporter(**{"process_name": "fio"} | arguments)


@pytest.mark.parametrize(("arguments", "error", "says"), RESUME)
async def test_resume_refuses(shell: str, arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    module: Any = state_signals if shell == "sync" else state_signals.asyncio
    with pytest.raises(error, match=says):
        resumed = module.SignalExporter.resume(**{"publisher_id": "fio-1", "url": "memory://a"} | arguments)
        if shell == "asyncio":
            await resumed


@pytest.mark.parametrize(("arguments", "error", "says"), RESPONDER + BOTH)
def test_a_responder_refuses(shell: str, arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    module: Any = state_signals if shell == "sync" else state_signals.asyncio
    with pytest.raises(error, match=says):
        module.SignalResponder(**arguments)


ANSWERS: list[tuple[tuple[Any, ...], type[Exception], str]] = [
    ((3, "start", 1), InvalidType, "publisher_id must be str"),
    (("fio", 3, 1), InvalidType, "event must be str"),
    (("fio", "start", "1"), InvalidType, "ras must be int or None"),
    (("fio", "start", 1, 3), InvalidType, "message must be str or None"),
    (("fio", "start", 1, "x" * 2_000_000), MessageTooLarge, "the limit is 1048576"),
    (("fio", "x" * 2_000, 1), InvalidArgument, "event has 2000 characters"),
]


@pytest.mark.parametrize(("arguments", "error", "says"), ANSWERS, ids=range(len(ANSWERS)))
async def test_respond_refuses(
    parties: Parties, wire: Wire, arguments: tuple[Any, ...], error: type[Exception], says: str
) -> None:
    responder = await parties.responder()
    with pytest.raises(error, match=says):
        await responder.respond(*arguments)
    assert wire.responses() == []


async def test_srespond_locks_and_attributes_refuse(parties: Parties) -> None:
    responder, exporter = await parties.responder(), await parties.exporter()
    with pytest.raises(InvalidType, match="signal must be a Signal"):
        await responder.srespond("start")
    with pytest.raises(InvalidType, match="signal must be a Signal"):
        await responder.working("start")
    with pytest.raises(InvalidType, match="message must be str or None"):
        await responder.working(Signal("fio", "fio", "start", "h"), 3)
    with pytest.raises(InvalidType, match="publisher_id must be str"):
        responder.lock_id(3)
    with pytest.raises(InvalidType, match="tag must be str"):
        responder.lock_tag(None)
    with pytest.raises(InvalidType, match="responder_id must be str"):
        responder.responder_id = 3
    with pytest.raises(InvalidType, match="must be a function"):
        responder.on("start")("vmstat")
    with pytest.raises(InvalidType, match="tag must be str"):
        await exporter.shutdown(tag=3)
    with pytest.raises(InvalidType, match="subs must be a list"):
        exporter.subs = "pcp"
    with pytest.raises(InvalidType, match="legal_events must be a list"):
        exporter.legal_events = "start"


async def test_a_smaller_limit_on_payloads_holds_both_ways(parties: Parties, wire: Wire) -> None:
    exporter = await parties.exporter(max_payload=1_000)
    with pytest.raises(MessageTooLarge, match="the limit is 1000"):
        await exporter.publish_signal("start", metadata={"a": "x" * 1_000})
    _, heard = await parties.listening(max_payload=1_000)
    bystander = await parties.exporter()
    await bystander.publish_signal("start", metadata={"a": "x" * 1_000})
    await bystander.publish_signal("stop")
    assert (await heard.next()).event == "stop"
