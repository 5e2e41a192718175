"""Signals, responses and results: what users hold in their hands."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from state_signals import InvalidType, Outcome, PublishResult, Report, Response, ResultCodes, Signal
from state_signals.codec import decode_signal, encode_signal
from state_signals.messages import Envelope

COPIES = [copy.copy, copy.deepcopy, *(lambda value, n=n: pickle.loads(pickle.dumps(value, n)) for n in range(6))]


def signal_with_envelope(**envelope: Any) -> Signal:
    facts: dict[str, Any] = {"id": "0" * 32, "seq": 1, "sent": 5.0} | envelope
    return decode_signal(encode_signal(Signal("p", "n", "e", "h"), Envelope(**facts)))


# Signal and Response


def test_the_fields_of_a_signal_are_those_of_version_1_in_their_order():
    signal = Signal("p", "n", "e", "h", 3, "t", {"a": 1})
    assert (signal.publisher_id, signal.process_name, signal.event, signal.runner_host) == ("p", "n", "e", "h")
    assert (signal.sample_no, signal.tag, signal.metadata) == (3, "t", {"a": 1})
    default = Signal("p", "n", "e", "h")
    assert (default.sample_no, default.tag, default.metadata) == (-1, "No tag specified", None)


def test_the_fields_of_a_response_are_those_of_version_1_in_their_order():
    response = Response("r", "p", "e", 0, "m")
    assert (response.responder_id, response.publisher_id, response.event) == ("r", "p", "e")
    assert (response.ras, response.message) == (0, "m")
    default = Response("r", "p", "e")
    assert (default.ras, default.message) == (None, None)


@pytest.mark.parametrize("field", ["publisher_id", "process_name", "event", "runner_host", "sample_no", "tag"])
@pytest.mark.parametrize("value", [None, 1.5, [], b"bytes"])
def test_a_signal_checks_the_types_of_its_fields(field, value):
    fields = {"publisher_id": "p", "process_name": "n", "event": "e", "runner_host": "h"}
    with pytest.raises(InvalidType, match=rf"^Signal\.{field} must be (str|int), not {type(value).__name__} "):
        Signal(**(fields | {field: value}))


@pytest.mark.parametrize("value", [[], "text", 0, ()])
def test_metadata_is_a_dict_or_none(value):
    with pytest.raises(TypeError, match=r"^Signal\.metadata must be dict or None"):
        Signal("p", "n", "e", "h", metadata=value)


@pytest.mark.parametrize("field", ["responder_id", "publisher_id", "event", "ras", "message"])
@pytest.mark.parametrize("value", [1.5, [], b"bytes"])
def test_a_response_checks_the_types_of_its_fields(field, value):
    fields = {"responder_id": "r", "publisher_id": "p", "event": "e"}
    with pytest.raises(InvalidType, match=rf"^Response\.{field} must be "):
        Response(**(fields | {field: value}))


@pytest.mark.parametrize(("value", "number"), [(True, 1), (False, 0), (ResultCodes.SUB_FAILED, 1)])
def test_true_counts_as_1_as_it_did_in_version_1_and_is_a_number_on_the_wire(value, number):
    signal, response = Signal("p", "n", "e", "h", value), Response("r", "p", "e", value)
    assert type(signal.sample_no) is type(response.ras) is int
    assert json.loads(signal.to_json_str())["sample_no"] == json.loads(response.to_json_str())["ras"] == number
    assert f'"ras": {number}' in response.to_json_str()
    with pytest.raises(InvalidType):
        Signal("p", "n", "e", "h", tag=value)


def test_the_json_of_a_signal_has_the_keys_of_version_1_in_their_order_and_no_metadata_of_none():
    full = Signal("p", "n", "e", "h", 0, "", {}).to_json_str()
    assert full == json.dumps(
        {
            "publisher_id": "p",
            "process_name": "n",
            "event": "e",
            "runner_host": "h",
            "sample_no": 0,
            "tag": "",
            "metadata": {},
        }
    )
    assert list(json.loads(Signal("p", "n", "e", "h").to_json_str())) == list(json.loads(full))[:-1]


def test_the_json_of_a_response_leaves_out_what_is_none():
    assert Response("r", "p", "e").to_json_str() == '{"responder_id": "r", "publisher_id": "p", "event": "e"}'
    assert list(json.loads(Response("r", "p", "e", 0, "").to_json_str()))[3:] == ["ras", "message"]


def test_a_version_1_signal_has_no_facts_beyond_its_fields():
    signal = Signal("p", "n", "e", "h")
    assert (signal.envelope, signal.id, signal.seq, signal.sent, signal.wait) == (None, None, None, None, None)


def test_the_facts_of_version_2_are_neither_part_of_equality_nor_of_the_json():
    signal = signal_with_envelope(id="a" * 32, seq=7, sent=1.5, wait=20.0)
    assert (signal.id, signal.seq, signal.sent, signal.wait) == ("a" * 32, 7, 1.5, 20.0)
    plain = Signal("p", "n", "e", "h")
    assert signal == plain
    assert signal.to_json_str() == plain.to_json_str()
    assert repr(signal) == repr(plain)


@pytest.mark.parametrize("fact", ["envelope", "id", "seq", "sent", "wait"])
def test_the_facts_of_version_2_cannot_be_assigned(fact):
    with pytest.raises(AttributeError):
        setattr(signal_with_envelope(), fact, None)


@pytest.mark.parametrize("make_copy", COPIES)
def test_copies_and_pickles_of_a_signal_keep_its_envelope(make_copy):
    signal = signal_with_envelope(reply="stream", wait=3.0)
    assert make_copy(signal) == signal
    assert make_copy(signal).envelope == signal.envelope


# PublishResult


def result_of(*outcomes: Outcome, ok: bool = False, **facts) -> PublishResult:
    return PublishResult(ok=ok, reports={f"{o}-{i}": Report(outcome=o) for i, o in enumerate(outcomes)}, **facts)


def test_a_result_is_the_version_1_tuple():
    result = PublishResult(ok=True)
    code, messages = result
    assert (code, messages) == (ResultCodes.ALL_SUBS_SUCCESS, {})
    assert result[0] is result.code
    assert result[1] is result.messages
    assert isinstance(result, tuple)
    assert result == (0, {})
    assert result != (1, {})


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([Outcome.FAILED], ResultCodes.SUB_FAILED),
        ([Outcome.FAILED, Outcome.SUCCEEDED], ResultCodes.SUB_FAILED),
        ([Outcome.FAILED, Outcome.LEFT], ResultCodes.SUB_FAILED),
        ([Outcome.MISSING], ResultCodes.MISSING_RESPONSE),
        ([Outcome.LOST], ResultCodes.MISSING_RESPONSE),
        ([Outcome.FAILED, Outcome.MISSING, Outcome.SUCCEEDED], ResultCodes.MISSING_RESPONSE),
        ([Outcome.LOST, Outcome.FAILED], ResultCodes.MISSING_RESPONSE),
        ([Outcome.SUCCEEDED], ResultCodes.MISSING_RESPONSE),
        ([], ResultCodes.MISSING_RESPONSE),
    ],
)
def test_missing_beats_failed_in_the_code(outcomes, code):
    assert result_of(*outcomes).code is code


@pytest.mark.parametrize("outcome", Outcome)
def test_what_is_ok_has_the_code_of_success_whatever_single_responders_did(outcome):
    """With `min_success` a round may succeed without each one."""
    assert result_of(outcome, ok=True).code is ResultCodes.ALL_SUBS_SUCCESS


@pytest.mark.parametrize("outcome", Outcome)
def test_each_outcome_is_found_by_name(outcome):
    result = result_of(*Outcome)
    named = getattr(result, outcome)
    assert list(named) == [name for name in result.reports if name.startswith(outcome)]
    assert [report.outcome for report in named.values()] == [outcome]


def test_a_result_holds_messages_also_of_responders_outside_the_roster():
    result = PublishResult(ok=True, messages={"stranger": "hello"})
    assert result == (0, {"stranger": "hello"})
    assert result.reports == {}


@pytest.mark.parametrize("make_copy", COPIES)
def test_copies_and_pickles_of_a_result_keep_every_fact(make_copy):
    result = result_of(*Outcome, pending=["late"], signal_id="0" * 32, elapsed=1.5, messages={"a": "b"})
    copied = make_copy(result)
    assert type(copied) is PublishResult
    assert copied == result
    for fact in ("code", "messages", "ok", "reports", *Outcome, "pending", "signal_id", "elapsed"):
        assert getattr(copied, fact) == getattr(result, fact), fact


def test_the_repr_names_everyone_who_was_awaited():
    result = result_of(Outcome.SUCCEEDED, Outcome.MISSING, Outcome.MISSING, elapsed=20.0)
    assert repr(result) == (
        "PublishResult(code=MISSING_RESPONSE, succeeded=['succeeded-0'], missing=['missing-1', 'missing-2'], "
        "elapsed=20.000000)"
    )
    assert "nobody awaited" in repr(PublishResult(ok=False))


def test_the_text_of_a_result_does_not_grow_with_thousands_of_names():
    reports = {f"pcp-{number:05}": Report(outcome=Outcome.MISSING) for number in range(10_000)}
    text = repr(PublishResult(ok=False, reports=reports))
    assert "'pcp-00019' and 9,980 more]" in text
    assert len(text) < 1_000


def test_a_result_does_not_change_with_what_it_was_made_of():
    reports, messages = {"a": Report(outcome=Outcome.SUCCEEDED)}, {"a": "done"}
    result = PublishResult(ok=True, reports=reports, messages=messages)
    reports.clear()
    messages.clear()
    assert list(result.reports) == ["a"]
    assert result.messages == {"a": "done"}
