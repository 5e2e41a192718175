"""A pseudo-terminal with a program on it, and an emulator that says what is on its screen.

with Terminal(["state-signals", "watch"], {"STATE_SIGNALS_URL": url}, rows=24, cols=80) as terminal:
    terminal.wait_for("fio-1")
    terminal.send("q")
    assert terminal.wait() == 0
    assert terminal.is_sane
"""

from __future__ import annotations

import os
import re
import signal
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pexpect
import pyte
import pytest

__all__ = ["Terminal"]

_DEADLINE = 20.0
"""Seconds after which a program counts as hanging."""

_LOOK_EVERY = 0.02
"""Seconds that are waited for output in one go."""

_UNSET = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "CI")
"""What would change what a program draws, wherever the tests run."""

# What pyte does not know, and would show or take for something else: private modes of keyboards, queries, and strings
# for the terminal itself.
_UNKNOWN = re.compile(rb"\x1b\[[<=>][0-9;:]*[@-~]|\x1b\[\?[0-9;]*\$p|\x1b[P_^X][^\x1b]*\x1b\\|\x1b\[[0-9;]*#[pqPQ]")

_UNFINISHED = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|[P_^X\]][^\x1b\x07]*)?$")

_ALTERNATE = re.compile(rb"\x1b\[\?(?:1049|1047|47)([hl])")


class _Screen(pyte.HistoryScreen):
    """pyte's screen, which tells the program what it asks for."""

    def __init__(self, columns: int, lines: int, answer: Callable[[bytes], object]) -> None:
        self._answer = answer
        super().__init__(columns, lines, history=10_000, ratio=0.5)

    def write_process_input(self, data: str) -> None:
        self._answer(data.encode())


class Terminal:
    """A program on a terminal of its own.

    Args:
        argv: the program and its arguments.
        env: what to add to the environment of the tests, or to put in place of it.
        rows: height of the terminal.
        cols: width of the terminal.
        cwd: folder to start the program in; default: the one of the tests.

    Attributes:
        raw: every byte that the program has written.
        emulator: pyte's screen, for colours and the cursor: `emulator.buffer[row][column].fg`, `emulator.cursor.x`.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        rows: int = 24,
        cols: int = 80,
        cwd: Path | None = None,
    ) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in _UNSET}
        environment |= {"TERM": "xterm-256color", **(env or {})}
        self.raw = b""
        self._unfinished = b""
        self._code: int | None = None
        self.emulator: Any = _Screen(cols, rows, self._type)
        self._stream: Any = pyte.ByteStream(self.emulator)
        self._program: Any = pexpect.spawn(
            argv[0],
            list(argv[1:]),
            env=environment,
            cwd=None if cwd is None else str(cwd),
            dimensions=(rows, cols),
            timeout=_DEADLINE,
        )
        self._program.delaybeforesend = None
        self._program.delayafterclose = 0.01

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # What is to be seen

    @property
    def screen(self) -> list[str]:
        """The lines on the screen, from the top, without blanks at their ends."""
        return [line.rstrip() for line in self.emulator.display]

    @property
    def text(self) -> str:
        """The screen as one text."""
        return "\n".join(self.screen)

    @property
    def lines(self) -> list[str]:
        """What has scrolled out at the top, and the screen down to its last line that is not empty."""
        width = self.emulator.columns
        gone = ["".join(row[x].data for x in range(width)).rstrip() for row in self.emulator.history.top]
        found = [*gone, *self.screen]
        while found and not found[-1]:
            found.pop()
        return found

    @property
    def is_cursor_visible(self) -> bool:
        """Whether the program has left the cursor to be seen."""
        return not self.emulator.cursor.hidden

    @property
    def is_alternate(self) -> bool:
        """Whether the program draws on the alternate screen, which it has to leave when it ends."""
        found = _ALTERNATE.findall(self.raw)
        return bool(found) and found[-1] == b"h"

    @property
    def is_sane(self) -> bool:
        """Whether whoever types next finds the terminal as it was: echo, line by line, with a cursor."""
        modes = termios.tcgetattr(self._program.child_fd)[3]
        return (
            bool(modes & termios.ECHO and modes & termios.ICANON) and self.is_cursor_visible and not self.is_alternate
        )

    # What happens

    @property
    def pid(self) -> int:
        """The program's process."""
        return int(self._program.pid)

    def wait_for(self, wanted: str | Callable[[Terminal], object], timeout: float = _DEADLINE) -> None:
        """Read what the program writes until a text is on the screen, or a condition holds."""

        def is_there() -> object:
            if not isinstance(wanted, str):
                return wanted(self)
            return wanted in self.text or any(wanted in line for line in self.emulator.display)

        deadline = time.monotonic() + timeout
        while not is_there():
            is_over = not self._read()
            if is_over and not is_there():
                pytest.fail(f"{wanted!r} is not on the screen of what has ended:\n{self.text}")
            if time.monotonic() > deadline:
                pytest.fail(f"{wanted!r} is not on the screen within {timeout:g} seconds:\n{self.text}")

    def send(self, keys: str) -> None:
        r"""Type: `"\x03"` is Ctrl-C, `"\r"` the enter key, `"\x1b[A"` the arrow up."""
        self._type(keys.encode())

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to the program, and to nobody else."""
        os.kill(self.pid, number)

    def resize(self, rows: int, cols: int) -> None:
        """Change the terminal's size; the program is told."""
        self._read()
        self.emulator.resize(rows, cols)
        self._program.setwinsize(rows, cols)

    def wait(self, timeout: float = _DEADLINE) -> int:
        """Read to the program's end. Return its exit code, as shells count it."""
        deadline = time.monotonic() + timeout
        while self._program.isalive():
            self._read()
            if time.monotonic() > deadline:
                pytest.fail(f"{self._program.args!r} does not end:\n{self.text}")
        while self._read():
            pass
        if self._program.signalstatus is not None:
            return 128 + int(self._program.signalstatus)
        return int(self._program.exitstatus)

    def close(self) -> None:
        """End the program, whatever it does, and give the terminal back."""
        self._program.close(force=True)

    def _type(self, keys: bytes) -> None:
        self._program.send(keys)

    def _read(self) -> bool:
        """Take what the program has written. Return whether there may be more some time."""
        try:
            data = self._program.read_nonblocking(65_536, timeout=_LOOK_EVERY)
        except pexpect.TIMEOUT:
            return self._program.isalive() is True
        except pexpect.EOF:
            return False
        self.raw += data
        data = self._unfinished + data
        tail = _UNFINISHED.search(data)
        self._unfinished = data[tail.start() :] if tail else b""
        self._stream.feed(_UNKNOWN.sub(b"", data[: tail.start()] if tail else data))
        return True
