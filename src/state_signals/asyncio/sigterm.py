"""SIGTERM ends every `run()` of this process, however many tasks there are."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["called_on_sigterm"]

_stops: list[Callable[[], None]] = []

_previous: Any = None


@contextmanager
def called_on_sigterm(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` when SIGTERM comes while the body runs, if this is the main thread; elsewhere nobody may."""
    global _previous  # noqa: PLW0603 - signal handlers belong to the process
    loop = asyncio.get_running_loop()
    found = signal.getsignal(signal.SIGTERM)
    try:
        loop.add_signal_handler(signal.SIGTERM, _stop_all)
    except (RuntimeError, ValueError):
        yield
        return
    if not _stops:
        _previous = found
    _stops.append(stop)
    try:
        yield
    finally:
        _stops.remove(stop)
        if not _stops:
            loop.remove_signal_handler(signal.SIGTERM)
            # One of asyncio's own does nothing without the loop's, which is gone.
            if _previous is not None and getattr(_previous, "__module__", "") != "asyncio.unix_events":
                signal.signal(signal.SIGTERM, _previous)


def _stop_all() -> None:
    for stop in tuple(_stops):
        stop()
