"""Whose answer counts for what, and how rounds end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state_signals import Limits, ResultCodes
from state_signals.protocol.events import (
    LateResponse,
    MessageRefused,
    OutcomeKnown,
    ProgressReported,
    ResponderSubscribed,
    RoundCompleted,
    SubscriptionCompleted,
)
from tests.protocol.stage import (
    Exporter,
    answer,
    events,
    events_of,
    identifier,
    initialized,
    publish,
    result,
    subscribe,
)

# Whose answer counts for what


def test_the_round_is_over_with_the_last_answer():
    core = initialized("a", "b")
    signal_id = publish(core, now=10.0, timeout=20)
    answer(core, "a", signal_id, now=11.0, message="ready")
    assert events_of(core, RoundCompleted) == []
    answer(core, "b", signal_id, now=12.0)
    known, completed = events(core)
    assert (type(known), known.signal_id, known.responder_id) == (OutcomeKnown, signal_id, "b")
    assert type(completed) is RoundCompleted
    assert completed.signal_id == signal_id
    assert completed.result == (0, {"a": "ready"})
    assert completed.result.ok
    assert completed.result.elapsed == 2.0
    assert (completed.result.reports["a"].elapsed, completed.result.reports["a"].took) == (1.0, 0.5)
    assert core.next_deadline() is None


def test_answers_gather_no_longer_than_any_open_round_can_wait():
    core = initialized("a", "b", "c")
    assert core.gathering(10.0) == 0.0
    older = publish(core, now=10.0, tells_outcomes=False)
    answer(core, "a", older, now=11.0)
    assert core.gathering(11.0) == pytest.approx(0.06)
    newer = publish(core, now=11.0, tells_outcomes=False)
    assert core.gathering(11.1) == 0.0
    answer(core, "a", newer, now=11.1)
    assert core.gathering(11.1) == pytest.approx(0.006)
    for name in ("b", "c"):
        answer(core, name, newer, now=11.2)
    assert core.gathering(11.2) == pytest.approx(0.072)


def test_each_outcome_is_told_as_it_becomes_known():
    core = initialized("a", "b", "c")
    signal_id = publish(core, timeout=20)
    answer(core, "b", signal_id)
    answer(core, "a", signal_id, 0)
    core.handle_timeout(20.0, 0.0)
    told = [(event.responder_id, event.report.outcome) for event in events_of(core, OutcomeKnown)]
    assert told == [("b", "succeeded"), ("a", "failed"), ("c", "missing")]


def test_who_does_not_ask_for_single_outcomes_hears_of_the_end_only():
    core = initialized("a", "b")
    signal_id = publish(core, timeout=20, tells_outcomes=False)
    answer(core, "a", signal_id)
    assert events(core) == []
    answer(core, "b", signal_id)
    assert [type(event) for event in events(core)] == [RoundCompleted]


def test_when_the_deadline_passes_who_has_not_answered_is_missing():
    core = initialized("a", "b")
    signal_id = publish(core, now=10.0, timeout=20)
    answer(core, "a", signal_id, 0, now=11.0)
    assert core.next_deadline() == 30.0
    core.handle_timeout(29.9, 0.0)
    assert events_of(core, RoundCompleted) == []
    core.handle_timeout(30.0, 0.0)
    ended = result(core)
    assert (list(ended.failed), list(ended.missing), ended.ok) == (["a"], ["b"], False)
    assert ended.code is ResultCodes.MISSING_RESPONSE
    assert core.next_deadline() is None


@pytest.mark.parametrize("ras", [0, 2, -1, 10**30])
def test_any_ras_but_1_is_failure(ras):
    core = initialized("a")
    answer(core, "a", publish(core), ras, message="no space left")
    ended = result(core)
    assert ended == (1, {"a": "no space left"})
    assert (ended.failed["a"].ras, ended.failed["a"].message) == (ras, "no space left")


@pytest.mark.parametrize("is_v2", [False, True])
def test_an_answer_without_ras_is_ignored(is_v2):
    core = initialized("a")
    signal_id = publish(core)
    answer(core, "a", signal_id if is_v2 else None, None, message="hm")
    assert events(core) == []
    assert core.counters == {"no-ras": 1}
    answer(core, "a", signal_id)
    assert result(core) == (0, {})


def test_nobody_on_the_roster_is_no_success():
    core = initialized()
    publish(core, timeout=20)
    ended = result(core)
    assert (ended.ok, ended.code) == (False, ResultCodes.MISSING_RESPONSE)
    assert core.next_deadline() is None


def test_an_answer_counts_once():
    core = initialized("a", "b")
    signal_id = publish(core)
    answer(core, "a", signal_id, 1, message="first")
    answer(core, "a", signal_id, 0, message="second")
    assert core.counters == {"repeated": 1}
    answer(core, "b", signal_id)
    assert result(core) == (0, {"a": "first"})


def test_a_late_answer_is_reported_and_never_counted():
    core = initialized("a")
    first = publish(core, timeout=1)
    core.handle_timeout(1.0, 0.0)
    second = publish(core, now=2.0)
    events(core)
    answer(core, "a", first, now=3.0)
    assert events(core) == [LateResponse("a", "start")]
    assert core.counters == {"late": 1}
    answer(core, "a", second, 0, now=4.0)
    assert result(core).code is ResultCodes.SUB_FAILED


def test_an_answer_after_the_deadline_is_late_however_busy_the_shell_was_in_between():
    core = initialized("a", "b")
    signal_id = publish(core, now=10.0, timeout=5)
    core.initialize(["start"], now=10.0, sent=0.0, await_count=3, timeout=5)
    core.work(10.0)
    answer(core, "a", signal_id, now=14.9)
    answer(core, "b", signal_id, now=15.0)
    assert [type(event) for event in events(core)] == [
        OutcomeKnown,
        OutcomeKnown,
        RoundCompleted,
        SubscriptionCompleted,
        LateResponse,
    ]
    assert core.next_deadline() is None


def test_a_subscription_after_the_deadline_is_welcome_but_the_wait_is_over():
    core = Exporter()
    core.initialize(["start"], now=0.0, sent=0.0, await_count=1, timeout=5)
    core.work()
    subscribe(core, "a", now=5.0)
    assert events(core) == [SubscriptionCompleted(enough=False), ResponderSubscribed("a")]


def test_an_answer_counts_only_for_the_signal_that_it_names():
    core = initialized("a")
    first, second = publish(core), publish(core)
    answer(core, "a", first)
    assert [event.signal_id for event in events_of(core, RoundCompleted)] == [first]
    answer(core, "a", second)
    assert [event.signal_id for event in events_of(core, RoundCompleted)] == [second]


def test_an_answer_to_a_signal_or_event_that_was_never_sent_is_refused():
    core = initialized("a")
    signal_id = publish(core)
    answer(core, "a", "f" * 32)
    answer(core, "a", signal_id, event="stop")
    answer(core, "a", None, event="pause")
    answer(core, "a", signal_id.upper() + " ")
    assert core.counters == {"unknown-signal": 4}
    assert {type(event) for event in events(core)} == {MessageRefused}


def test_answers_to_other_exporters_are_not_ours():
    core = initialized("a")
    signal_id = publish(core)
    answer(core, "a", signal_id, publisher_id="fio-2")
    subscribe(core, "b", publisher_id="fio-2")
    assert events(core) == []
    assert core.subs == {"a"}
    assert core.counters == {"for-another-exporter": 2}


def test_a_version_1_answer_counts_for_the_newest_open_round_of_its_event():
    core = initialized("a")
    older, newer, other = publish(core), publish(core), publish(core, "stop")
    answer(core, "a", None)
    assert [event.signal_id for event in events_of(core, RoundCompleted)] == [newer]
    answer(core, "a", None)
    answer(core, "a", None, event="stop")
    assert [event.signal_id for event in events_of(core, RoundCompleted)] == [older, other]


def test_a_version_1_answer_without_an_open_round_is_late():
    core = initialized("a")
    answer(core, "a", None)
    assert events(core) == [LateResponse("a", "start")]


@pytest.mark.parametrize("spoke", ["subscribed", "answered", "late", "working", "not awaited"])
def test_a_version_1_answer_from_who_has_spoken_version_2_never_counts(spoke):
    """Anybody can write on the version 1 channel; only who has received the signal knows its id."""
    core = initialized()
    if spoke == "subscribed":
        subscribe(core, "a", f"{1:032x}")
    core.subs = {"a"}
    signal_id = publish(core, timeout=5, wait=spoke != "not awaited")
    if spoke == "working":
        answer(core, "a", signal_id, None, state="working")
    elif spoke == "late":
        answer(core, "a", signal_id, now=6.0)
    elif spoke != "subscribed":
        answer(core, "a", signal_id)
    core.handle_timeout(6.0, 0.0)
    signal_id = publish(core, now=7.0)
    events(core)
    answer(core, "a", None, now=8.0)
    [refused] = events(core)
    assert refused.reason == "no-signal-id"
    answer(core, "a", signal_id, 0)
    assert list(result(core).failed) == ["a"]


def test_a_forged_id_does_not_make_a_version_1_responder_speak_version_2():
    core = initialized("a")
    signal_id = publish(core)
    answer(core, "a", "f" * 32)
    answer(core, "a", signal_id, event="stop")
    answer(core, "a", "f" * 32, None, state="working")
    subscribe(core, "a", "f" * 32)
    answer(core, "a", None)
    assert result(core).ok


def test_with_a_strict_version_1_exporter_only_version_1_answers_count():
    core = initialized("a", strict_v1=True)
    publish(core)
    answer(core, "a", "f" * 32)
    assert core.counters == {"unknown-signal": 1}
    answer(core, "a", None)
    assert result(core).ok


def test_messages_of_responders_outside_the_roster_are_kept_but_decide_nothing():
    core = initialized("a")
    signal_id = publish(core)
    answer(core, "stranger", signal_id, 0, message="hello")
    answer(core, "stranger", signal_id, 0, message="hello again")
    answer(core, "a", signal_id, message="done")
    ended = result(core)
    assert ended == (0, {"stranger": "hello", "a": "done"})
    assert set(ended.reports) == {"a"}


def test_a_progress_report_is_no_answer():
    core = initialized("a")
    signal_id = publish(core)
    answer(core, "a", signal_id, None, state="working", message="half of it")
    answer(core, "a", signal_id, 1, state="working")
    told = [ProgressReported(signal_id, "a", message) for message in ("half of it", None)]
    assert events(core) == told
    assert core.counters == {"progress": 2}


@pytest.mark.parametrize(
    ("name", "signal_id", "state"),
    [("stranger", 2, "working"), ("a", 9, "working"), ("a", None, "working"), ("a", 2, "dreaming")],
)
def test_other_reports_of_progress_are_only_counted(name, signal_id, state):
    core = initialized("a")
    publish(core)
    answer(core, name, signal_id and identifier(signal_id), None, state=state)
    assert events(core) == []
    assert core.counters == {"progress": 1}


@given(st.binary(max_size=80) | st.text(max_size=40))
def test_whatever_arrives_is_counted_and_never_raises(data):
    core = initialized("a")
    publish(core)
    core.message_received(data, 1.0)
    assert sum(core.counters.values()) == 1
    assert {type(event) for event in events(core)} <= {MessageRefused}


def test_what_is_no_response_is_refused_for_a_reason():
    core = initialized("a", limits=Limits(max_payload=300))
    for data in (b"[" * 200, b"{}", b"x" * 301, b"\xff"):
        core.message_received(data, 0.0)
    reasons = ["too-deep", "missing-field", "too-large", "not-utf8"]
    assert [event.reason for event in events(core)] == reasons
    assert core.counters == dict.fromkeys(reasons, 1)


# How rounds end otherwise


def test_fire_and_forget_ends_at_once_with_everyone_pending():
    core = initialized("a", "b")
    publish(core, wait=False)
    ended = result(core)
    assert ended.ok
    assert ended.pending == {"a", "b"}
    assert ended == (0, {})
    assert core.next_deadline() is None


def test_an_answer_that_nobody_waits_for_is_counted_and_not_called_late():
    core = Exporter()
    early = publish(core)
    core.initialize(["start"], expected=["a"], now=0.0, sent=0.0)
    signal_id = publish(core, wait=False)
    events(core)
    for name in (early, signal_id):
        answer(core, "a", name)
    assert events(core) == []
    assert core.counters == {"not-awaited": 2}
    answer(core, "a", signal_id, event="stop")
    assert core.counters["unknown-signal"] == 1


def test_fail_fast_ends_with_the_first_failure_and_the_others_are_pending():
    core = initialized("a", "b", "c")
    signal_id = publish(core, fail_fast=True)
    answer(core, "a", signal_id)
    answer(core, "b", signal_id, 0)
    ended = result(core)
    assert (ended.code, list(ended.succeeded), list(ended.failed)) == (ResultCodes.SUB_FAILED, ["a"], ["b"])
    assert ended.pending == {"c"}


@pytest.mark.parametrize("end", ["shutdown", "close"])
def test_the_end_of_the_exporter_ends_its_rounds_and_waits(end):
    core = initialized("a", "b")
    first, second = publish(core, now=10.0), publish(core, "stop", now=11.0)
    core.initialize(["start"], now=0.0, sent=0.0, await_count=5)
    answer(core, "a", first, 1, now=12.0)
    events(core)
    if end == "shutdown":
        core.shutdown(now=13.0, sent=0.0)
    else:
        core.close(13.0)
    one, two, three = events(core)
    assert (one.signal_id, one.result.pending, one.result.ok, one.result.elapsed) == (first, {"b"}, False, 3.0)
    assert (two.signal_id, two.result.pending, two.result.ok) == (second, {"a", "b"}, False)
    assert three == SubscriptionCompleted(enough=False)
    assert core.next_deadline() is None


def test_the_end_of_the_exporter_ends_what_nobody_waits_for_and_the_server_does_not_have_yet():
    core = initialized("a")
    signal_id = core.publish("start", wait=False, now=0.0, sent=0.0)
    core.close(1.0)
    [completed] = events(core)
    assert completed.signal_id == signal_id
    assert (completed.result.ok, completed.result.pending) == (False, {"a"})
    core.work(1.0)
    assert events_of(core, RoundCompleted) == []


def test_an_answer_after_shutdown_to_a_round_that_it_ended_is_late():
    core = initialized("a")
    signal_id = publish(core)
    core.shutdown(now=0.0, sent=0.0)
    events(core)
    answer(core, "a", signal_id)
    assert events(core) == [LateResponse("a", "start")]


def test_a_round_whose_caller_gave_up_ends_silently_and_its_answers_are_late():
    core = initialized("a")
    signal_id = publish(core, timeout=20)
    core.abandon(signal_id)
    core.abandon(signal_id)
    core.abandon("unknown")
    assert core.next_deadline() is None
    answer(core, "a", signal_id)
    assert events(core) == [LateResponse("a", "start")]


def test_the_memory_of_ended_rounds_is_bounded_and_older_ones_have_no_name_any_more():
    core = initialized("a", limits=Limits(max_remembered=2))
    ids = [publish(core, timeout=0) for _ in range(5)]
    core.handle_timeout(0.0, 0.0)
    assert len(core._responses._ended) == 2
    for signal_id in ids[2:4]:
        answer(core, "a", signal_id)
    assert core.counters == {"unknown-signal": 1, "late": 1}


def test_the_memory_of_signals_that_nobody_waits_for_is_bounded():
    core = initialized("a", limits=Limits(max_remembered=2))
    ids = [publish(core, wait=False) for _ in range(5)]
    assert len(core._responses._not_awaited) == 2
    for signal_id in ids[2:4]:
        answer(core, "a", signal_id)
    assert core.counters == {"unknown-signal": 1, "not-awaited": 1}


def test_the_next_deadline_is_the_earliest_of_all():
    core = initialized("a")
    publish(core, timeout=30)
    publish(core, timeout=10)
    publish(core, timeout=-1)
    assert core.next_deadline() == 10.0
    core.initialize(["start"], now=0.0, sent=0.0, await_count=2, timeout=5)
    assert core.next_deadline() == 5.0
