"""Bytes to messages and back: version 1, the version 2 envelope, and the limits on both.

Whatever arrives either becomes a message or raises `MalformedMessage` with a countable reason; nothing else escapes.

Signals go through the standard library's `json` both ways, because 1.0.1 does the same: what only that accepts (`NaN`,
escaped lone surrogates in metadata) must come out as it went in. Responses, which arrive by the thousand, are decoded
by msgspec straight into their type, and take the slow path only when that refuses them.
"""

from __future__ import annotations

import copy
import functools
import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final, TypeVar

import msgspec

from state_signals.arguments import can_be_key, check_name, is_unicode
from state_signals.exceptions import InvalidArgument, InvalidType, MalformedMessage, MessageTooLarge
from state_signals.limits import DEFAULT_LIMITS, Limits
from state_signals.messages import NO_TAG, Envelope, Receipt, Response, Signal

__all__ = [
    "ENVELOPE_KEY",
    "PROTOCOL_VERSION",
    "WireResponse",
    "decode_response",
    "decode_signal",
    "encode_response",
    "encode_signal",
]

_T = TypeVar("_T")

ENVELOPE_KEY: Final = "_state_signals"
"""The one metadata key that is reserved: version 1 tolerates additions there and nowhere else."""

PROTOCOL_VERSION: Final = 2


class WireResponse(msgspec.Struct, frozen=True, gc=False):
    """A response as it arrives: version 1 fields first, then what version 2 adds."""

    responder_id: str
    publisher_id: str
    event: str
    ras: int | None = None
    message: str | None = None
    signal_id: str | None = None
    sent: float | None = None
    took: float | None = None
    state: str | None = None
    ttl: float | None = None
    again: bool = False


class _WireSignal(msgspec.Struct, gc=False):
    publisher_id: str
    process_name: str
    event: str
    runner_host: str
    sample_no: int = -1
    tag: str = NO_TAG
    metadata: dict[str, Any] | None = None


class _WireEnvelope(msgspec.Struct, gc=False):
    v: int
    id: str
    seq: int
    sent: float
    reply: str | None = None
    wait: float | msgspec.UnsetType | None = msgspec.UNSET
    ttl: float | None = None
    journal: bool = True
    again: bool = False
    redelivered: bool = False
    aborted: str | None = None
    spread: float | None = None
    # The user's metadata is an empty object, not none: without the envelope the two would look the same.
    empty: bool = False


class _KnownEnvelope(_WireEnvelope, forbid_unknown_fields=True, gc=False):
    """An envelope without anything of a later version."""


