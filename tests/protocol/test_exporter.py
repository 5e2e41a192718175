"""An exporter's roster, its signals, and whose answer counts for what."""

from __future__ import annotations

import itertools
import json
import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state_signals import (
    Closed,
    IllegalEvent,
    InvalidArgument,
    InvalidType,
    Limits,
    MessageTooLarge,
    PublishResult,
    ResultCodes,
)
from state_signals.codec import ENVELOPE_KEY
from state_signals.protocol.events import (
    LateResponse,
    MessageRefused,
    OutcomeKnown,
    ResponderSubscribed,
    RoundCompleted,
    SubscriptionCompleted,
)
from state_signals.protocol.exporter import ANNOUNCE_INTERVAL, ExporterProtocol
from state_signals.protocol.states import ExporterState


def exporter(**options) -> ExporterProtocol:
    ids = itertools.count(1)
    return ExporterProtocol("fio-1", "fio", "node1", new_id=lambda: f"{next(ids):032x}", **options)


def initialized(*subs: str, **options) -> ExporterProtocol:
    """An exporter whose roster is open, with these responders on it; what it said and told is taken away."""
    core = exporter(**options)
    core.initialize(["start", "stop"], now=0.0, sent=0.0)
    core.subs = set(subs)
    core.messages_to_send()
    return core


def publish(core: ExporterProtocol, event: Any = "start", now: float = 0.0, **options: Any) -> str:
    return core.publish(event, now=now, sent=1000.0, **options)


def answer(core, responder_id: str, signal_id: str | None, ras: object = 1, now=1.0, **fields):
    """What a responder says, as it is on the wire; by default to `start` from `fio-1`."""
    message = {"responder_id": responder_id, "publisher_id": "fio-1", "event": "start", "ras": ras} | fields
    if signal_id is not None:
        message |= {"signal_id": signal_id, "sent": 1000.0, "took": 0.5}
    core.message_received(json.dumps({key: value for key, value in message.items() if value is not None}), now)


def subscribe(core, responder_id: str, signal_id: str | None = None, **fields):
    answer(core, responder_id, signal_id, None, event="initialization", **fields)


def events(core) -> list[Any]:
    return list(iter(core.next_event, None))


def events_of(core, kind: type) -> list[Any]:
    return [event for event in events(core) if isinstance(event, kind)]


def result(core: ExporterProtocol) -> PublishResult:
    """The result of the one round that has ended."""
    [completed] = events_of(core, RoundCompleted)
    ended: PublishResult = completed.result
    return ended


def sent(core) -> list[dict[str, Any]]:
    return [json.loads(data) for data in core.messages_to_send()]


def envelopes(core) -> list[dict[str, Any]]:
    return [signal["metadata"][ENVELOPE_KEY] for signal in sent(core)]


# What is sent


def test_a_signal_says_who_where_what_and_for_which_sample():
    core = exporter(strict_v1=True)
    publish(core, "start", sample=3, tag="nightly", metadata={"a": 1})
    fields = {"publisher_id": "fio-1", "process_name": "fio", "event": "start", "runner_host": "node1"}
    assert sent(core) == [fields | {"sample_no": 3, "tag": "nightly", "metadata": {"a": 1}}]


def test_sample_0_and_an_empty_tag_are_sent_as_they_are():
    core = exporter()
    publish(core, sample=0, tag="")
    [signal] = sent(core)
    assert (signal["sample_no"], signal["tag"]) == (0, "")


def test_no_sample_and_no_tag_are_sent_as_version_1_does():
    core = exporter()
    publish(core)
    [signal] = sent(core)
    assert (signal["sample_no"], signal["tag"]) == (-1, "No tag specified")


def test_the_envelope_names_the_signal_and_where_answers_go():
    core = exporter(reply="the-stream")
    signal_id = publish(core)
    assert envelopes(core) == [{"v": 2, "id": signal_id, "seq": 1, "sent": 1000.0, "reply": "the-stream"}]


def test_every_signal_is_counted_from_1_without_gaps():
    core = exporter()
    core.initialize(["start"], now=0.0, sent=0.0, await_count=1, periodic=True)
    core.handle_timeout(ANNOUNCE_INTERVAL, 0.0)
    publish(core)
    with pytest.raises(IllegalEvent):
        publish(core, "unknown")
    publish(core, wait=False)
    core.shutdown(now=0.0, sent=0.0)
    publish(core)
    assert [envelope["seq"] for envelope in envelopes(core)] == [1, 2, 3, 4, 5, 6]


