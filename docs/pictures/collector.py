"""A collector that does as it is told, so that there is something to see: `python collector.py ROLE NAME URL`.

| role | what it does |
|---|---|
| `quick` | acts in some milliseconds, a little longer upon each stop |
| `slow` | takes its time upon each `iteration-stop`, and says so |
| `failing` | fails upon the second `iteration-stop` |
| `dying` | dies while it acts upon the third `iteration-start`, as if its host had |
"""

from __future__ import annotations

import os
import random
import sys
import time

from state_signals import Signal, SignalResponder

PRESENCE_TTL = 2.0
"""Seconds after which who has died is known to be lost: short, for nobody wants to watch for long."""


def act(responder: SignalResponder, role: str, signal: Signal) -> str | None:
    """Act upon a signal as the role says; return the message of the answer."""
    event, sample = signal.event, signal.sample_no
    if role == "dying" and (event, sample) == ("iteration-start", 3):
        time.sleep(0.05)
        os._exit(1)
    # Seeded by what is acted upon: pictures of two runs look alike.
    time.sleep(random.Random(f"{responder.responder_id} {event} {sample}").uniform(0.004, 0.06))
    if event != "iteration-stop":
        return None
    if role == "failing" and sample == 2:
        raise OSError(28, "No space left on device", "/var/log/perf/sample-2.data")
    if role == "slow":
        for done in (20, 45, 70):
            responder.working(signal, f"{done} % of 1.3 GB is saved")
            time.sleep(0.4)
    return f"sample {sample} is saved"


def main(role: str, name: str, url: str) -> None:
    """Answer signals until the exporter shuts down."""
    with SignalResponder(url=url, responder_id=name, presence_ttl=PRESENCE_TTL) as responder:

        @responder.on("benchmark-start", "benchmark-stop", "iteration-start", "iteration-stop")
        def on_signal(signal: Signal) -> str | None:
            return act(responder, role, signal)

        print("ready", flush=True)
        responder.run()


if __name__ == "__main__":
    main(*sys.argv[1:4])
