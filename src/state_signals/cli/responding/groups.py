"""Process groups: a command and whatever it has started, ended together."""

from __future__ import annotations

import asyncio
import os
import signal as process_signals
from pathlib import Path

__all__ = ["end_group", "send"]

_POLL = 0.05
"""Seconds between two looks at whether a process group has ended."""


async def end_group(group: int, exited: asyncio.Future[int], killed: asyncio.Event, grace: float | None) -> bool:
    """End a process group: with SIGTERM and, if that does not suffice, SIGKILL. Return whether it took that.

    Only its members are reached: its number cannot be given away while one of them lives.

    Args:
        group: its number, which is that of the process that leads it.
        exited: is done when that process has ended.
        killed: is set when somebody wants SIGKILL at once.
        grace: seconds from SIGTERM to SIGKILL; None: for ever.
    """
    if not send(group, process_signals.SIGTERM):
        return False
    # One that is halted hears nothing else.
    send(group, process_signals.SIGCONT)
    try:
        async with asyncio.timeout(grace):
            await _until_ended(group, exited, killed)
    except TimeoutError:
        pass
    return _is_alive(group) and send(group, process_signals.SIGKILL)


async def _until_ended(group: int, exited: asyncio.Future[int], killed: asyncio.Event) -> None:
    """Wait until no member of a group runs any more, or it is to be killed."""
    is_killed = asyncio.ensure_future(killed.wait())
    try:
        await asyncio.wait((exited, is_killed), return_when=asyncio.FIRST_COMPLETED)
        # Most groups have ended then. Of the others it has to be asked.
        while not killed.is_set() and _is_alive(group):
            await asyncio.wait((is_killed,), timeout=_POLL)
    finally:
        is_killed.cancel()


def send(group: int, number: int) -> bool:
    """Send a signal to a process group. Return whether there is one (macOS: one that is no zombie)."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _is_alive(group: int) -> bool:
    """Whether a process group has a member that runs.

    What the command has left to the system's first process stays a zombie until that cares for it, which in a container
    may be never. Where there is no /proc to tell, zombies count as alive.
    """
    if not send(group, 0):
        return False
    states = [fields for path in Path("/proc").glob("[0-9]*/stat") if (fields := _fields(path))]
    return not states or any(fields[2] == str(group) and fields[0] not in "ZX" for fields in states)


def _fields(path: Path) -> list[str]:
    """Return the fields of a /proc/PID/stat from the state on; empty if the process is gone."""
    try:
        # The name before them is free text in parentheses.
        return path.read_text(errors="replace").rpartition(") ")[2].split()
    except OSError:
        return []
