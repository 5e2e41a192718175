"""What goes over the wire, and what of it is believed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from state_signals import (
    InvalidArgument,
    InvalidType,
    Limits,
    MalformedMessage,
    MessageTooLarge,
    Response,
    Signal,
)
from state_signals.arguments import can_be_key
from state_signals.codec import ENVELOPE_KEY, decode_response, decode_signal, encode_response, encode_signal
from state_signals.messages import NO_TAG, Envelope, Receipt

DECODERS = [decode_signal, decode_response]
REASONS = set(re.findall(r'"([a-z0-9-]+)"', MalformedMessage.__doc__ or ""))
SIGNAL_KEYS = ["publisher_id", "process_name", "event", "runner_host", "sample_no", "tag", "metadata"]
SIGNAL_ID = "0123456789abcdef" * 2

SIGNAL = {"publisher_id": "fio-1", "process_name": "fio", "event": "start", "runner_host": "node1"}
ENVELOPE = {"v": 2, "id": SIGNAL_ID, "seq": 7, "sent": 1732398000.123, "reply": "a-stream", "wait": 20.0}
RESPONSE = {"responder_id": "pcp-1", "publisher_id": "fio-1", "event": "start"}

texts = st.text(max_size=20)
names = st.text(max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
signals = st.builds(
    Signal,
    names,
    names,
    names,
    names,
    st.integers(),
    names,
    st.none() | st.dictionaries(texts.filter(lambda key: key != ENVELOPE_KEY), json_values, max_size=4),
)
signal_ids = st.integers(0, 2**128 - 1).map("{:032x}".format)
times = st.floats(allow_nan=False, allow_infinity=False)
durations = st.floats(min_value=0.0, allow_nan=False, allow_infinity=False)
envelopes = st.builds(
    Envelope,
    id=signal_ids,
    seq=st.integers(min_value=1, max_value=2**63 - 1),
    sent=times,
    reply=st.none() | names,
    wait=st.none() | st.floats(min_value=0.0, allow_nan=False),
    ttl=st.none() | durations,
    journal=st.booleans(),
    again=st.booleans(),
    redelivered=st.booleans(),
    aborted=st.none() | names,
    spread=st.none() | durations,
)
responses = st.builds(Response, names, names, names, st.none() | st.integers(), st.none() | texts)
receipts = st.builds(
    Receipt,
    signal_id=signal_ids,
    sent=times,
    took=times,
    state=st.none() | st.just("working") | texts,
    ttl=st.none() | times,
    again=st.booleans(),
)


def wire_signal(envelope: object = None, **fields: object) -> str:
    """A valid signal but for what is given."""
    message = SIGNAL | fields
    return json.dumps(message if envelope is None else message | {"metadata": {ENVELOPE_KEY: envelope}})


def wire_response(**fields: object) -> str:
    return json.dumps(RESPONSE | fields)


def nested(levels: int) -> Any:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


# What we say


@pytest.mark.parametrize("publisher_id", ["", "}", "}x"])
def test_what_would_spread_the_keys_of_an_exporter_over_a_cluster_is_refused(publisher_id):
    with pytest.raises(MalformedMessage, match="bad-envelope"):
        decode_signal(json.dumps(SIGNAL | {"publisher_id": publisher_id, "metadata": {ENVELOPE_KEY: ENVELOPE}}))
    assert decode_signal(json.dumps(SIGNAL | {"publisher_id": publisher_id})).publisher_id == publisher_id


def test_a_position_beyond_what_a_stream_holds_is_refused():
    with pytest.raises(MalformedMessage, match="bad-envelope"):
        decode_signal(json.dumps(SIGNAL | {"metadata": {ENVELOPE_KEY: ENVELOPE | {"seq": 2**63}}}))


@given(signals, st.none() | envelopes)
def test_any_signal_comes_out_as_it_went_in(signal, envelope):
    assume(envelope is None or can_be_key(signal.publisher_id))
    decoded = decode_signal(encode_signal(signal, envelope))
    assert decoded == signal
    assert decoded.envelope == envelope


@pytest.mark.parametrize("metadata", [None, {}, {"a": {}}])
@pytest.mark.parametrize("envelope", [None, Envelope(id=SIGNAL_ID, seq=1, sent=0.0)], ids=["v1", "v2"])
def test_no_metadata_and_empty_metadata_stay_apart(metadata, envelope):
    signal = Signal("p", "n", "e", "h", metadata=metadata)
    assert decode_signal(encode_signal(signal, envelope)).metadata == metadata


@given(signals, envelopes)
def test_the_extension_adds_one_metadata_key_and_no_other(signal, envelope):
    """A version 1 responder drops or dies on any other top-level key."""
    wire = json.loads(encode_signal(signal, envelope))
    assert list(wire) == SIGNAL_KEYS
    extension = wire["metadata"].pop(ENVELOPE_KEY)
    assert wire == json.loads(signal.to_json_str()) | {"metadata": signal.metadata or {}}
    assert extension["v"] == 2
    facts = {"v", "id", "seq", "sent", "reply", "wait", "ttl", "journal", "again", "redelivered", "aborted", "spread"}
    assert extension.keys() <= facts | {"empty"}


@given(signals)
def test_without_an_envelope_a_signal_is_exactly_version_1(signal):
    fields = {key: getattr(signal, key) for key in SIGNAL_KEYS}
    if signal.metadata is None:
        del fields["metadata"]
    assert encode_signal(signal) == json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    assert list(json.loads(encode_signal(signal)).items()) == list(json.loads(signal.to_json_str()).items())


@pytest.mark.parametrize(("wait", "sent"), [(None, ...), (math.inf, None), (20.0, 20.0), (0.0, 0.0)])
def test_the_envelope_says_how_long_is_waited_absent_not_at_all_null_for_ever(wait, sent):
    envelope = Envelope(id=SIGNAL_ID, seq=1, sent=0.0, wait=wait)
    extension = json.loads(encode_signal(Signal("p", "n", "e", "h"), envelope))["metadata"][ENVELOPE_KEY]
    assert extension.get("wait", ...) == sent


def test_the_user_never_sees_the_envelope_among_the_metadata():
    signal = decode_signal(wire_signal(metadata={"mine": 1, ENVELOPE_KEY: ENVELOPE}))
    assert signal.metadata == {"mine": 1}
    assert (signal.id, signal.seq, signal.sent, signal.wait) == (SIGNAL_ID, 7, 1732398000.123, 20.0)


@given(responses, receipts)
def test_any_response_comes_out_as_it_went_in(response, receipt):
    wire = decode_response(encode_response(response, receipt))
    assert Response(wire.responder_id, wire.publisher_id, wire.event, wire.ras, wire.message) == response
    facts = ("signal_id", "sent", "took", "state", "ttl", "again")
    assert [getattr(wire, name) for name in facts] == [getattr(receipt, name) for name in facts]


def test_what_is_as_usual_is_not_said():
    usual = Envelope(id=SIGNAL_ID, seq=1, sent=0.0)
    extension = json.loads(encode_signal(Signal("p", "n", "e", "h"), usual))["metadata"][ENVELOPE_KEY]
    assert extension == {"v": 2, "id": SIGNAL_ID, "seq": 1, "sent": 0.0}
    answer = json.loads(encode_response(Response("r", "p", "e", 1), Receipt(signal_id=SIGNAL_ID, sent=1.0, took=0.5)))
    assert answer.keys() - Response("r", "p", "e", 1).to_v1().keys() == {"signal_id", "sent", "took"}


@given(responses)
def test_without_a_receipt_a_response_is_exactly_version_1(response):
    data = encode_response(response)
    assert list(json.loads(data).items()) == list(json.loads(response.to_json_str()).items())
    assert decode_response(data).signal_id is None


@pytest.mark.parametrize(
    ("metadata", "place"),
    [
        ({"a": [1, {"b": {1, 2}}]}, r"metadata\['a'\]\[1\]\['b'\]"),
        ({"a": (0, b"raw")}, r"metadata\['a'\]\[1\]"),
        ({"a": {(1, 2): 3}}, r"metadata\['a'\] key \(1, 2\)"),
        ({None: 1, "a": None, "b": 1j}, r"metadata\['b'\]"),
        ({"a": [{}, [], "", object()]}, r"metadata\['a'\]\[3\]"),
    ],
)
def test_metadata_that_is_not_json_is_refused_and_the_error_says_where(metadata, place):
    with pytest.raises(InvalidType, match=f"^{place} cannot be sent as JSON"):
        encode_signal(Signal("p", "n", "e", "h", metadata=metadata))


def test_the_search_for_what_is_not_json_ends_at_the_limit_on_depth():
    metadata = {"a": [[[[object()]]]]}
    with pytest.raises(InvalidType, match=r"^metadata cannot be sent"):
        encode_signal(Signal("p", "n", "e", "h", metadata=metadata), limits=Limits(max_depth=3))


def test_metadata_that_contains_itself_is_refused():
    metadata: dict[str, Any] = {}
    metadata["self"] = metadata
    with pytest.raises(InvalidArgument, match="Circular"):
        encode_signal(Signal("p", "n", "e", "h", metadata=metadata))


def test_the_reserved_metadata_key_is_refused():
    with pytest.raises(InvalidArgument, match="'_state_signals' is reserved"):
        encode_signal(Signal("p", "n", "e", "h", metadata={ENVELOPE_KEY: {}}))


@pytest.mark.parametrize("field", ["publisher_id", "process_name", "event", "runner_host", "tag"])
@pytest.mark.parametrize(("text", "why"), [("x" * 1025, "1025 characters; the limit is 1024"), ("\ud800", "Unicode")])
def test_names_that_peers_would_refuse_are_not_sent(field, text, why):
    signal = Signal(**(SIGNAL | {field: text}))
    with pytest.raises(InvalidArgument, match=f"^{field} .*{why}"):
        encode_signal(signal)


@pytest.mark.parametrize("field", ["responder_id", "publisher_id", "event"])
def test_names_in_responses_that_peers_would_refuse_are_not_sent(field):
    response = Response(**(RESPONSE | {field: "x" * 1025}))
    with pytest.raises(InvalidArgument, match=f"^{field} has 1025 characters"):
        encode_response(response)


@given(st.lists(texts | st.sampled_from(["\udc80", "\udcff", "é"])).map("".join))
def test_free_text_that_is_not_unicode_goes_out_escaped_as_version_1_sends_it(text):
    """It may come from the name of a file, or from the output of a command."""
    signal = Signal("p", "n", "e", "h", metadata={"a": [text], text: 1})
    assert decode_signal(encode_signal(signal)) == signal
    assert decode_signal(encode_signal(signal, Envelope(id=SIGNAL_ID, seq=1, sent=0.0))) == signal
    assert decode_response(encode_response(Response("r", "p", "e", 1, text))).message == text


def test_a_message_beyond_the_limit_on_size_is_not_sent():
    limits = Limits(max_payload=200)
    fits = 200 - len(encode_response(Response("r", "p", "e", 1, "")))
    assert len(encode_response(Response("r", "p", "e", 1, "x" * fits), limits=limits)) == 200
    with pytest.raises(MessageTooLarge, match="the response is 201 bytes; the limit is 200"):
        encode_response(Response("r", "p", "e", 1, "x" * (fits + 1)), limits=limits)


@pytest.mark.parametrize("levels", [65, 1000, 100_000])
def test_a_message_beyond_the_limit_on_nesting_is_not_sent(levels):
    with pytest.raises(MessageTooLarge, match="metadata is nested too deep; the limit is 64 levels"):
        encode_signal(Signal("p", "n", "e", "h", metadata={"a": nested(levels)}))


def test_what_may_be_sent_at_the_limit_on_nesting_is_also_received():
    metadata = {"a": nested(62), "b": [[], [], []]}
    assert decode_signal(encode_signal(Signal("p", "n", "e", "h", metadata=metadata))).metadata == metadata
    with pytest.raises(MessageTooLarge):
        encode_signal(Signal("p", "n", "e", "h", metadata={"a": nested(63)}))


def test_a_number_beyond_what_python_prints_is_refused():
    with pytest.raises(InvalidArgument, match=r"^metadata cannot be sent as JSON"):
        encode_signal(Signal("p", "n", "e", "h", metadata={"a": 10**5000}))


# What we believe


@given(st.binary(max_size=200) | st.text(max_size=100))
def test_any_bytes_are_a_message_or_malformed_for_a_documented_reason(data):
    for decode in DECODERS:
        _decodes_or_is_refused(decode, data)


# Joined from pieces, because as part of an alphabet the odd ones would hardly ever be drawn.
odd_pieces = ["\ud800", "\udfff", "\x00", "\ufeff", '"', "\\", "[" * 70]
odd_texts = st.lists(st.text(max_size=4) | st.sampled_from(odd_pieces), max_size=4).map("".join)
odd_numbers = st.sampled_from([10**400, -(10**400), 1e308, math.nan, math.inf, -math.inf, 2**63, -1, 0, 0.5])
odd_values = st.recursive(
    st.none() | st.booleans() | st.integers() | odd_numbers | odd_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_texts, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated_messages(draw):
    """A valid message in which fields are replaced, left out, added and nested, and then perhaps the text is cut."""
    envelope = dict(ENVELOPE)
    receipt = {"signal_id": SIGNAL_ID, "sent": 1.0, "took": 0.5, "ras": 1, "message": "done"}
    whole = draw(
        st.sampled_from([SIGNAL | {"sample_no": 3, "tag": "t", "metadata": {"a": 1}}, RESPONSE, RESPONSE | receipt])
    )
    message: dict[str, Any] = dict(whole)
    if "runner_host" in message and draw(st.booleans()):
        message["metadata"] = {"a": 1, ENVELOPE_KEY: envelope}
    for _ in range(draw(st.integers(1, 3))):
        target = draw(st.sampled_from([message, envelope]))
        key = draw(st.sampled_from(sorted(target)) | odd_texts)
        if draw(st.booleans()):
            target[key] = draw(odd_values)
        else:
            target.pop(key, None)
    text = json.dumps(message, ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(odd_texts) + text[place + draw(st.integers(0, 3)) :]
    return text


@settings(max_examples=600)
@given(mutated_messages())
def test_any_damaged_message_is_a_message_or_malformed_for_a_documented_reason(text):
    for decode in DECODERS:
        _decodes_or_is_refused(decode, text)
        _decodes_or_is_refused(decode, text.encode(errors="surrogatepass"))


def _decodes_or_is_refused(decode: Callable[[Any], object], data: str | bytes) -> None:
    refused = None
    try:
        decode(data)
    except MalformedMessage as error:
        refused = error
    if refused is not None:
        assert refused.reason in REASONS
        assert str(refused).startswith(refused.reason)
        assert len(str(refused)) < 300


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not-json"),
        (b"null and void", "not-json"),
        (b"\xff\xfe", "not-utf8"),
        ('"\ud800', "not-utf8"),
        (b"\xef\xbb\xbf" + wire_signal().encode(), "not-json"),
        ("\ufeff" + wire_response(), "not-json"),
        (b'"text"', "not-an-object"),
        (b"[]", "not-an-object"),
        (b"null", "not-an-object"),
        (b"1e5", "not-an-object"),
        (b"NaN", "not-an-object"),
        (b"{}", "missing-field"),
        (b'{"event": "a\nb"}', "not-json"),
        (b'{"event": 1' + b"0" * 5000 + b"}", "not-json"),
        (b"[" * 100_000, "too-deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too-deep"),
        (b"[]" * 1000 + b"[" * 65, "too-deep"),
        (b'"' + b"x" * 10_000_000 + b'"', "too-large"),
        ("é" * 600_000, "too-large"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isascii() and len(value) < 20 else "",
)
def test_what_is_no_message_is_refused_for_a_reason_that_can_be_counted(decode, data, reason):
    with pytest.raises(MalformedMessage) as refused:
        decode(data)
    assert refused.value.reason == reason


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    "data",
    [
        b"[]" * 100 + b'"' * 500_000,
        b"[]" * 100 + b'"' + b"\\" * 500_000,
        b"[]" * 100 + b'"' + b"\\" * 500_001,
        b"[]" * 100 + b'"' + b'\\"' * 250_000,
        b"[]" * 100 + b'"' + b"x" * 500_000,
        b"[]" * 100 + b'"\\' * 250_000,
        b"[]" * 100 + b'""' * 250_000 + b'"',
    ],
)
def test_strings_that_never_end_are_refused_in_linear_time(decode, data):
    """What takes quadratic time on these needs hours; the timeout of the test run would end it."""
    with pytest.raises(MalformedMessage, match="not-json"):
        decode(data)


@given(st.lists(st.text('[]{}"\\x', max_size=30), max_size=8))
def test_brackets_and_quotes_inside_strings_do_not_nest(parts):
    signal = Signal("p", "n", "e", "h", metadata={"deep": ["[" * 70, "{" * 70, *parts]})
    assert decode_signal(encode_signal(signal)) == signal


def test_an_interpreter_that_cannot_read_as_deep_as_the_limit_allows_says_so():
    limits = Limits(max_depth=10**6)
    for decode in DECODERS:
        with pytest.raises(MalformedMessage, match="too-deep"):
            decode("[" * 100_000, limits=limits)


@pytest.mark.parametrize("field", ["publisher_id", "process_name", "event", "runner_host"])
def test_a_signal_needs_each_of_its_four_names(field):
    with pytest.raises(MalformedMessage, match=f"missing-field.*{field}"):
        decode_signal(json.dumps({key: value for key, value in SIGNAL.items() if key != field}))


@pytest.mark.parametrize("field", SIGNAL_KEYS)
@pytest.mark.parametrize("value", [True, 1.5, [], "text", 1, None, {}])
def test_a_signal_has_the_types_of_version_1_and_no_other(field, value):
    expected = {"sample_no": int, "metadata": dict | None}.get(field, str)
    if isinstance(value, expected):
        assert getattr(decode_signal(wire_signal(**{field: value})), field) == value
    else:
        with pytest.raises(MalformedMessage, match=f"wrong-type.*{field}"):
            decode_signal(wire_signal(**{field: value}))


def test_a_signal_has_the_defaults_of_version_1():
    signal = decode_signal(wire_signal())
    assert (signal.sample_no, signal.tag, signal.metadata, signal.envelope) == (-1, NO_TAG, None, None)


@pytest.mark.parametrize("field", ["publisher_id", "process_name", "event", "runner_host", "tag"])
@pytest.mark.parametrize(("text", "reason"), [("x" * 1025, "name-too-long"), ("\ud800", "bad-text")])
def test_names_in_signals_are_short_and_unicode(field, text, reason):
    assert decode_signal(wire_signal(**{field: "é" * 1024}))
    with pytest.raises(MalformedMessage, match=f"{reason}.*{field}"):
        decode_signal(wire_signal(**{field: text}))


@pytest.mark.parametrize("field", ["responder_id", "publisher_id", "event"])
@pytest.mark.parametrize(("text", "reason"), [("x" * 1025, "name-too-long"), ("\ud800", "bad-text")])
def test_names_in_responses_are_short_and_unicode(field, text, reason):
    assert decode_response(wire_response(**{field: "é" * 1024}))
    with pytest.raises(MalformedMessage, match=f"{reason}.*{field}"):
        decode_response(wire_response(**{field: text}))


@pytest.mark.parametrize("message", [SIGNAL, RESPONSE])
def test_readers_ignore_keys_that_they_do_not_know(message):
    decode = decode_signal if message is SIGNAL else decode_response
    later = {"v3": {"deep": [1, {}]}, "": None}
    assert decode(json.dumps(message | later)) == decode(json.dumps(message))


def test_readers_ignore_keys_in_the_envelope_that_they_do_not_know():
    assert decode_signal(wire_signal(ENVELOPE | {"mac": "00", "later": [1]})) == decode_signal(wire_signal(ENVELOPE))


JSON_TEXTS = [
    *(
        '"a"',
        '""',
        '"\\ud800"',
        '"\\ud83d\\ude00"',
        '"\x01"',
        '"\t"',
        '"\\x"',
        '"é"',
        '"' + "b" * 1025 + '"',
        f'"{SIGNAL_ID}"',
    ),
    *("0", "1", "-1", "1.0", "-0.0", "1e3", "1e400", "0.5", "01", "1.", "+1", "NaN", "Infinity", "-", ""),
    *("9223372036854775807", "9223372036854775808", "18446744073709551616", "1" + "0" * 30, "1" + "0" * 5000),
    *("null", "true", "false", "[]", "{}", "[" * 65 + "]" * 65, "[", '{"a": 1}'),
]
damages = st.lists(
    st.tuples(st.integers(0, 600), st.sampled_from(["", " ", '"', ",", "\\", "\x00", "\ufeff", "x"])), max_size=1
)


@st.composite
def signals_as_text(draw: st.DrawFn) -> str:
    """A signal without metadata of a user's, that may be right and may be wrong in any way."""
    values = st.sampled_from(JSON_TEXTS)

    def written(good: dict[str, Any], names: list[str], *more: tuple[str, str]) -> str:
        changes = draw(
            st.lists(st.tuples(st.sampled_from([*names, "later", "\\ud800", "ev\\u0065nt"]), values), max_size=2)
        )
        pairs = draw(st.permutations([*((name, json.dumps(value)) for name, value in good.items()), *more, *changes]))
        return "{" + ",".join(f'"{name}":{value}' for name, value in pairs) + "}"

    fields = [field.name for field in msgspec.structs.fields(Envelope)]
    envelope = f'{{"{ENVELOPE_KEY}":{written(ENVELOPE, ["v", "empty", *fields])}}}'
    text = written(
        SIGNAL, SIGNAL_KEYS, *draw(st.sampled_from([(), (("metadata", envelope),), (("metadata", "null"),)]))
    )
    for place, damage in draw(damages):
        text = text[:place] + damage + text[place:]
    return text


