"""The embedded server: a Redis for trying out and for tests, which ends with the process that started it.

    with EmbeddedServer() as server:
        exporter = SignalExporter("fio", url=server.url)

It is for one machine: it listens on 127.0.0.1 or on a Unix socket, never elsewhere, and by default keeps nothing.
"""

from __future__ import annotations

from state_signals.server.embedded import EmbeddedServer
from state_signals.server.executable import find_executable

__all__ = ["EmbeddedServer", "find_executable"]