def test_ids_are_32_hexadecimal_digits_and_unique():
    core = ExporterProtocol("fio-1", "fio", "node1")
    ids = {publish(core) for _ in range(100)}
    assert len(ids) == 100
    assert {len(bytes.fromhex(signal_id)) for signal_id in ids} == {16}
    assert {envelope["id"] for envelope in envelopes(core)} == ids


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"timeout": 20}, 20.0),
        ({"timeout": timedelta(minutes=1)}, 60.0),
        ({"timeout": 0}, 0.0),
        ({"timeout": -1}, None),
        ({"timeout": None}, None),
        ({"timeout": math.inf}, None),
        ({"timeout": 20, "wait": False}, "absent"),
    ],
)
def test_the_envelope_says_how_long_is_waited(options, expected):
    core = initialized("a")
    publish(core, **options)
    assert envelopes(core)[0].get("wait", "absent") == expected


def test_strict_version_1_sends_no_envelope_at_all():
    core = exporter(strict_v1=True, reply="the-stream")
    core.initialize(["start"], now=0.0, sent=0.0)
    publish(core, metadata={"a": 1})
    publish(core)
    core.shutdown(now=0.0, sent=0.0)
    assert [signal.get("metadata") for signal in sent(core)] == [None, {"a": 1}, None, None]


def test_signals_go_out_once_and_in_order():
    core = initialized("a")
    for event in ("start", "stop", "start"):
        publish(core, event)
    assert [signal["event"] for signal in sent(core)] == ["start", "stop", "start"]
    assert core.messages_to_send() == []


# What is refused, before anything is sent


@pytest.mark.parametrize("event", ["initialization", "shutdown"])
@pytest.mark.parametrize("make", [exporter, initialized])
def test_reserved_events_are_not_published(make, event):
    core = make()
    core.legal_events = ["initialization", "shutdown"]
    with pytest.raises(ValueError, match=rf"{event!r} is reserved; call (initialize|shutdown)\(\)"):
        publish(core, event)
    assert core.messages_to_send() == []


def test_events_that_are_not_legal_are_not_published():
    core = initialized("a")
    for event in ("pause", "", None, ["start"]):
        with pytest.raises(IllegalEvent, match="not one of the legal events"):
            publish(core, event)
    assert core.messages_to_send() == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"sample": "1"}, InvalidType),
        ({"sample": 1.0}, InvalidType),
        ({"sample": None}, InvalidType),
        ({"tag": 1}, InvalidType),
        ({"tag": "\ud800"}, InvalidArgument),
        ({"tag": "x" * 1025}, InvalidArgument),
        ({"metadata": []}, InvalidType),
        ({"metadata": {"a": {1, 2}}}, InvalidType),
        ({"metadata": {ENVELOPE_KEY: 1}}, InvalidArgument),
        ({"metadata": {"a": "x" * 2_000_000}}, MessageTooLarge),
        ({"timeout": "20"}, InvalidType),
        ({"timeout": -2}, InvalidArgument),
        ({"timeout": math.nan}, InvalidArgument),
        ({"timeout": timedelta(seconds=-3)}, InvalidArgument),
        ({"timeout": True}, InvalidType),
        ({"min_success": "all"}, InvalidType),
        ({"min_success": True}, InvalidType),
        ({"min_success": 1.5}, InvalidArgument),
        ({"min_success": -0.1}, InvalidArgument),
        ({"min_success": -1}, InvalidArgument),
        ({"min_success": math.nan}, InvalidArgument),
    ],
    ids=lambda value: f"{value!r:.40}",
)
@pytest.mark.parametrize("make", [exporter, initialized])
def test_what_cannot_be_sent_raises_before_anything_is_sent_or_changed(make, arguments, error):
    core = make()
    before = core.state
    with pytest.raises(error):
        publish(core, **arguments)
    assert core.messages_to_send() == []
    assert events(core) == []
    assert core.next_deadline() is None
    assert core.state is before
    publish(core)
    [envelope] = envelopes(core)
    assert envelope["seq"] == (2 if make is initialized else 1)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"legal_events": "start"}, InvalidType),
        ({"legal_events": None}, InvalidType),
        ({"legal_events": ["start", 1]}, InvalidType),
        ({"legal_events": ["start", ""]}, InvalidArgument),
        ({"legal_events": ["x" * 1025]}, InvalidArgument),
        ({"tag": 1}, InvalidType),
        ({"tag": "\ud800"}, InvalidArgument),
        ({"expected": "pcp-1"}, InvalidType),
        ({"expected": [None]}, InvalidType),
        ({"expected": ["\ud800"]}, InvalidArgument),
        ({"await_count": 1.0}, InvalidType),
        ({"await_count": True}, InvalidType),
        ({"await_count": -1}, InvalidArgument),
        ({"await_count": 1, "timeout": "60"}, InvalidType),
        ({"await_count": 1, "timeout": -5}, InvalidArgument),
    ],
    ids=lambda value: f"{value!r:.40}",
)
def test_an_initialization_that_cannot_work_changes_nothing(arguments, error):
    core = exporter()
    with pytest.raises(error):
        core.initialize(**({"legal_events": ["start"], "now": 0.0, "sent": 0.0} | arguments))
    assert core.state is ExporterState.CREATED
    assert (core.subs, core.legal_events) == (set(), None)
    assert (core.messages_to_send(), events(core), core.next_deadline()) == ([], [], None)


