"""What the core tells its shell: frozen facts, in the order in which they became true."""

from __future__ import annotations

import msgspec

from state_signals.messages import Signal
from state_signals.results import PublishResult, Report

__all__ = [
    "AbortRequested",
    "CaughtUp",
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


class SignalReceived(msgspec.Struct, frozen=True, gc=False):
    """A responder is to act on a signal."""

    signal: Signal


class ResponderSubscribed(msgspec.Struct, frozen=True, gc=False):
    """A responder has joined the roster."""

    responder_id: str


class ResponderLeft(msgspec.Struct, frozen=True, gc=False):
    """A responder has closed in good order: it is no longer on the roster."""

    responder_id: str


class AbortRequested(msgspec.Struct, frozen=True, gc=False):
    """Somebody wants the run to end, and says why."""

    reason: str
    by: str


class ClaimHeld(msgspec.Struct, frozen=True, gc=False):
    """The `publisher_id` is ours."""

    found: bool
    """Whether an earlier owner had left something to resume."""


class ClaimRefused(msgspec.Struct, frozen=True, gc=False):
    """The `publisher_id` belongs to another exporter, which is alive. `owner` is what it says of itself."""

    owner: bytes


class CaughtUp(msgspec.Struct, frozen=True, gc=False):
    """Everything was read that responders had said before we resumed the exporter."""


class SignalSent(msgspec.Struct, frozen=True, gc=False):
    """The server has taken a signal."""

    signal_id: str


class SignalUnsent(msgspec.Struct, frozen=True, gc=False):
    """A signal was given up: its time was over before the server had taken it."""

    signal_id: str


class SignalRefused(msgspec.Struct, frozen=True, gc=False):
    """The server will not take a signal."""

    signal_id: str
    why: str


class Degraded(msgspec.Struct, frozen=True, gc=False):
    """The server does not allow something that can be done without. `lost` says what does not work then."""

    lost: str
    why: str


class Restored(msgspec.Struct, frozen=True, gc=False):
    """The server had lost data, and what we know of it was put back: so many signals, so many responders."""

    signals: int
    responders: int


class SignalsMissed(msgspec.Struct, frozen=True, gc=False):
    """Signals of an exporter will never come: neither broadcast nor journal had them."""

    publisher_id: str
    count: int


class ProgressReported(msgspec.Struct, frozen=True, gc=False):
    """A roster member says that it is still working."""

    signal_id: str
    responder_id: str
    message: str | None


class SubscriptionCompleted(msgspec.Struct, frozen=True, gc=False):
    """The wait for subscribers is over: enough are there, or the time is up."""

    enough: bool


class OutcomeKnown(msgspec.Struct, frozen=True, gc=False):
    """A roster member's end in a round."""

    signal_id: str
    responder_id: str
    report: Report


class RoundCompleted(msgspec.Struct, frozen=True, gc=False):
    """A round is over."""

    signal_id: str
    result: PublishResult


class LateResponse(msgspec.Struct, frozen=True, gc=False):
    """An answer came after its round had ended without it. It does not count."""

    responder_id: str
    event: str


class MessageRefused(msgspec.Struct, frozen=True, gc=False):
    """Something arrived that cannot be used, was counted and dropped."""

    reason: str
    detail: str


Event = (
    SignalReceived
    | ResponderSubscribed
    | ResponderLeft
    | AbortRequested
    | CaughtUp
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
