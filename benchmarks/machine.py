"""What was measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

__all__ = ["Others", "facts"]

_PACKAGES = ("redis", "hiredis", "msgspec", "nats-py", "pynng")


def facts() -> dict[str, Any]:
    """Return what the machine is, what runs on it, and how busy it is now."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
        "commit": _commit(),
        "load": os.getloadavg()[0],
    }


class Others:
    """How busy the machine is with other things: from when this is made to when it is asked.

    What counts as ours are this process and those that it has started, once they have ended.
    """

    def __init__(self) -> None:
        self._began = self._seconds()

    def share(self) -> float:
        """Return the share of all cores' time that others have used."""
        now = self._seconds()
        total, busy, ours = (after - before for after, before in zip(now, self._began, strict=True))
        return max(0.0, busy - ours) / total if total else 0.0

    def _seconds(self) -> tuple[float, float, float]:
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        # On Linux, user and nice hold what guests use.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        return total, total - idle, sum(each.ru_utime + each.ru_stime for each in used)


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _version(name: str) -> str | None:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return None


def _commit() -> str | None:
    """Return the commit that is measured, and whether files differ from it."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*"],
            cwd=Path(__file__).parent,
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
