"""SIGTERM ends every `run()` of this process, however many tasks there are."""

from __future__ import annotations

import asyncio
import os
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
        # In a process that was forked meanwhile, it is gone already.
        if stop in _stops:
            _stops.remove(stop)
        if not _stops:
            loop.remove_signal_handler(signal.SIGTERM)
            # One of asyncio's own does nothing without the loop's, which is gone.
            if _previous is not None and getattr(_previous, "__module__", "") != "asyncio.unix_events":
                signal.signal(signal.SIGTERM, _previous)


def _stop_all() -> None:
    for stop in tuple(_stops):
        stop()


def _forget() -> None:
    """End upon SIGTERM as before, in a process that was forked meanwhile: the loop, which would do it, is not there."""
    if _stops:
        # The other end of it is our parent's.
        signal.set_wakeup_fd(-1)
        is_asyncio = getattr(_previous, "__module__", "") == "asyncio.unix_events"
        signal.signal(signal.SIGTERM, signal.SIG_DFL if _previous is None or is_asyncio else _previous)
        _stops.clear()


os.register_at_fork(after_in_child=_forget)