@given(signals_as_text())
@settings(max_examples=400)
def test_the_short_way_takes_and_refuses_what_the_long_one_does(text):
    """Only bytes are decoded in one go."""
    found = []
    for data in (text.encode(), text):
        try:
            signal = decode_signal(data)
            found.append((repr(signal), signal.envelope))
        except MalformedMessage as error:
            found.append((error.reason, None))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("unknown", "reason"),
    [
        (b'"\xff"', "not-utf8"),
        (b"[" * 65 + b"]" * 65, "too-deep"),
        (b"1" * 5000, "not-json"),
    ],
)
def test_what_is_not_known_is_looked_at_all_the_same(unknown, reason):
    for good in (wire_signal(), wire_signal(ENVELOPE)):
        with pytest.raises(MalformedMessage, match=reason):
            decode_signal(good.encode()[:-1] + b', "later": ' + unknown + b"}")
    in_envelope = wire_signal(ENVELOPE).encode()[:-3] + b', "later": ' + unknown + b"}}}"
    with pytest.raises(MalformedMessage, match=reason):
        decode_signal(in_envelope)


def test_an_unknown_key_that_is_no_text_is_refused():
    with pytest.raises(MalformedMessage, match="bad-text"):
        decode_signal(wire_signal(**{"\ud800": 1}))
    with pytest.raises(MalformedMessage, match="bad-text"):
        decode_response(wire_response(**{"\ud800": 1}))


