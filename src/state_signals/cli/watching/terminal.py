"""The terminal: taken over and given back, read key by key, and written to where something has changed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Callable
from types import TracebackType
from typing import Self

from state_signals.cli import output
from state_signals.cli.watching.cells import ASCII, UNICODE, Glyphs, Line
from state_signals.cli.watching.keys import KeyReader
from state_signals.cli.watching.screen import Frame

__all__ = ["Terminal", "glyphs_of", "painted", "painted_line"]

_COLOURED = {
    "bar": "7",
    "alarm": "1;37;41",
    "heading": "2;4",
    "focus": "1;36;4",
    "title": "1",
    "dim": "2",
    "rule": "2",
    "event": "36",
    "accent": "1;36",
    "good": "32",
    "warn": "33",
    "bad": "1;31",
    "key": "1",
    "on": "1;33",
    "cursor": "7",
}
"""What each style is to a terminal: colours of the palette that its user has chosen (ECMA-48, SGR)."""

_COLOURLESS = {
    **dict.fromkeys(_COLOURED, ""),
    "bar": "7",
    "alarm": "7;1",
    "heading": "4",
    "focus": "7",
    "title": "1",
    "dim": "2",
    "bad": "1",
    "key": "1",
    "on": "1",
    "cursor": "7",
}

# Alternate screen, no cursor, and no new line where a line turns out too long.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"

# Terminals that know it show a screen that is half drawn to nobody; others pass over it.
_HOLD, _RELEASE = "\x1b[?2026h", "\x1b[?2026l"

_ESCAPE_AFTER = 0.05
"""Seconds after which an escape character is the key, and not the beginning of another one's sequence."""


def glyphs_of(encoding: str | None) -> Glyphs:
    """Return the characters that an encoding can express."""
    return UNICODE if (encoding or "").lower().replace("-", "") == "utf8" else ASCII


def painted_line(line: Line, split: int | None, *, is_coloured: bool) -> str:
    """Return a line as a terminal takes it.

    Args:
        line: the line.
        split: column where something begins that has to be there, however wide the terminal takes what is before it.
        is_coloured: whether to use colours.
    """
    styles = _COLOURED if is_coloured else _COLOURLESS
    parts = []
    for span in line:
        if split is not None and span.style == "rule":
            parts.append(f"\x1b[{split + 1}G")
        code = styles.get(span.style, "")
        parts.append(f"\x1b[{code}m{span.text}\x1b[0m" if code else span.text)
    return "".join(parts)


def painted(before: Frame | None, now: Frame, *, is_coloured: bool) -> str:
    """Return what turns one screen into the next: the lines that differ; without one before, everything."""
    parts = [] if before is not None else ["\x1b[2J"]
    for row, line in enumerate(now.lines):
        if before is None or row >= len(before.lines) or before.lines[row] != line:
            parts.append(f"\x1b[{row + 1};1H\x1b[2K{painted_line(line, now.split, is_coloured=is_coloured)}")
    return "".join(parts)


class Terminal:
    """The terminal that standard input and output are on, taken over while this is entered.

    Args:
        pressed: called with each key.
        changed: called when the size is another one, or the screen has to be drawn anew.
        gone: called when there is no terminal any more.

    Attributes:
        glyphs: what it can show.
    """

    def __init__(
        self, pressed: Callable[[str], object], changed: Callable[[], object], gone: Callable[[], object]
    ) -> None:
        self.glyphs = glyphs_of(sys.stdout.encoding)
        self._is_coloured = output.is_coloured(sys.stdout)
        self._pressed = pressed
        self._changed = changed
        self._gone = gone
        self._keys = KeyReader()
        self._flush: asyncio.TimerHandle | None = None
        self._input = sys.stdin.fileno()
        self._modes = termios.tcgetattr(self._input)
        self._shown: Frame | None = None

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._take_over()
        loop.add_reader(self._input, self._read)
        loop.add_signal_handler(signal.SIGWINCH, self._resized)
        loop.add_signal_handler(signal.SIGTSTP, self._stopped)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._input)
        loop.remove_signal_handler(signal.SIGWINCH)
        loop.remove_signal_handler(signal.SIGTSTP)
        if self._flush is not None:
            self._flush.cancel()
        self._give_back()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        try:
            return os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            return shutil.get_terminal_size()

    def show(self, frame: Frame) -> None:
        """Draw what is not on the screen yet."""
        changes = painted(self._shown, frame, is_coloured=self._is_coloured)
        self._shown = frame
        if changes:
            self._write(_HOLD + changes + _RELEASE)

    def _take_over(self) -> None:
        tty.setcbreak(self._input, termios.TCSANOW)
        modes = termios.tcgetattr(self._input)
        # It would end us without a chance to clean up; Ctrl-C does not.
        modes[6][termios.VQUIT] = os.fpathconf(self._input, "PC_VDISABLE").to_bytes(1, "little")
        termios.tcsetattr(self._input, termios.TCSANOW, modes)
        self._shown = None
        self._write(_ENTER)

    def _give_back(self) -> None:
        self._write(_LEAVE)
        try:
            # What was typed for us must not reach the shell.
            termios.tcsetattr(self._input, termios.TCSAFLUSH, self._modes)
        except termios.error:
            return

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError:
            self._gone()

    def _read(self) -> None:
        try:
            data = os.read(self._input, 4096)
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._input)
            self._gone()
            return
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        self._press_all(self._keys.feed(data))
        if self._keys.is_waiting:
            loop = asyncio.get_running_loop()
            self._flush = loop.call_later(_ESCAPE_AFTER, lambda: self._press_all(self._keys.flush()))

    def _press_all(self, keys: list[str]) -> None:
        for key in keys:
            self._pressed(key)

    def _resized(self) -> None:
        self._shown = None
        self._changed()

    def _stopped(self) -> None:
        """Ctrl-Z: the shell gets its terminal, and we take it over again when we go on."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take_over()
        self._changed()