def test_a_shutdown_with_a_tag_that_cannot_be_sent_changes_nothing():
    core = initialized("a")
    with pytest.raises(InvalidType):
        core.shutdown(tag=1, now=0.0, sent=0.0)  # type: ignore[arg-type]
    assert core.state is ExporterState.INITIALIZED
    assert core.subs == {"a"}
    assert core.messages_to_send() == []


# Before the roster is open, and after it was closed


@pytest.mark.parametrize("is_shut_down", [False, True])
def test_without_a_roster_no_event_is_checked_and_nobody_is_waited_for(is_shut_down):
    core = exporter()
    if is_shut_down:
        core.initialize(["start"], now=0.0, sent=0.0)
        core.shutdown(now=0.0, sent=0.0)
    core.subs = {"a"}
    signal_id = publish(core, "anything", timeout=20)
    [completed] = events_of(core, RoundCompleted)
    assert completed.signal_id == completed.result.signal_id == signal_id
    assert completed.result == (0, {})
    assert completed.result.ok
    assert completed.result.pending == set()
    assert core.next_deadline() is None


@pytest.mark.parametrize(("event", "error"), [("", IllegalEvent), (1, InvalidType), (None, InvalidType)])
def test_without_a_roster_an_event_is_still_text_and_not_empty(event, error):
    core = exporter()
    with pytest.raises(error):
        publish(core, event)
    assert core.messages_to_send() == []


def test_shutdown_before_initialize_is_announced():
    core = exporter()
    core.shutdown(tag="bye", now=0.0, sent=0.0)
    assert [(signal["event"], signal["tag"]) for signal in sent(core)] == [("shutdown", "bye")]


def test_before_initialize_nobody_can_subscribe():
    core = exporter()
    subscribe(core, "a")
    assert core.subs == set()
    assert core.counters == {"not-initialized": 1}


def test_a_closed_exporter_does_nothing_any_more_and_says_so():
    core = initialized("a")
    core.close(0.0)
    core.close(0.0)
    for act in (publish, lambda core: core.shutdown(now=0.0, sent=0.0)):
        with pytest.raises(Closed):
            act(core)
    subscribe(core, "b")
    assert core.subs == set()
    assert core.messages_to_send() == []


# The roster


def test_initialize_announces_the_exporter():
    core = exporter()
    core.initialize(["start"], tag="nightly", now=0.0, sent=0.0)
    assert [(signal["event"], signal["tag"]) for signal in sent(core)] == [("initialization", "nightly")]
    assert core.next_deadline() is None


@pytest.mark.parametrize("signal_id", [None, f"{1:032x}"], ids=["v1", "v2"])
def test_a_responder_subscribes_by_answering_the_initialization_no_ras_needed(signal_id):
    core = initialized()
    subscribe(core, "a", signal_id)
    assert core.subs == {"a"}
    assert events(core) == [ResponderSubscribed("a")]


def test_a_responder_may_subscribe_at_any_time_until_shutdown():
    core = initialized("a")
    signal_id = publish(core)
    subscribe(core, "late")
    answer(core, "a", signal_id)
    assert result(core).ok
    assert core.subs == {"a", "late"}
    core.shutdown(now=0.0, sent=0.0)
    subscribe(core, "too-late")
    assert core.subs == set()


def test_a_responder_that_subscribes_during_a_round_is_not_part_of_it():
    core = initialized("a")
    signal_id = publish(core)
    subscribe(core, "late")
    answer(core, "late", signal_id, message="me too")
    assert core.counters == {"not-in-roster": 1}
    answer(core, "a", signal_id)
    ended = result(core)
    assert set(ended.reports) == {"a"}
    assert ended.messages == {"late": "me too"}


def test_subscribing_twice_is_subscribing_once():
    core = initialized()
    subscribe(core, "a")
    subscribe(core, "a")
    assert events(core) == [ResponderSubscribed("a")]


