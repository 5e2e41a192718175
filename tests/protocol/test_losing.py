"""Responders that die, leave or hang while they are waited for, and those that come back."""

from __future__ import annotations

import json
import math

import pytest

from state_signals import Limits, Outcome
from state_signals.protocol.events import (
    LateResponse,
    OutcomeKnown,
    ResponderLeft,
    ResponderSubscribed,
    RoundCompleted,
    SubscriptionCompleted,
)
from state_signals.requests import CheckPresence, Redeliver, SaveRoster
from tests.protocol.stage import (
    Exporter,
    answer,
    events,
    events_of,
    every_event,
    identifier,
    initialized,
    publish,
    result,
    subscribe,
)

TTL = 3.0


def with_roster(*names: str, **options) -> Exporter:
    """An exporter whose responders promise proofs of life, and have given the first."""
    core = initialized(presence_ttl=TTL, **options)
    for name in names:
        subscribe(core, name, identifier(1), now=0.0, ttl=TTL)
    core.server.alive(*names)
    core.work()
    every_event(core)
    return core


def passes(core: Exporter, start: float, end: float, *alive: str) -> None:
    """Let time pass while only these responders prove to live."""
    now = start
    while now < end:
        now = min(now + 0.5, end)
        core.server.now = now
        if alive:
            core.server.alive(*alive)
        core.handle_timeout(now, 0.0)
        core.work(now)


def leave(core: Exporter, name: str, signal_id: str | None = identifier(1), now: float = 1.0) -> None:
    answer(core, name, signal_id, None, now, event="initialization", state="left")


# Lost


def test_who_dies_is_lost_within_the_time_that_a_proof_of_life_is_good_for():
    core = with_roster("a", "b")
    signal_id = publish(core, timeout=None)
    answer(core, "b", signal_id)
    passes(core, 0.0, TTL)
    assert events_of(core, RoundCompleted) == []
    passes(core, TTL, TTL + 1.5)
    ended = result(core)
    assert (list(ended.lost), list(ended.succeeded), ended.ok) == (["a"], ["b"], False)
    assert ended.elapsed <= TTL + 1.5


@pytest.mark.parametrize(
    "forged",
    [
        {"signal_id": identifier(9), "ras": 1},
        {"signal_id": identifier(9), "ras": None, "state": "working"},
        {"signal_id": None, "ras": None, "state": "working"},
        {"signal_id": None, "ras": 1, "event": "another"},
    ],
)
def test_what_cannot_be_its_own_keeps_nobody_alive(forged):
    core = with_roster("a")
    publish(core, timeout=None)
    passes(core, 0.0, TTL - 1.0)
    answer(core, "a", now=TTL - 1.0, **forged)
    passes(core, TTL - 1.0, TTL + 1.5)
    assert list(result(core).lost) == ["a"]


@pytest.mark.parametrize("said", [{"ras": 1}, {"ras": None, "state": "working"}])
def test_a_late_answer_is_a_proof_of_life(said):
    core = with_roster("a")
    signal_id = publish(core, timeout=1.0)
    passes(core, 0.0, TTL - 1.0)
    publish(core, timeout=None)
    answer(core, "a", signal_id, now=TTL - 1.0, **said)
    passes(core, TTL - 1.0, TTL + 1.5)
    every_event(core)
    passes(core, TTL + 1.5, 2 * TTL)
    assert list(result(core).lost) == ["a"]


def test_who_lives_is_waited_for_however_long_it_takes():
    core = with_roster("a")
    signal_id = publish(core, timeout=None)
    passes(core, 0.0, 60.0, "a")
    assert every_event(core) != []
    assert events_of(core, RoundCompleted) == []
    answer(core, "a", signal_id, now=60.0)
    assert result(core).ok


def test_it_is_looked_whether_they_live_only_while_somebody_is_waited_for():
    core = with_roster("a")
    passes(core, 0.0, 60.0)
    signal_id = publish(core, now=60.0, timeout=None)
    assert core.next_deadline() == 61.0
    assert any(isinstance(request, CheckPresence) for request in core.work(61.0))
    answer(core, "a", signal_id, now=61.0)
    assert core.next_deadline() is None
    assert not any(isinstance(request, CheckPresence) for request in core.work(62.0))


