"""What `publish_signal` does and tells."""

from __future__ import annotations

import asyncio
import logging
import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from state_signals import IllegalEvent, Outcome, Report, ResultCodes
from tests.parties import DEADLINE, EVENTS, Heard, Parties, Wire, eventually

NO_TAG = "No tag specified"


async def roster(parties: Parties, *names: str, **options: Any) -> tuple[Any, list[tuple[Any, Heard]]]:
    """Return an exporter, and responders that are on its roster and answer nothing by themselves."""
    members = [await parties.listening(name, responder_id=name) for name in names]
    exporter = await parties.exporter(**options)
    waiting = parties.task(exporter.initialize_and_wait(len(names), EVENTS, timeout=-1))
    for responder, heard in members:
        await responder.srespond(await heard.next("initialization"), ras=1)
    assert await waiting == 0
    return exporter, members


async def answer(member: tuple[Any, Heard], ras: int | None, message: str | None = None) -> None:
    responder, heard = member
    await responder.srespond(await heard.next(), ras, message)


# The result


async def test_all_succeed(parties: Parties) -> None:
    exporter, (a, b) = await roster(parties, "a", "b")
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    await answer(a, 1, "pid 17")
    await answer(b, 1)
    result = await publishing
    assert result == (0, {"a": "pid 17"})
    assert result.ok
    code, messages = result
    assert code is ResultCodes.ALL_SUBS_SUCCESS
    assert messages == {"a": "pid 17"}
    assert set(result.succeeded) == {"a", "b"}
    assert result.failed == result.missing == result.lost == result.left == {}
    report = result.succeeded["a"]
    assert (report.outcome, report.ras, report.message) == (Outcome.SUCCEEDED, 1, "pid 17")
    assert 0 <= report.took <= report.elapsed <= result.elapsed


@pytest.mark.parametrize("ras", [0, 2, -1, 10**6])
async def test_any_ras_but_1_has_failed(parties: Parties, ras: int) -> None:
    exporter, (a, b) = await roster(parties, "a", "b")
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    await answer(a, 1)
    await answer(b, ras, "disk full")
    result = await publishing
    assert result == (1, {"b": "disk full"})
    assert result.code is ResultCodes.SUB_FAILED
    assert not result.ok
    assert list(result.succeeded) == ["a"]
    assert {name: (report.ras, report.message) for name, report in result.failed.items()} == {"b": (ras, "disk full")}


async def test_whoever_does_not_answer_in_time_is_missing_by_name(parties: Parties) -> None:
    exporter, (a, _, c) = await roster(parties, "a", "b", "c")
    publishing = parties.task(exporter.publish_signal("start", timeout=0.5))
    await answer(a, 1)
    await answer(c, 0, "no")
    result = await publishing
    # Missing beats failed in the code; the names tell both.
    assert result == (2, {"c": "no"})
    assert result.code is ResultCodes.MISSING_RESPONSE
    assert (list(result.succeeded), list(result.failed), list(result.missing)) == (["a"], ["c"], ["b"])
    assert result.missing["b"].elapsed is None


async def test_nobody_on_the_roster_is_no_success(parties: Parties) -> None:
    exporter = await parties.exporter()
    await exporter.initialize(EVENTS)
    result = await exporter.publish_signal("start", timeout=-1)
    assert result == (2, {})
    assert not result.ok


async def test_nobody_is_enough_if_that_is_asked_for(parties: Parties) -> None:
    exporter = await parties.exporter()
    await exporter.initialize(EVENTS)
    assert (await exporter.publish_signal("start", timeout=-1, min_success=0)).ok


async def test_an_answer_without_ras_is_no_answer(parties: Parties) -> None:
    exporter, (a,) = await roster(parties, "a")
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    signal = await a[1].next()
    await a[0].srespond(signal, None, "wait a moment")
    await eventually(lambda: exporter.counters.get("no-ras"))
    assert not publishing.done()
    await a[0].srespond(signal, 1)
    assert (await publishing).ok


async def test_the_first_answer_counts(parties: Parties) -> None:
    exporter, (a, b) = await roster(parties, "a", "b")
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    signal = await a[1].next()
    await a[0].srespond(signal, 0, "first")
    await a[0].srespond(signal, 1, "second")
    await eventually(lambda: exporter.counters.get("repeated"))
    await answer(b, 1)
    assert await publishing == (1, {"a": "first"})


