"""What is said: signals, responses, and what became of a round.

Plain data. How it looks on the wire is `state_signals.codec`'s business. `Signal` and `Response` have the fields, in
their order, that version 1 of the protocol gives them; facts that version 2 adds are attributes beside the fields, so
that neither equality nor the version 1 JSON knows of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Final

from state_signals.exceptions import InvalidType

__all__ = [
    "INITIALIZATION",
    "NO_TAG",
    "RESERVED_EVENTS",
    "SHUTDOWN",
    "Envelope",
    "Outcome",
    "PublishResult",
    "Receipt",
    "Report",
    "Response",
    "ResultCodes",
    "Signal",
]

INITIALIZATION: Final = "initialization"
"""Event that opens an exporter's roster: responders subscribe by answering it."""

SHUTDOWN: Final = "shutdown"
"""Event that closes an exporter's roster; nobody answers it."""

RESERVED_EVENTS: Final = frozenset({INITIALIZATION, SHUTDOWN})

NO_TAG: Final = "No tag specified"
"""The tag of a signal that was given none (protocol version 1)."""


class ResultCodes(IntEnum):
    """What a round came to, as the one number that version 1 knew."""

    ALL_SUBS_SUCCESS = 0
    SUB_FAILED = 1
    MISSING_RESPONSE = 2


class Outcome(StrEnum):
    """A responder's end in a round."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    MISSING = "missing"
    LOST = "lost"
    LEFT = "left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What version 2 adds to a signal.

    Attributes:
        id: 32 hexadecimal digits, unique per signal.
        seq: position among the exporter's signals, from 1 without gaps.
        sent: seconds since the epoch, by the exporter's clock.
        reply: key of the stream that collects the responses; None: the version 1 channel collects them.
        wait: seconds that the exporter will wait for responses; None: it does not wait; infinite: for ever.
    """

    id: str
    seq: int
    sent: float
    reply: str | None = None
    wait: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What version 2 adds to a response.

    Attributes:
        signal_id: the signal that is answered; the response counts for no other.
        sent: seconds since the epoch, by the responder's clock.
        took: seconds from the signal's receipt to the answer.
        state: `"working"` in a progress report, which is no answer yet.
    """

    signal_id: str
    sent: float
    took: float
    state: str | None = None


def _check_type(owner: str, name: str, value: object, expected: type, *, optional: bool = False) -> None:
    if optional and value is None:
        return
    # bool is an int to Python, but true is no sample number and no ras on the wire.
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        wanted = f"{expected.__name__} or None" if optional else expected.__name__
        raise InvalidType(f"{owner}.{name} must be {wanted}, not {type(value).__name__} ({value!r:.80})")


@dataclass
class Signal:
    """One announcement: an exporter has entered a state.

    Attributes:
        publisher_id: the exporter's identifier.
        process_name: what the exporter calls itself.
        event: the state that was entered.
        runner_host: host that the exporter runs on.
        sample_no: number of the sample that the state belongs to; -1: none.
        tag: free text that groups signals.
        metadata: free JSON object, or None.

    Raises:
        InvalidType: (a `TypeError`) if a field has the wrong type.
    """

    publisher_id: str
    process_name: str
    event: str
    runner_host: str
    sample_no: int = -1
    tag: str = NO_TAG
    metadata: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("publisher_id", "process_name", "event", "runner_host", "tag"):
            _check_type("Signal", name, getattr(self, name), str)
        _check_type("Signal", "sample_no", self.sample_no, int)
        _check_type("Signal", "metadata", self.metadata, dict, optional=True)
        self._envelope: Envelope | None = None

    @property
    def envelope(self) -> Envelope | None:
        """What version 2 adds; None on a signal from a version 1 exporter."""
        return self._envelope

    @property
    def id(self) -> str | None:
        """Unique identifier, 32 hexadecimal digits; None from a version 1 exporter."""
        return self._envelope.id if self._envelope else None

    @property
    def seq(self) -> int | None:
        """Position among the exporter's signals, from 1; None from a version 1 exporter."""
        return self._envelope.seq if self._envelope else None

    @property
    def sent(self) -> float | None:
        """When it was sent, in seconds since the epoch by the exporter's clock; None from a version 1 exporter."""
        return self._envelope.sent if self._envelope else None

    @property
    def wait(self) -> float | None:
        """Seconds that the exporter waits for responses (infinite: for ever); None: it does not wait, or version 1."""
        return self._envelope.wait if self._envelope else None

    def to_json_str(self) -> str:
        """Return the version 1 JSON: its keys in its order, `metadata` left out when None."""
        return json.dumps(self.to_v1())

    def to_v1(self) -> dict[str, Any]:
        """Return the version 1 fields as an object, in their order, `metadata` left out when None."""
        return {name: value for name in self.__match_args__ if (value := getattr(self, name)) is not None}