def test_who_comes_in_the_middle_of_a_round_is_looked_for_too():
    core = initialized(presence_ttl=TTL)
    core.initialize(["start"], expected=["a"], now=0.0, sent=0.0)
    core.publish("start", timeout=None, now=0.0, sent=0.0)
    core.work(0.0)
    core.work(2.0)
    core.server.now = 5.0
    core.server.alive("a")
    subscribe(core, "a", core._announcement.signal_id, ttl=TTL, now=5.0)  # type: ignore[union-attr]
    now = 5.0
    while not (told := events_of(core, OutcomeKnown)):
        deadline = core.next_deadline()
        assert deadline is not None
        now = max(now, deadline)
        assert now < 5.0 + TTL + 2.0
        core.handle_timeout(now, now)
        core.work(now)
    assert [each.report.outcome for each in told] == [Outcome.LOST]


def test_who_was_lost_is_looked_for_at_once_in_the_next_round():
    core = with_roster("a", "b")
    first = publish(core, timeout=None)
    passes(core, 0.0, TTL + 1.5, "b")
    answer(core, "b", first, now=TTL + 1.5)
    assert list(result(core).lost) == ["a"]
    core.server.now = 10.0
    core.server.alive("b")
    second = core.publish("start", timeout=None, now=10.0, sent=0.0)
    assert core.next_deadline() == 10.0
    core.work(10.0)
    answer(core, "b", second, now=10.0)
    ended = result(core)
    assert list(ended.lost) == ["a"]
    assert ended.elapsed == 0.0


def test_who_was_lost_and_came_back_takes_part_in_the_next_round():
    core = with_roster("a")
    publish(core, timeout=None)
    passes(core, 0.0, TTL + 1.5)
    assert list(result(core).lost) == ["a"]
    core.server.alive("a")
    signal_id = publish(core, now=6.0, timeout=None)
    passes(core, 6.0, 7.0, "a")
    answer(core, "a", signal_id, now=7.0)
    assert result(core).ok


def test_who_is_lost_may_be_waited_for_and_come_back():
    core = with_roster("a")
    signal_id = publish(core, timeout=None, waits_for_lost=True)
    passes(core, 0.0, 60.0)
    assert events_of(core, RoundCompleted) == []
    answer(core, "a", signal_id, now=60.0)
    assert result(core).ok


def test_who_is_lost_and_waited_for_is_lost_at_the_deadline_and_not_missing():
    core = with_roster("a", "b")
    publish(core, timeout=20, waits_for_lost=True)
    passes(core, 0.0, 20.0, "b")
    ended = result(core)
    assert (list(ended.lost), list(ended.missing)) == (["a"], ["b"])


def test_who_answers_at_the_last_moment_is_not_lost():
    core = with_roster("a")
    signal_id = publish(core, timeout=None)
    passes(core, 0.0, TTL)
    answer(core, "a", signal_id, now=TTL)
    assert result(core).ok


def test_after_an_outage_of_the_server_nobody_is_lost_who_proves_to_live_then():
    core = with_roster("a")
    signal_id = publish(core, timeout=None)
    core.connection_lost()
    core.server.loses_everything()
    core.connection_restored(60.0)
    core.work(60.0)
    passes(core, 60.0, 60.0 + TTL)
    passes(core, 60.0 + TTL, 80.0, "a")
    assert events_of(core, RoundCompleted) == []
    answer(core, "a", signal_id, now=80.0)
    assert result(core).ok


def test_who_dies_during_an_outage_is_lost_after_it():
    core = with_roster("a")
    publish(core, timeout=None)
    core.reconnects(60.0)
    passes(core, 60.0, 60.0 + TTL + 1.0)
    assert list(result(core).lost) == ["a"]


def test_responders_that_promise_nothing_are_missing_at_the_deadline_and_never_lost():
    core = initialized("x", presence_ttl=TTL)
    subscribe(core, "v1")
    publish(core, timeout=20)
    passes(core, 0.0, 20.0)
    assert list(result(core).missing) == ["v1", "x"]


def test_without_presence_nobody_is_looked_for():
    core = initialized()
    subscribe(core, "a", identifier(1), ttl=TTL)
    publish(core, timeout=20)
    assert core.next_deadline() == 20.0
    passes(core, 0.0, 20.0)
    assert list(result(core).missing) == ["a"]


def test_a_look_that_the_server_refuses_for_now_is_taken_again_later():
    core = with_roster("a")
    publish(core, timeout=None)
    core.server.refuses = {CheckPresence: ("LOADING", "LOADING Redis is loading the dataset in memory")}
    passes(core, 0.0, 10.0)
    assert events_of(core, RoundCompleted) == []
    core.server.refuses = {}
    passes(core, 10.0, 10.0 + TTL + 1.5)
    assert list(result(core).lost) == ["a"]


# Left


