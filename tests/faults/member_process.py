"""A responder in a process of its own: prints what it is asked to act on as JSON lines, and acts as it is told.

member_process.py SHELL NAME URL OPTIONS

A signal's metadata says by NAME what to do, else it succeeds at once:
    ["hold"]            until a line comes on standard input
    ["compute", S]      pure Python for so many seconds; asyncio: in a thread
    ["report", S]       say `working` again and again for so many seconds
    ["sleep", S]        just wait
    ["block", S]        wait, and asyncio cannot do anything else meanwhile
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import state_signals
import state_signals.asyncio
from state_signals import Signal


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 - that is how it talks


def tell(name: str, signal: Signal) -> tuple[str, float]:
    """Say what arrived, and return what to do for how long."""
    how, seconds = [*(signal.metadata or {}).get(name, []), "succeed", 0.0][:2]
    say(event=signal.event, sample=signal.sample_no, seq=signal.seq, redelivered=signal.redelivered)
    return str(how), 0.0 if isinstance(seconds, str) else float(seconds)


def compute(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))


def run(name: str, url: str, options: dict[str, Any]) -> None:
    with state_signals.SignalResponder(responder_name=name, url=url, **options) as responder:

        @responder.on()
        def act(signal: Signal) -> str:
            how, seconds = tell(name, signal)
            end = time.monotonic() + seconds
            if how == "hold":
                sys.stdin.readline()
            elif how == "compute":
                compute(seconds)
            elif how == "report":
                while time.monotonic() < end:
                    responder.working(signal, "still at it")
                    time.sleep(0.1)
            else:
                time.sleep(seconds)
            return f"{name} did {signal.sample_no}"

        say(id=responder.responder_id)
        responder.run()


async def run_asyncio(name: str, url: str, options: dict[str, Any]) -> None:
    async with state_signals.asyncio.SignalResponder(responder_name=name, url=url, **options) as responder:

        @responder.on()
        async def act(signal: Signal) -> str:
            how, seconds = tell(name, signal)
            end = time.monotonic() + seconds
            if how == "hold":
                await asyncio.to_thread(sys.stdin.readline)
            elif how == "compute":
                await asyncio.to_thread(compute, seconds)
            elif how == "report":
                while time.monotonic() < end:
                    await responder.working(signal, "still at it")
                    await asyncio.sleep(0.1)
            elif how == "block":
                time.sleep(seconds)  # noqa: ASYNC251 - to see what comes of it
            else:
                await asyncio.sleep(seconds)
            return f"{name} did {signal.sample_no}"

        say(id=responder.responder_id)
        await responder.run()


if __name__ == "__main__":
    shell, own_name, server = sys.argv[1:4]
    if shell == "sync":
        run(own_name, server, json.loads(sys.argv[4]))
    else:
        asyncio.run(run_asyncio(own_name, server, json.loads(sys.argv[4])))
