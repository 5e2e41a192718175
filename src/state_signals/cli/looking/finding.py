"""Which exporter and which run are meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from state_signals.cli.looking.words import scope
from state_signals.cli.options import Server
from state_signals.cli.stepping.lookup import close_to
from state_signals.exceptions import InvalidArgument
from state_signals.runs.reader import RunReader
from state_signals.transport.urls import redacted

__all__ = ["chosen", "resolved"]

_SHOWN = 3

_ASKED = 100
"""Names whose times are asked for, at the most: each is a round trip."""

_DOTS = ("...", "…")
"""What a name that was shortened on a terminal ends with."""

_UUID = re.compile(r"-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""What follows the name of a process in a publisher_id that nobody has chosen."""

_Item = TypeVar("_Item")


async def resolved(reader: RunReader, given: str, server: Server) -> str:
    """Return the publisher_id that is meant by one, by its beginning, or by the name of a process (its newest).

    Raises:
        InvalidArgument: if none or several are; the message names some that are close.
        TransportError: if the server cannot be asked.
    """
    if await reader.has_journal(given):
        return given
    known = await reader.publisher_ids()
    beginning = next((given.removesuffix(dots) for dots in _DOTS if given.endswith(dots)), given)
    meant = [name for name in known if beginning and name.startswith(beginning)]
    if len(meant) == 1:
        return meant[0]
    if meant and all(_UUID.fullmatch(name.removeprefix(given)) for name in meant):
        # The name of a process, which has run more than once: as with `run fio`, day after day.
        return await _newest_of(reader, meant)
    if meant:
        raise InvalidArgument(
            f"{given!r} is the beginning of {len(meant)} publisher_ids: {', '.join(await _newest(reader, meant))}; "
            "give more of the one that you mean"
        )
    close = close_to(given, known)
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    elif known:
        hint = "'state-signals history' lists those that are known"
    else:
        hint = "there is no other one either; check --url and --namespace"
    where = f"{redacted(server.url)} {scope(server.namespace)}"
    raise InvalidArgument(f"no run of {given!r:.200} is known at {where}; {hint}")


async def _newest_of(reader: RunReader, names: Sequence[str]) -> str:
    times = {name: await reader.last_active(name) for name in names}
    return max(names, key=lambda name: times[name])


async def _newest(reader: RunReader, names: Sequence[str]) -> list[str]:
    """Return some names, the newest first, and how many more there are."""
    if len(names) > _ASKED:
        shown = list(names[:_SHOWN])
    else:
        times = {name: await reader.last_active(name) for name in names}
        shown = sorted(names, key=lambda name: times[name], reverse=True)[:_SHOWN]
        shown[0] += " (the newest)"
    return shown if len(names) <= _SHOWN else [*shown, f"and {len(names) - _SHOWN} more"]


def chosen(runs: Sequence[_Item], which: int) -> _Item:
    """Return one of the runs of an exporter: 1 is the first, -1 the last.

    Raises:
        InvalidArgument: if there is no such.
    """
    if which == 0 or abs(which) > len(runs):
        there = "1 run, which is --run 1" if len(runs) == 1 else f"{len(runs)} runs: --run 1 is the first, -1 the last"
        raise InvalidArgument(f"there is no --run {which} of that exporter; it has {there}")
    return runs[which - 1 if which > 0 else which]