class _OnlyEnvelope(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    envelope: _KnownEnvelope = msgspec.field(name=ENVELOPE_KEY)


class _FlatSignal(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A signal whose metadata hold nothing of a user's: most are.

    One with keys that are not known is none: msgspec would skip them, whatever they hold.
    """

    publisher_id: str
    process_name: str
    event: str
    runner_host: str
    sample_no: int = -1
    tag: str = NO_TAG
    metadata: _OnlyEnvelope | None = None


_signal_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_flat_decoder = msgspec.json.Decoder(_FlatSignal)
_response_decoder = msgspec.json.Decoder(WireResponse)
_LONGEST_SEQ = 2**63 - 1
_KEPT = 4_096
"""Bytes of a signal that is kept in case somebody else gets it, too."""
_SIGNAL_ID = re.compile(r"[0-9a-f]{32}")
# Possessive and with an optional closing quote, so that no input makes it backtrack.
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


def encode_signal(signal: Signal, envelope: Envelope | None = None, *, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return the bytes to broadcast: the version 1 keys in their order, the envelope inside the metadata.

    Raises:
        InvalidType: if the metadata holds something that is not JSON; the message says where.
        InvalidArgument: if the metadata uses the reserved key, or a text is too long or not valid Unicode.
        MessageTooLarge: beyond the limits on size or nesting.
    """
    for name in ("publisher_id", "process_name", "event", "runner_host", "tag"):
        text = getattr(signal, name)
        if not (text.isascii() and len(text) <= limits.max_name):
            check_name(name, text, limits)
    if signal.metadata is not None and ENVELOPE_KEY in signal.metadata:
        raise InvalidArgument(f"the metadata key {ENVELOPE_KEY!r} is reserved for the protocol; rename yours")
    payload = signal.to_v1()
    if envelope is not None:
        extension = _extension(envelope, is_empty=signal.metadata == {})
        payload["metadata"] = {**(signal.metadata or {}), ENVELOPE_KEY: extension}
    if signal.metadata:
        # It goes out as it is, whatever 1.0.1 takes.
        return _encode(payload, "metadata", limits)
    return _encode_flat(payload, "signal", limits)


def decode_signal(data: bytes | str, *, limits: Limits = DEFAULT_LIMITS) -> Signal:
    """Return the signal, its envelope taken out of the metadata.

    Raises:
        MalformedMessage: the only exception, whatever the bytes are.
    """
    if isinstance(data, bytes) and len(data) <= _KEPT:
        # All responders of a process get the same signals.
        wire, metadata, envelope = _read_once(data, limits)
        if metadata is not None:
            # What is kept is nobody's to change; the envelope cannot be.
            metadata = copy.deepcopy(metadata)
    else:
        wire, metadata, envelope = _read(data, limits)
    signal = Signal(
        wire.publisher_id, wire.process_name, wire.event, wire.runner_host, wire.sample_no, wire.tag, metadata
    )
    signal._envelope = envelope  # noqa: SLF001 - the one writer: users get it read-only
    return signal


def _read(
    data: bytes | str, limits: Limits
) -> tuple[_FlatSignal | _WireSignal, dict[str, Any] | None, Envelope | None]:
    """Return the parts of a signal, checked: what it says, the user's metadata, the envelope.

    Raises:
        MalformedMessage: whatever the bytes are.
    """
    wire: _FlatSignal | _WireSignal | None = _flat(data, limits)
    metadata: dict[str, Any] | None = None
    extension: _WireEnvelope | None = None
    if isinstance(wire, _FlatSignal):
        extension = None if wire.metadata is None else wire.metadata.envelope
        metadata = {} if extension is not None else None
    else:
        wire = _convert(_with_numbers(_parse(data, limits), "sample_no"), _WireSignal)
        metadata = wire.metadata
        if metadata is not None and ENVELOPE_KEY in metadata:
            extension = _convert(metadata.pop(ENVELOPE_KEY), _WireEnvelope, reason="bad-envelope")
    for name in ("publisher_id", "process_name", "event", "runner_host", "tag"):
        text = getattr(wire, name)
        if not (text.isascii() and len(text) <= limits.max_name):
            _check_received_name(name, text, limits)
    envelope = None
    if extension is not None:
        if not can_be_key(wire.publisher_id):
            raise MalformedMessage("bad-envelope", f"publisher_id={wire.publisher_id!r:.80} cannot be part of a key")
        envelope = _envelope(extension, limits)
        if not metadata and not extension.empty:
            metadata = None
    return wire, metadata, envelope


_read_once = functools.lru_cache(maxsize=64)(_read)


def _flat(data: bytes | str, limits: Limits) -> _FlatSignal | None:
    """Return a signal that has no metadata but the envelope, and is otherwise as it should be; None: look closer."""
    if isinstance(data, str) or len(data) > limits.max_payload:
        return None
    try:
        return _flat_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def encode_response(response: Response, receipt: Receipt | None = None, *, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return the bytes of an answer; without a receipt they are exactly version 1.

    Raises:
        InvalidArgument: if a text is too long or not valid Unicode.
        MessageTooLarge: beyond the limit on size.
    """
    for name in ("responder_id", "publisher_id", "event"):
        text = getattr(response, name)
        if not (text.isascii() and len(text) <= limits.max_name):
            check_name(name, text, limits)
    payload = response.to_v1()
    if receipt is not None:
        payload |= {"signal_id": receipt.signal_id, "sent": receipt.sent, "took": receipt.took}
        if receipt.state is not None:
            payload["state"] = receipt.state
        if receipt.ttl is not None:
            payload["ttl"] = receipt.ttl
        if receipt.again:
            payload["again"] = True
    return _encode_flat(payload, "response", limits)


def decode_response(data: bytes | str, *, limits: Limits = DEFAULT_LIMITS) -> WireResponse:
    """Return the response.

    Raises:
        MalformedMessage: the only exception, whatever the bytes are.
    """
    if len(data) > limits.max_payload:
        raise MalformedMessage("too-large", f"{len(data)} bytes; the limit is {limits.max_payload}")
    # Nothing in it is longer than it, and what msgspec reads is valid Unicode.
    are_names_good = len(data) <= limits.max_name
    try:
        wire = _response_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        # The slow path says what is wrong, and takes what 1.0.1 sends but msgspec refuses.
        are_names_good = False
        wire = _convert(_with_numbers(_parse(data, limits), "ras"), WireResponse)
        if not all(math.isfinite(seconds or 0.0) for seconds in (wire.sent, wire.took, wire.ttl)):
            raise MalformedMessage("wrong-type", "sent, took and ttl must be finite") from None
    if not are_names_good:
        for name in ("responder_id", "publisher_id", "event"):
            _check_received_name(name, getattr(wire, name), limits)
    return wire


def _check_received_name(what: str, value: str, limits: Limits) -> None:
    if len(value) > limits.max_name:
        raise MalformedMessage("name-too-long", f"{what} has {len(value)} characters")
    if not is_unicode(value):
        raise MalformedMessage("bad-text", f"{what} is not valid Unicode")


def _extension(envelope: Envelope, *, is_empty: bool) -> dict[str, Any]:
    """Return the envelope as it goes out: without what is as usual."""
    found: dict[str, Any] = {"v": PROTOCOL_VERSION, "id": envelope.id, "seq": envelope.seq, "sent": envelope.sent}
    if envelope.reply is not None:
        found["reply"] = envelope.reply
    if envelope.wait is not None:
        found["wait"] = None if math.isinf(envelope.wait) else envelope.wait
    if envelope.ttl is not None:
        found["ttl"] = envelope.ttl
    if not envelope.journal:
        found["journal"] = False
    if envelope.again:
        found["again"] = True
    if envelope.redelivered:
        found["redelivered"] = True
    if envelope.aborted is not None:
        found["aborted"] = envelope.aborted
    if envelope.spread is not None:
        found["spread"] = envelope.spread
    if is_empty:
        found["empty"] = True
    return found


def _envelope(wire: _WireEnvelope, limits: Limits) -> Envelope:
    wait = wire.wait if isinstance(wire.wait, float) else 0.0
    if (
        wire.v < PROTOCOL_VERSION
        or not _SIGNAL_ID.fullmatch(wire.id)
        or not 1 <= wire.seq <= _LONGEST_SEQ
        or not math.isfinite(wire.sent)
        or not 0.0 <= wait < math.inf
        or not 0.0 <= (wire.ttl or 0.0) < math.inf
        or not 0.0 <= (wire.spread or 0.0) < math.inf
    ):
        raise MalformedMessage("bad-envelope", f"v={wire.v!r:.20} id={wire.id!r:.40} seq={wire.seq!r:.20}")
    if wire.reply is not None:
        # A key holds a prefix and a namespace around the publisher_id.
        _check_received_name("reply", wire.reply, Limits(max_name=3 * limits.max_name))
    if wire.aborted is not None:
        _check_received_name("aborted", wire.aborted, limits)
    return Envelope(
        id=wire.id,
        seq=wire.seq,
        sent=wire.sent,
        reply=wire.reply,
        wait=None if wire.wait is msgspec.UNSET else math.inf if wire.wait is None else wait,
        ttl=wire.ttl,
        journal=wire.journal,
        again=wire.again,
        redelivered=wire.redelivered,
        aborted=wire.aborted,
        spread=wire.spread,
    )


def _encode_flat(payload: dict[str, Any], what: str, limits: Limits) -> bytes:
    """Return the bytes of what has nothing of a user's but texts and numbers."""
    try:
        data = msgspec.json.encode(payload)
    except (ValueError, OverflowError):
        # What is no valid Unicode goes out escaped, as 1.0.1 sends it; large numbers go out as they are.
        data = json.dumps(payload, separators=(",", ":")).encode()
    _check_size(data, what, limits)
    return data


def _encode(payload: dict[str, Any], part: str, limits: Limits) -> bytes:
    try:
        text = _signal_encoder.encode(payload)
        # What is no valid Unicode (file names, output of commands) goes out escaped, as 1.0.1 sends it.
        data = (text if is_unicode(text) else json.dumps(payload, separators=(",", ":"))).encode()
    except RecursionError:
        raise MessageTooLarge(f"{part} is nested too deep; the limit is {limits.max_depth} levels") from None
    except ValueError as error:
        raise InvalidArgument(f"{part} cannot be sent as JSON: {error}") from None
    except TypeError as error:
        where = next(_not_json(payload.get(part), part, limits.max_depth), part)
        raise InvalidType(f"{where} cannot be sent as JSON: {error}") from None
    _check_size(data, "signal", limits)
    if _depth_exceeds(data, limits.max_depth):
        raise MessageTooLarge(f"{part} is nested too deep; the limit is {limits.max_depth} levels")
    return data


def _check_size(data: bytes, what: str, limits: Limits) -> None:
    if len(data) > limits.max_payload:
        raise MessageTooLarge(
            f"the {what} is {len(data)} bytes; the limit is {limits.max_payload}. "
            f"Store large data elsewhere and send its place."
        )


def _not_json(value: Any, path: str, depth: int) -> Iterator[str]:
    """Yield the places of values that JSON cannot hold."""
    if depth == 0:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if key is not None and not isinstance(key, str | int | float):
                yield f"{path} key {key!r:.80}"
            yield from _not_json(item, f"{path}[{key!r:.80}]", depth - 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _not_json(item, f"{path}[{index}]", depth - 1)
    elif value is not None and not isinstance(value, str | int | float):
        yield path


def _parse(data: bytes | str, limits: Limits) -> Any:
    try:
        raw = data.encode() if isinstance(data, str) else bytes(data)
        text = raw.decode()
    except UnicodeError as error:
        raise MalformedMessage("not-utf8", str(error)[:200]) from None
    if len(raw) > limits.max_payload:
        raise MalformedMessage("too-large", f"{len(raw)} bytes; the limit is {limits.max_payload}")
    if _depth_exceeds(raw, limits.max_depth):
        raise MalformedMessage("too-deep", f"more than {limits.max_depth} levels")
    try:
        return json.loads(text)
    except RecursionError:
        # Only with a limit above what the interpreter's stack takes.
        raise MalformedMessage("too-deep", "deeper than this interpreter can read") from None
    except ValueError as error:
        raise MalformedMessage("not-json", str(error)[:200]) from None


def _with_numbers(value: Any, key: str) -> Any:
    """Make a number of true and false, which 1.0.1 sends if that is what it is given."""
    if isinstance(value, dict) and isinstance(value.get(key), bool):
        value[key] = int(value[key])
    return value


def _depth_exceeds(raw: bytes, limit: int) -> bool:
    """Whether brackets nest deeper than the limit. Looked at before parsing: a parser's stack is not ours to risk."""
    if raw.count(b"[") + raw.count(b"{") <= limit:
        return False
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(raw):
        token = match[0]
        if token in (b"[", b"{"):
            depth += 1
            if depth > limit:
                return True
        elif token in (b"]", b"}"):
            depth -= 1
    return False


def _convert(value: Any, kind: type[_T], *, reason: str | None = None) -> _T:
    if not isinstance(value, dict):
        raise MalformedMessage(reason or "not-an-object", f"a JSON {type(value).__name__}")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        found = "missing-field" if "missing required field" in str(error) else "wrong-type"
        raise MalformedMessage(reason or found, str(error)[:200]) from None
    except UnicodeError as error:
        # An unknown key that is an escaped lone surrogate is no text to msgspec.
        raise MalformedMessage(reason or "bad-text", str(error)[:200]) from None
