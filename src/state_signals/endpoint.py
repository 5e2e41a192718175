"""What the sync and the asyncio shell have in common: identity, attributes, log, connection attempts, fork check.

Nothing in here waits or talks to a server.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from state_signals.arguments import (
    check_events,
    check_names,
    check_presence_ttl,
    check_replay,
    check_retention,
    check_text,
    identifier,
    seconds,
)
from state_signals.exceptions import (
    Closed,
    InvalidArgument,
    PublisherIdInUse,
    ServerRefused,
    ServerUnreachable,
    TransportError,
    UnknownExporter,
)
from state_signals.handlers import Handlers
from state_signals.identity import fate, new_owner
from state_signals.limits import Limits
from state_signals.messages import Signal
from state_signals.outages import Outage
from state_signals.protocol.events import (
    Degraded,
    Event,
    LateResponse,
    MessageRefused,
    Restored,
    RoundCompleted,
    SignalRefused,
    SignalsMissed,
    SignalUnsent,
)
from state_signals.protocol.exporter import TIME_TO_SEND, ExporterProtocol
from state_signals.protocol.responder import ResponderProtocol
from state_signals.protocol.states import ExporterState
from state_signals.results import PublishResult
from state_signals.transport.base import AsyncTransport, Transport
from state_signals.transport.commands import Commands

__all__ = [
    "CLAIM_TIMEOUT",
    "CLOSE_TIMEOUT",
    "DEFAULT_PRESENCE_TTL",
    "DEFAULT_RETENTION",
    "RETRY_INTERVAL",
    "Endpoint",
    "ExporterEndpoint",
    "ResponderEndpoint",
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

_LOG_EVERY = 10.0
"""Seconds in which so many lines are logged about one kind of message, and no more."""

_LATE_IN_LOG = 20

_NAMES_IN_LOG = 20

_Handler = TypeVar("_Handler", bound=Callable[[Signal], Any])


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
        groups = {"failed": result.failed, "missing": result.missing, "lost": result.lost}
        parts = [
            f"{name}: {', '.join(map(repr, list(members)[:_NAMES_IN_LOG]))}"
            + (f" and {len(members) - _NAMES_IN_LOG} more" if len(members) > _NAMES_IN_LOG else "")
            for name, members in groups.items()
            if members
        ]
        self.logger.warning("signal %s: %s", result.signal_id, "; ".join(parts) or "no responder is subscribed")


class ExporterEndpoint(Endpoint):
    """The identity and the attributes of an exporter."""

    def __init__(
        self,
        process_name: str,
        runner_host: str | None,
        conn_timeout: object,
        log_level: str | int | None,
        *,
        publisher_id: str | None,
        strict_v1: bool,
        journal: bool,
        presence_ttl: object,
        retention: float,
        resumes: bool,
        limits: Limits,
    ) -> None:
        check_retention(retention)
        super().__init__("exporter", log_level, conn_timeout, retention)
        check_text("process_name", process_name)
        host = platform.node() if runner_host is None else runner_host
        check_text("runner_host", host)
        name = identifier("publisher_id", publisher_id, f"{process_name}-{uuid.uuid4()}")
        self._resumes = resumes
        self._has_fixed_id = publisher_id is not None
        self._core = ExporterProtocol(
            name,
            process_name,
            host,
            reply=self._transport.keys.reply(name) if journal else None,
            owner=new_owner(),
            fate=fate,
            strict_v1=strict_v1,
            journal=journal,
            presence_ttl=check_presence_ttl(presence_ttl),
            resumes=resumes,
            limits=limits,
        )
        self._superseded: PublisherIdInUse | None = None

    def _check_usable(self) -> None:
        super()._check_usable()
        if self._superseded is not None:
            raise self._superseded

    def _patience_to_claim(self) -> float:
        """Return the seconds within which it is known whose a `publisher_id` is, if the server reacts."""
        return self._core.claim_ttl + (CLAIM_TIMEOUT if self._conn_timeout is None else self._conn_timeout)

    def _until(self, timeout: object, began: float | None = None) -> float:
        """Return when a call with this timeout has to end, its signal being sent; infinite: never."""
        limit = seconds("timeout", timeout)
        now = time.monotonic() if began is None else began
        return math.inf if limit is None else now + max(limit, TIME_TO_SEND)

    def _raise_for(self, news: object, why: TransportError | None) -> None:
        """Raise what ends a wait without the result that is waited for."""
        if isinstance(news, PublisherIdInUse | Closed):
            raise news
        if isinstance(news, SignalUnsent):
            raise self._unreachable("the signal was not published within its timeout", why)
        if isinstance(news, SignalRefused):
            raise self._refused("publish a signal", news.why)

    def _taken(self, owner: bytes) -> PublisherIdInUse:
        """Return the error for a `publisher_id` that belongs to another exporter."""
        self._superseded = PublisherIdInUse(
            f"publisher_id {self.pub_id!r} belongs to another exporter, which is alive: {owner[:300]!r}; "
            f"close that one, or choose another publisher_id"
        )
        return self._superseded

    def _unknown(self) -> UnknownExporter:
        """Return the error for an exporter that cannot be resumed."""
        return UnknownExporter(
            f"there is no exporter {self.pub_id!r} to resume at {self._transport.address}: it was never "
            f"initialized, it was closed, or the server has forgotten it; check publisher_id, url and namespace"
        )

    @property
    def pub_id(self) -> str:
        """The `publisher_id` of the signals. May be assigned before the first of them; better is `publisher_id=`."""
        return self._core.publisher_id

    @pub_id.setter
    def pub_id(self, name: str) -> None:
        checked = identifier("pub_id", name, "")
        self._core.rename(checked, self._transport.keys.reply(checked))

    @property
    def proc_name(self) -> str:
        """The `process_name` of the signals."""
        return self._core.process_name

    @proc_name.setter
    def proc_name(self, name: str) -> None:
        check_text("proc_name", name)
        self._core.process_name = name

    @property
    def runner_host(self) -> str:
        """The `runner_host` of the signals."""
        return self._core.runner_host

    @runner_host.setter
    def runner_host(self, name: str) -> None:
        check_text("runner_host", name)
        self._core.runner_host = name

    @property
    def subs(self) -> set[str]:
        """The roster: the responders that every signal waits for. May be changed and assigned."""
        return self._core.subs

    @subs.setter
    def subs(self, names: set[str]) -> None:
        self._core.subs = set(check_names("subs", names))

    @property
    def absent(self) -> frozenset[str]:
        """The members of the roster that were expected (`expected_resps`) and have not subscribed."""
        return self._core.absent

    @property
    def legal_events(self) -> list[str] | None:
        """The events that may be published; None before `initialize`."""
        return self._core.legal_events

    @legal_events.setter
    def legal_events(self, events: list[str]) -> None:
        self._core.legal_events = check_events(events)

    @property
    def counters(self) -> Mapping[str, int]:
        """How often each kind of message arrived that was not a first answer to an open round."""
        return dict(self._core.counters)

    def _warn_if_not_initialized(self) -> None:
        if self._core.state is not ExporterState.INITIALIZED:
            self.logger.warning("exporter is %s: no events are checked, nobody is waited for", self._core.state)


class ResponderEndpoint(Endpoint):
    """The identity, the attributes and the handlers of a responder."""

    def __init__(
        self,
        responder_name: str | None,
        conn_timeout: object,
        log_level: str | int | None,
        *,
        responder_id: str | None,
        replay: object,
        presence_ttl: object,
        limits: Limits,
        can_await: bool,
    ) -> None:
        super().__init__("responder", log_level, conn_timeout, DEFAULT_RETENTION)
        name = platform.node() if responder_name is None else responder_name
        check_text("responder_name", name)
        fixed = identifier("responder_id", responder_id, f"{name}-{uuid.uuid4()}-resp")
        keys = self._transport.keys
        self._core = ResponderProtocol(
            fixed,
            reply_of=keys.reply,
            replay=check_replay(replay),
            presence_ttl=check_presence_ttl(presence_ttl),
            limits=limits,
        )
        # Only who keeps its name can be told again what it was told before it died.
        self._channels = [keys.signals] if responder_id is None else [keys.signals, keys.redeliveries(fixed)]
        self._handlers = Handlers(can_await=can_await)
        self._stopping = False

    @property
    def responder_id(self) -> str:
        """The `responder_id` of the answers. May be assigned, before the first answer."""
        return self._core.responder_id

    @responder_id.setter
    def responder_id(self, name: str) -> None:
        self._core.responder_id = identifier("responder_id", name, "")

    @property
    def counters(self) -> Mapping[str, int]:
        """How often each kind of message arrived that was not a signal to act on."""
        return dict(self._core.counters)

    def lock_id(self, publisher_id: str) -> None:
        """Listen to the signals of one exporter only.

        Raises:
            InvalidType: (a `TypeError`) unless it is a text.
        """
        self._core.lock_id(publisher_id)

    def lock_tag(self, tag: str) -> None:
        """Listen to signals with one tag only.

        Raises:
            InvalidType: (a `TypeError`) unless it is a text.
        """
        self._core.lock_tag(tag)

    def unlock(self) -> None:
        """Listen to every exporter and every tag again."""
        self._core.unlock()

    def on(self, *events: str) -> Callable[[_Handler], _Handler]:
        """Register a function that `run()` calls with each signal of these events; of all others, if none is given.

        Returning answers success, and a returned text is the message. Raising answers failure, with the error as the
        message. Events without a function are answered with success: there was nothing to do. A function for
        `"initialization"` is called upon subscription; one for `"shutdown"` at the end, and nobody awaits its answer.

        Raises:
            InvalidType: if an event is no text, or if the function is async and this responder is not.
            InvalidArgument: if an event has a function already.
        """
        return self._handlers.add(events)


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