def test_who_leaves_in_good_order_ends_at_once_and_is_off_the_roster():
    core = with_roster("a", "b")
    signal_id = publish(core, timeout=None)
    leave(core, "a")
    assert core.subs == {"b"}
    answer(core, "b", signal_id)
    told = events(core)
    assert [type(event) for event in told] == [OutcomeKnown, ResponderLeft, OutcomeKnown, RoundCompleted]
    ended = told[-1].result
    assert (list(ended.left), list(ended.succeeded), ended.ok) == (["a"], ["b"], True)
    core.work()
    assert set(core.server.roster()) == {b"b"}


def test_who_leaves_between_rounds_is_not_waited_for():
    core = with_roster("a", "b")
    leave(core, "a")
    signal_id = publish(core, timeout=None)
    answer(core, "b", signal_id)
    assert set(result(core).reports) == {"b"}


def test_who_leaves_ends_in_every_open_round_in_which_it_is_pending():
    core = with_roster("a", "b")
    first, second = publish(core, timeout=None), publish(core, "stop", timeout=None)
    answer(core, "a", first)
    leave(core, "a")
    answer(core, "b", first)
    answer(core, "b", second, event="stop")
    one, two = (event.result for event in events_of(core, RoundCompleted))
    assert (one.signal_id, set(one.succeeded), list(one.left)) == (first, {"a", "b"}, [])
    assert (two.signal_id, set(two.succeeded), list(two.left)) == (second, {"b"}, ["a"])


@pytest.mark.parametrize("signal_id", [None, "f" * 32, identifier(2)])
def test_nobody_can_make_another_one_leave_who_does_not_know_the_initialization(signal_id):
    core = with_roster("a")
    publish(core)
    leave(core, "a", signal_id)
    assert core.subs == {"a"}
    assert core.counters == {"unknown-signal": 1}


def test_who_is_not_on_the_roster_cannot_leave_it():
    core = with_roster("a")
    leave(core, "stranger")
    assert events(core) == []
    assert not any(isinstance(request, SaveRoster) for request in core.work())


def test_who_was_expected_and_has_left_is_not_absent():
    core = initialized()
    core.initialize(["start"], expected=["a"], now=0.0, sent=0.0)
    assert core.absent == {"a"}
    leave(core, "a")
    assert core.absent == core.subs == set()


def test_who_was_expected_and_has_left_is_not_waited_for():
    core = initialized()
    core.initialize(["start"], expected=["a"], await_count=1, now=0.0, sent=0.0)
    core.work()
    subscribe(core, "b")
    assert events(core) == [ResponderSubscribed("b")]
    leave(core, "a")
    assert events(core) == [ResponderLeft("a"), SubscriptionCompleted(enough=True)]


# Working


def test_who_says_that_it_is_working_is_not_cut_off_by_a_stall_timer():
    core = initialized("a", "b")
    signal_id = publish(core, timeout=None, stall_timeout=5)
    for second in (4.0, 8.0, 12.0):
        assert core.next_deadline() <= second + 1.0  # type: ignore[operator]
        core.handle_timeout(second, 0.0)
        answer(core, "a", signal_id, None, second, state="working")
    core.handle_timeout(16.9, 0.0)
    known = [(event.responder_id, event.report.outcome) for event in events_of(core, OutcomeKnown)]
    assert known == [("b", "missing")]
    core.handle_timeout(17.0, 0.0)
    assert set(result(core).missing) == {"a", "b"}


def test_who_answers_after_it_was_given_up_is_late_though_others_are_still_waited_for():
    core = initialized("a", "b")
    signal_id = publish(core, timeout=None, stall_timeout=5)
    answer(core, "b", signal_id, None, 4.0, state="working")
    core.handle_timeout(5.0, 0.0)
    every_event(core)
    answer(core, "a", signal_id, now=6.0)
    assert events(core) == [LateResponse("a", "start")]
    assert core.counters == {"progress": 1, "late": 1}
    answer(core, "b", signal_id, now=6.0)
    assert list(result(core).missing) == ["a"]


def test_who_hangs_is_missing_and_who_is_dead_is_lost():
    core = with_roster("a", "b")
    publish(core, timeout=None, stall_timeout=10, waits_for_lost=True)
    passes(core, 0.0, 10.0, "b")
    ended = result(core)
    assert (list(ended.lost), list(ended.missing)) == (["a"], ["b"])


# Come back


def test_who_comes_back_gets_what_it_has_not_answered_again_in_order():
    core = with_roster("a", "b")
    first, second = publish(core, timeout=None), publish(core, "stop", timeout=None)
    third = publish(core, timeout=None)
    answer(core, "a", second, event="stop")
    subscribe(core, "a", identifier(1), ttl=TTL)
    core.work()
    again = [(name, json.loads(data)["metadata"]["_state_signals"]) for name, data in core.server.redelivered]
    assert [(name, each["id"], each["redelivered"]) for name, each in again] == [
        ("a", first, True),
        ("a", third, True),
    ]
    assert [each["seq"] for _, each in again] == [2, 4]
    core.work()
    assert len(core.server.redelivered) == 2


