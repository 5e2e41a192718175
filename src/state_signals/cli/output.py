"""What is printed: data to standard output, everything else to standard error, and nothing that a terminal obeys.

Names and messages come from the network. Whoever sends them must not move the cursor, change colours or hide text on
the terminal of whoever reads them: what is not printable is shown escaped.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

__all__ = [
    "PROGRAM",
    "discard_stdout",
    "error",
    "escaped",
    "giving_way",
    "is_coloured",
    "is_terminal",
    "json_line",
    "make_writable",
    "note",
    "print_line",
    "shortened",
    "styled",
    "to_stderr",
]

PROGRAM = "state-signals"

_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

_give_way: list[Callable[[], object]] = []

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def escaped(text: str) -> str:
    r"""Return a text with what is not printable (controls, bidi overrides, surrogates) as `\x1b` and such."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    width, letter = (2, "x") if code < 0x100 else (4, "u") if code < 0x10000 else (8, "U")
    return _SHORT_ESCAPES.get(char, f"\\{letter}{code:0{width}x}")


def shortened(text: str, length: int) -> str:
    """Return a text cut to a length; dots say that it was."""
    return text if len(text) <= length else text[: max(0, length - 3)] + "..."


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody looks at a stream that can do more than append lines."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def is_coloured(stream: TextIO) -> bool:
    """Whether to use colours: on a terminal, and not with NO_COLOR (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def styled(text: str, style: str, stream: TextIO) -> str:
    """Return a text (escaped already) in a style, if the stream is coloured."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if is_coloured(stream) else text


def print_line(text: str) -> None:
    """Print a line (escaped already) of data, at once.

    Raises:
        BrokenPipeError: if nobody reads it any more.
    """
    _make_room()
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Say something to the human who looks on; it is escaped here."""
    to_stderr(f"{PROGRAM}: {escaped(text)}")


def error(text: str) -> None:
    """Say why a command does not do what it was asked, as one line; it is escaped here."""
    to_stderr(f"{PROGRAM}: {styled('error:', 'red', sys.stderr)} {escaped(' '.join(text.split()))}")


def to_stderr(line: str) -> None:
    """Write a line (escaped already) to standard error, if somebody reads that."""
    _make_room()
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except OSError:
        # Nobody reads it any more (`2>&1 | head`): that is no reason to give up the work.
        return


@contextmanager
def giving_way(clear: Callable[[], object]) -> Iterator[None]:
    """Call something before each line that the body prints: what stands at the bottom of the terminal is in its way."""
    _give_way.append(clear)
    try:
        yield
    finally:
        _give_way.remove(clear)


def _make_room() -> None:
    for clear in _give_way:
        clear()


def json_line(value: Any) -> str:
    """Return a value as one line of JSON, in ASCII: no terminal obeys it, and every parser takes it."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        # Python reads NaN from the network, JSON knows none.
        return json.dumps(_without_nan(value), allow_nan=False)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list | tuple) else value


def make_writable() -> None:
    """Let the standard streams take everything: what the locale cannot express, escaped; into nowhere, if closed."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for as long as we live
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def discard_stdout() -> None:
    """Let what is still buffered go nowhere, for nobody reads standard output any more."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
