"""What an exporter sends and refuses, its roster, and how it waits for subscribers."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from state_signals import Closed, IllegalEvent, InvalidArgument, InvalidType, Limits, MessageTooLarge
from state_signals.codec import ENVELOPE_KEY, decode_signal
from state_signals.protocol.events import MessageRefused, ResponderSubscribed, RoundCompleted, SubscriptionCompleted
from state_signals.protocol.exporter import ExporterProtocol
from state_signals.protocol.roster import ANNOUNCE_INTERVAL
from state_signals.protocol.states import ExporterState
from tests.protocol.stage import (
    Exporter,
    Server,
    answer,
    envelopes,
    events,
    events_of,
    every_event,
    identifier,
    initialized,
    publish,
    result,
    sent,
    subscribe,
)

# What is sent


def test_a_signal_says_who_where_what_and_for_which_sample():
    core = Exporter(strict_v1=True)
    publish(core, "start", sample=3, tag="nightly", metadata={"a": 1})
    fields = {"publisher_id": "fio-1", "process_name": "fio", "event": "start", "runner_host": "node1"}
    assert sent(core) == [fields | {"sample_no": 3, "tag": "nightly", "metadata": {"a": 1}}]


def test_sample_0_and_an_empty_tag_are_sent_as_they_are():
    core = Exporter()
    publish(core, sample=0, tag="")
    [signal] = sent(core)
    assert (signal["sample_no"], signal["tag"]) == (0, "")


def test_no_sample_and_no_tag_are_sent_as_version_1_does():
    core = Exporter()
    publish(core)
    [signal] = sent(core)
    assert (signal["sample_no"], signal["tag"]) == (-1, "No tag specified")


def test_the_envelope_names_the_signal_and_where_answers_go():
    core = Exporter(reply="the-stream")
    signal_id = publish(core)
    assert envelopes(core) == [{"v": 2, "id": signal_id, "seq": 1, "sent": 1000.0, "reply": "the-stream"}]


def test_every_signal_is_counted_from_1_without_gaps():
    core = Exporter()
    core.initialize(["start"], now=0.0, sent=0.0, await_count=1, periodic=True)
    core.work()
    core.handle_timeout(ANNOUNCE_INTERVAL, 0.0)
    publish(core)
    with pytest.raises(IllegalEvent):
        publish(core, "unknown")
    publish(core, wait=False)
    core.shutdown(now=0.0, sent=0.0)
    publish(core)
    assert [envelope["seq"] for envelope in envelopes(core)] == [1, 2, 3, 4, 5, 6]


def test_ids_are_32_hexadecimal_digits_and_unique():
    server, core = Server(), ExporterProtocol("fio-1", "fio", "node1")
    ids = [core.publish("start", now=0.0, sent=0.0) for _ in range(100)]
    assert len(set(ids)) == 100
    assert {len(bytes.fromhex(signal_id)) for signal_id in ids} == {16}
    server.serve(core, core.next_request, 0.0)
    assert [decode_signal(data).id for data in server.broadcast] == ids


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
    core = Exporter(strict_v1=True, reply="the-stream")
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
    assert core.said() == []


# What is refused, before anything is sent


@pytest.mark.parametrize("event", ["initialization", "shutdown"])
@pytest.mark.parametrize("make", [Exporter, initialized])
def test_reserved_events_are_not_published(make, event):
    core = make()
    core.legal_events = ["initialization", "shutdown"]
    with pytest.raises(ValueError, match=rf"{event!r} is reserved; call (initialize|shutdown)\(\)"):
        publish(core, event)
    assert core.said() == []


def test_events_that_are_not_legal_are_not_published():
    core = initialized("a")
    for event in ("pause", "", None, ["start"]):
        with pytest.raises(IllegalEvent, match="not one of the legal events"):
            publish(core, event)
    assert core.said() == []


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
@pytest.mark.parametrize("make", [Exporter, initialized])
def test_what_cannot_be_sent_raises_before_anything_is_sent_or_changed(make, arguments, error):
    core = make()
    before = core.state
    with pytest.raises(error):
        publish(core, **arguments)
    assert core.said() == []
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
    core = Exporter()
    with pytest.raises(error):
        core.initialize(**({"legal_events": ["start"], "now": 0.0, "sent": 0.0} | arguments))
    assert core.state is ExporterState.CREATED
    assert (core.subs, core.legal_events) == (set(), None)
    assert (core.said(), events(core), core.next_deadline()) == ([], [], None)


def test_a_shutdown_with_a_tag_that_cannot_be_sent_changes_nothing():
    core = initialized("a")
    with pytest.raises(InvalidType):
        core.shutdown(tag=1, now=0.0, sent=0.0)  # type: ignore[arg-type]
    assert core.state is ExporterState.INITIALIZED
    assert core.subs == {"a"}
    assert core.said() == []


# Before the roster is open, and after it was closed


@pytest.mark.parametrize("is_shut_down", [False, True])
def test_without_a_roster_no_event_is_checked_and_nobody_is_waited_for(is_shut_down):
    core = Exporter()
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
    core = Exporter()
    with pytest.raises(error):
        publish(core, event)
    assert core.said() == []


def test_shutdown_before_initialize_is_announced():
    core = Exporter()
    core.shutdown(tag="bye", now=0.0, sent=0.0)
    assert [(signal["event"], signal["tag"]) for signal in sent(core)] == [("shutdown", "bye")]


def test_before_initialize_nobody_can_subscribe():
    core = Exporter()
    subscribe(core, "a")
    assert core.subs == set()
    assert core.counters == {"unknown-signal": 1}
    [refused] = events(core)
    assert isinstance(refused, MessageRefused)


def test_a_closed_exporter_does_nothing_any_more_and_says_so():
    core = initialized("a")
    core.close(0.0)
    core.close(0.0)
    for act in (publish, lambda core: core.shutdown(now=0.0, sent=0.0)):
        with pytest.raises(Closed):
            act(core)
    subscribe(core, "b")
    assert core.subs == set()
    assert core.said() == []


# The roster


def test_initialize_announces_the_exporter():
    core = Exporter()
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


def test_who_answers_late_to_what_was_announced_before_a_shutdown_is_not_subscribed():
    core = initialized("a")
    core.shutdown(now=0.0, sent=0.0)
    subscribe(core, "a", identifier(1))
    core.initialize(["start"], now=1.0, sent=1.0)
    core.work(1.0)
    every_event(core)
    subscribe(core, "a", identifier(1))
    assert core.subs == set()
    assert core.counters == {"late": 2}
    assert events(core) == []
    subscribe(core, "a", core._announced_id)
    assert core.subs == {"a"}


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
    assert len(core._responses._speaks_v2) == 2


def test_what_is_known_of_who_speaks_version_2_is_bounded():
    core = initialized("a", "b", "c", limits=Limits(max_roster=2))
    signal_id = publish(core)
    for name in ("a", "b", "c"):
        answer(core, name, signal_id)
    assert result(core).ok
    assert len(core._responses._speaks_v2) == 2


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
    core = Exporter()
    before = core.state
    announcement = core.initialize(["start"], now=0.0, sent=0.0, await_count=1, timeout=5)
    core.initialization_failed(before, announcement)
    assert core.state is ExporterState.CREATED
    assert (core.said(), core.next_deadline()) == ([], None)
    core.initialize(["stop"], now=0.0, sent=0.0)
    assert [signal["event"] for signal in sent(core)] == ["initialization"]


def test_another_identifier_is_taken_before_the_first_signal_and_not_after_it():
    core = Exporter(reply="one")
    core.rename("fio-2", "two")
    publish(core)
    [signal] = sent(core)
    assert (signal["publisher_id"], signal["metadata"][ENVELOPE_KEY]["reply"]) == ("fio-2", "two")
    with pytest.raises(InvalidArgument, match="'fio-2' has published signals"):
        core.rename("fio-3", "three")
    assert core.publisher_id == "fio-2"


def test_an_exporter_that_asks_for_answers_on_the_version_1_channel_goes_on_doing_so_under_another_identifier():
    core = Exporter()
    core.rename("fio-2", "two")
    publish(core)
    [signal] = sent(core)
    assert signal["publisher_id"] == "fio-2"
    assert "reply" not in signal["metadata"][ENVELOPE_KEY]


# Waiting for subscribers


def waiting(count: int, **options) -> Exporter:
    core = Exporter()
    core.initialize(["start"], now=100.0, sent=0.0, await_count=count, **options)
    core.work(100.0)
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
    core = Exporter()
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
    assert len(core.said()) == 1
    for now in (101.0, 102.0):
        assert core.next_deadline() == now
        core.handle_timeout(now, 7.0)
        assert [(signal["event"], signal["tag"]) for signal in sent(core)] == [("initialization", "nightly")]
    assert core.next_deadline() == 102.5
    core.handle_timeout(102.5, 0.0)
    assert events(core) == [SubscriptionCompleted(enough=False)]
    assert (core.said(), core.next_deadline()) == ([], None)


def test_nothing_is_announced_again_while_the_last_announcement_is_still_on_its_way():
    core = Exporter()
    core.initialize(["start"], now=0.0, sent=0.0, await_count=1, periodic=True)
    for second in (1.0, 2.0, 3.0):
        core.handle_timeout(second, 0.0)
    assert core.next_deadline() == 4.0
    assert len(sent(core, 3.0)) == 1
    core.handle_timeout(4.0, 0.0)
    assert len(sent(core, 4.0)) == 1


def test_each_announcement_can_be_answered():
    core = waiting(2, periodic=True)
    core.handle_timeout(101.0, 0.0)
    first, second = (envelope["id"] for envelope in envelopes(core, 101.0))
    subscribe(core, "a", second)
    subscribe(core, "b", first)
    assert SubscriptionCompleted(enough=True) in events(core)


def test_the_memory_of_announcements_is_bounded_and_the_oldest_are_forgotten():
    core = Exporter(limits=Limits(max_remembered=3))
    core.initialize(["start"], now=0.0, sent=0.0, await_count=1, periodic=True)
    for second in range(1, 10):
        core.work(float(second))
        core.handle_timeout(float(second), 0.0)
    assert len(core._responses._announcements) == 3
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
