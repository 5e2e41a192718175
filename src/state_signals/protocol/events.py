"""What the core tells its shell: frozen facts, in the order in which they became true."""

from __future__ import annotations

from dataclasses import dataclass

from state_signals.messages import Signal
from state_signals.results import PublishResult, Report

__all__ = [
    "Event",
    "LateResponse",
    "MessageRefused",
    "OutcomeKnown",
    "ResponderSubscribed",
    "RoundCompleted",
    "SignalReceived",
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
    | SubscriptionCompleted
    | OutcomeKnown
    | RoundCompleted
    | LateResponse
    | MessageRefused
)