def test_a_forged_answer_to_no_initialization_of_ours_adds_no_ghost():
    core = initialized()
    signal_id = publish(core, wait=False)
    events(core)
    for forged in ("f" * 32, signal_id, ""):
        subscribe(core, "ghost", forged)
    assert core.subs == set()
    assert core.counters == {"unknown-signal": 3}
    assert all(isinstance(event, MessageRefused) for event in events(core))


def test_the_roster_is_bounded_and_its_members_stay_welcome():
    core = initialized(limits=Limits(max_roster=2))
    for name in ("a", "b", "c", "d", "a"):
        subscribe(core, name, f"{1:032x}")
    assert core.subs == {"a", "b"}
    assert core.counters == {"roster-full": 2}
    assert len(core._speaks_v2) == 2


def test_what_is_known_of_who_speaks_version_2_is_bounded():
    core = initialized("a", "b", "c", limits=Limits(max_roster=2))
    signal_id = publish(core)
    for name in ("a", "b", "c"):
        answer(core, name, signal_id)
    assert result(core).ok
    assert len(core._speaks_v2) == 2


def test_initializing_again_keeps_the_roster_and_changes_the_legal_events():
    core = initialized("a")
    core.initialize(["pause"], now=0.0, sent=0.0)
    assert core.subs == {"a"}
    publish(core, "pause")
    with pytest.raises(IllegalEvent):
        publish(core, "start")


def test_shutdown_empties_the_roster_and_a_new_one_can_be_opened():
    core = initialized("a", "b")
    core.shutdown(now=0.0, sent=0.0)
    assert core.subs == set()
    core.initialize(["start"], now=0.0, sent=0.0)
    assert core.subs == set()
    subscribe(core, "c")
    assert core.subs == {"c"}


def test_an_initialization_that_could_not_be_announced_is_taken_back():
    core = exporter()
    before = core.state
    core.initialize(["start"], now=0.0, sent=0.0, await_count=1, timeout=5)
    core.initialization_failed(before)
    assert core.state is ExporterState.CREATED
    assert (core.messages_to_send(), core.next_deadline()) == ([], None)
    core.initialize(["stop"], now=0.0, sent=0.0)
    assert [signal["event"] for signal in sent(core)] == ["initialization"]


def test_another_identifier_is_taken_before_the_first_signal_and_not_after_it():
    core = exporter(reply="one")
    core.rename("fio-2", "two")
    publish(core)
    [signal] = sent(core)
    assert (signal["publisher_id"], signal["metadata"][ENVELOPE_KEY]["reply"]) == ("fio-2", "two")
    with pytest.raises(InvalidArgument, match="'fio-2' has published signals"):
        core.rename("fio-3", "three")
    assert core.publisher_id == "fio-2"


# Waiting for subscribers


def waiting(count: int, **options) -> ExporterProtocol:
    core = exporter()
    core.initialize(["start"], now=100.0, sent=0.0, await_count=count, **options)
    return core


def test_the_wait_is_over_with_the_last_one_that_was_waited_for():
    core = waiting(2, timeout=60)
    subscribe(core, "a")
    subscribe(core, "a")
    assert events_of(core, SubscriptionCompleted) == []
    subscribe(core, "b")
    assert events(core) == [ResponderSubscribed("b"), SubscriptionCompleted(enough=True)]
    assert core.next_deadline() is None


def test_the_wait_is_over_when_the_time_is_up():
    core = waiting(2, timeout=60)
    assert core.next_deadline() == 160.0
    core.handle_timeout(159.9, 0.0)
    assert events(core) == []
    core.handle_timeout(160.0, 0.0)
    assert events(core) == [SubscriptionCompleted(enough=False)]
    assert core.next_deadline() is None


@pytest.mark.parametrize("timeout", [-1, None])
def test_the_wait_may_be_for_ever(timeout):
    core = waiting(1, timeout=timeout)
    assert core.next_deadline() is None
    core.handle_timeout(1e9, 0.0)
    assert events(core) == []
    subscribe(core, "a")
    assert SubscriptionCompleted(enough=True) in events(core)


def test_who_is_there_already_need_not_be_waited_for():
    assert events(waiting(0)) == [SubscriptionCompleted(enough=True)]
    core = initialized("a", "b")
    core.initialize(["start"], now=0.0, sent=0.0, await_count=2)
    assert events(core) == [SubscriptionCompleted(enough=True)]


