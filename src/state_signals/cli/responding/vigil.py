"""Watching over exporters: who dies sends no stop and no shutdown, and leaves collectors running."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Any

from state_signals.cli import output
from state_signals.cli.options import Server
from state_signals.exceptions import ServerRefused, TransportError
from state_signals.identity import fate
from state_signals.protocol.registration import read_record
from state_signals.runs.model import RunState
from state_signals.runs.vitals import state_of
from state_signals.transport.base import AsyncTransport, Batch, Refusal
from state_signals.transport.connect import async_transport

__all__ = ["Absences", "keep_vigil"]

_LOOK_EVERY = 15.0
"""Seconds between two looks, at the most."""


class Absences:
    """Since when exporters are dead, as far as we have seen it ourselves.

    A server that was gone knows of old proofs of life only, until its exporters are back, too: what it says at first
    proves nothing.

    Args:
        patience: seconds that one may be dead.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: dict[str, float] = {}

    def looked(self, dead: Iterable[str], now: float) -> list[str]:
        """Take who was dead at one look. Return who has been so, at every look, for too long."""
        self._since = {name: self._since.get(name, now) for name in dead}
        return [name for name, since in self._since.items() if now - since >= self._patience]


async def is_dead(transport: AsyncTransport, publisher_id: str) -> bool:
    """Whether an exporter has crashed. One that the server knows nothing of may speak version 1, which says nothing.

    What is asked for does not grow with the roster: every responder asks.

    Raises:
        ServerUnreachable: without a connection, or an answer in time.
        ServerRefused: where a permission is missing.
    """
    keys = transport.keys
    owner = keys.owner(publisher_id)
    commands = (("GET", owner), ("HGET", keys.record(publisher_id), "info"), ("TIME",))
    held, info, time = map(_checked, await transport.execute(Batch(owner, commands)))
    record = None if info is None else read_record({b"info": info})
    if record is None:
        return False
    (score,) = map(
        _checked, await transport.execute(Batch(keys.exporters, (("ZSCORE", keys.exporters, publisher_id),)))
    )
    state = state_of(
        is_owned=held is not None,
        is_dead=held is not None and fate(held) is False,
        is_kept=True,
        score=None if score is None else float(score),
        ttl=record.ttl,
        now=int(time[0]) + int(time[1]) / 1e6,
    )
    return state is RunState.CRASHED


def _checked(reply: Any) -> Any:
    if isinstance(reply, Refusal):
        raise ServerRefused(reply.text)
    return reply


async def keep_vigil(
    server: Server, patience: float, watched: Callable[[], Collection[str]], died: Callable[[str], object]
) -> None:
    """Look after exporters for ever, as long as the server can be asked.

    Args:
        server: where they are.
        patience: seconds that one may be dead.
        watched: returns which to look after now.
        died: called with one that has been dead for too long.
    """
    loop = asyncio.get_running_loop()
    absences = Absences(patience)
    transport = async_transport(url=server.url, host="", port=0, namespace=server.namespace)
    try:
        while True:
            await asyncio.sleep(min(_LOOK_EVERY, max(patience / 4, 0.1)))
            dead = []
            try:
                if names := watched():
                    await transport.connect()
                    dead = [name for name in names if await is_dead(transport, name)]
            except ServerRefused as error:
                output.note(f"it cannot be seen whether exporters live; collectors of dead ones go on: {error}")
                return
            except TransportError:
                # Who reads the signals tells of that.
                pass
            for name in absences.looked(dead, loop.time()):
                died(name)
    finally:
        await transport.close()
