"""Processes that do one side of one contender, from the outside: told by a pipe, their costs read from the system."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import psutil

from benchmarks.contenders.base import Told

__all__ = ["Failed", "Worker", "cpu_seconds", "unshared_memory"]

_ROOT = Path(__file__).resolve().parent.parent

_PATIENCE = 70.0
"""Seconds in which whatever a process is told has to be done."""

_GRACE = 5.0
"""Seconds in which a process has to end when it is told."""


class Failed(Exception):
    """A process could not do what it was told."""


class Worker:
    """One process; it is there until `end`. Those that are made one after another start at the same time.

    Args:
        told: what it is.
    """

    def __init__(self, told: Told) -> None:
        self.told = told
        self._log = _log(told)
        self._process = subprocess.Popen(
            [_python(told), "-m", "benchmarks.worker"],
            cwd=_ROOT,
            env=_environment(told),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
        )
        self.pid = self._process.pid
        self._write(asdict(told))
        self._is_ready = False

    def ready(self) -> None:
        """Wait until it has started.

        Raises:
            Failed: if what it needs is not installed.
        """
        if not self._is_ready:
            self._is_ready = True
            self._read()

    def ask(self, what: str, **arguments: object) -> dict[str, Any]:
        """Have it do something; return what it says when that is done.

        Raises:
            Failed: if it does not.
        """
        self.tell(what, **arguments)
        return self.read()

    def tell(self, what: str, **arguments: object) -> None:
        """Have it begin something; `read` returns what it says at the end."""
        self.ready()
        self._write({"do": what, **arguments})

    def read(self) -> dict[str, Any]:
        """Return what it says to what it was told last.

        Raises:
            Failed: as `ask`.
        """
        self.ready()
        return self._read()

    def _read(self, patience: float = _PATIENCE) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], patience)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            raise Failed(f"{self.told.contender} ({self.told.role}) does not answer")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise Failed(f"{self.told.contender} ({self.told.role}): {said['error']}")
        return said

    def freeze(self) -> None:
        """Let it use no CPU until `thaw`."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """End it, politely first. Idempotent."""
        process = self._process
        with suppress(OSError):
            self.thaw()
        if process.poll() is None:
            with suppress(Failed, OSError, ValueError):
                self.tell("close")
                self._read(_GRACE)
        with suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _write(self, said: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(said) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Failed(f"{self.told.contender} ({self.told.role}) has ended") from error


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used: in nanoseconds where the system keeps them, else in ticks."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except (OSError, ValueError):
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)


def unshared_memory(pid: int) -> int:
    """Return the bytes of memory that would be free without this process."""
    return int(psutil.Process(pid).memory_full_info().uss)


def _python(told: Told) -> str:
    """Return the interpreter that has what a contender needs: state-signals 1.0.1 lives apart."""
    return os.environ["STATE_SIGNALS_PEER"] if told.contender == "version_1" else sys.executable


def _environment(told: Told) -> dict[str, str] | None:
    """Return the environment that a contender needs; None: ours. What leads to this project hides 1.0.1."""
    if told.contender != "version_1":
        return None
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _log(told: Told) -> Any:
    """Return where a process writes what it has to say besides: nowhere, or into a folder named by the environment."""
    folder = os.environ.get("BENCHMARKS_LOGS")
    name = f"{told.contender}-{told.role}-{time.time_ns()}.log"
    return (Path(os.devnull) if folder is None else Path(folder, name)).open("w")
