"""Thousands of responders: nobody is missing, and what befalls all of them at the same time is told of each by name."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from state_signals.server import EmbeddedServer
from tests.faults.processes import HERE, Process
from tests.parties import Parties

EACH = 1_000
"""Responders in a process."""

NAMES = {crowd: {f"{crowd}-{number}" for number in range(EACH)} for crowd in ("left", "right")}
EVERYBODY = NAMES["left"] | NAMES["right"]

TTL = 10.0

PATIENCE = 60.0

LATE = 0.5
"""Seconds by which a round may be late, ten times what it is on an idle machine: the tests share theirs with others."""


@pytest.fixture
async def crowds(own_server: EmbeddedServer) -> AsyncIterator[dict[str, Process]]:
    """A process each."""
    program = str(HERE / "crowd_process.py")
    started = {name: Process(sys.executable, program, own_server.url, name, str(EACH)) for name in NAMES}
    try:
        for each in started.values():
            await each.says(1)
        yield started
    finally:
        for each in started.values():
            each.close()


async def both(exporters: list[Any], method: str, *arguments: Any, **options: Any) -> list[Any]:
    return await asyncio.gather(*(getattr(each, method)(*arguments, **options) for each in exporters))


async def test_thousands_subscribe_act_are_slow_lose_their_server_and_die(
    own_server: EmbeddedServer, crowds: dict[str, Process]
) -> None:
    everybody = [Parties(shell, own_server.url) for shell in ("sync", "asyncio")]
    async with _closed(everybody):
        exporters = [await parties.exporter(presence_ttl=TTL) for parties in everybody]
        assert await both(exporters, "initialize_and_wait", 2 * EACH, ["start", "stop"], timeout=PATIENCE) == [0, 0]
        for _ in range(3):
            for result in await both(exporters, "publish_signal", "start", timeout=PATIENCE):
                assert result.ok
                assert set(result.succeeded) == EVERYBODY

        # All of them are slow. One exporter after the other: it is their own time that is measured.
        for exporter in exporters:
            began = time.monotonic()
            result = await exporter.publish_signal("stop", timeout=0.2)
            assert time.monotonic() - began < 0.2 + LATE
            assert set(result.missing) == EVERYBODY
        for crowd in crowds.values():
            crowd.write()
        for result in await both(exporters, "publish_signal", "start", timeout=PATIENCE):
            assert set(result.succeeded) == EVERYBODY

        # The server comes back empty: all connect, and subscribe again.
        own_server.kill()
        own_server.start()
        for result in await both(exporters, "publish_signal", "start", timeout=PATIENCE):
            assert set(result.succeeded) == EVERYBODY

        crowds["left"].kill()
        for result in await both(exporters, "publish_signal", "start", timeout=PATIENCE):
            assert set(result.lost) == NAMES["left"]
            assert set(result.succeeded) == NAMES["right"]
        await both(exporters, "shutdown")


@asynccontextmanager
async def _closed(everybody: list[Parties]) -> AsyncIterator[None]:
    """Close all that parties have made, at the end."""
    try:
        yield
    finally:
        for parties in everybody:
            await parties.close()