async def test_messages_of_responders_outside_the_roster_are_told_but_do_not_count(parties: Parties) -> None:
    exporter, (a, b) = await roster(parties, "a", "b")
    exporter.subs.discard("b")
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    await answer(b, 0, "me too")
    await eventually(lambda: exporter.counters.get("not-in-roster"))
    await answer(a, 1)
    result = await publishing
    assert result == (0, {"b": "me too"})
    assert list(result.reports) == ["a"]


async def test_a_late_answer_is_reported_and_counts_for_nothing(
    parties: Parties, caplog: pytest.LogCaptureFixture
) -> None:
    exporter, (a,) = await roster(parties, "a")
    assert list((await exporter.publish_signal("start", timeout=0.05)).missing) == ["a"]
    again = parties.task(exporter.publish_signal("start", timeout=-1))
    await a[0].srespond(await a[1].next(), 0, "too late")
    await eventually(lambda: exporter.counters.get("late"))
    assert not again.done()
    await answer(a, 1, "in time")
    assert await again == (0, {"a": "in time"})
    # Counted first, logged then.
    await eventually(lambda: any("'a'" in line and "ended" in line for line in caplog.messages))


async def test_an_answer_counts_only_for_the_signal_that_it_answers(parties: Parties) -> None:
    exporter, (a,) = await roster(parties, "a")
    first = parties.task(exporter.publish_signal("start", timeout=-1))
    first_signal = await a[1].next()
    second = parties.task(exporter.publish_signal("start", timeout=-1))
    second_signal = await a[1].next()
    await a[0].srespond(second_signal, 1, "second")
    assert await second == (0, {"a": "second"})
    assert not first.done()
    await a[0].srespond(first_signal, 0, "first")
    assert await first == (1, {"a": "first"})


async def test_the_result_names_its_signal(parties: Parties) -> None:
    exporter, (a,) = await roster(parties, "a")
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    signal = await a[1].next()
    await a[0].srespond(signal, 1)
    assert (await publishing).signal_id == signal.id


async def test_an_unsuccessful_round_is_logged_with_names(parties: Parties, caplog: pytest.LogCaptureFixture) -> None:
    exporter, _ = await roster(parties, "pcp-17")
    await exporter.publish_signal("start", timeout=0.05)
    assert "missing: 'pcp-17'" in caplog.text


# What is sent


@pytest.mark.parametrize("sample", [0, -1, 7, 2**40])
async def test_the_sample_arrives_as_given(parties: Parties, sample: int) -> None:
    _, heard = await parties.listening()
    exporter = await parties.exporter()
    await exporter.publish_signal("start", sample)
    assert (await heard.next()).sample_no == sample


@pytest.mark.parametrize(
    ("tag", "arrives"), [("", ""), ("nightly", "nightly"), (None, NO_TAG), ("ä\n\x00🙂", "ä\n\x00🙂")]
)
async def test_the_tag_arrives_as_given(parties: Parties, tag: str | None, arrives: str) -> None:
    _, heard = await parties.listening()
    exporter = await parties.exporter()
    await exporter.publish_signal("start", tag=tag)
    assert (await heard.next()).tag == arrives


@pytest.mark.parametrize("strict", [False, True], ids=["version-2", "strict-v1"])
@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"a": None}, {"": {"nested": [1, 2.5, True, None, {"deep": []}]}, "text": "ä\u2028🙂"}, {"big": 2**70}],
    ids=repr,
)
async def test_metadata_arrives_unchanged(parties: Parties, metadata: dict[str, Any] | None, strict: bool) -> None:
    _, heard = await parties.listening()
    exporter = await parties.exporter(strict_v1=strict)
    given = None if metadata is None else dict(metadata)
    await exporter.publish_signal("start", metadata=given)
    assert (await heard.next()).metadata == metadata
    assert given == metadata


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.text().filter(lambda key: key != "_state_signals"), _JSON, max_size=4))
async def test_any_json_object_arrives_unchanged(parties: Parties, metadata: dict[str, Any]) -> None:
    _, heard = await parties.listening()
    exporter = await parties.exporter()
    await exporter.publish_signal("start", metadata=metadata)
    assert (await heard.next("start")).metadata == metadata


