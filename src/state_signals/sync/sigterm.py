"""SIGTERM ends the `run()` of the main thread."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["called_on_sigterm"]


@contextmanager
def called_on_sigterm(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` when SIGTERM comes while the body runs, if this is the main thread; elsewhere nobody may."""
    previous = signal.getsignal(signal.SIGTERM)
    # One that was not set from Python could not be put back.
    if threading.current_thread() is not threading.main_thread() or previous is None:
        yield
        return
    pid = os.getpid()

    def end(*_: object) -> None:
        if os.getpid() == pid:
            stop()
            return
        # A process that the body has forked: this is not for us.
        signal.signal(signal.SIGTERM, previous)
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
