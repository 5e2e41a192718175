"""What responders hear, how they answer, and what `run()` does."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from state_signals import InvalidArgument, InvalidType, Signal
from tests.parties import EVENTS, Parties, Wire, eventually


async def ready(parties: Parties, count: int = 1, **options: Any) -> Any:
    """Return an exporter whose roster has that many members."""
    exporter = await parties.exporter(**options)
    assert await exporter.initialize_and_wait(count, EVENTS, timeout=-1) == 0
    return exporter


# listen(), respond(), srespond(): the style of 1.0.1


async def test_listen_yields_every_signal_the_reserved_ones_too(parties: Parties) -> None:
    _, heard = await parties.listening()
    exporter = await parties.exporter()
    await exporter.initialize(EVENTS)
    await exporter.publish_signal("start", timeout=0)
    await exporter.shutdown()
    assert [(await heard.next()).event for _ in range(3)] == ["initialization", "start", "shutdown"]


async def test_respond_answers_by_names(parties: Parties) -> None:
    responder, heard = await parties.listening()
    exporter = await parties.exporter()
    waiting = parties.task(exporter.initialize_and_wait(1, EVENTS, timeout=-1))
    await responder.respond((await heard.next()).publisher_id, "initialization", 1)
    assert await waiting == 0
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    signal = await heard.next()
    await responder.respond(signal.publisher_id, signal.event, ras=0, message="not today")
    assert await publishing == (1, {responder.responder_id: "not today"})


async def test_respond_answers_the_newest_signal_of_that_event(parties: Parties) -> None:
    responder, heard = await parties.listening()
    exporter = await parties.exporter()
    await exporter.initialize(EVENTS, None, [responder.responder_id])
    old = parties.task(exporter.publish_signal("start", timeout=-1))
    await heard.next("start")
    new = parties.task(exporter.publish_signal("start", timeout=-1))
    await heard.next("start")
    await responder.respond(exporter.pub_id, "start", 1)
    assert (await new).ok
    assert not old.done()


async def test_srespond_answers_the_signal_that_it_is_given(parties: Parties) -> None:
    responder, heard = await parties.listening()
    exporter = await parties.exporter()
    await exporter.initialize(EVENTS, None, [responder.responder_id])
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    await responder.srespond(await heard.next("start"), ras=1, message="done")
    assert await publishing == (0, {responder.responder_id: "done"})


async def test_a_signal_that_was_made_by_hand_can_be_answered(parties: Parties) -> None:
    responder = await parties.responder()
    exporter = await parties.exporter()
    await exporter.initialize(EVENTS)
    await responder.srespond(Signal(exporter.pub_id, "fio", "initialization", "host"), 1)
    await eventually(lambda: exporter.subs == {responder.responder_id})


async def test_answers_may_be_sent_while_another_thread_or_task_listens(parties: Parties) -> None:
    responder, heard = await parties.listening()
    exporter = await parties.exporter()
    waiting = parties.task(exporter.initialize_and_wait(1, EVENTS, timeout=-1))
    signal = await heard.next()
    await asyncio.gather(*(responder.srespond(signal, 1) for _ in range(20)))
    assert await waiting == 0


async def test_a_responder_id_can_be_fixed(parties: Parties) -> None:
    await parties.running(responder_id="pcp@host-1")
    assert (await ready(parties)).subs == {"pcp@host-1"}


async def test_the_responder_id_begins_with_the_name_and_is_unique(parties: Parties) -> None:
    a, b = await parties.responder("pcp"), await parties.responder("pcp")
    assert a.responder_id.startswith("pcp-")
    assert b.responder_id.startswith("pcp-")
    assert a.responder_id != b.responder_id


async def test_the_responder_id_can_be_assigned(parties: Parties) -> None:
    responder = await parties.responder()
    responder.responder_id = "mine"
    parties.task(responder.run())
    assert (await ready(parties)).subs == {"mine"}


async def test_the_publisher_id_begins_with_the_name_or_is_as_given(parties: Parties) -> None:
    named, fixed = await parties.exporter("fio"), await parties.exporter("fio", publisher_id="run-7")
    assert named.pub_id.startswith("fio-")
    assert named.proc_name == fixed.proc_name == "fio"
    assert fixed.pub_id == "run-7"
    assert named.runner_host


# Locks


async def test_lock_id_keeps_other_exporters_out_until_unlock(parties: Parties) -> None:
    responder, heard = await parties.listening()
    mine, other = await parties.exporter("mine"), await parties.exporter("other")
    responder.lock_id(mine.pub_id)
    await other.publish_signal("start")
    await mine.publish_signal("start")
    assert (await heard.next()).publisher_id == mine.pub_id
    assert responder.counters["filtered"] == 1
    responder.unlock()
    await other.publish_signal("start")
    assert (await heard.next()).publisher_id == other.pub_id


async def test_lock_tag_keeps_other_tags_out_until_unlock(parties: Parties) -> None:
    responder, heard = await parties.listening()
    exporter = await parties.exporter()
    responder.lock_tag("nightly")
    await exporter.publish_signal("start", tag="weekly")
    await exporter.publish_signal("start")
    await exporter.publish_signal("start", tag="nightly")
    assert (await heard.next()).tag == "nightly"
    responder.unlock()
    await exporter.publish_signal("start", tag="weekly")
    assert (await heard.next()).tag == "weekly"


async def test_both_locks_hold_together(parties: Parties) -> None:
    responder, heard = await parties.listening()
    mine, other = await parties.exporter("mine"), await parties.exporter("other")
    responder.lock_id(mine.pub_id)
    responder.lock_tag("nightly")
    await other.publish_signal("start", tag="nightly")
    await mine.publish_signal("start", tag="weekly")
    await mine.publish_signal("stop", tag="nightly")
    assert (await heard.next()).event == "stop"


# The functions of a responder, and running it


async def test_run_calls_the_function_of_each_event(parties: Parties) -> None:
    calls: list[tuple[str, str]] = []
    on: dict[str | None, Any] = {
        "start": lambda signal: calls.append(("start", signal.tag)),
        "stop": lambda signal: calls.append(("stop", signal.tag)),
    }
    await parties.running("pcp", on)
    exporter = await ready(parties)
    assert (await exporter.publish_signal("start", tag="a", timeout=-1)).ok
    assert (await exporter.publish_signal("stop", tag="b", timeout=-1)).ok
    assert calls == [("start", "a"), ("stop", "b")]


async def test_one_function_may_act_on_several_events(parties: Parties) -> None:
    responder = await parties.responder()
    calls: list[str] = []

    @responder.on("start", "stop")
    def act(signal: Signal) -> None:
        calls.append(signal.event)

    parties.task(responder.run())
    exporter = await ready(parties)
    await exporter.publish_signal("start", timeout=-1)
    await exporter.publish_signal("stop", timeout=-1)
    assert calls == ["start", "stop"]
    assert act.__name__ == "act"


async def test_a_function_for_no_event_acts_on_all_others(parties: Parties) -> None:
    specific: list[str] = []
    others: list[str] = []
    on = {"start": lambda signal: specific.append(signal.event), None: lambda signal: others.append(signal.event)}
    responder = await parties.running("pcp", on)
    exporter = await ready(parties)
    for event in ("start", "stop", "benchmark-start"):
        assert (await exporter.publish_signal(event, timeout=-1)).ok
    await exporter.shutdown()
    await eventually(lambda: others[-1:] == ["shutdown"])
    assert specific == ["start"]
    assert others == ["initialization", "stop", "benchmark-start", "shutdown"]
    assert responder.responder_id not in exporter.subs


async def test_an_event_without_a_function_is_answered_with_success(parties: Parties) -> None:
    responder = await parties.running("pcp", {"start": lambda _: None})
    exporter = await ready(parties)
    result = await exporter.publish_signal("stop", timeout=-1)
    assert result == (0, {})
    assert list(result.succeeded) == [responder.responder_id]


@pytest.mark.parametrize(
    ("returned", "messages"), [(None, []), ("pid 17", ["pid 17"]), ("", [""]), (0, []), (False, []), ({"a": 1}, [])]
)
async def test_returning_answers_success_and_a_text_is_the_message(
    parties: Parties, returned: Any, messages: list[str]
) -> None:
    await parties.running("pcp", {"start": lambda _: returned})
    exporter = await ready(parties)
    result = await exporter.publish_signal("start", timeout=-1)
    assert result.ok
    assert list(result.messages.values()) == messages


async def test_raising_answers_failure_with_the_error_as_the_message(
    parties: Parties, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(signal: Signal) -> None:
        raise OSError(f"no space left for {signal.tag}")

    responder = await parties.running("pcp", {"start": fail})
    exporter = await ready(parties)
    result = await exporter.publish_signal("start", tag="nightly", timeout=-1)
    assert result == (1, {responder.responder_id: "OSError: no space left for nightly"})
    assert "Traceback" in caplog.text
    # It has failed, and goes on.
    assert (await exporter.publish_signal("stop", timeout=-1)).ok


async def test_an_error_that_cannot_be_shown_is_a_failure_all_the_same(parties: Parties) -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise ValueError("not even this")

    def fail(signal: Signal) -> None:
        raise Unspeakable

    logging.getLogger("state_signals.responder").disabled = True
    try:
        await parties.running("pcp", {"start": fail})
        exporter = await ready(parties)
        assert (await exporter.publish_signal("start", timeout=-1)).code == 1
    finally:
        logging.getLogger("state_signals.responder").disabled = False


@pytest.mark.parametrize("text", ["\udcff is not text", "x" * 3_000_000], ids=["not-unicode", "too-long"])
@pytest.mark.parametrize("raises", [True, False])
async def test_a_message_that_cannot_be_sent_does_not_stop_the_answer(
    parties: Parties, text: str, raises: bool
) -> None:
    def act(signal: Signal) -> str:
        if raises:
            raise RuntimeError(text)
        return text

    responder = await parties.running("pcp", {"start": act})
    exporter = await ready(parties)
    result = await exporter.publish_signal("start", timeout=-1)
    assert result.ok is not raises
    assert 0 < len(result.messages[responder.responder_id]) < 20_000


@pytest.mark.parametrize("shell", ["asyncio"], indirect=True)
async def test_an_async_function_is_awaited(parties: Parties) -> None:
    done = []

    async def act(signal: Signal) -> str:
        await asyncio.sleep(0)
        done.append(signal.event)
        return "awaited"

    async def fail(signal: Signal) -> None:
        await asyncio.sleep(0)
        raise LookupError("gone")

    responder = await parties.running("pcp", {"start": act, "stop": fail})
    exporter = await ready(parties)
    assert await exporter.publish_signal("start", timeout=-1) == (0, {responder.responder_id: "awaited"})
    assert done == ["start"]
    assert await exporter.publish_signal("stop", timeout=-1) == (1, {responder.responder_id: "LookupError: gone"})


@pytest.mark.parametrize("shell", ["sync"], indirect=True)
async def test_a_function_that_nobody_would_await_is_no_success(parties: Parties) -> None:
    async def act(signal: Signal) -> None:
        raise AssertionError("nobody runs this")

    responder = await parties.running("pcp", {"start": lambda signal: act(signal)})
    exporter = await ready(parties)
    result = await exporter.publish_signal("start", timeout=-1)
    assert result.code == 1
    assert "state_signals.asyncio" in result.messages[responder.responder_id]


@pytest.mark.parametrize("shell", ["sync"], indirect=True)
async def test_an_async_function_is_refused_where_nobody_would_await_it(parties: Parties) -> None:
    responder = await parties.responder()

    async def act(signal: Signal) -> None:
        raise AssertionError("nobody runs this")

    with pytest.raises(InvalidType, match=r"state_signals\.asyncio"):
        responder.on("start")(act)


async def test_on_refuses_a_second_function_for_an_event(parties: Parties) -> None:
    responder = await parties.responder()
    responder.on("start")(lambda _: None)
    responder.on()(lambda _: None)
    with pytest.raises(InvalidArgument, match="'start' already"):
        responder.on("stop", "start")(lambda _: None)
    with pytest.raises(InvalidArgument, match="every other event"):
        responder.on()(lambda _: None)
    # What was refused has left nothing behind.
    responder.on("stop")(lambda _: None)


async def test_on_without_parentheses_is_explained(parties: Parties) -> None:
    responder = await parties.responder()
    with pytest.raises(InvalidType, match=r"@responder\.on\("):

        @responder.on
        def act(signal: Signal) -> None: ...


async def test_run_follows_several_exporters_and_ends_with_the_last(parties: Parties) -> None:
    responder = await parties.responder()
    running = parties.task(responder.run())
    a, b = await ready(parties), await ready(parties)
    await a.shutdown()
    assert (await b.publish_signal("start", timeout=-1)).ok
    assert not running.done()
    await b.shutdown()
    await running


async def test_the_shutdown_of_an_exporter_that_was_never_followed_does_not_end_run(parties: Parties) -> None:
    stranger = await parties.exporter()
    responder = await parties.responder()
    running = parties.task(responder.run())
    await stranger.shutdown()
    exporter = await ready(parties)
    assert (await exporter.publish_signal("start", timeout=-1)).ok
    assert not running.done()


async def test_run_can_be_called_again(parties: Parties) -> None:
    responder = await parties.responder()
    for _ in range(2):
        running = parties.task(responder.run())
        exporter = await ready(parties)
        assert (await exporter.publish_signal("start", timeout=-1)).ok
        await exporter.shutdown()
        await running


async def test_nobody_is_answered_upon_shutdown(parties: Parties, wire: Wire) -> None:
    called = threading.Event()
    running = parties.task((await parties.responder()).run())
    responder = await parties.responder()
    responder.on("shutdown")(lambda _: called.set())
    ending = parties.task(responder.run())
    exporter = await ready(parties, 2)
    await exporter.shutdown()
    await asyncio.gather(running, ending)
    assert called.is_set()
    assert wire.responses() == []


# Several at once


async def test_several_exporters_and_responders_at_once(parties: Parties) -> None:
    names = {f"r{number}" for number in range(5)}
    for name in names:
        await parties.running(responder_id=name, on={"start": lambda signal: signal.publisher_id})
    exporters = [await parties.exporter(f"e{number}") for number in range(4)]
    codes = await asyncio.gather(*(one.initialize_and_wait(5, EVENTS, timeout=-1) for one in exporters))
    assert codes == [0] * 4
    for _ in range(5):
        results = await asyncio.gather(*(exporter.publish_signal("start", timeout=-1) for exporter in exporters))
        for exporter, result in zip(exporters, results, strict=True):
            assert result == (0, dict.fromkeys(names, exporter.pub_id))


async def test_one_exporter_may_publish_from_many_threads_or_tasks_at_once(parties: Parties) -> None:
    await parties.running(responder_id="a", on={"start": lambda signal: signal.tag})
    await parties.running(responder_id="b", on={"start": lambda signal: signal.tag})
    _, heard = await parties.listening()
    exporter = await ready(parties, 2)
    results = await asyncio.gather(
        *(exporter.publish_signal("start", tag=str(number), timeout=-1) for number in range(50))
    )
    for number, result in enumerate(results):
        assert result == (0, {"a": str(number), "b": str(number)})
    await heard.next("initialization")
    # On the wire they are in the order of their numbers.
    assert [(await heard.next()).seq for _ in range(50)] == list(range(2, 52))
