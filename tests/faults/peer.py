"""A responder that runs the real state-signals 1.0.1, in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from state_signals.server import EmbeddedServer
from tests.faults.processes import HERE, Process

__all__ = ["peer"]

_ROOT = Path(__file__).parent.parent.parent
_PYTHON = os.environ.get("STATE_SIGNALS_PEER") or str(_ROOT / ".venv-peer" / "bin" / "python")


@contextmanager
def peer(server: EmbeddedServer) -> Iterator[Process]:
    """Start it; afterwards it is gone."""
    if not Path(_PYTHON).exists():
        pytest.fail(f"no Python with state-signals 1.0.1 at {_PYTHON}; `make test` makes one")
    started = Process(_PYTHON, str(HERE / "version_1.py"), str(server.port), "old")
    try:
        yield started
    finally:
        started.close()
