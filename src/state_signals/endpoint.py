"""What the sync and the asyncio shell have in common: identity, attributes, log, connection attempts, fork check.

Nothing in here waits or talks to a server.
"""

from __future__ import annotations

import logging
import math
import os
import time

from state_signals.arguments import (
    seconds,
)
from state_signals.exceptions import (
    Closed,
    InvalidArgument,
    ServerRefused,
    ServerUnreachable,
    TransportError,
)
from state_signals.outages import Outage
from state_signals.protocol.events import (
    AbortRequested,
    Degraded,
    Event,
    LateResponse,
    MessageRefused,
    Restored,
    RoundCompleted,
    SignalsMissed,
)
from state_signals.results import Outcome, PublishResult
from state_signals.transport.base import AsyncTransport, Transport
from state_signals.transport.commands import Commands

__all__ = [
    "CLAIM_TIMEOUT",
    "CLOSE_TIMEOUT",
    "DEFAULT_PRESENCE_TTL",
    "DEFAULT_RETENTION",
    "DUE_AGAIN",
    "NO_CHANNEL",
    "NO_REDELIVERY",
    "NO_STREAM",
    "OVERTIME",
    "RETRY_INTERVAL",
    "Endpoint",
]

DEFAULT_RETENTION = 86_400.0
"""Seconds that what an exporter has on the server outlives its last activity."""

DEFAULT_PRESENCE_TTL = 15.0
"""Seconds after which a party that gives no proof of life is lost."""

CLAIM_TIMEOUT = 20.0
"""Seconds that a server may take to say whose a `publisher_id` is, on top of what a dead owner's claim is good for."""

CLOSE_TIMEOUT = 2.0
"""Seconds that `close()` tries to say good-bye to a server that does not react."""

RETRY_INTERVAL = 1.0
"""Seconds between two attempts to connect (version 1 behaviour)."""

DUE_AGAIN = 0.05
"""Seconds between two attempts at what is due, at the least: without a connection, it stays due."""

OVERTIME = 0.02
"""Seconds after a call's deadline in which the core ends what is waited for; else the call does."""

NO_REDELIVERY = "redelivery: this responder does not get again what it has not answered"
NO_STREAM = "the stream of responses: they come over the version 1 channel, and are lost while that is disconnected"
NO_CHANNEL = "the version 1 channel: version 1 responders are not heard"

_LOG_EVERY = 10.0
"""Seconds in which so many lines are logged about one kind of message, and no more."""

_LATE_IN_LOG = 20

_NAMES_IN_LOG = 20