def test_expected_responders_are_on_the_roster_at_once_and_are_waited_for_by_name():
    core = waiting(1, expected=["a", "b"], timeout=60)
    assert core.subs == core.absent == {"a", "b"}
    assert events(core) == []
    subscribe(core, "stranger")
    subscribe(core, "a")
    assert core.absent == {"b"}
    assert SubscriptionCompleted(enough=True) not in events(core)
    subscribe(core, "b")
    assert events(core) == [ResponderSubscribed("b"), SubscriptionCompleted(enough=True)]
    assert core.absent == set()


def test_expected_responders_take_part_in_rounds_before_they_have_subscribed():
    core = exporter()
    core.initialize(["start"], expected=["a"], now=0.0, sent=0.0)
    answer(core, "a", publish(core))
    assert list(result(core).succeeded) == ["a"]


def test_who_was_taken_off_the_roster_is_not_waited_for():
    core = waiting(1, expected=["a", "b"])
    core.subs = {"b"}
    subscribe(core, "b")
    assert SubscriptionCompleted(enough=True) in events(core)


def test_who_was_expected_on_an_earlier_roster_is_not_waited_for():
    core = waiting(1, expected=["a"])
    core.shutdown(now=0.0, sent=0.0)
    core.subs = {"a"}
    events(core)
    core.initialize(["start"], now=0.0, sent=0.0, await_count=1)
    assert events(core) == [SubscriptionCompleted(enough=True)]


def test_a_periodic_initialization_announces_again_every_second_until_the_wait_is_over():
    core = waiting(1, periodic=True, timeout=2.5, tag="nightly")
    assert core.next_deadline() == 101.0
    core.handle_timeout(100.5, 0.0)
    assert len(core.messages_to_send()) == 1
    for now in (101.0, 102.0):
        assert core.next_deadline() == now
        core.handle_timeout(now, 7.0)
        assert [(signal["event"], signal["tag"]) for signal in sent(core)] == [("initialization", "nightly")]
    assert core.next_deadline() == 102.5
    core.handle_timeout(102.5, 0.0)
    assert events(core) == [SubscriptionCompleted(enough=False)]
    assert (core.messages_to_send(), core.next_deadline()) == ([], None)


def test_each_announcement_can_be_answered():
    core = waiting(2, periodic=True)
    core.handle_timeout(101.0, 0.0)
    first, second = (envelope["id"] for envelope in envelopes(core))
    subscribe(core, "a", second)
    subscribe(core, "b", first)
    assert SubscriptionCompleted(enough=True) in events(core)


def test_the_memory_of_announcements_is_bounded_and_the_oldest_are_forgotten():
    core = exporter(limits=Limits(max_remembered=3))
    core.initialize(["start"], now=0.0, sent=0.0, await_count=1, periodic=True)
    for second in range(1, 10):
        core.handle_timeout(float(second), 0.0)
    assert len(core._announcements) == 3
    subscribe(core, "a", f"{7:032x}")
    assert core.subs == set()
    subscribe(core, "a", f"{8:032x}")
    assert core.subs == {"a"}


def test_shutdown_ends_the_wait():
    core = waiting(1)
    core.shutdown(now=0.0, sent=0.0)
    assert events(core) == [SubscriptionCompleted(enough=False)]


def test_a_wait_that_was_given_up_is_forgotten():
    core = waiting(1, periodic=True, timeout=60)
    core.abandon_subscription()
    assert core.next_deadline() is None
    subscribe(core, "a")
    assert events(core) == [ResponderSubscribed("a")]


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


def test_each_outcome_is_told_as_it_becomes_known():
    core = initialized("a", "b", "c")
    signal_id = publish(core, timeout=20)
    answer(core, "b", signal_id)
    answer(core, "a", signal_id, 0)
    core.handle_timeout(20.0, 0.0)
    told = [(event.responder_id, event.report.outcome) for event in events_of(core, OutcomeKnown)]
    assert told == [("b", "succeeded"), ("a", "failed"), ("c", "missing")]


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
    core = exporter()
    core.initialize(["start"], now=0.0, sent=0.0, await_count=1, timeout=5)
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
    answer(core, "a", signal_id, None, state="working")
    answer(core, "a", signal_id, 1, state="working")
    assert events(core) == []
    assert core.counters == {"progress": 2}


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
    core = exporter()
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
    assert len(core._ended) == 2
    for signal_id in ids[2:4]:
        answer(core, "a", signal_id)
    assert core.counters == {"unknown-signal": 1, "late": 1}


def test_the_memory_of_signals_that_nobody_waits_for_is_bounded():
    core = initialized("a", limits=Limits(max_remembered=2))
    ids = [publish(core, wait=False) for _ in range(5)]
    assert len(core._not_awaited) == 2
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
