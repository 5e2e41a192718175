"""An exporter that goes on where another process has ended."""

from __future__ import annotations

import json

import pytest

from state_signals import IllegalEvent
from state_signals.codec import decode_signal
from state_signals.protocol.events import CaughtUp, ClaimHeld, Restored
from state_signals.protocol.registration import Member
from state_signals.protocol.states import ExporterState
from state_signals.requests import Restore
from tests.protocol.stage import (
    KEYS,
    Exporter,
    Server,
    answer,
    envelopes,
    events_of,
    every_event,
    identifier,
    publish,
    result,
    subscribe,
)


def crashed(server: Server, **options) -> None:
    """An exporter with a roster, that dies in the middle of a round."""
    core = Exporter(server, owner=b"them", presence_ttl=3.0, **options)
    core.initialize(["start", "stop"], tag="nightly", expected=["c"], now=0.0, sent=0.0)
    core.process_name = "fio"
    subscribe(core, "a", identifier(1), ttl=3.0)
    subscribe(core, "b")
    core.responses_read(b"7-0")
    publish(core)


def resuming(server: Server, **options) -> Exporter:
    """Its successor."""
    numbers = iter(range(101, 999))
    successor = Exporter(
        server, resumes=True, fate=lambda _: False, new_id=lambda: identifier(next(numbers)), **options
    )
    successor.process_name = successor.runner_host = "unknown"
    successor.claim()
    successor.work(1.0)
    return successor


def test_roster_legal_events_tag_and_position_come_back():
    server = Server()
    crashed(server)
    core = resuming(server)
    assert every_event(core) == [ClaimHeld(found=True)]
    assert core.state is ExporterState.INITIALIZED
    assert core.subs == {"a", "b", "c"}
    assert core.absent == {"c"}
    assert (core.legal_events, core.tag) == (["start", "stop"], "nightly")
    assert (core.process_name, core.runner_host) == ("fio", "node1")
    assert core.position == b"7-0"
    with pytest.raises(IllegalEvent):
        publish(core, "pause")


def test_numbers_go_on_without_a_gap():
    server = Server()
    crashed(server)
    core = resuming(server)
    publish(core, "stop", now=1.0)
    assert [each["seq"] for each in envelopes(core, 1.0)] == [3]
    assert [decode_signal(data).seq for data in server.journal()] == [1, 2, 3]


def test_who_has_subscribed_before_takes_part_in_new_rounds():
    server = Server()
    crashed(server)
    core = resuming(server)
    core.subs.discard("c")
    signal_id = publish(core, now=1.0)
    answer(core, "a", signal_id)
    answer(core, "b", None)
    assert result(core).ok


def test_who_spoke_version_2_before_is_known_to_and_who_spoke_version_1_not():
    server = Server()
    crashed(server)
    core = resuming(server)
    publish(core, now=1.0)
    answer(core, "a", None, now=1.0)
    answer(core, "b", None, now=1.0)
    assert core.counters == {"no-signal-id": 1}


def test_who_answers_the_initialization_of_the_one_that_crashed_subscribes():
    server = Server()
    crashed(server)
    core = resuming(server)
    subscribe(core, "late", identifier(1))
    assert "late" in core.subs


def test_answers_to_what_the_one_that_crashed_has_published_are_answers_to_no_signal_of_ours():
    server = Server()
    crashed(server)
    core = resuming(server)
    answer(core, "a", identifier(2))
    assert core.counters == {"unknown-signal": 1}


def test_it_began_when_the_one_that_crashed_began():
    server = Server()
    crashed(server)
    server.now = 100.0
    core = resuming(server)
    core.initialize(["start"], now=100.0, sent=0.0)
    core.work(100.0)
    assert json.loads(server.record()[b"info"])["began"] == 1_700_000_000.0


def test_a_server_that_loses_its_data_gets_back_what_the_one_that_crashed_has_left():
    server = Server()
    crashed(server)
    before = server.record(), server.roster()
    core = resuming(server)
    signal_id = publish(core, now=1.0, timeout=None)
    core.said(1.0)
    server.loses_everything()
    core.reconnects(2.0)
    core.work(2.0)
    info = json.loads(server.record()[b"info"])
    assert info | {"ttl": 3.0} == json.loads(before[0][b"info"])
    assert set(server.roster()) == set(before[1])
    assert [each["id"] for each in envelopes(core, 2.0)] == [identifier(1), signal_id]
    assert events_of(core, Restored) == [Restored(signals=1, responders=3)]


def test_an_exporter_that_had_shut_down_is_resumed_without_a_roster():
    server = Server()
    first = Exporter(server, owner=b"them")
    first.initialize(["start"], now=0.0, sent=0.0)
    subscribe(first, "a", identifier(1))
    first.shutdown(now=0.0, sent=0.0)
    first.work()
    core = resuming(server)
    assert every_event(core) == [ClaimHeld(found=True)]
    assert (core.state, core.subs, core.legal_events) == (ExporterState.CREATED, set(), None)
    assert (core.process_name, core.position) == ("fio", b"0-0")
    publish(core, now=1.0)
    assert [each["seq"] for each in envelopes(core, 1.0)] == [3]