def test_of_duplicate_keys_the_last_one_counts_as_in_version_1():
    assert decode_signal(wire_signal()[:-1] + ', "event": "stop"}').event == "stop"
    assert decode_response(wire_response()[:-1] + ', "event": "stop"}').event == "stop"


def test_metadata_may_hold_what_only_python_takes_for_json():
    """1.0.1 sends it, and takes it."""
    signal = decode_signal('{"metadata": {"a": NaN, "b": -Infinity, "c": "\\ud800"}, ' + wire_signal()[1:])
    assert repr(signal.metadata) == repr({"a": math.nan, "b": -math.inf, "c": "\ud800"})


@pytest.mark.parametrize(
    "change",
    [
        *({key: None} for key in ("v", "id", "seq", "sent")),
        {"v": 1},
        {"v": "2"},
        {"id": SIGNAL_ID.upper()},
        {"id": SIGNAL_ID[1:]},
        {"id": SIGNAL_ID + "\n"},
        {"id": 1},
        {"seq": 0},
        {"seq": 1.5},
        {"sent": math.nan},
        {"sent": math.inf},
        {"sent": 10**400},
        {"reply": 1},
        {"wait": -0.5},
        {"wait": math.nan},
        {"wait": math.inf},
        {"wait": 10**400},
        {"wait": True},
        {"ttl": -0.5},
        {"ttl": math.nan},
        {"ttl": math.inf},
        {"ttl": "15"},
        {"journal": 1},
        {"again": None},
        {"redelivered": "yes"},
        {"spread": -1.0},
        {"spread": "1"},
        {"\ud800": 1},
    ],
    ids=str,
)
def test_an_envelope_that_is_not_one_is_refused(change):
    with pytest.raises(MalformedMessage, match="bad-envelope"):
        decode_signal(wire_signal(ENVELOPE | change))


