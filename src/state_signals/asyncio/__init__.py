"""The shell for asyncio: the names of the sync one, with `async` methods."""

from __future__ import annotations

from state_signals.asyncio.exporter import SignalExporter
from state_signals.asyncio.responder import SignalResponder

__all__ = ["SignalExporter", "SignalResponder"]
