"""What the commands that talk to a server have in common: connecting, being interrupted, and the log."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Collection, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from state_signals.cli import output
from state_signals.cli.options import Server
from state_signals.exceptions import ServerUnreachable
from state_signals.transport.urls import redacted

__all__ = ["Interrupted", "Interrupts", "connected", "log_to_stderr", "until_first"]

_T = TypeVar("_T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_RETRY_INTERVAL = 0.5
"""Seconds between two attempts to connect."""

_SILENCE = 1.0
"""Seconds without a connection after which there is a word about it."""


class Interrupted(Exception):
    """A signal of the operating system has ended what was being waited for."""


class Interrupts:
    """Ctrl-C, SIGTERM and SIGHUP, while it is entered: told to whoever reacts to them at the moment.

    Signals that the process was started to ignore (`nohup`, `&` in a script) stay ignored.

    Args:
        more: numbers of other signals to be told of likewise.

    Attributes:
        first: number of the first that came; None before.
    """

    def __init__(self, *more: int) -> None:
        self.first: int | None = None
        self._numbers = (*_SIGNALS, *more)
        self._react: Callable[[int], object] | None = None
        self._handled: list[int] = []

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in self._numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._arrived, number)
                self._handled.append(number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for number in self._handled:
            loop.remove_signal_handler(number)

    async def told_to(self, react: Callable[[int], object], work: Awaitable[_T]) -> _T:
        """Await some work; call `react` with the number of each signal that comes meanwhile."""
        previous, self._react = self._react, react
        try:
            return await work
        finally:
            self._react = previous

    async def cancelling(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Await some work; the first signal that comes meanwhile cancels it.

        Raises:
            Interrupted: after that.
        """
        task = asyncio.ensure_future(work)
        was_interrupted = False

        def cancel(_: int) -> None:
            nonlocal was_interrupted
            was_interrupted = True
            task.cancel()

        try:
            return await self.told_to(cancel, task)
        except asyncio.CancelledError:
            if was_interrupted:
                raise Interrupted from None
            raise

    async def settled(self) -> None:
        """Let what has come while nothing was awaited be told.

        Raises:
            Interrupted: if anything has come so far.
        """
        # The loop learns of a signal in one turn, and calls the handler in the next.
        for _ in range(2):
            await asyncio.sleep(0)
        if self.first is not None:
            raise Interrupted

    def _arrived(self, number: int) -> None:
        if self.first is None:
            self.first = number
        if self._react is not None:
            self._react(number)


async def connected(connect: Callable[[], Awaitable[object]], server: Server) -> None:
    """Call `connect`, which tries once, until it succeeds or the server's time for that is up.

    Raises:
        TransportError: why the last attempt failed.
    """
    loop = asyncio.get_running_loop()
    timeout = server.connect_timeout
    began = loop.time()
    deadline = began + timeout
    failure: ServerUnreachable | None = None
    is_told = False
    while True:
        try:
            # The first attempt is given a chance in any case.
            async with asyncio.timeout(None if timeout == float("inf") else max(0.1, deadline - loop.time())):
                await connect()
        except TimeoutError as error:
            silence = f"cannot connect to the server at {redacted(server.url)}: no answer within {timeout:g} s"
            raise failure or ServerUnreachable(silence) from error
        except ServerUnreachable as error:
            failure = error
            if loop.time() + _RETRY_INTERVAL > deadline:
                raise
            if not is_told and loop.time() - began >= _SILENCE:
                is_told = True
                output.note(f"{error} Trying on{'' if timeout == float('inf') else f', for {timeout:g} s'}.")
            await asyncio.sleep(_RETRY_INTERVAL)
        else:
            return


async def until_first(*works: Awaitable[object]) -> None:
    """Do several things until the first of them ends, and give up the others; raise what it raises."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        output.note(f"{record.levelname.lower()}: {record.getMessage()}")


def log_to_stderr(*, without: Collection[str] = ()) -> None:
    """Print what the library warns of, in the manner of the command line.

    Args:
        without: functions of the library whose warnings are not printed, for the command tells of that by itself.
    """
    logger = logging.getLogger("state_signals")
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    if not logger.handlers:
        handler = _Handler()
        handler.addFilter(lambda record: record.funcName not in without)
        logger.addHandler(handler)
