"""A responder's answers reach their exporter, whatever happens to connections; and it shows that it lives."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from state_signals import InvalidArgument, Limits, MessageTooLarge, Signal
from state_signals.protocol.events import Degraded, SignalReceived
from state_signals.requests import Answer, Discover, Leave, OpenResponses, ShowPresence
from tests.protocol.stage import (
    KEYS,
    Exporter,
    Responder,
    Server,
    events,
    events_of,
    every_event,
    identifier,
    initialized,
    publish,
    result,
    signal,
)

NOPERM = ("NOPERM", "NOPERM this user has no permissions to access one of the keys")
LOADING = ("LOADING", "LOADING Redis is loading the dataset in memory")


def received(core: Responder, seq: int, now: float = 0.0, event: str = "start", **facts: Any) -> Signal:
    """Give it a signal that it takes; unless other facts are given, its exporter waits for ever."""
    core.message_received(signal(seq, event, **({"wait": math.inf} | facts)), now)
    [told] = events(core)
    taken: Signal = told.signal
    return taken


def answers_to(core: Responder, seq: int, now: float = 0.0, **facts: Any) -> None:
    core.respond_to(received(core, seq, now, **facts), 1, None, now=now, sent=100.0)


def subscribes(core: Responder, seq: int = 1, now: float = 0.0, **facts: Any) -> None:
    taken = received(core, seq, now, event="initialization", **({"wait": None} | facts))
    core.respond_to(taken, None, None, now=now, sent=100.0)


def said(core: Responder, now: float = 0.0) -> list[tuple[int, bool]]:
    """What it answers: by which position, and whether again."""
    answers = [json.loads(request.data) for request in core.work(now) if isinstance(request, Answer)]
    return [(int(answer["signal_id"], 16), answer.get("again", False)) for answer in answers]


def loses_reply(core: Responder, now: float = 0.0) -> Any:
    """Have the next answer carried out, or not: the connection is lost, and nobody knows."""
    request = core.next_request(now)
    core.connection_lost()
    return request


# Once, and again where nobody knows


def test_an_answer_is_sent_until_the_server_has_it():
    core = Responder()
    answers_to(core, 1)
    first = core.next_request(0.0)
    assert isinstance(first, Answer)
    assert core.next_request(0.0) == first
    assert core.next_upkeep() == -math.inf
    assert said(core) == [(1, False)]
    assert core.work() == []
    assert core.due == math.inf


def test_an_answer_of_which_nobody_knows_whether_it_arrived_is_sent_again_and_says_so():
    core = Responder()
    answers_to(core, 1)
    answers_to(core, 2)
    loses_reply(core)
    core.connection_restored(0.0)
    assert said(core) == [(1, True), (2, False)]


def test_an_answer_that_was_never_tried_is_not_called_repeated():
    core = Responder()
    answers_to(core, 1)
    core.connection_lost()
    core.connection_restored(0.0)
    assert said(core) == [(1, False)]


def test_a_version_1_answer_of_which_nobody_knows_is_sent_again_as_it_is():
    core = Responder()
    core.respond("fio-1", "start", 1, None, now=0.0, sent=0.0)
    first = loses_reply(core)
    assert core.work() == [first]


def test_an_exporter_counts_an_answer_that_came_twice_once():
    server = Server()
    fio, core = Exporter(server), Responder(server)
    fio.initialize(["start"], now=0.0, sent=0.0)
    fio.subs = {"a", "b"}
    signal_id = publish(fio, timeout=None)
    core.message_received(fio.said()[1], 0.0)
    core.query()
    *_, told = events_of(core, SignalReceived)
    core.respond_to(told.signal, 1, None, now=0.0, sent=0.0)
    first = loses_reply(core)
    [second] = core.work()
    for request in (first, second):
        fio.message_received(request.data, 1.0)
    assert fio.counters == {"repeated": 1}
    assert told.signal.id == signal_id


@pytest.mark.parametrize("is_over", [True, False])
def test_a_repeated_answer_is_not_called_late_nor_unknown(is_over):
    fio = initialized("a", limits=Limits(max_remembered=1))
    publish(fio, timeout=1)
    if is_over:
        fio.handle_timeout(1.0, 0.0)
    every_event(fio)
    for signal_id in (identifier(2), "f" * 32):
        message = {"responder_id": "b", "publisher_id": "fio-1", "event": "start", "ras": 1, "again": True}
        fio.message_received(json.dumps(message | {"signal_id": signal_id}), 2.0)
    assert [event for event in events(fio) if not hasattr(event, "result") and not hasattr(event, "report")] == []


def test_a_signal_that_comes_again_is_answered_from_memory_and_not_acted_on_twice():
    core = Responder()
    answers_to(core, 1)
    assert said(core) == [(1, False)]
    core.message_received(signal(1, wait=math.inf, again=True), 5.0)
    assert events(core) == []
    assert core.counters == {"repeated": 1}
    assert said(core, 5.0) == [(1, True)]


def test_a_signal_that_comes_again_before_it_was_answered_is_answered_once():
    core = Responder()
    taken = received(core, 1)
    core.message_received(signal(1, wait=math.inf, again=True), 1.0)
    assert said(core, 1.0) == []
    core.respond_to(taken, 1, None, now=2.0, sent=0.0)
    core.message_received(signal(1, wait=math.inf, again=True), 3.0)
    assert said(core, 3.0) == [(1, False)]


def test_however_often_a_signal_comes_again_its_answer_waits_once():
    core = Responder()
    answers_to(core, 1)
    said(core)
    for _ in range(5):
        core.message_received(signal(1, wait=math.inf, again=True), 1.0)
    assert said(core, 1.0) == [(1, True)]


def test_a_signal_that_nobody_waits_for_is_not_answered_again():
    core = Responder()
    answers_to(core, 1, wait=None)
    said(core)
    core.message_received(signal(1, wait=None, again=True), 1.0)
    assert said(core, 1.0) == []


def test_an_initialization_that_comes_again_is_answered_again():
    core = Responder()
    subscribes(core)
    said(core)
    core.message_received(signal(1, "initialization", again=True), 1.0)
    assert said(core, 1.0) == [(1, True)]


def test_a_signal_that_is_redelivered_to_somebody_who_has_answered_it_is_answered_again():
    core = Responder()
    answers_to(core, 1)
    said(core)
    core.message_received(signal(1, wait=math.inf, redelivered=True), 1.0)
    assert events(core) == []
    assert said(core, 1.0) == [(1, True)]


def test_a_signal_that_is_redelivered_to_somebody_new_is_acted_on_and_says_so():
    core = Responder()
    core.message_received(signal(7, redelivered=True), 1.0)
    [told] = events(core)
    assert told.signal.redelivered
    core.respond_to(told.signal, 1, None, now=2.0, sent=0.0)
    assert said(core, 2.0) == [(7, False)]
    core.message_received(signal(7), 3.0)
    assert events(core) == []


# After an outage


def test_after_an_outage_what_somebody_may_still_wait_for_is_sent_again():
    core = Responder()
    subscribes(core)
    answers_to(core, 2, wait=math.inf)
    answers_to(core, 3, wait=20.0)
    answers_to(core, 4, wait=5.0)
    answers_to(core, 5, wait=None)
    said(core)
    core.connection_lost()
    core.connection_restored(10.0)
    assert said(core, 10.0) == [(1, True), (2, True), (3, True)]
    core.subscribed(10.0)
    assert said(core, 10.0) == [(1, True), (2, True), (3, True)]


def test_what_is_under_way_anyway_is_not_sent_twice_after_an_outage():
    core = Responder()
    subscribes(core)
    answers_to(core, 2)
    core.connection_lost()
    core.connection_restored(1.0)
    core.subscribed(1.0)
    assert said(core, 1.0) == [(1, False), (2, False)]


def test_so_many_answers_are_sent_again_and_no_more():
    core = Responder()
    for seq in range(1, 200):
        answers_to(core, seq)
    said(core)
    core.connection_restored(1.0)
    assert said(core, 1.0) == [(seq, True) for seq in range(136, 200)]


def test_an_answer_that_is_new_goes_before_those_that_are_only_repeated():
    core = Responder()
    for seq in range(1, 6):
        answers_to(core, seq)
    said(core)
    core.connection_restored(1.0)
    assert core.next_request(1.0) is not None
    answers_to(core, 6, now=1.0)
    assert [seq for seq, _ in said(core, 1.0)] == [1, 6, 2, 3, 4, 5]


def test_to_exporters_that_have_shut_down_no_subscription_is_sent_again():
    core = Responder()
    subscribes(core)
    said(core)
    received(core, 2, event="shutdown")
    core.connection_restored(1.0)
    assert said(core, 1.0) == []


# Bounds


def test_answers_that_are_remembered_are_bounded():
    core = Responder(limits=Limits(max_remembered=3))
    for seq in range(1, 10):
        answers_to(core, seq)
    said(core)
    assert len(core._answers._given) == 3
    core.connection_restored(1.0)
    assert said(core, 1.0) == [(7, True), (8, True), (9, True)]


def test_answers_that_wait_for_a_connection_are_bounded_and_the_one_under_way_stays():
    core = Responder(limits=Limits(max_remembered=3))
    taken = received(core, 1)
    core.respond_to(taken, None, "begun", state="working", now=0.0, sent=0.0)
    first = core.next_request(0.0)
    for number in range(10):
        core.respond_to(taken, None, str(number), state="working", now=0.0, sent=0.0)
    assert core.next_request(0.0) == first
    assert [json.loads(request.data)["message"] for request in core.work()] == ["begun", "8", "9"]
    for number in range(10):
        core.respond_to(taken, None, str(number), state="working", now=0.0, sent=0.0)
    assert len(core.work()) == 3


def test_an_answer_that_can_be_sent_can_also_be_sent_again():
    limits = Limits(max_payload=300)
    core = Responder(limits=limits)
    taken = received(core, 1, reply=None)
    size = 300
    while core.next_request(0.0) is None:
        try:
            core.respond_to(taken, 1, "x" * size, now=0.0, sent=100.0)
        except MessageTooLarge:
            size -= 1
    loses_reply(core)
    [request] = core.work()
    assert len(request.data) == 300


def test_an_answer_that_cannot_be_sent_is_not_remembered():
    core = Responder()
    taken = received(core, 1)
    core.responder_id = "\ud800"
    with pytest.raises(InvalidArgument):
        core.respond_to(taken, 1, None, now=0.0, sent=0.0)
    core.responder_id = "a"
    core.connection_restored(1.0)
    assert core.work(1.0) == []


# Where they go


def test_an_answer_arrives_in_the_stream_of_its_exporter():
    server = Server()
    server.carry_out(OpenResponses("fio-1"))
    core = Responder(server)
    answers_to(core, 1)
    assert core.work() == [Answer(core_data(core), KEYS.reply("fio-1"))]
    assert server.responses == []


def core_data(core: Responder) -> bytes:
    """The answer that was given, as it was sent."""
    [given] = core._answers._given.values()
    return core._answers._encoded(given.response, given.receipt)


def test_a_server_that_refuses_an_answer_is_asked_once_and_its_reason_told_once():
    core = Responder()
    core.server.refuses = {Answer: NOPERM}
    answers_to(core, 1)
    assert len(core.work()) == 1
    assert core.refusals() == [NOPERM[1]]
    assert core.refusals() == []
    for seq in range(2, 50):
        answers_to(core, seq)
    core.work()
    assert len(core.refusals()) == 10


# Working


def test_a_report_of_progress_is_no_answer_and_is_not_repeated():
    core = Responder()
    taken = received(core, 1)
    core.respond_to(taken, None, "half of it", state="working", now=1.0, sent=0.0)
    [request] = core.work(1.0)
    report = json.loads(request.data)
    assert (report["state"], report["message"], report["signal_id"]) == ("working", "half of it", identifier(1))
    assert "ras" not in report
    core.connection_restored(2.0)
    core.message_received(signal(1, wait=math.inf, again=True), 2.0)
    assert core.work(2.0) == []


def test_a_version_1_exporter_is_told_nothing_of_progress():
    core = Responder()
    core.message_received(json.dumps(Signal("fio-1", "fio", "start", "node1").to_v1()), 0.0)
    [told] = events(core)
    core.respond_to(told.signal, None, None, state="working", now=0.0, sent=0.0)
    assert core.work() == []


# Proofs of life


def test_nobody_is_told_that_we_live_before_somebody_waits_for_us():
    core = Responder(presence_ttl=15.0)
    received(core, 1)
    assert core.work() == []
    assert core.due == math.inf


def test_from_the_first_answer_on_it_is_shown_that_we_live_three_times_as_often_as_needed():
    core = Responder(presence_ttl=15.0)
    subscribes(core)
    first, second = core.work()
    assert first == ShowPresence(("a",))
    assert json.loads(second.data)["ttl"] == 15.0
    assert core.due == 5.0
    assert core.work(4.9) == []
    assert core.work(5.0) == [ShowPresence(("a",))]


def test_an_exporter_that_wants_proofs_of_life_more_often_gets_them():
    core = Responder(presence_ttl=15.0)
    subscribes(core, ttl=3.0)
    core.work()
    assert core.due == 1.0
    received(core, 2, event="shutdown", ttl=3.0)
    core.work(1.0)
    assert core.due == 6.0


def test_an_exporter_that_goes_on_after_its_shutdown_gets_proofs_of_life_as_before():
    core = Responder(presence_ttl=15.0)
    core.comes(0.0)
    answers_to(core, 1, ttl=3.0, journal=False)
    core.work()
    received(core, 2, event="shutdown", ttl=3.0, journal=False)
    core.work(1.0)
    assert core.due == 6.0
    # The broadcast of its new initialization has been lost.
    answers_to(core, 4, ttl=3.0, journal=False, now=2.0)
    assert ShowPresence(("a",)) in core.work(2.0)
    assert core.due == 3.0


def test_a_shutdown_counts_though_the_clock_of_who_says_so_is_behind():
    core = Responder(presence_ttl=15.0)
    subscribes(core, ttl=3.0)
    core.work()
    received(core, 2, event="shutdown", ttl=3.0, sent=-999.0)
    core.work(1.0)
    assert core.due == 6.0


def test_a_shutdown_that_is_read_after_the_initialization_of_the_next_run_ends_nothing():
    core = Responder(presence_ttl=15.0)
    subscribes(core, ttl=3.0)
    core.work()
    answers_to(core, 3, ttl=3.0, redelivered=True)
    core.work()
    received(core, 2, event="shutdown", ttl=3.0)
    core.work(1.0)
    assert core.due == 2.0


def test_who_gives_no_proofs_of_life_gives_none_to_an_exporter_that_goes_on_either():
    core = Responder(presence_ttl=None)
    core.comes(0.0)
    answers_to(core, 1, ttl=3.0, journal=False)
    received(core, 2, event="shutdown", ttl=3.0, journal=False)
    answers_to(core, 4, ttl=3.0, journal=False, now=2.0)
    assert not any(isinstance(request, ShowPresence) for request in core.work(2.0))
    assert core.due == math.inf


def test_a_shutdown_that_is_overtaken_by_what_comes_after_it_ends_nothing():
    core = Responder(presence_ttl=15.0)
    core.comes(0.0)
    answers_to(core, 3, ttl=3.0, journal=False)
    core.work()
    received(core, 2, event="shutdown", ttl=3.0, journal=False)
    core.work(1.0)
    assert core.due == 2.0


def test_who_comes_to_know_us_later_need_not_wait_for_a_proof_of_life():
    core = Responder(presence_ttl=15.0)
    subscribes(core)
    core.work()
    core.message_received(signal(1, "initialization", publisher_id="fio-2", id=identifier(9)), 1.0)
    [told] = events(core)
    core.respond_to(told.signal, None, None, now=1.0, sent=0.0)
    assert isinstance(core.work(1.0)[0], ShowPresence)


def test_an_answer_does_not_wait_for_a_proof_of_life_but_the_first():
    core = Responder(presence_ttl=15.0)
    subscribes(core)
    assert [type(request) for request in core.work(is_urgent=True)] == [ShowPresence, Answer]
    answers_to(core, 2, now=60.0)
    assert [type(request) for request in core.work(60.0, is_urgent=True)] == [Answer]
    assert [type(request) for request in core.work(60.0)] == [ShowPresence]


def test_after_an_outage_it_is_shown_at_once_that_we_live():
    core = Responder(presence_ttl=15.0)
    subscribes(core)
    core.work()
    core.connection_lost()
    core.connection_restored(2.0)
    assert ShowPresence(("a",)) in core.work(2.0)


def test_without_presence_no_proof_of_life_is_given_nor_promised():
    core = Responder()
    subscribes(core)
    [request] = core.work()
    assert "ttl" not in json.loads(request.data)


def test_without_the_permission_no_proof_of_life_is_promised_any_more_and_that_is_told_once():
    core = Responder(presence_ttl=15.0)
    core.server.refuses = {ShowPresence: NOPERM}
    subscribes(core)
    _, request = core.work()
    assert "ttl" not in json.loads(request.data)
    [degraded] = events(core)
    assert isinstance(degraded, Degraded)
    assert (degraded.lost.partition(":")[0], degraded.why) == ("presence", NOPERM[1])
    answers_to(core, 2)
    assert [type(request) for request in core.work()] == [Answer]
    assert core.due == math.inf


def test_a_proof_of_life_that_is_refused_for_now_is_given_later():
    core = Responder(presence_ttl=15.0)
    core.server.refuses = {ShowPresence: LOADING}
    subscribes(core)
    core.work()
    assert events(core) == []
    core.server.refuses = {}
    assert core.work(5.0) == [ShowPresence(("a",))]


# Leaving


def test_who_leaves_says_good_bye_to_those_it_has_subscribed_to_and_takes_back_its_proof_of_life():
    core = Responder(presence_ttl=15.0)
    subscribes(core)
    core.work()
    core.leave(now=1.0, sent=0.0)
    assert core.next_upkeep() == -math.inf
    good_bye, last = core.work(1.0)
    answer = json.loads(good_bye.data)
    assert (answer["state"], answer["event"], answer["signal_id"]) == ("left", "initialization", identifier(1))
    assert last == Leave(("a",))
    assert core.work(60.0) == []
    assert core.due == math.inf


def test_the_good_bye_is_the_last_word():
    core = Responder()
    subscribes(core)
    answers_to(core, 2)
    core.work()
    core.connection_restored(1.0)
    core.leave(now=1.0, sent=0.0)
    states = [json.loads(request.data).get("state") for request in core.work(1.0)]
    assert states == [None, None, "left"]


def test_who_has_answered_nobody_leaves_without_a_word():
    core = Responder(presence_ttl=15.0)
    received(core, 1, event="initialization")
    core.leave(now=1.0, sent=0.0)
    assert core.work(1.0) == []


def test_an_exporter_that_has_shut_down_needs_no_good_bye():
    core = Responder()
    subscribes(core)
    core.work()
    received(core, 2, event="shutdown")
    core.leave(now=1.0, sent=0.0)
    assert core.work(1.0) == []


def test_an_initialization_that_is_answered_after_its_exporter_has_shut_down_is_no_subscription():
    core = Responder()
    taken = received(core, 1, event="initialization")
    received(core, 2, event="shutdown")
    core.respond_to(taken, None, None, now=1.0, sent=0.0)
    core.work()
    core.leave(now=1.0, sent=0.0)
    assert core.work(1.0) == []


def test_an_initialization_of_an_exporter_that_is_not_followed_any_more_is_answered_without_a_good_bye():
    core = Responder()
    taken = received(core, 1, event="initialization")
    core.lock_id("fio-2")
    core.respond_to(taken, None, None, now=1.0, sent=0.0)
    assert len(core.work()) == 1
    core.leave(now=1.0, sent=0.0)
    assert core.work(1.0) == []


def test_a_server_that_does_not_let_us_take_our_proof_of_life_back_is_asked_once():
    core = Responder(presence_ttl=15.0)
    subscribes(core)
    core.work()
    core.server.refuses = {Leave: NOPERM}
    core.leave(now=1.0, sent=0.0)
    assert [type(request) for request in core.work(1.0)] == [Answer, Leave]
    assert core.work(2.0) == []


# Both sides together


def test_an_exporter_whose_server_came_back_empty_gets_all_its_answers_and_nobody_acts_twice():
    server = Server()
    fio, core = Exporter(server), Responder(server)
    core.comes(0.0)
    fio.initialize(["start"], now=0.0, sent=0.0)
    [announcement] = fio.said()
    core.message_received(announcement, 0.0)
    [told] = events_of(core, SignalReceived)
    core.respond_to(told.signal, None, None, now=0.0, sent=0.0)
    for request in core.work():
        fio.message_received(request.data, 0.0)
    publish(fio, timeout=None)
    core.message_received(fio.said()[-1], 0.0)
    [told] = events_of(core, SignalReceived)
    core.respond_to(told.signal, 1, None, now=0.0, sent=0.0)
    core.work()
    # The answer was in a stream that is gone now.
    server.loses_everything()
    fio.reconnects(1.0)
    fio.responses_lost()
    for data in fio.said(1.0):
        core.message_received(data, 1.0)
    assert events(core) == []
    for request in core.work(1.0):
        fio.message_received(request.data, 1.0)
    assert result(fio).ok
    core.connection_restored(2.0)
    core.subscribed(2.0)
    assert isinstance(core.next_query(2.0), Discover)
    assert core.heard(2.0) == []


# Proofs of life


def test_proofs_of_life_come_as_often_as_the_most_impatient_exporter_that_was_answered_wants():
    core = Responder(presence_ttl=15.0)
    core.comes(0.0)
    for number, (publisher_id, ttl) in enumerate((("slow", 9.0), ("fast", 3.0), ("unanswered", 0.3)), 1):
        core.message_received(signal(1, publisher_id=publisher_id, id=identifier(number), ttl=ttl, journal=False), 1.0)
    told = [event.signal for event in events(core)]
    core.respond_to(told[0], 1, None, now=1.0, sent=1.0)
    core.work(1.0)
    assert core.due == 4.0
    # Whoever wants more often gets one at once.
    core.respond_to(told[1], 1, None, now=2.0, sent=2.0)
    assert ShowPresence(("a",)) in core.work(2.0)
    assert core.due == 3.0


@pytest.mark.parametrize("ttl", [0.0, 1e-9])
def test_nobody_can_make_proofs_of_life_come_without_end(ttl):
    core = Responder(presence_ttl=15.0)
    core.comes(0.0)
    core.message_received(signal(1, ttl=ttl, journal=False), 1.0)
    core.respond_to(events(core)[0].signal, 1, None, now=1.0, sent=1.0)
    core.work(1.0)
    assert core.due > 1.03


def test_what_is_no_longer_under_way_is_not_taken_for_sent():
    core = Responder()
    core.comes(0.0)
    core.respond_to(received(core, 1), 1, None, now=0.0, sent=0.0)
    core._answers.sent()
    assert Answer in [type(request) for request in core.work()]
