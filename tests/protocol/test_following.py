"""How a responder comes to know of exporters, what it hears of those that were there first, and what it catches up."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from state_signals import Limits, Signal
from state_signals.codec import encode_signal
from state_signals.protocol.events import Degraded, MessageRefused, SignalReceived, SignalsMissed
from state_signals.requests import CatchUp, CaughtUp, Discover, Discovered, Done, Introduce, Introduced, Look, Looked
from state_signals.transport.base import Batch
from tests.protocol.stage import (
    EPOCH,
    KEYS,
    Exporter,
    Responder,
    Server,
    events,
    events_of,
    every_event,
    identifier,
    signal,
)

PATIENCE = 5.0
SILENCE = 5.0
NOPERM = ("NOPERM", "NOPERM this user has no permissions to access one of the keys")


def running(server: Server, publisher_id: str = "fio-1", *, first: int = 1, now: float = 0.0, **options) -> Exporter:
    """An exporter that has begun, waits for answers to its first signal, and lives; so there are two in its journal."""
    core = Exporter(server, publisher_id=publisher_id, first=first, reply=KEYS.reply(publisher_id), **options)
    core.initialize(["start", "stop"], now=now, sent=now)
    core.subs = {"x"}
    core.work(now)
    core.publish("start", timeout=None, now=now, sent=now + 0.1)
    core.said(now)
    return core


def in_a_silence() -> Responder:
    """A responder that has heard an exporter at 1.0."""
    core = Responder(Server())
    core.comes(0.0)
    says(running(core.server, now=1.0), core, now=1.0)
    core.heard(1.0)
    return core


def says(core: Exporter, *listeners: Responder, event: str = "start", now: float = 1.0) -> None:
    """Have an exporter publish a signal that gets to these."""
    core.publish(event, timeout=None, now=now, sent=now)
    hears(core, *listeners, now=now)


def hears(core: Exporter, *listeners: Responder, now: float = 1.0) -> None:
    """Have what an exporter broadcasts get to these."""
    for data in core.said(now):
        for listener in listeners:
            listener.message_received(data, now)


# Who comes late


@pytest.mark.parametrize(("replay", "expected"), [("state", [1]), ("none", []), ("all", [1, 2])])
def test_who_comes_late_hears_of_live_exporters_what_it_has_asked_for(replay, expected):
    server = Server()
    fio = running(server)
    core = Responder(server, replay=replay)
    core.comes(1.0)
    assert core.heard(1.0) == expected
    says(fio, core, event="stop")
    assert core.heard(1.0) == [3]


@pytest.mark.parametrize(("replay", "expected"), [("state", [4, 5]), ("none", [4, 5]), ("all", [1, 2, 3, 4, 5])])
def test_who_comes_between_two_of_one_name_does_not_hear_of_the_one_that_has_ended(replay, expected):
    server = Server()
    fio = running(server)
    fio.shutdown(now=0.5, sent=0.5)
    fio.said(0.5)
    server.carry_out(fio.release())
    core = Responder(server, replay=replay)
    core.comes(1.0)
    assert core.heard(1.0) == []
    again = running(server, now=2.0, first=4)
    for data in server.broadcast[-2:]:
        core.message_received(data, 2.0)
    assert core.heard(2.0) == expected
    says(again, core, event="stop", now=3.0)
    assert core.heard(3.0) == [6]


def test_who_crashed_had_not_ended_and_what_it_said_is_heard():
    server = Server()
    core = Responder(server)
    core.comes(0.0)
    core.heard(0.0)
    running(server, now=1.0)
    running(server, now=20.0, first=3, owner=b"them")
    core.comes(21.0)
    assert core.heard(21.0) == [1, 2, 3, 4]


@pytest.mark.parametrize(("replay", "expected"), [("state", [3]), ("none", [3]), ("all", [3])])
def test_what_is_published_after_it_has_come_is_heard_though_its_broadcast_was_lost(replay, expected):
    server = Server()
    fio = running(server)
    core = Responder(server, replay=replay)
    core.comes(1.0)
    core.heard(1.0)
    says(fio)
    core.comes(2.0)
    assert core.heard(2.0) == expected


@pytest.mark.parametrize(("replay", "expected"), [("state", [1, 3]), ("none", [3]), ("all", [1, 2, 3])])
def test_what_is_published_between_subscribing_and_asking_comes_in_order(replay, expected):
    server = Server()
    fio = running(server)
    core = Responder(server, replay=replay)
    core.subscribed(1.0)
    says(fio, core)
    assert core.heard(1.0) == expected


def test_the_retained_initialization_can_be_answered():
    server = Server()
    fio = running(server)
    core = Responder(server)
    core.comes(1.0)
    [event] = events(core)
    core.respond_to(event.signal, None, None, now=1.0, sent=0.0)
    [data] = [request.data for request in core.work(1.0) if hasattr(request, "reply")]
    fio.message_received(data, 1.0)
    assert fio.subs == {"x", "a"}


@pytest.mark.parametrize("replay", ["state", "none", "all"])
def test_exporters_that_seem_dead_are_not_heard_of_until_they_say_something(replay):
    server = Server()
    fio = running(server)
    core = Responder(server, replay=replay)
    core.comes(60.0)
    assert core.heard(60.0) == []
    assert core.next_deadline() == float("inf")
    fio.said(61.0)
    says(fio, core, now=62.0)
    assert core.heard(62.0) == {"state": [1, 3], "none": [3], "all": [1, 2, 3]}[replay]


def test_an_exporter_that_seemed_dead_and_proves_to_live_is_heard_of_after_the_next_outage():
    server = Server()
    fio = running(server)
    core = Responder(server)
    core.comes(60.0)
    core.comes(61.0)
    assert core.heard(61.0) == []
    fio.work(62.0)
    fio.said(62.0)
    core.comes(63.0)
    assert core.heard(63.0) == [1]


def test_an_exporter_that_has_shut_down_is_not_heard_of():
    server = Server()
    fio = running(server)
    fio.shutdown(now=0.0, sent=0.0)
    fio.said()
    core = Responder(server)
    core.comes(1.0)
    assert core.heard(1.0) == []


def test_without_its_initialization_in_the_journal_all_of_it_still_begins_with_that():
    server = Server()
    fio = running(server)
    says(fio)
    server.trim_journal(1)
    core = Responder(server, replay="all")
    core.comes(1.0)
    assert sorted(core.heard(1.0)) == [1, 3]
    assert core.counters["missed"] == 2


def test_where_the_whole_journal_is_lost_its_retained_initialization_is_heard_and_what_is_new():
    server = Server()
    fio = running(server)
    server.forget_journal()
    core = Responder(server)
    core.comes(1.0)
    assert core.heard(1.0) == [1]
    says(fio, core)
    assert core.heard(1.0) == [3]


def test_many_exporters_are_heard_of_each():
    server = Server()
    for number in range(5):
        running(server, f"fio-{number}", first=10 * number)
    core = Responder(server)
    core.comes(1.0)
    core.query(1.0)
    told = [event.signal.publisher_id for event in events_of(core, SignalReceived)]
    assert sorted(told) == [f"fio-{number}" for number in range(5)]


# Who was there first


def test_an_exporter_that_came_after_us_is_heard_from_its_beginning_whatever_was_asked_for():
    server = Server()
    core = Responder(server, replay="none")
    core.comes(0.0)
    fio = running(server, now=1.0)
    assert core.heard(1.0) == []
    says(fio, core, now=2.0)
    assert core.heard(2.0) == [1, 2, 3]


def test_an_exporter_of_which_every_broadcast_was_lost_is_found_after_the_outage():
    server = Server()
    core = Responder(server)
    core.comes(0.0)
    running(server, now=1.0)
    core.comes(2.0)
    assert core.heard(2.0) == [1, 2]


def test_an_exporter_that_came_while_we_were_asking_is_heard_from_its_beginning():
    server = Server()
    core = Responder(server, replay="none")
    core.subscribed(0.0)
    running(server, now=1.0)
    assert core.heard(3.0) == [1, 2]


def test_the_first_signal_of_an_exporter_is_handed_out_without_asking_anybody():
    core = Responder()
    core.comes(0.0)
    core.message_received(signal(1), 0.0)
    assert [event.signal.seq for event in events(core)] == [1]
    core.message_received(signal(2), 0.0)
    assert [event.signal.seq for event in events(core)] == [2]
    assert core.query(0.0) == []


def test_who_has_not_heard_of_an_exporter_that_says_something_again_asks_who_that_is_first():
    server = Server()
    fio = running(server)
    core = Responder(server, replay="none")
    server.exporter_alive("fio-1", at=-100_000.0)
    core.comes(1.0)
    fio.responses_lost()
    hears(fio, core)
    assert events(core) == []
    assert core.heard(1.0) == [1, 2]


def test_what_is_said_again_was_there_before_who_has_heard_of_the_exporter():
    server = Server()
    fio = running(server)
    core = Responder(server)
    core.comes(1.0)
    assert core.heard(1.0) == [1]
    fio.responses_lost()
    hears(fio, core)
    assert core.heard(1.0) == []
    assert core.counters == {"repeated": 2}


def test_an_exporter_out_of_sight_that_is_heard_begins_with_what_was_heard():
    server = Server()
    core = Responder(server)
    fio = running(server, now=-50.0)
    server.exporter_alive("fio-1", at=-100_000.0)
    core.comes(0.0)
    says(fio, core)
    says(fio, core)
    assert core.heard(1.0) == [1, 3, 4]


def test_an_exporter_that_is_heard_while_we_ask_about_it_is_known_already():
    server = Server()
    core = Responder(server)
    core.comes(0.0)
    fio = Exporter(server)
    fio.claim()
    fio.work(1.0)
    core.subscribed(1.0)
    assert core.next_deadline() == -math.inf
    request = core.next_query(1.0)
    assert isinstance(request, Discover)
    core.reply_received(request, server.carry_out(request), 1.0)
    says(fio, core)
    assert core.heard(1.0) == [1]
    says(fio, core)
    assert core.heard(1.0) == [2]


def test_an_exporter_that_seemed_dead_and_has_written_meanwhile_tells_first_what_it_is_up_to():
    server = Server()
    running(server)
    core = Responder(server)
    core.comes(60.0)
    assert core.heard(60.0) == []
    server.write(signal(3))
    core.subscribed(61.0)
    assert core.heard(61.0) == [1, 3]


def test_a_reply_that_does_not_fit_its_request_changes_nothing():
    core = Responder()
    core.comes(0.0)
    core.reply_received(CatchUp("fio-1", 0, 64), Done(), 0.0)
    assert every_event(core) == []


# Catching up


def test_after_an_outage_everything_that_was_missed_comes_in_order():
    server = Server()
    core = Responder(server)
    core.comes(0.0)
    fio = running(server, now=1.0)
    says(fio, core, now=2.0)
    assert core.heard(2.0) == [1, 2, 3]
    for _ in range(100):
        says(fio, now=3.0)
    core.subscribed(4.0)
    says(fio, core, now=4.0)
    assert core.heard(4.0) == list(range(4, 105))
    assert core.counters == {}


def test_what_has_still_to_be_read_waits_on_the_server_and_not_in_memory():
    server = Server()
    core = Responder(server)
    core.comes(0.0)
    fio = running(server, now=1.0)
    for _ in range(200):
        says(fio, now=3.0)
    core.subscribed(4.0)
    for _ in range(3):
        request = core.next_query(4.0)
        core.reply_received(request, server.carry_out(request), 4.0)  # type: ignore[arg-type]
    told = events(core)
    assert 0 < len(told) <= 64
    rest = core.heard(4.0)
    assert len(told) + len(rest) == 202


def test_a_lost_broadcast_is_found_with_the_next_one():
    server = Server()
    core = Responder(server)
    core.comes(0.0)
    fio = running(server, now=1.0)
    says(fio, core)
    core.heard(1.0)
    says(fio)
    says(fio, core)
    assert core.heard(1.0) == [4, 5]


def test_a_lost_broadcast_is_found_after_a_silence_even_if_it_was_the_last():
    server = Server()
    core = Responder(server)
    core.comes(0.0)
    fio = running(server, now=1.0)
    says(fio, core, now=1.0)
    core.heard(1.0)
    says(fio, now=2.0)
    assert core.next_deadline() == math.inf
    assert core.next_upkeep() == 1.0 + SILENCE
    core.work(1.0 + SILENCE)
    assert core.next_deadline() == 1.0 + SILENCE
    assert core.heard(1.0 + SILENCE) == [4]


def test_when_nothing_is_lost_a_look_is_all():
    core = in_a_silence()
    assert core.next_aside(1.0 + SILENCE) == core.next_aside(1.0 + SILENCE) == Look("fio-1")
    assert core.next_request(1.0 + SILENCE) is None
    assert core.next_upkeep() == -math.inf
    core.work(1.0 + SILENCE)
    assert core.next_deadline() == math.inf
    assert core.next_upkeep() == 1.0 + 3 * SILENCE


def test_a_newest_entry_that_is_no_signal_is_told_by_whoever_reads_it_only():
    core = in_a_silence()
    look = core.next_aside(1.0 + SILENCE)
    assert look is not None
    core.reply_received(look, Looked("fio-1", b"nonsense"), 1.0 + SILENCE)
    assert events(core) == []
    assert core.next_deadline() == 1.0 + SILENCE


def test_whoever_leaves_looks_no_longer():
    core = in_a_silence()
    core.leave(now=1.0, sent=1.0)
    assert core.next_aside(1.0 + SILENCE) is None
    assert core.next_upkeep() == math.inf


def test_a_look_that_is_refused_for_now_is_made_later():
    core = in_a_silence()
    core.server.refuses = {Look: ("LOADING", "LOADING the dataset")}
    core.work(1.0 + SILENCE)
    assert core.next_aside(1.0 + SILENCE) is None
    assert core.next_upkeep() == 1.0 + 3 * SILENCE


@pytest.mark.parametrize("is_refused", [False, True])
def test_whoever_is_not_followed_any_more_is_looked_at_no_longer(is_refused):
    core = in_a_silence()
    look = core.next_aside(1.0 + SILENCE)
    assert isinstance(look, Look)
    core.lock_id("another")
    if is_refused:
        core.request_refused(look, "LOADING", "LOADING the dataset", 1.0 + SILENCE)
    else:
        core.reply_received(look, core.server.carry_out(look), 1.0 + SILENCE)
    assert (core.next_deadline(), core.next_upkeep()) == (math.inf, math.inf)
    core.unlock()


def test_signals_that_the_journal_has_lost_are_told_and_counted():
    server = Server()
    core = Responder(server)
    core.comes(0.0)
    fio = running(server, now=1.0)
    says(fio, core)
    core.heard(1.0)
    for _ in range(4):
        says(fio)
    server.trim_journal(2)
    core.subscribed(2.0)
    core.query(2.0)
    told = events(core)
    assert told[0] == SignalsMissed("fio-1", 2)
    assert [event.signal.seq for event in told[1:]] == [6, 7]
    assert core.counters == {"missed": 2}


def test_whatever_else_is_in_the_journal_is_refused_and_the_rest_is_handed_out():
    server = Server()
    core = Responder(server)
    core.comes(0.0)
    running(server, now=1.0)
    server.write(signal(3, "stop", reply="elsewhere"), signal(4, publisher_id="fio-2"), signal(5))
    core.subscribed(2.0)
    assert core.heard(2.0) == [1, 2, 5]
    assert core.counters == {"foreign-reply": 1, "missed": 2}


# A server that has lost its data


def test_an_exporter_that_nobody_knows_is_waited_for_since_it_may_put_its_journal_back():
    server = Server()
    fio = running(server)
    core = Responder(server)
    core.comes(1.0)
    core.heard(1.0)
    other = Responder(server)
    server.loses_everything()
    other.comes(2.0)
    other.message_received(signal(2, id=identifier(2), again=True), 2.0)
    assert other.heard(2.0) == []
    assert other.next_deadline() == pytest.approx(2.25)
    fio.reconnects(3.0)
    hears(fio, core, other, now=3.0)
    assert other.heard(3.0) == [1, 2]
    assert core.heard(3.0) == []


def test_an_exporter_that_nobody_knows_is_not_waited_for_without_end():
    core = Responder(Server())
    core.comes(0.0)
    core.message_received(signal(7), 1.0)
    now, got = 1.0, core.heard(1.0)
    while not got and now < 60.0:
        now = core.next_deadline()
        got = core.heard(now)
    assert got == [7]
    assert 1.0 + PATIENCE <= now <= 2.0 + PATIENCE


def test_an_exporter_that_began_again_with_a_new_journal_is_heard_from_its_beginning():
    server = Server()
    core = Responder(server)
    core.comes(0.0)
    fio = running(server, now=1.0)
    says(fio, core, now=2.0)
    assert core.heard(2.0) == [1, 2, 3]
    server.loses_everything()
    again = running(server, first=51, now=10.0)
    says(again, core, now=11.0)
    assert core.heard(11.0) == [1, 2, 3]
    assert [json.loads(data)["metadata"]["_state_signals"]["id"] for data in server.journal()] == [
        identifier(number) for number in (51, 52, 53)
    ]


def test_a_late_copy_of_an_old_signal_is_no_new_beginning():
    server = Server()
    core = Responder(server, limits=Limits(max_remembered=2))
    core.comes(0.0)
    fio = running(server, now=1.0)
    for _ in range(4):
        says(fio, core, now=2.0)
    core.heard(2.0)
    core.message_received(server.journal()[1], 3.0)
    assert core.heard(3.0) == []
    assert core.counters == {"repeated": 1}


# Locks


def test_who_is_locked_to_an_exporter_asks_of_no_other():
    server = Server()
    running(server, "fio-1")
    running(server, "fio-2", first=50)
    core = Responder(server)
    core.lock_id("fio-2")
    core.subscribed(1.0)
    asked = core.query(1.0)
    assert {request.publisher_id for request in asked if isinstance(request, Introduce | CatchUp)} == {"fio-2"}
    assert [event.signal.publisher_id for event in events(core)] == ["fio-2"]


def test_who_is_locked_follows_the_others_no_longer():
    server = Server()
    core = Responder(server)
    core.comes(0.0)
    one, two = running(server, "fio-1", now=1.0), running(server, "fio-2", first=50, now=1.0)
    for each in (one, two):
        says(each, core, now=2.0)
    core.heard(2.0)
    core.lock_id("fio-2")
    says(one, core, now=3.0)
    assert core.next_aside(2.0 + SILENCE) == Look("fio-2")
    assert core.query(2.0 + SILENCE) == []


def test_who_is_unlocked_hears_of_who_is_there_as_if_it_had_just_come():
    server = Server()
    one, two = running(server, "fio-1"), running(server, "fio-2", first=50)
    core = Responder(server)
    core.lock_id("fio-2")
    core.comes(1.0)
    assert core.heard(1.0) == [1]
    says(one, core)
    core.unlock()
    assert isinstance(core.next_query(1.0), Discover)
    assert core.heard(1.0) == [1]
    says(one, core)
    says(two, core)
    assert sorted(core.heard(1.0)) == [3, 4]
    core.unlock()
    assert core.next_query(1.0) is None


def test_a_lock_to_a_tag_filters_what_comes_from_the_journal_too():
    server = Server()
    core = Responder(server)
    core.comes(0.0)
    core.lock_tag("nightly")
    server.write(signal(1), signal(2, tag="other"), signal(3))
    for seq in (1, 4):
        core.message_received(signal(seq), 1.0)
    assert core.heard(1.0) == [1, 3, 4]
    assert core.counters == {"filtered": 1}


def test_what_was_waiting_to_be_handed_out_is_filtered_by_a_lock_too():
    core = Responder()
    core.comes(0.0)
    core.message_received(signal(2), 0.0)
    core.lock_id("fio-2")
    core.message_received(signal(1), 0.0)
    assert events(core) == []
    assert core.counters == {"filtered": 1}


def test_what_came_before_a_lock_is_filtered_by_it_too():
    core = Responder()
    core.comes(0.0)
    for seq, tag in ((1, "nightly"), (2, "other"), (3, "nightly")):
        core.message_received(signal(seq, tag=tag), 0.0)
    core.lock_tag("other")
    assert core.heard(0.0) == [2]
    assert core.counters == {"filtered": 2}


# Shutdown


def test_who_has_shut_down_is_followed_still_and_may_begin_again():
    server = Server()
    core = Responder(server)
    core.comes(0.0)
    fio = running(server, now=1.0)
    fio.shutdown(now=2.0, sent=2.0)
    hears(fio, core, now=2.0)
    assert core.heard(2.0) == [1, 2, 3]
    core.comes(3.0)
    fio.initialize(["start"], now=4.0, sent=4.0)
    fio.said(4.0)
    core.comes(5.0)
    assert core.heard(5.0) == [4]


def test_who_has_shut_down_and_is_gone_is_not_asked_after_an_outage():
    server = Server()
    core = Responder(server)
    core.comes(0.0)
    fio = running(server, now=1.0)
    fio.shutdown(now=2.0, sent=2.0)
    hears(fio, core, now=2.0)
    core.heard(2.0)
    server.carry_out(fio.release())
    core.subscribed(3.0)
    assert [type(request) for request in core.query(3.0)] == [Discover]


# Without a journal


def test_signals_without_a_journal_are_handed_out_as_they_come():
    core = Responder()
    core.comes(0.0)
    for seq in (3, 5, 4):
        core.message_received(signal(seq, journal=False), 0.0)
    assert core.heard(0.0) == [3, 5, 4]
    assert core.query(60.0) == []
    assert core.next_deadline() == float("inf")


def test_an_exporter_that_has_lost_its_journal_hands_out_what_was_held_back_first():
    core = Responder()
    core.comes(0.0)
    for seq in (1, 3):
        core.message_received(signal(seq), 0.0)
    core.message_received(signal(4, journal=False), 0.0)
    told = events(core)
    assert [event.signal.seq for event in told if isinstance(event, SignalReceived)] == [1, 3, 4]
    assert SignalsMissed("fio-1", 1) in told


def test_an_exporter_that_has_lost_its_journal_is_still_told_when_we_leave():
    core = Responder()
    core.comes(0.0)
    core.message_received(signal(1, "initialization"), 0.0)
    [event] = events(core)
    core.respond_to(event.signal, None, None, now=0.0, sent=0.0)
    core.work()
    core.message_received(signal(2, journal=False), 1.0)
    core.leave(now=1.0, sent=0.0)
    assert "left" in [json.loads(request.data).get("state") for request in core.work(1.0) if hasattr(request, "data")]


def test_an_exporter_that_comes_back_with_a_journal_is_heard_again():
    server = Server()
    core = Responder(server)
    core.comes(0.0)
    core.message_received(signal(9, journal=False), 0.0)
    assert core.heard(0.0) == [9]
    fio = running(server, now=1.0)
    says(fio, core, now=2.0)
    says(fio, core, now=2.0)
    assert core.heard(2.0)[-2:] == [3, 4]


@pytest.mark.parametrize("request_", [Discover, Introduce, CatchUp, Look])
def test_without_the_permission_to_read_broadcasts_are_taken_as_they_come_and_that_is_told_once(request_):
    server = Server()
    server.refuses = {request_: NOPERM}
    core = Responder(server)
    core.comes(0.0)
    fio = running(server, now=1.0)
    says(fio, core, now=2.0)
    says(fio, now=2.0)
    says(fio, core, now=2.0)
    core.query(2.0)
    core.comes(3.0)
    says(fio, core, now=3.0)
    core.query(3.0)
    core.work(30.0)
    core.query(30.0)
    told = every_event(core)
    [degraded] = [event for event in told if isinstance(event, Degraded)]
    assert (degraded.lost.partition(":")[0], degraded.why) == ("the journal", NOPERM[1])
    # What was missed was still to be read before the first look.
    got = [4, 5, 6] if request_ is Look else [3, 5, 6]
    assert [event.signal.seq for event in told if isinstance(event, SignalReceived)][-3:] == got
    assert (core.next_deadline(), core.next_upkeep()) == (math.inf, math.inf)


def test_what_is_refused_for_now_is_passed_over_and_asked_again_later():
    server = Server()
    core = Responder(server)
    core.comes(0.0)
    fio = running(server, now=1.0)
    says(fio, core, now=1.0)
    core.heard(1.0)
    says(fio, now=2.0)
    server.refuses = {CatchUp: ("LOADING", "LOADING Redis is loading the dataset in memory")}
    says(fio, core, now=2.0)
    core.query(2.0)
    told = every_event(core)
    assert told[0] == SignalsMissed("fio-1", 1)
    assert told[1].signal.seq == 5
    server.refuses = {}
    says(fio, now=3.0)
    says(fio, core, now=3.0)
    assert core.heard(3.0) == [6, 7]


def test_what_is_wrong_with_one_journal_is_no_reason_to_give_up_on_others():
    server = Server()
    core = Responder(server)
    core.comes(0.0)
    fio, evil = (running(server, name, first=first, now=1.0) for name, first in (("fio-1", 1), ("evil", 100)))
    for exporter in (fio, evil):
        says(exporter, core, now=1.0)
    core.heard(1.0)
    for exporter in (fio, evil):
        says(exporter, now=2.0)
    core.subscribed(3.0)
    refused = 0
    while (request := core.next_query(3.0)) is not None:
        if isinstance(request, CatchUp) and request.publisher_id == "evil":
            refused += 1
            core.request_refused(request, "WRONGTYPE", "WRONGTYPE Operation against a key", 3.0)
        else:
            core.reply_received(request, server.carry_out(request), 3.0)
    assert refused == 1
    told = every_event(core)
    assert [(event.signal.publisher_id, event.signal.seq) for event in told] == [("fio-1", 4)]
    # And so it goes on, with the one too.
    for exporter in (fio, evil):
        says(exporter, core, now=4.0)
    assert core.heard(4.0) == [4, 5, 5]


def test_who_cannot_be_asked_about_now_is_taken_as_it_comes():
    server = Server()
    fio = running(server)
    core = Responder(server)
    core.subscribed(1.0)
    core.request_refused(core.next_query(1.0), "LOADING", "LOADING the dataset", 1.0)  # type: ignore[arg-type]
    assert core.next_query(1.0) is None
    says(fio, core, now=2.0)
    request = core.next_query(2.0)
    assert isinstance(request, Introduce)
    core.request_refused(request, "WRONGTYPE", "WRONGTYPE Operation against a key", 2.0)
    assert core.heard(2.0) == [3]


def test_a_refusal_about_somebody_who_is_not_followed_changes_nothing():
    core = Responder()
    core.comes(0.0)
    core.request_refused(CatchUp("nobody", 0, 64), "WRONGTYPE", "WRONGTYPE Operation against a key", 1.0)
    assert every_event(core) == []


def test_who_begins_after_the_server_told_the_time_comes_after_us_however_long_subscribing_takes():
    server = Server()
    core = Responder(server, replay="none")
    core.clock_read(EPOCH + 1.0)
    fio = running(server, now=2.0)
    server.now = 3.0
    core.subscribed(3.0)
    core.clock_read(EPOCH + 9.0)
    core.query(3.0)
    assert core.heard(3.0) == [1, 2]
    says(fio, core, now=4.0)
    assert core.heard(4.0) == [3]


def test_a_page_that_does_not_come_in_time_is_asked_for_again_by_halves():
    server = Server()
    core = Responder(server)
    core.comes(0.0)
    fio = running(server, now=1.0)
    says(fio, core, now=1.0)
    core.heard(1.0)
    says(fio, now=2.0)
    core.subscribed(3.0)
    server.serve(core, lambda now: None if isinstance(found := core.next_query(now), CatchUp) else found, 3.0)
    sizes = []
    for _ in range(8):
        request = core.next_query(3.0)
        assert isinstance(request, CatchUp)
        sizes.append(request.count)
        core.connection_lost()
    assert sizes == [64, 32, 16, 8, 4, 2, 1, 1]
    assert core.heard(4.0) == [4]
    core.subscribed(5.0)
    server.serve(core, lambda now: None if isinstance(found := core.next_query(now), CatchUp) else found, 5.0)
    request = core.next_query(5.0)
    assert isinstance(request, CatchUp)
    assert request.count > 1


def test_looks_that_are_due_soon_come_with_the_one_that_is_due():
    server = Server()
    core = Responder(server)
    core.comes(0.0)
    for number in range(20):
        says(running(server, f"fio-{number}", now=1.0), core, now=1.0 + number / 10)
        core.heard(1.0 + number / 10)
    wakes, now = 0, 3.0
    while now < 63.0:
        now = core.next_upkeep()
        core.work(now)
        assert core.query(now) == []
        wakes += 1
    assert wakes <= 5


def test_entries_of_others_and_signals_that_are_too_large_hide_nothing_behind_them():
    server = Server()
    core = Responder(server, limits=Limits(max_payload=2000))
    core.comes(0.0)
    fio = running(server, now=1.0)
    says(fio, core, now=1.0)
    core.heard(1.0)
    for _ in range(100):
        fio.publish("start", metadata={"x": "x" * 3000}, timeout=None, wait=False, now=2.0, sent=2.0)
    fio.said(2.0)
    for number in range(200):
        server.keyspace.execute(Batch("k", (("XADD", KEYS.journal("fio-1"), f"103-{number + 1}", "x", "x"),)))
    says(fio, now=3.0)
    core.subscribed(4.0)
    assert core.heard(4.0) == [104]
    assert core.counters["missed"] == 100


# Bounds, and what anybody may write


def test_so_many_exporters_are_followed_and_those_that_were_silent_longest_are_forgotten_first():
    core = Responder(limits=Limits(max_remembered=3))
    core.comes(0.0)
    for number in range(5):
        core.message_received(signal(1, publisher_id=f"fio-{number}", id=identifier(number)), 0.0)
        if number == 3:
            core.message_received(signal(2, publisher_id="fio-1", id=identifier(50)), 0.0)
    assert list(core._following._feeds) == ["fio-3", "fio-1", "fio-4"]
    core.message_received(signal(1, publisher_id="fio-9", journal=False, id=identifier(60)), 0.0)
    assert list(core._following._feeds) == ["fio-1", "fio-4", "fio-9"]


def test_who_is_forgotten_is_not_asked_about_any_more():
    core = Responder(limits=Limits(max_remembered=3))
    core.comes(0.0)
    for number in range(50):
        core.message_received(signal(7, publisher_id=f"fio-{number}", id=identifier(number)), 0.0)
    asked = {request.publisher_id for request in core.query(0.0)}
    assert asked == {"fio-47", "fio-48", "fio-49"}


@pytest.mark.parametrize("info", [b"", b"\xff", b"[]", b"null", b'{"ttl": "x", "began": []}', b"[" * 100_000, b"7"])
def test_whatever_is_kept_of_an_exporter_harms_nobody(info):
    server = Server()
    running(server)
    server.set_record(info=info)
    core = Responder(server)
    core.comes(0.0)
    assert core.heard(1.0) in ([], [1])


@pytest.mark.parametrize(
    "init",
    [
        b"nonsense",
        signal(1, "initialization", publisher_id="fio-2"),
        signal(1, "initialization", reply="elsewhere"),
        encode_signal(Signal("fio-1", "fio", "initialization", "node1")),
    ],
    ids=["no signal", "of another exporter", "with a foreign reply", "of version 1"],
)
def test_an_initialization_that_is_none_is_not_handed_out(init):
    server = Server()
    fio = running(server)
    server.set_record(init=init)
    core = Responder(server)
    core.comes(1.0)
    assert core.heard(1.0) == []
    says(fio, core)
    assert core.heard(1.0) == [3]


def test_a_newest_signal_that_is_none_is_refused():
    server = Server()
    running(server)
    server.write(signal(3, reply="elsewhere"))
    core = Responder(server, replay="none")
    core.comes(1.0)
    assert {type(event) for event in every_event(core)} <= {MessageRefused, SignalReceived, SignalsMissed}


def test_a_reply_about_an_exporter_that_was_forgotten_meanwhile_is_dropped():
    server = Server()
    core = Responder(server)
    core.comes(0.0)
    running(server, now=1.0)
    core.subscribed(2.0)
    core.query(2.0)
    every_event(core)
    core.subscribed(3.0)
    request = CatchUp("fio-1", 0, 64)
    reply = server.carry_out(request)
    core.lock_id("fio-2")
    core.reply_received(request, reply, 3.0)
    assert every_event(core) == []


# Whatever happens

publishers = st.sampled_from(["fio-1", "fio-2", "fio-3", "fio-4"])
seqs = st.sampled_from([1, 2, 3, 4, 5, 6, 100, 2**63, 10**30])
said_by_anybody = st.builds(
    signal,
    seqs,
    st.sampled_from(["initialization", "start", "shutdown"]),
    publishers,
    id=st.integers(1, 30).map(identifier),
    sent=st.sampled_from([0.0, 1.0, 2.0, -1e300, 1e300]),
    wait=st.sampled_from([None, 0.0, 5.0, math.inf]),
    ttl=st.sampled_from([None, 0.0, 3.0, 1e300]),
    journal=st.sampled_from([True, True, True, False]),
    again=st.booleans(),
    redelivered=st.sampled_from([False, False, True]),
)
kept_by_anybody = st.binary(max_size=20) | said_by_anybody | st.sampled_from([b"{}", b'{"ttl": 15, "began": 1e12}'])
replies = {
    Discover: st.builds(Discovered, st.dictionaries(publishers, st.floats()), st.floats()),
    Introduce: st.builds(
        Introduced,
        publishers,
        st.dictionaries(st.sampled_from([b"info", b"init"]), kept_by_anybody),
        st.none() | kept_by_anybody,
    ),
    Look: st.builds(Looked, publishers, st.none() | kept_by_anybody),
    CatchUp: st.builds(CaughtUp, publishers, st.lists(kept_by_anybody, max_size=9).map(tuple)),
}


class AnybodySaysAnything(RuleBasedStateMachine):
    """A server that says what it likes, and peers that do so, too: nothing raises, and memory is bounded."""

    limits = Limits(max_remembered=3, max_ahead=1_500)

    def __init__(self) -> None:
        super().__init__()
        self.core = Responder(limits=self.limits, replay="all", presence_ttl=15.0)
        self.now = 0.0

    @rule(data=st.lists(said_by_anybody | st.binary(max_size=20), max_size=6))
    def signals_arrive(self, data):
        for each in data:
            self.core.message_received(each, self.now)

    @rule(data=st.data(), count=st.integers(1, 6))
    def the_server_replies(self, data, count):
        for _ in range(count):
            request = self.core.next_query(self.now)
            if request is not None:
                reply = data.draw(replies[type(request)])
                if isinstance(request, Introduce):
                    reply = replace(reply, publisher_id=request.publisher_id)
                self.core.reply_received(request, reply, self.now)

    @rule(is_for_now=st.booleans())
    def the_server_refuses(self, is_for_now):
        request = self.core.next_query(self.now)
        if request is not None:
            self.core.request_refused(request, *(("OOM", "OOM") if is_for_now else NOPERM), self.now)

    @rule()
    def the_connection_is_lost(self):
        self.core.connection_lost()
        self.core.subscribed(self.now)
        self.core.connection_restored(self.now)

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule()
    def the_user_acts(self):
        for event in every_event(self.core):
            if isinstance(event, SignalReceived):
                self.core.respond_to(event.signal, 1, None, now=self.now, sent=0.0)

    @rule(is_carried_out=st.booleans(), data=st.data())
    def answers_are_sent(self, is_carried_out, data):
        request, look = self.core.next_request(self.now), self.core.next_aside(self.now)
        if look is not None:
            self.core.reply_received(look, data.draw(replies[Look]), self.now)
        if request is not None and is_carried_out:
            self.core.reply_received(request, Done(), self.now)

    @rule(name=publishers)
    def the_user_locks_and_unlocks(self, name):
        self.core.lock_id(name)
        self.core.unlock()

    @invariant()
    def memory_is_bounded(self):
        most = self.limits.max_remembered
        following, answers = self.core._following, self.core._answers
        assert len(following._feeds) <= most
        assert len(following._to_introduce) <= 4
        assert len(self.core._hearing._received) <= most
        assert len(self.core._hearing._newest) <= most
        assert len(answers._given) <= most
        assert len(answers._queue) <= most
        for feed in following._feeds.values():
            held = sum(each.size for each in feed._ahead.values())
            assert feed._bytes_ahead == held <= self.limits.max_ahead


AnybodySaysAnything.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
TestAnybodySaysAnything = AnybodySaysAnything.TestCase
