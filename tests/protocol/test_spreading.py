"""Thousands do not answer an initialization at the same moment: the exporter says how long they may take."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from state_signals import Limits
from state_signals.codec import WireResponse, decode_response
from state_signals.limits import DEFAULT_LIMITS
from state_signals.protocol.events import ResponderSubscribed, SignalReceived
from state_signals.protocol.roster import spread_for
from state_signals.requests import Answer, ShowPresence
from tests.protocol.stage import (
    EPOCH,
    KEYS,
    Exporter,
    Responder,
    Server,
    envelopes,
    events_of,
    identifier,
    signal,
)

MANY = 10_000


def told(core: Responder) -> list[Any]:
    return [event.signal for event in events_of(core, SignalReceived)]


def hears(core: Responder, seq: int = 1, now: float = 0.0, event: str = "initialization", **facts: Any) -> Any:
    """Give it a signal that it takes."""
    core.message_received(signal(seq, event, **facts), now)
    [taken] = told(core)
    return taken


def subscribes(core: Responder, seq: int = 1, now: float = 0.0, **facts: Any) -> None:
    core.respond_to(hears(core, seq, now, **({"spread": 1.0} | facts)), None, None, now=now, sent=now)


def said(core: Responder, now: float) -> list[WireResponse]:
    return [decode_response(request.data) for request in core.work(now) if isinstance(request, Answer)]


def events_said(core: Responder, now: float) -> list[str]:
    return [each.state or each.event for each in said(core, now)]


# What an exporter asks for


@pytest.mark.parametrize(
    ("count", "wait", "spread"),
    [
        (0, None, None),
        (500, None, None),
        (501, None, 501 * 50e-6),
        (MANY, None, 0.5),
        (MANY, 60.0, 0.5),
        (MANY, 1.0, 0.25),
        (MANY, 0.0, 0.0),
        (1_000_000, None, 2.0),
    ],
)
def test_the_time_grows_with_the_number_and_is_a_small_part_of_the_wait(count, wait, spread):
    assert spread_for(count, wait, DEFAULT_LIMITS) == pytest.approx(spread)


@pytest.mark.parametrize("count", [None, 0, 500])
def test_few_are_not_asked_for_anything(count):
    core = Exporter()
    core.initialize(["start"], await_count=count, now=0.0, sent=0.0)
    assert "spread" not in envelopes(core)[0]


def test_an_exporter_that_waits_for_many_says_so_and_only_in_the_initialization():
    core = Exporter()
    core.initialize(["start"], await_count=MANY, timeout=60.0, now=0.0, sent=0.0)
    core.subs = {f"r{number}" for number in range(MANY)}
    core.publish("start", now=0.0, sent=0.0)
    core.shutdown(now=0.0, sent=0.0)
    assert [each.get("spread") for each in envelopes(core)] == [0.5, None, None]


def test_those_that_are_expected_by_name_count():
    core = Exporter(limits=Limits(max_at_once=1, spread_each=0.25))
    core.initialize(["start"], expected=["a", "b"], now=0.0, sent=0.0)
    assert envelopes(core)[0]["spread"] == 0.5


def test_the_time_in_which_it_tries_to_announce_itself_is_no_wait_for_responders():
    core = Exporter(limits=Limits(max_at_once=1, spread_each=0.25))
    core.initialize(["start"], expected=["a", "b"], timeout=0.5, now=0.0, sent=0.0)
    assert envelopes(core)[0]["spread"] == 0.5


def test_whoever_is_on_a_restored_roster_counts():
    server = Server()
    first = Exporter(server, limits=Limits(max_at_once=1))
    first.initialize(["start"], expected=["a", "b"], now=0.0, sent=0.0)
    first.work()
    server.set_owner(b"nobody", 0.001)
    server.now = 1.0
    second = Exporter(server, owner=b"them", first=50, resumes=True, limits=Limits(max_at_once=1, spread_each=0.25))
    second.claim()
    second.said(1.0)
    second.initialize(["start"], now=1.0, sent=1.0)
    assert envelopes(second, 1.0)[0]["spread"] == 0.5


def test_a_repeated_announcement_says_the_same():
    core = Exporter()
    core.initialize(["start"], await_count=MANY, timeout=60.0, periodic=True, now=0.0, sent=0.0)
    core.said()
    core.handle_timeout(1.5, 1.5)
    assert [each["spread"] for each in envelopes(core, 1.5)] == [0.5]


# What a responder does


def test_an_answer_is_kept_until_its_moment():
    core = Responder(chance=lambda _: 0.5)
    subscribes(core)
    assert core.due == 0.5
    assert said(core, 0.4) == []
    assert events_said(core, 0.5) == ["initialization"]
    assert core.due == math.inf


def test_each_has_a_moment_of_its_own():
    moments = set()
    for _ in range(20):
        core = Responder()
        subscribes(core)
        moments.add(core.due)
    assert len(moments) == 20
    assert all(0.0 <= moment <= 1.0 for moment in moments)


def test_chance_is_asked_for_each_initialization():
    moments = {identifier(1): 0.25, identifier(2): 0.75}
    core = Responder(chance=moments.__getitem__)
    subscribes(core, 1)
    assert core.due == 0.25
    said(core, 0.25)
    subscribes(core, 2)
    assert core.due == 0.75


@pytest.mark.parametrize("facts", [{"spread": None}, {"spread": 0.0}])
def test_without_a_time_it_goes_out_at_once(facts):
    core = Responder(chance=lambda _: 1.0)
    subscribes(core, **facts)
    assert events_said(core, 0.0) == ["initialization"]


def test_a_responder_takes_no_longer_than_it_finds_right():
    core = Responder(chance=lambda _: 1.0)
    subscribes(core, spread=1e9)
    assert core.due == 2.0


def test_ordinary_signals_are_answered_at_once():
    core = Responder(chance=lambda _: 1.0)
    core.respond_to(hears(core, 1, event="start", spread=1.0, wait=5.0), 1, None, now=0.0, sent=0.0)
    assert events_said(core, 0.0) == ["start"]


def test_signs_of_work_are_not_held_back():
    core = Responder(chance=lambda _: 1.0)
    taken = hears(core, 1, spread=1.0)
    core.respond_to(taken, None, None, state="working", now=0.0, sent=0.0)
    assert events_said(core, 0.0) == ["working"]


def test_the_proof_of_life_comes_just_before_the_answer():
    core = Responder(chance=lambda _: 0.5, presence_ttl=15.0)
    subscribes(core)
    assert core.work(0.4) == []
    assert [type(each) for each in core.work(0.5)] == [ShowPresence, Answer]
    assert core.due == 5.5


def test_who_answers_a_signal_subscribes_before_that():
    core = Responder(chance=lambda _: 1.0, presence_ttl=15.0)
    subscribes(core, 1)
    core.respond_to(hears(core, 2, event="start", wait=5.0), 1, None, now=0.1, sent=0.1)
    done = core.work(0.1, is_urgent=True)
    assert [type(each) for each in done] == [ShowPresence, Answer, Answer]
    assert [decode_response(each.data).event for each in done[1:]] == ["initialization", "start"]
    assert core.work(2.0) == []


def test_what_is_for_another_exporter_does_not_hurry_it():
    core = Responder(chance=lambda _: 1.0)
    subscribes(core, 1)
    other: dict[str, Any] = {"publisher_id": "fio-2", "reply": KEYS.reply("fio-2")}
    core.respond_to(hears(core, 1, event="start", id=identifier(7), wait=5.0, **other), 1, None, now=0.0, sent=0.0)
    assert events_said(core, 0.5) == ["start"]
    assert events_said(core, 1.0) == ["initialization"]


def test_what_was_held_back_goes_out_before_the_good_bye():
    core = Responder(chance=lambda _: 1.0)
    subscribes(core)
    core.leave(now=0.1, sent=0.1)
    assert events_said(core, 0.1) == ["initialization", "left"]


def test_what_was_held_back_goes_out_before_the_end_though_nobody_hears_a_good_bye():
    core = Responder(chance=lambda _: 1.0)
    subscribes(core, 1)
    hears(core, 2, event="shutdown")
    core.leave(now=0.1, sent=0.1)
    assert events_said(core, 0.1) == ["initialization"]


def test_a_second_answer_does_not_replace_the_first():
    core = Responder(chance=lambda _: 1.0)
    taken = hears(core, 1, spread=1.0)
    for ras in (1, 0):
        core.respond_to(taken, ras, None, now=0.0, sent=0.0)
    assert [each.ras for each in said(core, 1.0)] == [1, 0]


def test_it_is_held_back_once_however_often_it_is_asked_for():
    core = Responder(chance=lambda _: 0.5)
    subscribes(core, 1)
    core.message_received(signal(1, "initialization", spread=1.0, again=True), 0.1)
    assert core.due == 0.5
    core.connection_lost()
    core.connection_restored(0.2)
    assert [(each.event, each.again) for each in said(core, 0.5)] == [("initialization", False)]
    assert said(core, 5.0) == []


def test_as_many_are_held_back_as_may_be():
    core = Responder(chance=lambda _: 1.0, limits=Limits(max_remembered=2))
    for number in range(4):
        name = f"fio-{number}"
        facts: dict[str, Any] = {"publisher_id": name, "reply": KEYS.reply(name), "id": identifier(number)}
        subscribes(core, 1, **facts)
    assert [each.publisher_id for each in said(core, 0.0)] == ["fio-0", "fio-1"]
    assert [each.publisher_id for each in said(core, 1.0)] == ["fio-2", "fio-3"]


# After the server has come back, and to those that come late


def test_after_an_outage_they_do_not_all_repeat_it_at_once_either():
    core = Responder(chance=lambda _: 0.5)
    subscribes(core)
    said(core, 1.0)
    core.connection_lost()
    core.connection_restored(10.0)
    assert core.due == 10.5
    assert [(each.event, each.again) for each in said(core, 10.5)] == [("initialization", True)]


def test_nor_when_the_exporter_announces_it_again():
    core = Responder(chance=lambda _: 0.5)
    subscribes(core)
    said(core, 1.0)
    core.message_received(signal(1, "initialization", spread=1.0, again=True), 10.0)
    assert said(core, 10.4) == []
    assert [(each.event, each.again) for each in said(core, 10.5)] == [("initialization", True)]


def test_another_run_of_the_same_exporter_hurries_what_was_held_back():
    core = Responder(chance=lambda _: 0.5)
    subscribes(core, 1)
    said(core, 1.0)
    core.message_received(signal(1, "initialization", spread=1.0, again=True), 10.0)
    subscribes(core, 2, 10.1)
    assert [(each.signal_id, each.again) for each in said(core, 10.2)] == [(identifier(1), True)]
    core.message_received(signal(1, "initialization", spread=1.0, again=True), 10.3)
    assert [(each.signal_id, each.again) for each in said(core, 10.4)] == [(identifier(2), False)]


def test_answers_that_a_round_waits_for_are_repeated_at_once():
    core = Responder(chance=lambda _: 0.5)
    subscribes(core, 1)
    core.respond_to(hears(core, 2, event="start", wait=math.inf), 1, None, now=0.0, sent=0.0)
    said(core, 1.0)
    core.connection_lost()
    core.connection_restored(10.0)
    assert events_said(core, 10.0) == ["start"]
    assert events_said(core, 10.5) == ["initialization"]


@pytest.mark.parametrize("replay", ["state", "all"])
def test_who_comes_late_comes_alone_and_answers_at_once(replay):
    server = Server()
    exporter = Exporter(server, reply=KEYS.reply("fio-1"))
    exporter.initialize(["start"], await_count=MANY, now=0.0, sent=EPOCH)
    exporter.work(0.0)
    core = Responder(server, chance=lambda _: 1.0, replay=replay)
    core.comes(1.0)
    [announced] = told(core)
    core.respond_to(announced, None, None, now=1.0, sent=EPOCH)
    assert len(said(core, 1.0)) == 1
    # Once the server has come back, it is one of many.
    core.connection_restored(10.0)
    assert said(core, 10.4) == []
    assert len(said(core, 10.5)) == 1


# Both sides


def test_all_of_many_are_subscribed_when_their_time_is_over():
    server = Server()
    limits = Limits(max_at_once=10, spread_each=0.01)
    exporter = Exporter(server, reply=KEYS.reply("fio-1"), limits=limits)
    responders = [Responder(server, responder_id=f"r{number}") for number in range(100)]
    exporter.initialize(["start"], await_count=100, now=0.0, sent=EPOCH)
    [announcement] = exporter.said()
    for core in responders:
        core.message_received(announcement, 0.0)
        [taken] = told(core)
        core.respond_to(taken, None, None, now=0.0, sent=EPOCH)
    counts = []
    for tenth in range(11):
        now = tenth / 10
        data = [request.data for core in responders for request in core.work(now) if isinstance(request, Answer)]
        exporter.messages_received(data, now)
        counts.append(len(events_of(exporter, ResponderSubscribed)))
    assert sum(counts) == 100
    assert max(counts) < 50
    assert json.loads(announcement)["metadata"]["_state_signals"]["spread"] == 1.0
