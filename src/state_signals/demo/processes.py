"""Child processes that never outlive the demo."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

__all__ = ["Child", "Children"]

_GRACE = 2.0
"""Seconds that a child has to end in good order."""


@dataclass(frozen=True, slots=True)
class Child:
    """A child process, and what it writes to standard error."""

    name: str
    process: subprocess.Popen[str]
    errors: IO[str]

    def last_words(self) -> str:
        """Return the last line that it wrote to standard error."""
        self.errors.seek(0)
        lines = [line for line in self.errors.read().splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""


class Children:
    """Starts Python modules as processes, and ends those that are left when it is closed.

    Each is the head of a session, so that Ctrl-C in the terminal reaches the demo alone, which then ends them in
    order. Each has a pipe as standard input, which breaks when the demo dies, so that they can tell.
    """

    def __init__(self) -> None:
        self._children: list[Child] = []

    def start(self, name: str, module: str, arguments: Iterable[str], env: Mapping[str, str] | None = None) -> Child:
        """Start `python -m MODULE ARGUMENTS`.

        Args:
            name: what the process is called here.
            module: module to run.
            arguments: its arguments.
            env: what to add to the environment.

        Raises:
            OSError: if it cannot be started.
        """
        errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed in close()
        try:
            process = subprocess.Popen(  # noqa: S603 - our own modules
                # -P: a psutil.py that lies in the current folder is not the one that is meant.
                [sys.executable, "-P", "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        except BaseException:
            errors.close()
            raise
        child = Child(name, process, errors)
        self._children.append(child)
        return child

    def wait(self, children: Iterable[Child], timeout: float) -> None:
        """Wait until children have ended, at most so long."""
        deadline = time.monotonic() + timeout
        for child in children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                return

    def close(self) -> None:
        """End those that still run: politely first."""
        for child in self._children:
            if child.process.poll() is None:
                child.process.terminate()
        self.wait(self._children, _GRACE)
        for child in self._children:
            if child.process.poll() is None:
                child.process.kill()
                child.process.wait()
            for stream in (child.process.stdin, child.process.stdout, child.errors):
                if stream is not None:
                    stream.close()
        self._children = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
