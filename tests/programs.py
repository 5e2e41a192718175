"""Small programs that tests run in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["DEADLINE", "finished", "program"]

DEADLINE = 30.0
"""Seconds after which a program counts as hanging."""


@contextmanager
def program(source: str, *arguments: str, interpreter: str = sys.executable) -> Iterator[subprocess.Popen[str]]:
    """Run a program, with pipes to it; at the end it is gone, in good order or not."""
    pipe = subprocess.PIPE
    command = [interpreter, "-c", textwrap.dedent(source), *arguments]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def finished(source: str, *arguments: str, interpreter: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    command = [interpreter, "-c", textwrap.dedent(source), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
