"""A responder that runs the real state-signals 1.0.1, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from state_signals.server import EmbeddedServer
from tests.parties import in_thread

__all__ = ["Peer", "peer"]

_ROOT = Path(__file__).parent.parent.parent
_PYTHON = os.environ.get("STATE_SIGNALS_PEER") or str(_ROOT / ".venv-peer" / "bin" / "python")


class Peer:
    """The process, and what it says."""

    def __init__(self, port: int | None) -> None:
        if not Path(_PYTHON).exists():
            pytest.fail(f"no Python with state-signals 1.0.1 at {_PYTHON}; `make test` makes one")
        command = [_PYTHON, str(Path(__file__).with_name("version_1.py")), str(port), "old"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    async def says(self) -> dict[str, Any]:
        """Return the next thing that it says."""
        assert self.process.stdout
        line = await asyncio.wait_for(in_thread(self.process.stdout.readline), 30)
        assert line, "version 1 has ended"
        said: dict[str, Any] = json.loads(line)
        return said

    async def has_said(self) -> list[dict[str, Any]]:
        """End it, and return everything that it has said since."""
        self.process.kill()
        output, _ = await asyncio.wait_for(in_thread(self.process.communicate), 30)
        return [json.loads(line) for line in output.splitlines()]


@contextmanager
def peer(server: EmbeddedServer) -> Iterator[Peer]:
    """Start it; afterwards it is gone."""
    started = Peer(server.port)
    with started.process:
        try:
            yield started
        finally:
            started.process.kill()
