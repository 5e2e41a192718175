"""Many asyncio responders in a process of their own, which share their connections: crowd_process.py URL NAME COUNT.

Says `{"id": NAME}` as a JSON line once all of them listen. They act on `start` at once, and on `stop` only once a line
has come on standard input. Whoever reads that file no longer ends them.
"""

from __future__ import annotations

import asyncio
import json
import sys

from state_signals import Signal
from state_signals.asyncio import SignalResponder


async def main(url: str, name: str, count: int) -> None:
    crowd = [SignalResponder(url=url, responder_id=f"{name}-{number}") for number in range(count)]
    may_go_on = asyncio.Event()

    async def wait(_: Signal) -> None:
        await may_go_on.wait()

    for responder in crowd:
        responder.on("stop")(wait)
    await asyncio.gather(*(responder.connect() for responder in crowd))
    running = [asyncio.create_task(responder.run()) for responder in crowd]
    print(json.dumps({"id": name}), flush=True)  # noqa: T201 - that is how it talks
    while await asyncio.to_thread(sys.stdin.readline):
        may_go_on.set()
    await asyncio.gather(*(responder.close() for responder in crowd))
    await asyncio.gather(*running)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
