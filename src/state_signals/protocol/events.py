"""What the core tells its shell: frozen facts, in the order in which they became true."""

from __future__ import annotations

from dataclasses import dataclass

from state_signals.messages import Signal
from state_signals.results import PublishResult, Report

__all__ = [
    "AbortRequested",
    "ClaimHeld",
    "ClaimRefused",
    "Degraded",
    "Event",
    "LateResponse",
    "MessageRefused",
    "OutcomeKnown",
    "ProgressReported",
    "ResponderLeft",
    "ResponderSubscribed",
    "Restored",
    "RoundCompleted",
    "SignalReceived",
    "SignalRefused",
    "SignalSent",
    "SignalUnsent",
    "SignalsMissed",
    "SubscriptionCompleted",
]


@dataclass(frozen=True, slots=True)
class SignalReceived:
    """A responder is to act on a signal."""

    signal: Signal


@dataclass(frozen=True, slots=True)
class ResponderSubscribed:
    """A responder has joined the roster."""

    responder_id: str


@dataclass(frozen=True, slots=True)
class ResponderLeft:
    """A responder has closed in good order: it is no longer on the roster."""

    responder_id: str


@dataclass(frozen=True, slots=True)
class AbortRequested:
    """Somebody wants the run to end, and says why."""

    reason: str
    by: str


@dataclass(frozen=True, slots=True)
class ClaimHeld:
    """The `publisher_id` is ours."""

    found: bool
    """Whether an earlier owner had left something to resume."""


@dataclass(frozen=True, slots=True)
class ClaimRefused:
    """The `publisher_id` belongs to another exporter, which is alive. `owner` is what it says of itself."""

    owner: bytes


@dataclass(frozen=True, slots=True)
class SignalSent:
    """The server has taken a signal."""

    signal_id: str


@dataclass(frozen=True, slots=True)
class SignalUnsent:
    """A signal was given up: its time was over before the server had taken it."""

    signal_id: str


@dataclass(frozen=True, slots=True)
class SignalRefused:
    """The server will not take a signal."""

    signal_id: str
    why: str


@dataclass(frozen=True, slots=True)
class Degraded:
    """The server does not allow something that can be done without. `lost` says what does not work then."""

    lost: str
    why: str


@dataclass(frozen=True, slots=True)
class Restored:
    """The server had lost data, and what we know of it was put back: so many signals, so many responders."""

    signals: int
    responders: int


@dataclass(frozen=True, slots=True)
class SignalsMissed:
    """Signals of an exporter will never come: neither broadcast nor journal had them."""

    publisher_id: str
    count: int


@dataclass(frozen=True, slots=True)
class ProgressReported:
    """A roster member says that it is still working."""

    signal_id: str
    responder_id: str
    message: str | None


@dataclass(frozen=True, slots=True)
class SubscriptionCompleted:
    """The wait for subscribers is over: enough are there, or the time is up."""

    enough: bool


@dataclass(frozen=True, slots=True)
class OutcomeKnown:
    """A roster member's end in a round."""

    signal_id: str
    responder_id: str
    report: Report


@dataclass(frozen=True, slots=True)
class RoundCompleted:
    """A round is over."""

    signal_id: str
    result: PublishResult


@dataclass(frozen=True, slots=True)
class LateResponse:
    """An answer came after its round had ended without it. It does not count."""

    responder_id: str
    event: str


@dataclass(frozen=True, slots=True)
class MessageRefused:
    """Something arrived that cannot be used, was counted and dropped."""

    reason: str
    detail: str


Event = (
    SignalReceived
    | ResponderSubscribed
    | ResponderLeft
    | AbortRequested
    | ClaimHeld
    | ClaimRefused
    | SignalSent
    | SignalUnsent
    | SignalRefused
    | Degraded
    | Restored
    | SignalsMissed
    | ProgressReported
    | SubscriptionCompleted
    | OutcomeKnown
    | RoundCompleted
    | LateResponse
    | MessageRefused
)
