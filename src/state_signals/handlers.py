"""`responder.on(...)` and `run()`: which function acts on a signal, and what its return or error answers."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from state_signals.exceptions import InvalidArgument, InvalidType
from state_signals.limits import DEFAULT_LIMITS
from state_signals.messages import SHUTDOWN, Signal

__all__ = ["Handlers"]

_Handler = TypeVar("_Handler", bound=Callable[[Signal], Any])

_MOST_OF_A_MESSAGE = 10_000
"""Characters of an error that are sent as the answer's message."""


class Handlers:
    """The functions of one responder, and the exporters that it follows while it runs.

    Args:
        can_await: whether there is anyone to await what an async function returns.
    """

    def __init__(self, *, can_await: bool) -> None:
        self._can_await = can_await
        self._by_event: dict[str | None, Callable[[Signal], Any]] = {}
        self._followed: OrderedDict[str, None] = OrderedDict()

    def add(self, events: tuple[str, ...]) -> Callable[[_Handler], _Handler]:
        """Return the decorator that registers a function for events; for every other one, if none is given.

        Raises:
            InvalidType: if an event is no text (as in `@responder.on` without parentheses), or if the function is async
                where nobody would await it.
            InvalidArgument: if an event has a function already.
        """
        for event in events:
            if not isinstance(event, str):
                raise InvalidType(f'events must be str, as in @responder.on("benchmark-start"), not {event!r:.80}')
        places: tuple[str | None, ...] = events or (None,)

        def register(handler: _Handler) -> _Handler:
            if not callable(handler):
                raise InvalidType(f"what acts on a signal must be a function, not {type(handler).__name__}")
            if not self._can_await and inspect.iscoroutinefunction(handler):
                name = getattr(handler, "__name__", repr(handler))
                raise InvalidType(f"{name:.80} is async, which needs the responder of state_signals.asyncio")
            for place in places:
                if place in self._by_event:
                    raise InvalidArgument(f"there is a function for {place or 'every other event'!r} already")
            self._by_event.update(dict.fromkeys(places, handler))
            return handler

        return register

    def find(self, signal: Signal) -> Callable[[Signal], Any] | None:
        """Return the function for a signal; None if it needs no action."""
        return self._by_event.get(signal.event, self._by_event.get(None))

    def is_finished(self, signal: Signal) -> bool:
        """Note that a signal was acted on. Return whether the last exporter that was followed has shut down."""
        if signal.event != SHUTDOWN:
            self._followed[signal.publisher_id] = None
            if len(self._followed) > DEFAULT_LIMITS.max_remembered:
                self._followed.popitem(last=False)
            return False
        if signal.publisher_id not in self._followed:
            return False
        del self._followed[signal.publisher_id]
        return not self._followed

    @staticmethod
    def success(returned: object) -> tuple[int, str | None]:
        """Return the `ras` and `message` for what a function returned: a text is the message.

        Raises:
            InvalidType: if it still is to be awaited.
        """
        if inspect.isawaitable(returned):
            if inspect.iscoroutine(returned):
                returned.close()
            raise InvalidType("the function returned something to await, which needs state_signals.asyncio")
        return 1, returned if isinstance(returned, str) else None

    @staticmethod
    def failure(error: Exception) -> tuple[int, str | None]:
        """Return the `ras` and `message` for what a function raised."""
        try:
            text = f"{type(error).__name__}: {error}"
        except Exception:  # noqa: BLE001 - the error's own __str__ may fail, too
            text = type(error).__name__
        # It may quote bytes that are not text; what cannot be sent is shown escaped.
        return 0, text[:_MOST_OF_A_MESSAGE].encode(errors="backslashreplace").decode()