def test_where_nothing_was_left_nothing_is_found():
    core = resuming(Server())
    assert every_event(core) == [ClaimHeld(found=False)]
    assert core.state is ExporterState.CREATED


def test_whoever_does_not_resume_takes_over_the_numbers_and_nothing_else():
    server = Server()
    crashed(server)
    core = Exporter(server, fate=lambda _: False)
    core.claim()
    core.work(1.0)
    assert every_event(core) == [ClaimHeld(found=True)]
    assert (core.state, core.subs) == (ExporterState.CREATED, set())
    publish(core, now=1.0)
    assert [each["seq"] for each in envelopes(core, 1.0)] == [3]


def test_a_record_that_is_none_is_not_resumed():
    server = Server()
    crashed(server)
    server.set_record(info=b"{}")
    core = resuming(server)
    assert every_event(core) == [ClaimHeld(found=True)]
    assert core.state is ExporterState.CREATED


def test_a_roster_that_somebody_else_has_written_harms_nobody():
    server = Server()
    crashed(server)
    server.set_roster(x=b"[", y=b'{"v": 2, "ttl": 1' + b"0" * 400 + b"}", z=Member(ttl=3.0).encode())
    server.set_record(init=b"nonsense")
    core = resuming(server, presence_ttl=3.0)
    assert {"x", "y", "z"} <= core.subs
    server.loses_everything()
    core.reconnects(2.0)
    core.responses_lost()
    assert any(isinstance(request, Restore) for request in core.work(2.0))


def test_without_the_initialization_in_the_record_only_its_answers_are_unknown():
    server = Server()
    crashed(server)
    info = json.loads(server.record()[b"info"])
    server.set_record(info=json.dumps(info | {"announcement": None}).encode())
    core = resuming(server)
    assert core.state is ExporterState.INITIALIZED
    assert core.subs == {"a", "b", "c"}
    subscribe(core, "late", identifier(1))
    assert core.counters == {"unknown-signal": 1}


def test_of_whom_the_one_that_crashed_expected_proofs_of_life_they_are_expected_again():
    server = Server()
    crashed(server)
    server.alive("a")
    core = resuming(server, presence_ttl=3.0)
    core.subs = {"a", "b"}
    publish(core, now=1.0)
    answer(core, "b", None, now=1.0)
    now = 1.0
    while not (ended := [each for each in every_event(core) if hasattr(each, "result")]):
        now += 1.0
        assert now < 10.0
        core.work(now)
    assert list(ended[0].result.lost) == ["a"]
    assert 3.0 < now < 6.0


# What was said before


def say(server: Server, responder_id: str, signal_id: str) -> bytes:
    """Have a responder answer an initialization while nobody reads. Return where that lies."""
    message = {"responder_id": responder_id, "publisher_id": "fio-1", "event": "initialization", "signal_id": signal_id}
    key = KEYS.reply("fio-1")
    server._do(key, "XADD", "*", "r", json.dumps(message).encode())
    [[place, _]] = server._do(key, "XREVRANGE", "+", "-", "COUNT", 1)
    found: bytes = place
    return found


def test_it_is_known_when_everything_is_read_that_was_said_before():
    server = Server()
    crashed(server)
    newest = say(server, "late", identifier(1))
    core = resuming(server)
    assert core.is_behind
    every_event(core)
    core.responses_read(b"8-0")
    assert core.is_behind
    core.responses_read(newest)
    assert not core.is_behind
    assert every_event(core) == [CaughtUp()]


def test_what_is_lost_need_not_be_read():
    server = Server()
    crashed(server)
    say(server, "late", identifier(1))
    core = resuming(server)
    every_event(core)
    core.responses_lost()
    assert not core.is_behind
    assert CaughtUp() in every_event(core)


def test_what_must_not_be_read_is_not_waited_for():
    server = Server()
    crashed(server)
    say(server, "late", identifier(1))
    core = resuming(server)
    every_event(core)
    core.responses_refused()
    assert not core.is_behind
    assert every_event(core) == [CaughtUp()]


def test_entries_that_hold_no_response_are_not_waited_for():
    server = Server()
    crashed(server)
    server._do(KEYS.reply("fio-1"), "XADD", "*", "o", "")
    assert not resuming(server).is_behind


def test_a_stream_that_cannot_be_read_is_not_waited_for():
    server = Server()
    crashed(server)
    server._do(KEYS.reply("fio-1"), "SET", "text")
    core = resuming(server)
    assert not core.is_behind
    assert core.subs == {"a", "b", "c"}


def test_what_has_been_said_is_known_to_be_told_or_not():
    core = Exporter(Server())
    core.initialize(["start"], now=0.0, sent=0.0)
    assert core.has_to_tell
    assert core.has_events is False
    core.work()
    assert not core.has_to_tell
    assert core.has_events


def test_what_was_heard_last_of_the_roster_is_left_to_whoever_resumes():
    server = Server()
    core = Exporter(server, owner=b"them")
    core.initialize(["start"], now=0.0, sent=0.0)
    subscribe(core, "a", identifier(1))
    core.work(0.0)
    subscribe(core, "b", identifier(1))
    core.responses_read(b"9-0")
    server.carry_out(core.release(keeps_record=True, lives_on=True))
    assert resuming(server).subs == {"a", "b"}
