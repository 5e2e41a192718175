"""Which process an exporter lives in, told so that another process can find out whether that is dead."""

from __future__ import annotations

import json
import os
import platform
import uuid
from contextlib import suppress
from pathlib import Path

__all__ = ["fate", "new_owner"]

_STATE, _START = 0, 19
"""Places in `/proc/PID/stat` after the name of the program (Linux, proc(5))."""


def new_owner() -> bytes:
    """Return a unique name for an exporter of this process."""
    facts = {
        "id": uuid.uuid4().hex,
        "host": platform.node(),
        "place": _place(),
        "pid": os.getpid(),
        "start": _start(os.getpid()),
    }
    return json.dumps(facts).encode()


def fate(owner: bytes) -> bool | None:
    """Whether the process of an exporter is alive; None: it is out of sight, on another host or in another container.

    Whoever may have written the name, this does not raise.
    """
    try:
        facts = json.loads(owner)
        place, pid, start = facts["place"], int(facts["pid"]), facts["start"]
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return None
    if place != _place() or pid <= 0:
        return None
    return bool(_start(pid) == start)


def _place() -> str:
    """Within which process numbers mean the same: this boot of this host, and on Linux this PID namespace."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return "/".join(parts)


def _start(pid: int) -> str | None:
    """When a process started, in any unit, so that one that got its number later is another; None: it is dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if fields[_STATE] in "ZX" else fields[_START]
    except (OSError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except (OSError, OverflowError):
        return "alive"
    return "alive"
