"""Servers that a test may break."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import state_signals.asyncio.link
import state_signals.sync.link
from state_signals.server import EmbeddedServer
from state_signals.transport import base


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server for this test only, whatever that does to it."""
    with EmbeddedServer() as running:
        yield running


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that hangs is noticed after two seconds, not after ten."""
    monkeypatch.setattr(base, "IDLE", 1.0)
    for module in (base, state_signals.sync.link, state_signals.asyncio.link):
        monkeypatch.setattr(module, "TIMEOUT", 1.0)
