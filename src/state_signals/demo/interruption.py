"""Ctrl-C, SIGTERM and SIGHUP: raised at once, but never while something is being started or cleaned up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

__all__ = ["Interrupted", "Interruption"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """The user or the system wants this to end.

    Like KeyboardInterrupt not an `Exception`: nothing on the way may take it for a failure and go on.

    Attributes:
        exit_code: 128 and the signal's number, as a shell counts it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Interruption:
    """Turns the signals into `Interrupted` while it is entered.

    Between the start of a process and the moment when somebody is bound to end it lies a gap; `held_back()` closes
    it. Does nothing but in the main thread, where alone Python handles signals, and respects signals that are ignored
    (`nohup`).
    """

    def __init__(self) -> None:
        self._shields = 0
        self._pending: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
        if kind is None and self._pending is not None:
            raise Interrupted(self._pending)

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Hold signals back; what came meanwhile is raised at the end."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
        if self._pending is not None and not self._shields:
            self._raise(self._pending)

    def hold_back_for_good(self) -> None:
        """Hold back whatever comes from now on: all that is left to do is to clean up."""
        self._shields += 1

    def _arrived(self, number: int, _: FrameType | None) -> None:
        if self._shields:
            self._pending = self._pending or number
        else:
            self._raise(number)

    def _raise(self, number: int) -> NoReturn:
        # What is raised now unwinds everything: a second Ctrl-C must not cut that short.
        self.hold_back_for_good()
        raise Interrupted(number)