def test_who_comes_back_without_owing_anything_gets_nothing():
    core = with_roster("a")
    answer(core, "a", publish(core, timeout=None))
    publish(core, wait=False)
    subscribe(core, "a", identifier(1))
    core.work()
    assert core.server.redelivered == []


def test_a_signal_that_is_not_out_yet_needs_no_second_delivery():
    core = with_roster("a")
    core.publish("start", timeout=None, now=0.0, sent=0.0)
    subscribe(core, "a", identifier(1))
    core.work()
    assert core.server.redelivered == []


def test_who_has_died_and_comes_back_in_time_ends_well():
    core = with_roster("a")
    signal_id = publish(core, timeout=None)
    passes(core, 0.0, TTL - 0.5)
    subscribe(core, "a", identifier(1), now=TTL - 0.5, ttl=TTL)
    passes(core, TTL - 0.5, 20.0, "a")
    answer(core, "a", signal_id, now=20.0)
    assert result(core).ok


def test_what_is_not_answered_is_delivered_again_less_and_less_often_until_it_is():
    core = with_roster("a")
    signal_id = publish(core, timeout=None)
    subscribe(core, "a", identifier(1), ttl=TTL)
    times, now = [], 1.0
    while now < 60.0:
        before = len(core.server.redelivered)
        core.server.now = now
        core.server.alive("a")
        core.handle_timeout(now, now)
        core.work(now)
        times += [now] * (len(core.server.redelivered) - before)
        now += 0.5
    assert times == [1.0, 6.0, 16.0, 36.0]
    answer(core, "a", signal_id, now=60.0)
    core.work(200.0)
    assert len(core.server.redelivered) == 4


@pytest.mark.parametrize("journal", [True, False])
def test_what_is_to_be_delivered_again_needs_no_caller(journal):
    core = with_roster("a", journal=journal)
    publish(core, timeout=None)
    subscribe(core, "a", identifier(1))
    assert core.next_upkeep() == -math.inf
    assert core.next_request(1.0, is_urgent=True) is None
    core.work(1.0)
    # With a journal there is a claim to be renewed as well.
    assert core.next_upkeep() == min(6.0, core._server.registration.next_deadline() if journal else math.inf)
    assert [type(request) for request in core.work(6.0)].count(Redeliver) == 1


@pytest.mark.parametrize("journal", [True, False])
def test_who_only_repeats_that_it_subscribes_reads_what_it_may_have_missed_in_the_journal(journal):
    core = with_roster("a", journal=journal)
    publish(core, timeout=None)
    subscribe(core, "a", identifier(1), again=True)
    core.work(1.0)
    assert len(core.server.redelivered) == (0 if journal else 1)


def test_whoever_is_superseded_delivers_nothing_and_has_nothing_to_do():
    core = with_roster("a")
    publish(core, timeout=None)
    subscribe(core, "a", identifier(1))
    core.server.set_owner(b"somebody", 15.0)
    core.reconnects(1.0)
    core.work(1.0)
    assert core.server.redelivered == []
    assert (core.next_aside(1.0), core.next_upkeep()) == (None, math.inf)


def test_deliveries_that_wait_are_bounded():
    core = with_roster("a", limits=Limits(max_roster=3))
    for _ in range(5):
        publish(core, timeout=None)
    for _ in range(4):
        subscribe(core, "a", identifier(1))
    core.work()
    assert len(core.server.redelivered) == 3


def test_a_delivery_that_the_server_refuses_for_now_is_put_off():
    core = with_roster("a")
    publish(core, timeout=None)
    core.server.refuses = {Redeliver: ("OOM", "OOM command not allowed")}
    subscribe(core, "a", identifier(1))
    core.work()
    core.server.refuses = {}
    assert core.work() == []
    subscribe(core, "a", identifier(1))
    core.work()
    assert len(core.server.redelivered) == 1


def test_to_a_version_1_responder_nothing_is_delivered_again():
    core = initialized("a", strict_v1=True)
    publish(core, timeout=None)
    subscribe(core, "a")
    core.work()
    assert core.server.redelivered == []


def test_who_subscribes_again_with_another_promise_is_kept_with_that():
    core = with_roster("a")
    subscribe(core, "a", identifier(1), ttl=1.0)
    core.work()
    assert json.loads(core.server.roster()[b"a"])["ttl"] == 1.0
    assert ResponderSubscribed("a") not in every_event(core)