async def test_signals_carry_identity_and_number(parties: Parties) -> None:
    _, heard = await parties.listening()
    exporter = await parties.exporter("fio", runner_host="bench-1")
    await exporter.initialize(EVENTS)
    await exporter.publish_signal("start", timeout=0)
    await exporter.shutdown()
    signals = [await heard.next() for _ in range(3)]
    assert [signal.event for signal in signals] == ["initialization", "start", "shutdown"]
    assert [signal.seq for signal in signals] == [1, 2, 3]
    assert len({signal.id for signal in signals}) == 3
    assert {(s.publisher_id, s.process_name, s.runner_host) for s in signals} == {(exporter.pub_id, "fio", "bench-1")}


@pytest.mark.parametrize(("timeout", "wait"), [(7, 7.0), (2.5, 2.5), (timedelta(minutes=1), 60.0), (None, math.inf)])
async def test_responders_are_told_how_long_they_are_waited_for(parties: Parties, timeout: Any, wait: float) -> None:
    exporter, (a,) = await roster(parties, "a")
    publishing = parties.task(exporter.publish_signal("start", timeout=timeout))
    signal = await a[1].next()
    assert signal.wait == wait
    await a[0].srespond(signal, 1)
    assert (await publishing).ok


# How long it waits


@pytest.mark.parametrize("timeout", [0, 0.05, timedelta(milliseconds=50)], ids=repr)
async def test_it_waits_until_the_time_is_up(parties: Parties, timeout: Any) -> None:
    exporter, _ = await roster(parties, "a")
    result = await exporter.publish_signal("start", timeout=timeout)
    assert list(result.missing) == ["a"]
    assert result.elapsed >= (timeout.total_seconds() if isinstance(timeout, timedelta) else timeout)


@pytest.mark.parametrize("timeout", [None, -1, -1.0, timedelta(seconds=-1), math.inf, 1e12, timedelta.max], ids=repr)
async def test_it_may_wait_for_ever(parties: Parties, timeout: Any) -> None:
    exporter, (a,) = await roster(parties, "a")
    publishing = parties.task(exporter.publish_signal("start", timeout=timeout))
    await answer(a, 1)
    assert (await publishing).ok


async def test_wait_false_returns_at_once_and_says_who_is_pending(parties: Parties) -> None:
    exporter, (a,) = await roster(parties, "a")
    result = await exporter.publish_signal("start", timeout=-1, wait=False)
    assert result == (0, {})
    assert result.pending == {"a"}
    signal = await a[1].next()
    assert signal.wait is None
    assert signal.id == result.signal_id


async def test_before_initialize_it_warns_and_waits_for_nobody(
    parties: Parties, caplog: pytest.LogCaptureFixture
) -> None:
    _, heard = await parties.listening()
    exporter = await parties.exporter()
    with caplog.at_level(logging.WARNING):
        assert await exporter.publish_signal("no event is illegal yet", timeout=-1) == (0, {})
    assert "created" in caplog.text
    assert (await heard.next()).event == "no event is illegal yet"


async def test_after_shutdown_it_warns_and_waits_for_nobody(parties: Parties, caplog: pytest.LogCaptureFixture) -> None:
    exporter, (a,) = await roster(parties, "a")
    await exporter.shutdown()
    with caplog.at_level(logging.WARNING):
        assert await exporter.publish_signal("anything", timeout=-1) == (0, {})
    assert "shut down" in caplog.text
    assert (await a[1].next("anything")).event == "anything"


@pytest.mark.parametrize("event", ["initialization", "shutdown"])
async def test_reserved_events_cannot_be_published(parties: Parties, wire: Wire, event: str) -> None:
    exporter = await parties.exporter()
    with pytest.raises(IllegalEvent, match="reserved"):
        await exporter.publish_signal(event)
    await exporter.initialize([*EVENTS, event])
    with pytest.raises(ValueError, match="reserved"):
        await exporter.publish_signal(event)
    assert len(wire.signals()) == 1


async def test_events_that_are_not_legal_cannot_be_published(parties: Parties, wire: Wire) -> None:
    exporter = await parties.exporter()
    await exporter.initialize(["start"])
    with pytest.raises(IllegalEvent, match="'Start' is not one of the legal events"):
        await exporter.publish_signal("Start")
    assert len(wire.signals()) == 1


# min_success, fail_fast, on_outcome


@pytest.mark.parametrize(
    ("required", "ok"), [(1, True), (2, True), (3, False), (0.5, True), (0.67, False), (1.0, False)]
)
async def test_min_success_is_a_count_or_a_share(parties: Parties, required: float, ok: bool) -> None:
    exporter, (a, b, c) = await roster(parties, "a", "b", "c")
    publishing = parties.task(exporter.publish_signal("start", timeout=-1, min_success=required))
    for member, ras in ((a, 1), (b, 1), (c, 0)):
        await answer(member, ras)
    result = await publishing
    assert result.ok is ok
    assert result.code == (0 if ok else 1)
    assert list(result.failed) == ["c"]


