"""The servers that contenders need, each started here and ended with the benchmark."""

from __future__ import annotations

import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from state_signals.server import EmbeddedServer

__all__ = ["Place", "nats_server", "raise_file_limit", "redis_server"]

_STARTS_WITHIN = 10.0

_UNTIL_ABANDONED = """
"$@" </dev/null >/dev/null 2>&1 &
echo $!
read -r _
kill $!
wait
"""
"""Runs a program until nobody holds the other end of standard input, whatever has become of them."""


@dataclass(frozen=True, slots=True)
class Place:
    """A server.

    Attributes:
        url: where it is.
        pid: its process.
        what: what it is, for people to read.
    """

    url: str
    pid: int
    what: str


@contextmanager
def redis_server(*arguments: str) -> Iterator[Place]:
    """Start a Redis server, with further options of its own, for as long as the body lasts."""
    with EmbeddedServer(arguments=arguments) as server:
        yield Place(server.url, server.pid, f"{server.kind} {server.version}")


@contextmanager
def nats_server() -> Iterator[Place | None]:
    """Start a NATS server for as long as the body lasts; None if there is no `nats-server`."""
    program = shutil.which("nats-server")
    if program is None:
        yield None
        return
    version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    port = free_port()
    command = ["sh", "-c", _UNTIL_ABANDONED, "sh", program, "--addr", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as guard:
        assert guard.stdin is not None
        assert guard.stdout is not None
        try:
            pid = int(guard.stdout.readline())
            _wait_for(port)
            yield Place(f"nats://127.0.0.1:{port}", pid, version)
        finally:
            guard.stdin.close()


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def raise_file_limit() -> int:
    """Allow as many open files as may be, for this process and those that it starts; return how many that are."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _wait_for(port: int) -> None:
    until = time.monotonic() + _STARTS_WITHIN
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return