class Endpoint:
    """One party of the protocol in this process."""

    _transport: Transport | AsyncTransport

    def __init__(self, kind: str, log_level: str | int | None, conn_timeout: object, retention: float) -> None:
        self.logger = _logger(kind, log_level)
        self._commands = Commands(self._transport.keys, retention)
        self._outage = Outage(self.logger, self._transport.address)
        self.failed_conn_attempts = 0
        self._conn_timeout = seconds("conn_timeout", conn_timeout)
        self._pid = os.getpid()
        self._closed = False
        self._lines: dict[str, tuple[float, int]] = {}

    def _connection_failed(self, error: ServerUnreachable) -> None:
        """Count a failed attempt to connect, and raise its error if it was the last."""
        self.failed_conn_attempts += 1
        if self._conn_timeout is not None and self.failed_conn_attempts >= self._conn_timeout:
            raise error
        if self.failed_conn_attempts == 1:
            self.logger.warning("%s Trying again every second.", error)

    def _is_foreign_process(self) -> bool:
        """Whether this is a child that was forked after the endpoint was made: it must not touch the connections."""
        return os.getpid() != self._pid

    def _check_usable(self) -> None:
        if self._is_foreign_process():
            raise Closed(
                f"this {type(self).__name__} was made in process {self._pid} and is used in process {os.getpid()}: "
                f"connections do not survive a fork; make a new one after it"
            )
        if self._closed:
            raise Closed(f"this {type(self).__name__} is closed; make a new one")

    def _log(self, event: Event) -> None:
        if isinstance(event, LateResponse):
            text = (
                f"answer of {event.responder_id!r} to {event.event!r} came after its round had ended; it does not count"
            )
            self._warn("late", text, _LATE_IN_LOG)
        elif isinstance(event, MessageRefused):
            self._warn(event.reason, f"dropped a message, {event.detail:.300}", 1)
        elif isinstance(event, RoundCompleted) and not event.result.ok:
            self._log_result(event.result)
        elif isinstance(event, AbortRequested):
            self.logger.warning("%r aborts the run: %s", event.by, event.reason)
        elif isinstance(event, Degraded):
            self.logger.warning("the server does not allow it (%s), so this goes without %s", event.why, event.lost)
        elif isinstance(event, Restored):
            text = "the server had lost data: %d signals and a roster of %d were put back"
            self.logger.warning(text, event.signals, event.responders)
        elif isinstance(event, SignalsMissed):
            text = f"{event.count} signals of {event.publisher_id!r} are lost: its journal does not have them any more"
            self._warn("missed", text, _LATE_IN_LOG)

    def _refused(self, action: str, why: str) -> ServerRefused:
        """Return the error for what the server refuses; with Redis, one that programs written for 1.0.1 catch, too."""
        kind = ServerRefused
        if self._transport.client is not None:
            from state_signals.transport.failures import RedisRefused  # noqa: PLC0415 - redis is imported by now

            kind = RedisRefused
        return kind(f"cannot {action} at {self._transport.address}: {why.rstrip('.')}.")

    def _unreachable(self, action: str, why: TransportError | None) -> TransportError:
        """Return the error for what did not reach the server in time."""
        kind = ServerUnreachable
        if self._transport.client is not None:
            from state_signals.transport.failures import RedisUnreachable  # noqa: PLC0415

            kind = RedisUnreachable
        address = self._transport.address
        reason = f"there was no connection to {address} in that time: {why}" if why else f"no reply from {address}"
        return kind(f"{action}: {reason}")

    def _warn(self, kind: str, text: str, most: int) -> None:
        """Log a line, but not more than `most` of a kind in a while: anybody may cause them. Tell how many were not."""
        now = time.monotonic()
        began, count = self._lines.get(kind, (-math.inf, 0))
        more = ""
        if now - began >= _LOG_EVERY:
            more = f" (and {count - most} more since the last such line)" if count > most else ""
            began, count = now, 0
        self._lines[kind] = (began, count + 1)
        if count < most:
            self.logger.warning("%s%s", text, more)

    def _log_result(self, result: PublishResult) -> None:
        groups: dict[str, list[str]] = {Outcome.FAILED: [], Outcome.MISSING: [], Outcome.LOST: []}
        for name, report in result.reports.items():
            if report.outcome in groups:
                groups[report.outcome].append(name)
        parts = [
            f"{outcome}: {', '.join(map(repr, members[:_NAMES_IN_LOG]))}"
            + (f" and {len(members) - _NAMES_IN_LOG} more" if len(members) > _NAMES_IN_LOG else "")
            for outcome, members in groups.items()
            if members
        ]
        self.logger.warning("signal %s: %s", result.signal_id, "; ".join(parts) or "no responder is subscribed")


def _logger(kind: str, level: str | int | None) -> logging.Logger:
    """Return the logger; with a level, make it print, once per process."""
    logger = logging.getLogger(f"state_signals.{kind}")
    if level is None:
        return logger
    try:
        logger.setLevel(level)
    except (ValueError, TypeError) as error:
        raise InvalidArgument(f"log_level must be a level of the logging module, such as 'INFO': {error}") from None
    parent = logging.getLogger("state_signals")
    # A program that has set logging up prints the lines by itself.
    if not parent.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
        parent.addHandler(handler)
    return logger