async def test_fail_fast_returns_at_the_first_failure_and_says_who_is_pending(parties: Parties) -> None:
    exporter, (a, _) = await roster(parties, "a", "b")
    publishing = parties.task(exporter.publish_signal("start", timeout=-1, fail_fast=True))
    await answer(a, 0)
    result = await publishing
    assert result.code is ResultCodes.SUB_FAILED
    assert (list(result.failed), result.pending) == (["a"], {"b"})


async def test_fail_fast_goes_on_while_min_success_is_in_reach(parties: Parties) -> None:
    exporter, (a, b, _) = await roster(parties, "a", "b", "c")
    publishing = parties.task(exporter.publish_signal("start", timeout=-1, fail_fast=True, min_success=2))
    await answer(a, 0)
    assert not publishing.done()
    await answer(b, 0)
    result = await publishing
    assert not result.ok
    assert (set(result.failed), result.pending) == ({"a", "b"}, {"c"})


async def test_on_outcome_is_called_as_each_outcome_becomes_known(parties: Parties) -> None:
    exporter, (a, b, _) = await roster(parties, "a", "b", "c")
    told: list[tuple[str, Report]] = []
    publishing = parties.task(
        exporter.publish_signal("start", timeout=1.0, on_outcome=lambda name, report: told.append((name, report)))
    )
    await answer(b, 0, "no")
    await eventually(lambda: len(told) == 1)
    await answer(a, 1)
    result = await publishing
    assert [(name, report.outcome.value) for name, report in told] == [
        ("b", "failed"),
        ("a", "succeeded"),
        ("c", "missing"),
    ]
    assert dict(told) == result.reports


async def test_what_on_outcome_raises_is_raised_and_the_exporter_still_works(parties: Parties) -> None:
    exporter, (a,) = await roster(parties, "a")

    def refuse(name: str, report: Report) -> None:
        raise LookupError(name)

    publishing = parties.task(exporter.publish_signal("start", timeout=-1, on_outcome=refuse))
    await answer(a, 1)
    with pytest.raises(LookupError, match="a"):
        await asyncio.shield(publishing)
    parties.forget(publishing)
    again = parties.task(exporter.publish_signal("start", timeout=-1))
    await answer(a, 1)
    assert (await again).ok


@pytest.mark.parametrize("shell", ["asyncio"], indirect=True)
async def test_an_async_on_outcome_is_awaited(parties: Parties) -> None:
    exporter, (a,) = await roster(parties, "a")
    told = []

    async def tell(name: str, report: Report) -> None:
        await asyncio.sleep(0)
        told.append(name)

    publishing = parties.task(exporter.publish_signal("start", timeout=-1, on_outcome=tell))
    await answer(a, 1)
    assert (await publishing).ok
    assert told == ["a"]


# Being interrupted


async def test_shutdown_ends_the_rounds_that_others_wait_in(parties: Parties) -> None:
    exporter, (a, b) = await roster(parties, "a", "b")
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    await answer(a, 1)
    await b[1].next()
    await exporter.shutdown()
    result = await publishing
    assert not result.ok
    assert "b" in result.pending
    assert "b" not in result.reports


@pytest.mark.parametrize("shell", ["asyncio"], indirect=True)
async def test_a_cancelled_publish_leaves_the_exporter_working(parties: Parties) -> None:
    exporter, (a,) = await roster(parties, "a")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await exporter.publish_signal("start", timeout=-1)
    await a[0].srespond(await a[1].next(), 0, "too late")
    again = parties.task(exporter.publish_signal("start", timeout=-1))
    await answer(a, 1, "in time")
    assert await again == (0, {"a": "in time"})


@pytest.mark.parametrize("shell", ["asyncio"], indirect=True)
async def test_a_cancelled_wait_for_subscribers_leaves_the_exporter_working(parties: Parties) -> None:
    exporter = await parties.exporter()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await exporter.initialize_and_wait(1, EVENTS, timeout=-1)
    await parties.running()
    async with asyncio.timeout(DEADLINE):
        assert await exporter.initialize_and_wait(1, EVENTS, timeout=-1) == 0
        assert (await exporter.publish_signal("start", timeout=-1)).ok
