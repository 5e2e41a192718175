"""The responders of `bench`: `python -m state_signals.cli.benching.responders`, told by one line on standard input.

Not by arguments: the URL may hold a password, and arguments are for everybody to see. They end when the exporter shuts
down, and when standard input does: whoever holds its other end is gone.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
import sys
from collections.abc import Iterable
from typing import Any

import redis.asyncio

from state_signals.asyncio import SignalResponder
from state_signals.messages import SHUTDOWN

__all__ = ["answer", "reason"]


async def answer(names: Iterable[str], *, url: str, namespace: str, publisher_id: str) -> None:
    """Answer each signal of an exporter as soon as it comes, until that shuts down.

    Args:
        names: the responder_ids, each with connections of its own.
        url: the server.
        namespace: scope on it.
        publisher_id: the exporter.

    Raises:
        TransportError: if the server cannot be used.
    """
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(_answer_as(name, url, namespace, publisher_id))


async def _answer_as(name: str, url: str, namespace: str, publisher_id: str) -> None:
    # With a client of its own, for what is measured are responders on as many hosts: those of one process would share.
    client = None if "+" in url.partition("://")[0] else redis.asyncio.Redis.from_url(url)
    where: dict[str, Any] = {"url": url} if client is None else {"existing_redis_conn": client}
    try:
        async with SignalResponder(**where, namespace=namespace, responder_id=name, conn_timeout=5) as responder:
            responder.lock_id(publisher_id)
            # Not run(), which would take SIGTERM upon itself.
            async for heard in responder.listen():
                if heard.event == SHUTDOWN:
                    return
                await responder.srespond(heard, 1)
    finally:
        if client is not None:
            await client.aclose()


async def _until_told(told: dict[str, Any]) -> None:
    """Answer until it is over, or until nobody holds the other end of standard input."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    names = [f"responder-{number}" for number in range(told["first"], told["end"])]
    answering = asyncio.ensure_future(
        answer(names, url=told["url"], namespace=told["namespace"], publisher_id=told["publisher_id"])
    )
    orphaned = asyncio.ensure_future(reader.read())
    loop.add_signal_handler(signal.SIGTERM, answering.cancel)
    await asyncio.wait((answering, orphaned), return_when=asyncio.FIRST_COMPLETED)
    orphaned.cancel()
    answering.cancel()
    await asyncio.gather(orphaned, return_exceptions=True)
    try:
        await answering
    except asyncio.CancelledError:
        return


def reason(error: BaseException) -> str:
    """Return why responders have ended, and what to try, from what has been raised."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    # The transport wraps it.
    if os.strerror(errno.EMFILE) in str(error):
        return "too many open files in one process; raise `ulimit -n`, or give more --processes"
    return str(error) or type(error).__name__


def main() -> int:
    """Do what the line on standard input says."""
    # Ctrl-C is for the exporter, which ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("state_signals").setLevel(logging.CRITICAL)
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as unbuffered:
        told = json.loads(unbuffered.readline())
    try:
        asyncio.run(_until_told(told))
    except Exception as error:  # noqa: BLE001 - whatever it was, whoever has started us tells it
        sys.exit(reason(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