@dataclass
class Response:
    """One responder's answer to one signal.

    Attributes:
        responder_id: the responder's identifier.
        publisher_id: the exporter that is answered.
        event: the event that is answered.
        ras: response action success: 1 for success, any other number for failure; None only answers
            `initialization`.
        message: free text for the exporter's user, or None.

    Raises:
        InvalidType: (a `TypeError`) if a field has the wrong type.
    """

    responder_id: str
    publisher_id: str
    event: str
    ras: int | None = None
    message: str | None = None

    def __post_init__(self) -> None:
        for name in ("responder_id", "publisher_id", "event"):
            _check_type("Response", name, getattr(self, name), str)
        _check_type("Response", "ras", self.ras, int, optional=True)
        _check_type("Response", "message", self.message, str, optional=True)

    def to_json_str(self) -> str:
        """Return the version 1 JSON: its keys in its order, `ras` and `message` left out when None."""
        return json.dumps(self.to_v1())

    def to_v1(self) -> dict[str, Any]:
        """Return the version 1 fields as an object, in their order, without those that are None."""
        return {name: value for name in self.__match_args__ if (value := getattr(self, name)) is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one responder did in one round.

    Attributes:
        outcome: its end in the round.
        ras: the number that it answered; None if it did not answer.
        message: the text that it answered; None if there was none.
        elapsed: seconds from publication until its answer arrived; None if it did not answer.
        took: seconds that it says it spent from receipt to answer; None from version 1.
    """

    outcome: Outcome
    ras: int | None = None
    message: str | None = None
    elapsed: float | None = None
    took: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What a `PublishResult` knows beyond the version 1 tuple."""

    ok: bool
    reports: Mapping[str, Report] = field(default_factory=dict)
    pending: frozenset[str] = frozenset()
    signal_id: str | None = None
    elapsed: float = 0.0


class PublishResult(tuple[ResultCodes, dict[str, str]]):
    """What became of a round: the version 1 tuple `(code, messages)`, and everything by name.

    `code, messages = result` and `result == (0, {})` hold as they did in version 1. `messages` maps responder_id to
    message and holds also those of responders outside the roster.
    """

    _facts: _Facts

    def __new__(
        cls,
        *,
        ok: bool,
        messages: Mapping[str, str] | None = None,
        reports: Mapping[str, Report] | None = None,
        pending: Iterable[str] = (),
        signal_id: str | None = None,
        elapsed: float = 0.0,
    ) -> PublishResult:
        """Derive the code from `ok` and the reports; see the attributes for the meaning of the rest."""
        reports = dict(reports or {})
        if ok:
            code = ResultCodes.ALL_SUBS_SUCCESS
        elif any(report.outcome is Outcome.FAILED for report in reports.values()) and not any(
            report.outcome in (Outcome.MISSING, Outcome.LOST) for report in reports.values()
        ):
            code = ResultCodes.SUB_FAILED
        else:
            code = ResultCodes.MISSING_RESPONSE
        result = super().__new__(cls, (code, dict(messages or {})))
        result._facts = _Facts(ok=ok, reports=reports, pending=frozenset(pending), signal_id=signal_id, elapsed=elapsed)
        return result

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, Any]]:  # type: ignore[override]
        """Let copies and pickles keep what is beyond the tuple."""
        return (), {"messages": self.messages, **vars(self._facts)}

    def __repr__(self) -> str:
        counts = ", ".join(f"{outcome}={sorted(self._named(outcome))}" for outcome in Outcome if self._named(outcome))
        return f"PublishResult(code={self.code.name}, {counts or 'nobody awaited'}, elapsed={self.elapsed:.6f})"

    def _named(self, outcome: Outcome) -> dict[str, Report]:
        return {name: report for name, report in self._facts.reports.items() if report.outcome is outcome}

    @property
    def code(self) -> ResultCodes:
        """The version 1 code. 0 when `ok`; else 2 if anyone is missing or lost, or nobody was there; else 1."""
        return self[0]

    @property
    def messages(self) -> dict[str, str]:
        """Messages by responder_id, also from responders outside the roster."""
        return self[1]

    @property
    def ok(self) -> bool:
        """Whether the round came to what was asked: everyone (or `min_success`) succeeded."""
        return self._facts.ok

    @property
    def reports(self) -> Mapping[str, Report]:
        """The report of each roster member whose outcome is known."""
        return self._facts.reports

    @property
    def succeeded(self) -> dict[str, Report]:
        """Those that answered with ras 1."""
        return self._named(Outcome.SUCCEEDED)

    @property
    def failed(self) -> dict[str, Report]:
        """Those that answered with any other ras."""
        return self._named(Outcome.FAILED)

    @property
    def missing(self) -> dict[str, Report]:
        """Those that had not answered when the deadline passed."""
        return self._named(Outcome.MISSING)

    @property
    def lost(self) -> dict[str, Report]:
        """Those whose process or host is gone."""
        return self._named(Outcome.LOST)

    @property
    def left(self) -> dict[str, Report]:
        """Those that closed in good order before they answered."""
        return self._named(Outcome.LEFT)

    @property
    def pending(self) -> frozenset[str]:
        """Those that were not waited for, because `fail_fast`, `min_success` or `wait=False` ended the round first."""
        return self._facts.pending

    @property
    def signal_id(self) -> str | None:
        """Identifier of the signal; None when nothing beyond version 1 was sent."""
        return self._facts.signal_id

    @property
    def elapsed(self) -> float:
        """Seconds from publication until the round ended."""
        return self._facts.elapsed
