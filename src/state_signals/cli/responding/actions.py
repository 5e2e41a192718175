"""Running a shell command for a signal.

The command comes from the local command line, never from the wire.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal as process_signals
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TextIO

from state_signals.cli.responding.endings import Ending
from state_signals.cli.responding.environment import environment_for
from state_signals.cli.responding.groups import end_group, send
from state_signals.cli.responding.tee import Pipe, Sink
from state_signals.messages import Signal

__all__ = ["Action", "Shell"]

_LINGER = 0.1
"""Seconds to wait, after a command's end, for the end of its output: what it left running may hold that open."""


@dataclass(frozen=True, slots=True)
class Shell:
    """What executes commands.

    Attributes:
        path: the shell.
        grace: seconds from SIGTERM to SIGKILL; None: for ever.
        stdout: what standard output is copied to.
        stderr: what standard error is copied to.
    """

    path: str
    grace: float | None
    stdout: Sink
    stderr: Sink

    @classmethod
    def of(cls, path: str, grace: float | None) -> Shell:
        """Return one whose commands write to our own standard streams."""
        return cls(path, grace, Sink(_descriptor(sys.stdout, 1)), Sink(_descriptor(sys.stderr, 2)))


def _descriptor(stream: TextIO, usual: int) -> int:
    """Return a stream's descriptor: where we were started without one, the usual number may be somebody else's."""
    try:
        return stream.fileno()
    except OSError:
        return usual


class Action:
    """One run of a shell command, in a process group of its own. `run()` it once.

    Args:
        shell: what executes it.
        command: what the shell executes.
        signal: whose facts are in the environment.
        limit: seconds that it may take; None: for ever.
        leaves_nothing: end also what it has started and left running; else that goes on if it ends by itself.
    """

    def __init__(
        self, shell: Shell, command: str, signal: Signal, limit: float | None, *, leaves_nothing: bool = False
    ) -> None:
        self._shell = shell
        self._argv = (shell.path, "-c", command)
        self._environment = environment_for(signal)
        self._limit = limit
        self._leaves_nothing = leaves_nothing
        self._pipes: list[Pipe] = []
        self._is_stopped = asyncio.Event()
        self._is_killed = asyncio.Event()

    @property
    def received(self) -> int:
        """How many bytes it has written so far."""
        return sum(pipe.received for pipe in self._pipes)

    @property
    def last_line(self) -> str:
        """The last line that it has written to standard output, or else to standard error."""
        return next((text for pipe in self._pipes if (text := pipe.last.text)), "")

    def stop(self, *, kill: bool = False) -> None:
        """End it: with SIGTERM and, when its grace is over or if `kill`, SIGKILL. `run()` returns then."""
        if kill:
            self._is_killed.set()
        self._is_stopped.set()

    async def run(self) -> Ending:
        """Run the command to its end, its own or ours."""
        try:
            process = await self._start()
        except (OSError, ValueError) as error:
            return Ending(by="error", stderr=str(error))
        exited = asyncio.ensure_future(process.wait())
        try:
            is_own_end = await self._until_end(exited)
            was_killed = False
            if not is_own_end or self._leaves_nothing:
                was_killed = await end_group(process.pid, exited, self._is_killed, self._shell.grace)
            await exited
        finally:
            if not exited.done():
                send(process.pid, process_signals.SIGKILL)
        await asyncio.wait([pipe.ended for pipe in self._pipes], timeout=_LINGER)
        stdout, stderr = (pipe.last.text for pipe in self._pipes)
        return Ending(
            by="itself" if is_own_end else "request" if self._is_stopped.is_set() else "limit",
            status=process.returncode or 0,
            stdout=stdout,
            stderr=stderr,
            limit=self._limit,
            was_killed=was_killed and not is_own_end,
        )

    async def _until_end(self, exited: asyncio.Future[int]) -> bool:
        """Wait until it ends, or has to. Return whether it did by itself."""
        stopped = asyncio.ensure_future(self._is_stopped.wait())
        try:
            await asyncio.wait((exited, stopped), timeout=self._limit, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        return exited.done()

    async def _start(self) -> asyncio.subprocess.Process:
        # Pipes of asyncio's own would make its wait() wait for their end, too, in some versions of Python.
        with ExitStack() as ours, ExitStack() as theirs:
            writers = []
            for sink in (self._shell.stdout, self._shell.stderr):
                reading, writing = os.pipe()
                writers.append(theirs.enter_context(os.fdopen(writing, "wb", buffering=0)))
                reader = ours.enter_context(os.fdopen(reading, "rb", buffering=0))
                make_pipe = functools.partial(Pipe, sink)
                transport, pipe = await asyncio.get_running_loop().connect_read_pipe(make_pipe, reader)
                ours.callback(transport.close)
                self._pipes.append(pipe)
            process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writers[0],
                stderr=writers[1],
                env=self._environment,
                process_group=0,
            )
            # They stay open for as long as somebody writes, be it what the command leaves running.
            ours.pop_all()
            return process
