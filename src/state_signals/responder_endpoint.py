"""What the responders of both shells have in common: identity, attributes, handlers. Nothing in here waits."""

from __future__ import annotations

import platform
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from state_signals.arguments import (
    check_presence_ttl,
    check_replay,
    check_text,
    identifier,
)
from state_signals.endpoint import DEFAULT_RETENTION, Endpoint
from state_signals.handlers import Handlers
from state_signals.limits import Limits
from state_signals.messages import Signal
from state_signals.protocol.responder import ResponderProtocol

__all__ = ["ResponderEndpoint"]

_Handler = TypeVar("_Handler", bound=Callable[[Signal], Any])


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
        self._channels = [keys.signals, keys.redeliveries(fixed)]
        # Whether we subscribe to other channels now than we did.
        self._is_renamed = False
        self._handlers = Handlers(can_await=can_await)
        self._stopping = False

    @property
    def responder_id(self) -> str:
        """The `responder_id` of the answers. May be assigned, before the first answer."""
        return self._core.responder_id

    @responder_id.setter
    def responder_id(self, name: str) -> None:
        self._core.responder_id = identifier("responder_id", name, "")
        self._channels[1:] = [self._transport.keys.redeliveries(name)]
        self._is_renamed = True

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
