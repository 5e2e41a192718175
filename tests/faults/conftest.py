"""Servers that a test may break."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from state_signals.server import EmbeddedServer


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server for this test only, whatever that does to it."""
    with EmbeddedServer() as running:
        yield running
