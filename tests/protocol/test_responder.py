"""Which signals a responder takes, and how its answers find the signal that they are for."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state_signals import InvalidArgument, InvalidType, Limits, MessageTooLarge, Signal
from state_signals.codec import encode_signal
from state_signals.messages import Envelope
from state_signals.protocol.events import MessageRefused, SignalReceived
from state_signals.requests import Answer
from state_signals.transport.keys import Keys
from tests.protocol.stage import KEYS, Responder, events

REPLY = KEYS.reply("fio-1")
ID = "0123456789abcdef" * 2


def signal(event="start", publisher_id="fio-1", tag="nightly", envelope: Envelope | None = None) -> bytes:
    return encode_signal(Signal(publisher_id, "fio", event, "node1", tag=tag), envelope)


def envelope(signal_id=ID, *, seq=1, reply: str | None = REPLY) -> Envelope:
    return Envelope(id=signal_id, seq=seq, sent=0.0, reply=reply, wait=math.inf)


def received(core: Responder, data: bytes, now: float = 0.0) -> Signal:
    """Give it a signal that it takes, and return what its user gets."""
    core.message_received(data, now)
    [event] = events(core)
    assert isinstance(event, SignalReceived)
    return event.signal


def answers(core: Responder) -> list[tuple[dict[str, Any], str | None]]:
    """What it wants to send: the answers as objects, with where they go to."""
    asked = [request for request in core.work() if isinstance(request, Answer)]
    return [(json.loads(answer.data), answer.reply) for answer in asked]


# Which signals it takes


def test_a_signal_is_given_to_the_user():
    core = Responder(responder_id="pcp-1")
    taken = received(core, signal(envelope=envelope()))
    assert taken == Signal("fio-1", "fio", "start", "node1", tag="nightly")
    assert (taken.id, taken.seq) == (ID, 1)
    assert not core.counters


def test_signals_are_given_in_the_order_in_which_they_came():
    core = Responder(responder_id="pcp-1")
    for event in ("initialization", "start", "stop", "shutdown"):
        core.message_received(signal(event), 0.0)
    assert [event.signal.event for event in events(core)] == ["initialization", "start", "stop", "shutdown"]


def test_a_signal_that_comes_twice_is_acted_on_once():
    """Its exporter sends it again if it cannot know whether the first one went out."""
    core = Responder(responder_id="pcp-1")
    received(core, signal(envelope=envelope("1" * 32)), now=1.0)
    core.message_received(signal(envelope=envelope("1" * 32)), 2.0)
    assert events(core) == []
    assert core.counters == {"repeated": 1}
    assert received(core, signal(envelope=envelope("2" * 32, seq=2)), now=3.0)
    core.respond("fio-1", "start", 1, None, now=4.0, sent=100.0)
    assert [answer["signal_id"] for answer, _ in answers(core)] == ["2" * 32]


def test_version_1_signals_have_no_name_so_each_is_acted_on():
    core = Responder(responder_id="pcp-1")
    assert received(core, signal())
    assert received(core, signal())


def test_a_responder_locked_to_an_exporter_hears_no_other():
    core = Responder(responder_id="pcp-1")
    core.lock_id("fio-1")
    core.message_received(signal(publisher_id="fio-2"), 0.0)
    assert events(core) == []
    assert core.counters == {"filtered": 1}
    assert received(core, signal(publisher_id="fio-1")).publisher_id == "fio-1"


def test_a_responder_locked_to_a_tag_hears_no_other():
    core = Responder(responder_id="pcp-1")
    core.lock_tag("")
    core.message_received(signal(tag="nightly"), 0.0)
    assert events(core) == []
    assert received(core, signal(tag="")).tag == ""


def test_both_locks_hold_together_and_unlock_clears_both():
    core = Responder(responder_id="pcp-1")
    core.lock_id("fio-1")
    core.lock_tag("nightly")
    core.message_received(signal(publisher_id="fio-1", tag="other"), 0.0)
    core.message_received(signal(publisher_id="fio-2", tag="nightly"), 0.0)
    assert events(core) == []
    core.unlock()
    assert (core._hearing.locked_id, core._hearing.locked_tag) == (None, None)
    assert received(core, signal(publisher_id="fio-2", tag="other"))


@pytest.mark.parametrize("wrong", [None, 1, b"fio-1", ["fio-1"]])
def test_locks_are_text_and_a_refused_one_changes_nothing(wrong):
    core = Responder(responder_id="pcp-1")
    core.lock_id("fio-1")
    core.lock_tag("nightly")
    with pytest.raises(InvalidType, match=r"^publisher_id must be str, not"):
        core.lock_id(wrong)
    with pytest.raises(TypeError, match=r"^tag must be str, not"):
        core.lock_tag(wrong)
    assert (core._hearing.locked_id, core._hearing.locked_tag) == ("fio-1", "nightly")


@given(st.binary(max_size=80) | st.text(max_size=40))
def test_whatever_arrives_is_counted_and_never_raises(data):
    core = Responder(responder_id="pcp-1")
    core.message_received(data, 0.0)
    assert len(events(core)) == 1
    assert core.work() == []


def test_what_is_no_signal_is_refused_for_a_reason_and_the_next_signal_is_heard():
    core = Responder(responder_id="pcp-1")
    core.message_received(b"[" * 100_000, 0.0)
    core.message_received(b"{}", 0.0)
    assert [(event.reason, event.detail[:10]) for event in events(core)] == [
        ("too-deep", "too-deep: "),
        ("missing-field", "missing-fi"),
    ]
    assert core.counters == {"too-deep": 1, "missing-field": 1}
    assert received(core, signal())


def test_a_signal_larger_than_the_limits_is_refused():
    core = Responder(responder_id="pcp-1", limits=Limits(max_payload=10))
    core.message_received(signal(), 0.0)
    assert core.counters == {"too-large": 1}


def test_no_signal_may_say_which_key_answers_are_written_to():
    core = Responder(responder_id="pcp-1")
    for reply in ("someone-elses-key", KEYS.reply("fio-2"), Keys("ns").reply("fio-1"), ""):
        core.message_received(signal(envelope=envelope(reply=reply)), 0.0)
        [event] = events(core)
        assert isinstance(event, MessageRefused)
        assert event.reason == "foreign-reply"
    assert core.counters == {"foreign-reply": 4}


def test_a_foreign_reply_key_is_not_answered_by_event_either():
    core = Responder(responder_id="pcp-1")
    core.message_received(signal(envelope=envelope(reply="someone-elses-key")), 0.0)
    core.respond("fio-1", "start", 1, None, now=1.0, sent=100.0)
    assert [reply for _, reply in answers(core)] == [None]


# How it answers


def test_a_version_1_signal_is_answered_on_the_version_1_channel_with_version_1_keys_only():
    core = Responder(responder_id="pcp-1")
    core.respond_to(received(core, signal()), 1, "done", now=1.0, sent=100.0)
    expected = {"responder_id": "pcp-1", "publisher_id": "fio-1", "event": "start", "ras": 1, "message": "done"}
    assert answers(core) == [(expected, None)]


def test_a_version_2_signal_is_answered_through_its_reply_with_id_and_times():
    core = Responder(responder_id="pcp-1")
    taken = received(core, signal(envelope=envelope()), now=10.0)
    core.respond_to(taken, 0, None, now=12.5, sent=100.0)
    expected = {"responder_id": "pcp-1", "publisher_id": "fio-1", "event": "start", "ras": 0}
    assert answers(core) == [(expected | {"signal_id": ID, "sent": 100.0, "took": 2.5}, REPLY)]


def test_a_signal_with_an_envelope_but_no_reply_is_answered_by_id_on_the_version_1_channel():
    core = Responder(responder_id="pcp-1")
    core.respond_to(received(core, signal(envelope=envelope(reply=None))), 1, None, now=1.0, sent=100.0)
    [(answer, reply)] = answers(core)
    assert (answer["signal_id"], reply) == (ID, None)


def test_an_initialization_is_answered_without_ras():
    core = Responder(responder_id="pcp-1")
    core.respond_to(received(core, signal("initialization")), None, None, now=1.0, sent=100.0)
    assert answers(core) == [
        ({"responder_id": "pcp-1", "publisher_id": "fio-1", "event": "initialization"}, None),
    ]


def test_answering_by_event_answers_the_newest_signal_of_that_event_from_that_exporter():
    core = Responder(responder_id="pcp-1")
    received(core, signal("start", envelope=envelope("1" * 32)), now=1.0)
    received(core, signal("start", envelope=envelope("2" * 32, seq=2)), now=2.0)
    received(core, signal("stop", envelope=envelope("3" * 32, seq=3)), now=3.0)
    other = KEYS.reply("fio-2")
    received(core, signal("start", "fio-2", envelope=envelope("4" * 32, reply=other)), now=4.0)
    core.respond("fio-1", "start", 1, None, now=5.0, sent=100.0)
    [(answer, reply)] = answers(core)
    assert (answer["signal_id"], answer["took"], reply) == ("2" * 32, 3.0, REPLY)


def test_answering_by_event_follows_an_exporter_back_to_version_1():
    core = Responder(responder_id="pcp-1")
    received(core, signal(envelope=envelope()))
    received(core, signal())
    core.respond("fio-1", "start", 1, None, now=1.0, sent=100.0)
    [(answer, reply)] = answers(core)
    assert "signal_id" not in answer
    assert reply is None


def test_answering_an_event_that_was_never_heard_goes_out_in_version_1():
    core = Responder(responder_id="pcp-1")
    core.respond("fio-1", "initialization", None, None, now=1.0, sent=100.0)
    assert [(set(answer), reply) for answer, reply in answers(core)] == [
        ({"responder_id", "publisher_id", "event"}, None)
    ]


def test_a_filtered_signal_is_not_what_an_answer_by_event_is_for():
    core = Responder(responder_id="pcp-1")
    received(core, signal(tag="mine", envelope=envelope("1" * 32)))
    core.lock_tag("mine")
    core.message_received(signal(tag="other", envelope=envelope("2" * 32)), 1.0)
    core.respond("fio-1", "start", 1, None, now=2.0, sent=100.0)
    assert [answer["signal_id"] for answer, _ in answers(core)] == ["1" * 32]


def test_a_signal_that_did_not_come_through_this_responder_is_answered_as_if_just_received():
    core = Responder(responder_id="pcp-1")
    taken = received(Responder(responder_id="pcp-1"), signal(envelope=envelope()))
    core.respond_to(taken, 1, None, now=5.0, sent=100.0)
    assert [answer["took"] for answer, _ in answers(core)] == [0.0]


def test_an_exporter_whose_name_cannot_be_sent_is_not_answered():
    core = Responder(responder_id="pcp-1")
    with pytest.raises(InvalidArgument):
        core.respond("\ud800", "start", 1, None, now=1.0, sent=100.0)
    assert core.work() == []


def test_a_signal_that_the_user_has_rebuilt_is_answered_as_the_newest_of_its_event():
    core = Responder(responder_id="pcp-1")
    taken = received(core, signal(envelope=envelope()), now=1.0)
    rebuilt = Signal(**json.loads(taken.to_json_str()))
    core.respond_to(rebuilt, 1, None, now=3.0, sent=100.0)
    [(answer, reply)] = answers(core)
    assert (answer["signal_id"], answer["took"], reply) == (ID, 2.0, REPLY)


def test_answers_go_out_once_and_in_order():
    core = Responder(responder_id="pcp-1")
    for ras in (1, 0, 5):
        core.respond("fio-1", "start", ras, None, now=1.0, sent=100.0)
    assert [answer["ras"] for answer, _ in answers(core)] == [1, 0, 5]
    assert core.work() == []


def test_the_responder_id_may_be_changed():
    core = Responder(responder_id="pcp-1")
    core.responder_id = "pcp-2"
    core.respond("fio-1", "start", 1, None, now=1.0, sent=100.0)
    assert [answer["responder_id"] for answer, _ in answers(core)] == ["pcp-2"]


@pytest.mark.parametrize(
    ("ras", "message", "error"),
    [
        ("1", None, InvalidType),
        (1.0, None, InvalidType),
        (1, b"done", InvalidType),
        (1, "x" * 2_000_000, MessageTooLarge),
    ],
)
def test_an_answer_that_cannot_be_sent_raises_and_nothing_is_sent(ras, message, error):
    core = Responder(responder_id="pcp-1")
    taken = received(core, signal(envelope=envelope()))
    with pytest.raises(error):
        core.respond_to(taken, ras, message, now=1.0, sent=100.0)
    with pytest.raises(error):
        core.respond("fio-1", "start", ras, message, now=1.0, sent=100.0)
    assert core.work() == []


def test_only_signals_are_answered():
    with pytest.raises(InvalidType, match=r"^signal must be a Signal, not str"):
        Responder(responder_id="pcp-1").respond_to("start", 1, None, now=0.0, sent=0.0)  # type: ignore[arg-type]


# What it remembers


def test_memory_stays_within_the_limits_and_the_oldest_signals_are_forgotten_first():
    core = Responder(responder_id="pcp-1", limits=Limits(max_remembered=3))
    for number in range(10):
        data = signal(f"event-{number}", envelope=envelope(f"{number:032x}", seq=number + 1))
        received(core, data, now=float(number))
    assert len(core._hearing._received) == len(core._hearing._newest) == 3
    for number in (6, 7):
        core.respond("fio-1", f"event-{number}", 1, None, now=10.0, sent=100.0)
    forgotten, remembered = (answer for answer, _ in answers(core))
    assert "signal_id" not in forgotten
    assert (remembered["signal_id"], remembered["took"]) == (f"{7:032x}", 3.0)


def test_an_event_that_is_heard_again_is_not_the_oldest():
    core = Responder(responder_id="pcp-1", limits=Limits(max_remembered=2))
    for event, number in (("start", 1), ("stop", 2), ("start", 3), ("pause", 4)):
        received(core, signal(event, envelope=envelope(f"{number:032x}", seq=number)))
    core.respond("fio-1", "start", 1, None, now=1.0, sent=100.0)
    assert [answer["signal_id"] for answer, _ in answers(core)] == [f"{3:032x}"]
