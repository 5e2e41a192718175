"""Announce a state change to every tool on every host, and know by name who has acted on it.

The names are imported when they are used, so that a bare `import state_signals` stays cheap.
"""

from __future__ import annotations

import importlib

# Type checkers know the name; importing `typing` for it would cost more than all the rest.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from state_signals._version import __version__
    from state_signals.exceptions import (
        Closed,
        EmbeddedServerError,
        IllegalEvent,
        InvalidArgument,
        InvalidType,
        MalformedMessage,
        MessageTooLarge,
        PublisherIdInUse,
        RoundFailed,
        RunAborted,
        ServerRefused,
        ServerUnreachable,
        StateSignalsError,
        TransportError,
        UnknownExporter,
    )
    from state_signals.limits import DEFAULT_LIMITS, Limits
    from state_signals.messages import Response, Signal
    from state_signals.results import Outcome, PublishResult, Report, ResultCodes
    from state_signals.sync.exporter import SignalExporter
    from state_signals.sync.responder import SignalResponder

__all__ = [
    "DEFAULT_LIMITS",
    "Closed",
    "EmbeddedServerError",
    "IllegalEvent",
    "InvalidArgument",
    "InvalidType",
    "Limits",
    "MalformedMessage",
    "MessageTooLarge",
    "Outcome",
    "PublishResult",
    "PublisherIdInUse",
    "Report",
    "Response",
    "ResultCodes",
    "RoundFailed",
    "RunAborted",
    "ServerRefused",
    "ServerUnreachable",
    "Signal",
    "SignalExporter",
    "SignalResponder",
    "StateSignalsError",
    "TransportError",
    "UnknownExporter",
    "__version__",
]

_HOMES = {
    "_version": ("__version__",),
    "exceptions": (
        "Closed",
        "EmbeddedServerError",
        "IllegalEvent",
        "InvalidArgument",
        "InvalidType",
        "MalformedMessage",
        "MessageTooLarge",
        "PublisherIdInUse",
        "RoundFailed",
        "RunAborted",
        "ServerRefused",
        "ServerUnreachable",
        "StateSignalsError",
        "TransportError",
        "UnknownExporter",
    ),
    "limits": ("DEFAULT_LIMITS", "Limits"),
    "messages": ("Response", "Signal"),
    "results": ("Outcome", "PublishResult", "Report", "ResultCodes"),
    "sync.exporter": ("SignalExporter",),
    "sync.responder": ("SignalResponder",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
