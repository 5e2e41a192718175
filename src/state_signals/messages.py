"""What is said: signals and responses.

Plain data. How it looks on the wire is `state_signals.codec`'s business. `Signal` and `Response` have the fields, in
their order, that version 1 of the protocol gives them; facts that version 2 adds are attributes beside the fields, so
that neither equality nor the version 1 JSON knows of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from state_signals.exceptions import InvalidType

__all__ = [
    "INITIALIZATION",
    "NO_TAG",
    "RESERVED_EVENTS",
    "SHUTDOWN",
    "Envelope",
    "Receipt",
    "Response",
    "Signal",
]

INITIALIZATION: Final = "initialization"
"""Event that opens an exporter's roster: responders subscribe by answering it."""

SHUTDOWN: Final = "shutdown"
"""Event that closes an exporter's roster; nobody answers it."""

RESERVED_EVENTS: Final = frozenset({INITIALIZATION, SHUTDOWN})

NO_TAG: Final = "No tag specified"
"""The tag of a signal that was given none (protocol version 1)."""


class Envelope(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What version 2 adds to a signal.

    Attributes:
        id: 32 hexadecimal digits, unique per signal.
        seq: position among the exporter's signals, from 1 without gaps.
        sent: seconds since the epoch, by the exporter's clock.
        reply: key of the stream that collects the responses; None: the version 1 channel collects them.
        wait: seconds that the exporter will wait for responses; None: it does not wait; infinite: for ever.
        ttl: seconds after which the exporter takes a responder without proof of life for lost; None: never.
        journal: whether the signal is in the exporter's journal.
        again: whether it is broadcast once more, after the exporter was out of touch: others may have come since.
        redelivered: whether it is sent once more to a responder that may have died while acting on it.
        aborted: with a shutdown: why the run was aborted; None: it was not.
        spread: with an initialization: seconds over which the answers are to be spread; None: all are to come at once.
    """

    id: str
    seq: int
    sent: float
    reply: str | None = None
    wait: float | None = None
    ttl: float | None = None
    journal: bool = True
    again: bool = False
    redelivered: bool = False
    aborted: str | None = None
    spread: float | None = None


class Receipt(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What version 2 adds to a response.

    Attributes:
        signal_id: the signal that is answered; the response counts for no other.
        sent: seconds since the epoch, by the responder's clock.
        took: seconds from the signal's receipt to the answer.
        state: `"working"` in a progress report, which is no answer yet; `"left"` from a responder that closes;
            `"abort"` from somebody who wants the run to end.
        ttl: seconds after which the responder, without another proof of life, is lost; None: it gives none.
        again: whether the same answer may have been sent before.
    """

    signal_id: str
    sent: float
    took: float
    state: str | None = None
    ttl: float | None = None
    again: bool = False


def _refuse_types(message: object, /, **expected: type) -> None:
    """Raise InvalidType for the first field that has another type; those with a default may be None."""
    owner = type(message)
    for name, kind in expected.items():
        value, is_optional = getattr(message, name), getattr(owner, name, "") is None
        if not isinstance(value, kind) and not (is_optional and value is None):
            wanted = f"{kind.__name__} or None" if is_optional else kind.__name__
            raise InvalidType(f"{owner.__name__}.{name} must be {wanted}, not {type(value).__name__} ({value!r:.80})")


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
        # One expression: this is done for each signal that is sent, and each that arrives.
        if not (
            isinstance(self.publisher_id, str)
            and isinstance(self.process_name, str)
            and isinstance(self.event, str)
            and isinstance(self.runner_host, str)
            and isinstance(self.sample_no, int)
            and isinstance(self.tag, str)
            and (self.metadata is None or isinstance(self.metadata, dict))
        ):
            _refuse_types(
                self,
                publisher_id=str,
                process_name=str,
                event=str,
                runner_host=str,
                tag=str,
                sample_no=int,
                metadata=dict,
            )
        # True counts as 1, as it did in 1.0.1; on the wire it is a number.
        self.sample_no = int(self.sample_no)
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

    @property
    def redelivered(self) -> bool:
        """Whether it comes again, because a responder of this name may have died while acting on it."""
        return self._envelope is not None and self._envelope.redelivered

    @property
    def aborted(self) -> str | None:
        """With a shutdown: why the run was aborted; None: it was not, or the exporter speaks version 1."""
        return self._envelope.aborted if self._envelope else None

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
        if not (
            isinstance(self.responder_id, str)
            and isinstance(self.publisher_id, str)
            and isinstance(self.event, str)
            and (self.ras is None or isinstance(self.ras, int))
            and (self.message is None or isinstance(self.message, str))
        ):
            _refuse_types(self, responder_id=str, publisher_id=str, event=str, ras=int, message=str)
        if self.ras is not None:
            # True counts as 1, as it did in 1.0.1; on the wire it is a number.
            self.ras = int(self.ras)

    def to_json_str(self) -> str:
        """Return the version 1 JSON: its keys in its order, `ras` and `message` left out when None."""
        return json.dumps(self.to_v1())

    def to_v1(self) -> dict[str, Any]:
        """Return the version 1 fields as an object, in their order, without those that are None."""
        return {name: value for name in self.__match_args__ if (value := getattr(self, name)) is not None}
