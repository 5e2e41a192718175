"""Every error that this package raises, in one tree.

    StateSignalsError
    ├── InvalidArgument (ValueError)       a value that cannot work; nothing was sent
    │   ├── IllegalEvent                   not one of the legal events, or reserved
    │   └── MessageTooLarge                beyond the limit on payload size or depth
    ├── InvalidType (TypeError)            a value of the wrong type; nothing was sent
    ├── MalformedMessage (ValueError)      bytes that are not a message; never leaves a listener
    ├── TransportError (ConnectionError)   the server is out of reach, or refused a command
    │   ├── ServerUnreachable
    │   └── ServerRefused                  wrong password, missing permission, read-only, full
    ├── Closed (RuntimeError)              the object was closed, or belongs to another process
    ├── PublisherIdInUse                   another live exporter has this publisher_id
    ├── UnknownExporter (LookupError)      there is nothing to resume under this publisher_id
    ├── RunAborted                         somebody has aborted the run, and said why
    ├── RoundFailed                        a phase could not begin: its result says who and why
    └── EmbeddedServerError (RuntimeError) the embedded server is not installed or did not start

Errors that come from redis-py are also instances of its `redis.exceptions.ConnectionError`, because that is
what programs written for 1.0.1 catch. That base is added where redis is imported anyway
(`state_signals.transport.failures`), so that this module stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from state_signals.results import PublishResult

__all__ = [
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
]


class StateSignalsError(Exception):
    """Base of every error that this package raises on purpose."""


class InvalidArgument(StateSignalsError, ValueError):
    """An argument has a value that cannot work. Nothing was sent or changed."""


class IllegalEvent(InvalidArgument):
    """The event is reserved, or is not one of the exporter's legal events. Nothing was sent."""


class MessageTooLarge(InvalidArgument):
    """The message is beyond the limits on size or nesting. Nothing was sent."""


class InvalidType(StateSignalsError, TypeError):
    """An argument has the wrong type. Nothing was sent or changed."""


class MalformedMessage(StateSignalsError, ValueError):
    """Bytes from the network are not a message.

    Raised by the codec only; listeners count it, log it and go on.

    Attributes:
        reason: one of a small fixed set of words, fit for counting: `"not-json"`, `"not-utf8"`, `"not-an-object"`,
            `"missing-field"`, `"wrong-type"`, `"unknown-field"`, `"bad-envelope"`, `"bad-text"`, `"too-large"`,
            `"too-deep"`, `"name-too-long"`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class TransportError(StateSignalsError, ConnectionError):
    """The server could not be used. The message says what was being done, where, why, and what to try."""


class ServerUnreachable(TransportError):
    """No connection to the server, or it was lost."""


class ServerRefused(TransportError):
    """The server answered with an error: wrong password, missing permission, read-only, out of memory."""


class Closed(StateSignalsError, RuntimeError):
    """The object was closed, or it is used in another process than the one that made it."""


class PublisherIdInUse(StateSignalsError):
    """Another exporter with this `publisher_id` is alive. Of two that have the same, the second gets this error."""


class UnknownExporter(StateSignalsError, LookupError):
    """There is nothing on the server from which an exporter could be resumed."""


class RunAborted(StateSignalsError):
    """The run was aborted: its responders were told that it is over, and nothing more can be published.

    Attributes:
        reason: why, in the words of whoever did it.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class RoundFailed(StateSignalsError):
    """A round that had to succeed did not.

    Attributes:
        result: the round's `PublishResult`, with the outcome of each responder by name.
    """

    def __init__(self, message: str, result: PublishResult) -> None:
        super().__init__(message)
        self.result = result


class EmbeddedServerError(StateSignalsError, RuntimeError):
    """The embedded server is not installed, or did not start."""
