"""Running a shell command for a signal, and what it answers.

The command comes from the local command line. What comes over the network reaches it through the environment alone: it
is never part of what a shell reads.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal as process_signals
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from state_signals.messages import Signal

__all__ = ["Action", "Answer", "LastLine", "environment_for"]

_LONGEST_MESSAGE = 1_000
"""Characters of a command's last line that are sent as the answer's message."""

_LONGEST_LINE = 4 * _LONGEST_MESSAGE
"""Bytes of a line that are kept: a character takes four at the most."""

_GRACE = 5.0
"""Seconds from SIGTERM to SIGKILL."""

_POLL = 0.05
"""Seconds between two looks at whether a process group has ended."""

_LINGER = 0.1
"""Seconds to wait, after a command's end, for the end of its output: what it left running may hold that open."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command's end answers: `ras`, and the message if there is one."""

    ras: int
    message: str | None


class LastLine:
    """The last line of some output that is not empty, in bounded memory."""

    def __init__(self) -> None:
        self._last = b""
        self._unfinished = b""

    def feed(self, data: bytes) -> None:
        """Take the next piece of the output."""
        # A progress bar ends its lines with carriage returns.
        *lines, rest = (self._unfinished + data.replace(b"\r", b"\n")).split(b"\n")
        self._last = next((line for line in reversed(lines) if line.strip()), self._last)[:_LONGEST_LINE]
        self._unfinished = rest[:_LONGEST_LINE]

    @property
    def text(self) -> str:
        """The line as text, without what no message needs; empty if there is none."""
        line = self._unfinished if self._unfinished.strip() else self._last
        return line.decode(errors="replace").strip()[:_LONGEST_MESSAGE]


class _Pipe(asyncio.Protocol):
    """One output stream of a command: copied to one of ours as it comes."""

    def __init__(self, copy_to: int) -> None:
        self.last = LastLine()
        self.ended = asyncio.get_running_loop().create_future()
        self._copy_to = copy_to

    def data_received(self, data: bytes) -> None:
        self.last.feed(data)
        # Nobody may be there to read it; the command does its work all the same.
        with suppress(OSError):
            while data:
                data = data[os.write(self._copy_to, data) :]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self.ended.done():
            self.ended.set_result(None)


class Action:
    """One run of a shell command, in a process group of its own. `run()` it once.

    Args:
        shell: path of the shell.
        command: what the shell executes.
        signal: whose facts are in the environment.
        timeout: seconds that it may take; None: for ever.
    """

    def __init__(self, shell: str, command: str, signal: Signal, timeout: float | None) -> None:
        self._argv = (shell, "-c", command)
        self._environment = environment_for(signal)
        self._timeout = timeout
        self._pipes: list[_Pipe] = []
        self._is_stopped = asyncio.Event()
        self._is_killed = False

    def stop(self, *, kill: bool = False) -> None:
        """End it: with SIGTERM and, five seconds later or if `kill`, SIGKILL. `run()` returns then."""
        self._is_killed = self._is_killed or kill
        self._is_stopped.set()

    async def run(self) -> Answer:
        """Run the command to its end, its own or ours. Return the answer."""
        try:
            process = await self._start()
        except (OSError, ValueError) as error:
            return Answer(0, f"cannot run the command: {error}"[:_LONGEST_MESSAGE])
        why = await self._ended(process)
        await asyncio.wait([pipe.ended for pipe in self._pipes], timeout=_LINGER)
        if why is not None:
            return Answer(0, why)
        return _answer(process.returncode or 0, *(pipe.last.text for pipe in self._pipes))

    async def _start(self) -> asyncio.subprocess.Process:
        # Pipes of asyncio's own would make its wait() wait for their end, too, in some versions of Python.
        with ExitStack() as ours, ExitStack() as theirs:
            writers = []
            for copy_to in (1, 2):
                reading, writing = os.pipe()
                writers.append(theirs.enter_context(os.fdopen(writing, "wb", buffering=0)))
                reader = ours.enter_context(os.fdopen(reading, "rb", buffering=0))
                make_pipe = functools.partial(_Pipe, copy_to)
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

    async def _ended(self, process: asyncio.subprocess.Process) -> str | None:
        """Wait for the end of a process. Return why it was ended, if it was."""
        exited = asyncio.ensure_future(process.wait())
        stopped = asyncio.ensure_future(self._is_stopped.wait())
        try:
            await asyncio.wait((exited, stopped), timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
            if exited.done():
                return None
            await self._end_group(process.pid)
            await exited
        finally:
            stopped.cancel()
            if not exited.done():
                _send(process.pid, process_signals.SIGKILL)
        return "the responder was ended" if self._is_stopped.is_set() else f"timed out after {self._timeout:g} s"

    async def _end_group(self, group: int) -> None:
        """End a process group: nobody but its members, whose number cannot be given away while one lives."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _GRACE
        is_there = _send(group, process_signals.SIGTERM)
        while is_there and not self._is_killed and loop.time() < deadline:
            await asyncio.sleep(_POLL)
            is_there = _is_alive(group)
        if is_there:
            _send(group, process_signals.SIGKILL)


def _is_alive(group: int) -> bool:
    """Whether a process group has a member that runs.

    What the command has left to the system's first process stays a zombie until that cares for it, which in a container
    may be never. Where there is no /proc to tell, zombies count as alive.
    """
    if not _send(group, 0):
        return False
    states = [fields for path in Path("/proc").glob("[0-9]*/stat") if (fields := _fields(path))]
    return not states or any(fields[2] == str(group) and fields[0] not in "ZX" for fields in states)


def _fields(path: Path) -> list[str]:
    """Return the fields of a /proc/PID/stat from the state on; empty if the process is gone."""
    try:
        # The name before them is free text in parentheses.
        return path.read_text(errors="replace").rpartition(") ")[2].split()
    except OSError:
        return []


def _send(group: int, number: int) -> bool:
    """Send a signal to a process group. Return whether there is one (macOS: one that is no zombie)."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _answer(status: int, stdout: str, stderr: str) -> Answer:
    """Return the answer of a command that has ended by itself.

    Of its two streams the one speaks first that is meant for it: the order of lines across two pipes is not known.
    """
    if status == 0:
        return Answer(1, stdout or stderr or None)
    end = f"exit status {status}" if status > 0 else f"killed by {_signal_name(-status)}"
    return Answer(0, stderr or stdout or end)


def _signal_name(number: int) -> str:
    try:
        return process_signals.Signals(number).name
    except ValueError:
        return f"signal {number}"


def environment_for(signal: Signal) -> dict[bytes, bytes]:
    """Return our environment with a signal's facts in it, as UTF-8 whatever the locale is."""
    facts = {
        "EVENT": signal.event,
        "TAG": signal.tag,
        "SAMPLE": str(signal.sample_no),
        "PUBLISHER_ID": signal.publisher_id,
        "PROCESS_NAME": signal.process_name,
        "RUNNER_HOST": signal.runner_host,
        "ID": signal.id or "",
        "METADATA": json.dumps(signal.metadata or {}),
        "REDELIVERED": "1" if signal.redelivered else "",
    }
    return {**os.environb, **dict(_encoded(facts.items()))}


def _encoded(facts: Iterable[tuple[str, str]]) -> Iterable[tuple[bytes, bytes]]:
    for name, value in facts:
        # The environment ends a value at the first NUL.
        yield f"SIGNAL_{name}".encode(), value.replace("\0", "\\x00").encode(errors="backslashreplace")
