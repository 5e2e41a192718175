"""From redis-py's exceptions to ours: what was being done, where, why it failed, what to try."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions as redis_exceptions

from state_signals.exceptions import ServerRefused, ServerUnreachable, StateSignalsError, TransportError

__all__ = ["PASSING", "Passing", "RedisRefused", "RedisUnreachable", "explained", "explanation", "once_more"]


class _RedisConnectionError(redis_exceptions.ConnectionError):
    """Has the attributes of redis-py's errors, which OSError's construction passes over, but not their short repr."""

    def __init__(self, *args: object) -> None:
        redis_exceptions.ConnectionError.__init__(self, *args)

    __repr__ = Exception.__repr__


class RedisUnreachable(_RedisConnectionError, ServerUnreachable):
    """No connection; also what programs written for 1.0.1 catch."""


class RedisRefused(_RedisConnectionError, ServerRefused):
    """The server refused; also what programs written for 1.0.1 catch."""


PASSING = {
    "READONLY": "This server is a replica; connect to its master.",
    "LOADING": "The server is still loading its data.",
    "MASTERDOWN": "This server is a replica that has lost its master.",
    "NOREPLICAS": "The server waits for its replicas.",
    "BUSY": "A script keeps the server busy.",
    "CLUSTERDOWN": "The Cluster has lost a part of its nodes.",
    "TRYAGAIN": "The Cluster is moving its slots.",
    "MOVED": "The Cluster has moved its slots; only with redis+cluster:// they are followed.",
    "ASK": "The Cluster is moving its slots; only with redis+cluster:// they are followed.",
}
"""Errors that may pass by themselves, by kind, and what to make of them."""


class Passing(_RedisConnectionError):
    """The server answered with an error that counts as out of reach, because it may pass by itself.

    Attributes:
        kind: its first word, such as those in `PASSING`.
        text: what the server said.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


_REMEDIES = (
    (redis_exceptions.AuthenticationError, "Check user and password."),
    (
        redis_exceptions.NoPermissionError,
        "Give the server's user the channels `event-signal-*` and the keys `state-signals:*`.",
    ),
    (redis_exceptions.InvalidResponse, "What answers there does not speak Redis: check host and port."),
    (redis_exceptions.MaxConnectionsError, "Give the client's connection pool more connections; this needs 4."),
    (redis_exceptions.ReadOnlyError, PASSING["READONLY"]),
    (redis_exceptions.OutOfMemoryError, "The server is full: raise its maxmemory, or use another."),
)
_UNREACHABLE = (redis_exceptions.ConnectionError, redis_exceptions.TimeoutError, OSError)
_NO_SERVER = "Is the server running there? `state-signals server` starts one on this machine."


@contextmanager
def explained(action: str, address: str) -> Iterator[None]:
    """Raise what redis-py raises in the body as `TransportError`, explained.

    Raises:
        RedisUnreachable: without a connection.
        RedisRefused: when the server answered with an error.
    """
    try:
        yield
    except StateSignalsError:
        raise
    except (redis_exceptions.RedisError, OSError) as error:
        raise explanation(error, action, address) from error


def explanation(error: Exception, action: str, address: str) -> TransportError:
    """Return what to raise from an error of redis-py or of the system."""
    what = f"cannot {action} at {address}: {_reason(error)}."
    if isinstance(error, Passing):
        return RedisUnreachable(f"{what} {PASSING.get(error.kind, '')}".rstrip())
    remedy = next((text for kind, text in _REMEDIES if isinstance(error, kind)), None)
    if remedy is None and isinstance(error, _UNREACHABLE):
        return RedisUnreachable(f"{what} {_NO_SERVER}")
    return RedisRefused(f"{what} {remedy or ''}".rstrip())


def _reason(error: BaseException) -> str:
    """The text that says most: redis-py raises some errors empty, and with asyncio some without the system's reason."""
    cause = error.__cause__ or error.__context__
    text = (str(error) or str(cause or "") or type(error).__name__).rstrip(".")
    number = cause.errno if isinstance(cause, OSError) else None
    why = os.strerror(number) if number is not None and number > 0 else ""
    return text if why in text else f"{text}: {why}"


def once_more(error: Exception) -> redis_exceptions.ConnectionError:
    """Return why a connection was lost, for one more of those who used it: each raises an error of its own."""
    again = redis_exceptions.ConnectionError(str(error))
    again.__cause__ = error
    return again
