"""Responders and exporters in processes of their own, to be killed, stopped and thawed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from tests.interop.test_version_1 import PEER
from tests.parties import Parties, _Threaded, eventually, in_thread

__all__ = ["Process", "Processes", "resumed"]

HERE = Path(__file__).parent
VERSION_1 = HERE.parent / "interop" / "version_1.py"


class Process:
    """A program that says what it does as JSON lines.

    Args:
        command: what to run.

    Attributes:
        said: all that it has said.
        errors: what it has written to standard error, line by line.
    """

    def __init__(self, *command: str) -> None:
        pipe = subprocess.PIPE
        self._popen = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self.said: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._read, args=(self._popen.stdout,), daemon=True),
            threading.Thread(target=self._read_errors, args=(self._popen.stderr,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._popen.pid

    @property
    def name(self) -> str:
        """The `responder_id` or `publisher_id`."""
        name: str = self.said[0]["id"]
        return name

    @property
    def seen(self) -> list[int]:
        """The samples that it was asked to act on, in order."""
        return [each["sample"] for each in self.said if each.get("event") == "start"]

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def write(self, what: object = None) -> None:
        """Give it a line to read: JSON."""
        assert self._popen.stdin
        self._popen.stdin.write(json.dumps(what) + "\n")
        self._popen.stdin.flush()

    async def says(self, count: int) -> dict[str, Any]:
        """Wait until it has said something so many times, and return the last of that."""
        await eventually(lambda: len(self.said) >= count or not self.is_running, "what it says")
        await eventually(lambda: len(self.said) >= count, f"what a process says that says {self.said} {self.errors}")
        return self.said[count - 1]

    async def does(self, method: str, **options: Any) -> dict[str, Any]:
        """Have an exporter do something, and return what came of it."""
        count = len(self.said) + 1
        self.write([method, options])
        return await self.says(count)

    async def has_seen(self, *samples: int) -> None:
        """Wait until it was asked to act on these samples, and check that there are no others, and their order."""
        await eventually(lambda: len(self.seen) >= len(samples), f"{samples} (seen: {self.seen})")
        assert self.seen == list(samples), f"{self.seen}, not {samples}"

    def kill(self) -> None:
        """Kill it, and wait until it is dead."""
        self._popen.kill()
        self._popen.wait()

    def stop(self) -> None:
        """Keep it from running."""
        self._popen.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it run on."""
        self._popen.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it to end in good order."""
        self._popen.terminate()

    def interrupt(self) -> None:
        """Do what Ctrl+C does."""
        self._popen.send_signal(signal.SIGINT)

    def finish(self) -> None:
        """Give it nothing more to read."""
        assert self._popen.stdin
        self._popen.stdin.close()

    async def ends(self) -> int:
        """Wait for its end, and return its exit status."""
        await eventually(lambda: not self.is_running, "the end of a process")
        return self._popen.wait()

    def close(self) -> None:
        """Leave nothing of it behind."""
        self.kill()
        for thread in self._threads:
            thread.join()
        for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            assert stream
            try:
                stream.close()
            except BrokenPipeError:
                continue

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            self.said.append(json.loads(line))

    def _read_errors(self, stream: IO[str]) -> None:
        for line in stream:
            self.errors.append(line)


class Processes:
    """Starts processes of one shell at one server.

    Args:
        shell: which.
        url: the server.
    """

    def __init__(self, shell: str, url: str) -> None:
        self.shell = shell
        self.url = url
        self._started: list[Process] = []

    def launch(self, *command: str) -> Process:
        """Run any program."""
        self._started.append(Process(*command))
        return self._started[-1]

    async def members(self, *names: str, **options: Any) -> list[Process]:
        """Start responders, and wait until they listen."""
        arguments = json.dumps(options)
        program = str(HERE / "member_process.py")
        members = [self.launch(sys.executable, program, self.shell, name, self.url, arguments) for name in names]
        for each in members:
            await each.says(1)
        return members

    async def member(self, name: str = "pcp", **options: Any) -> Process:
        """Start a responder, and wait until it listens."""
        return (await self.members(name, **options))[0]

    async def exporter(self, method: str = "new", **options: Any) -> Process:
        """Start an exporter, and wait until it is there, or could not be."""
        program = str(HERE / "exporter_process.py")
        exporter = self.launch(sys.executable, program, self.shell, method, self.url, json.dumps(options))
        await exporter.says(1)
        return exporter

    async def version_1(self, name: str) -> Process:
        """Start a responder of version 1.0.1, and wait until it listens."""
        member = self.launch(PEER, str(VERSION_1), self.url.split(":")[2].split("/")[0], "responder", name)
        await member.says(1)
        return member

    def close(self) -> None:
        """Leave nothing behind."""
        for each in self._started:
            each.close()


async def resumed(parties: Parties, publisher_id: str, **options: Any) -> Any:
    """Resume an exporter in this process."""
    kind = parties._module.SignalExporter
    if parties.shell == "sync":
        exporter: Any = _Threaded(await in_thread(kind.resume, publisher_id, url=parties.url, **options))
    else:
        exporter = await kind.resume(publisher_id, url=parties.url, **options)
    parties._made.append(exporter)
    return exporter