@pytest.mark.parametrize("envelope", [1, "text", [], True])
def test_an_envelope_that_is_no_object_is_refused(envelope):
    with pytest.raises(MalformedMessage, match="bad-envelope"):
        decode_signal(wire_signal(envelope))


@pytest.mark.parametrize("missing", ["v", "id", "seq", "sent"])
def test_an_envelope_that_is_incomplete_is_refused(missing):
    with pytest.raises(MalformedMessage, match="bad-envelope"):
        decode_signal(wire_signal({key: value for key, value in ENVELOPE.items() if key != missing}))


def test_the_reply_key_is_bounded_text():
    assert decode_signal(wire_signal(ENVELOPE | {"reply": "x" * 3072}))
    for reply, reason in (("x" * 3073, "name-too-long"), ("\ud800", "bad-text")):
        with pytest.raises(MalformedMessage, match=reason):
            decode_signal(wire_signal(ENVELOPE | {"reply": reply}))


def test_a_later_version_of_the_envelope_is_read_as_far_as_it_is_known():
    assert decode_signal(wire_signal(ENVELOPE | {"v": 3})).id == SIGNAL_ID


@pytest.mark.parametrize("field", ["responder_id", "publisher_id", "event"])
def test_a_response_needs_each_of_its_three_names(field):
    with pytest.raises(MalformedMessage, match=f"missing-field.*{field}"):
        decode_response(json.dumps({key: value for key, value in RESPONSE.items() if key != field}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("responder_id", 1),
        ("ras", "1"),
        ("ras", 1.5),
        ("message", 1),
        ("signal_id", 1),
        ("sent", "now"),
        ("sent", math.nan),
        ("sent", math.inf),
        ("took", -math.inf),
        ("took", 10**400),
        ("state", 1),
        ("ttl", math.nan),
        ("ttl", math.inf),
        ("ttl", "15"),
        ("again", 1),
    ],
)
def test_a_response_has_the_types_of_the_protocol_and_no_other(field, value):
    with pytest.raises(MalformedMessage, match="wrong-type"):
        decode_response(wire_response(**{field: value}))


def test_any_number_is_a_ras():
    assert decode_response(wire_response(ras=-(10**400))).ras == -(10**400)


@pytest.mark.parametrize("value", [True, False])
def test_true_and_false_are_numbers_because_version_1_sends_them(value):
    assert type(decode_response(wire_response(ras=value)).ras) is int
    assert decode_response(wire_response(ras=value)).ras == int(value)
    assert type(decode_signal(wire_signal(sample_no=value)).sample_no) is int
    assert decode_signal(wire_signal(sample_no=value)).sample_no == int(value)


def test_a_message_that_only_python_takes_for_json_is_still_a_response():
    """1.0.1 sends lone surrogates escaped, for example from the name of a file."""
    assert decode_response(wire_response(message="\udcff", ras=0)).message == "\udcff"


@pytest.mark.parametrize("convert", [bytes, bytearray, memoryview], ids=lambda kind: kind.__name__)
def test_bytes_come_in_any_form(convert):
    assert decode_signal(convert(wire_signal().encode())) == decode_signal(wire_signal())
    assert decode_response(convert(wire_response().encode())) == decode_response(wire_response())
