"""A collector: measures while a phase lasts, and answers with what it found.

The whole of a responder: make one, say what to do upon which event, run. Start it by hand as often as you like:

    STATE_SIGNALS_URL=redis://localhost python -m state_signals.demo.collector cpu
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time

from state_signals import Signal, SignalResponder, StateSignalsError
from state_signals.demo.meters import METERS, Sampler

__all__ = ["collect"]


def collect(
    name: str,
    *,
    url: str,
    namespace: str | None = None,
    publisher_id: str | None = None,
    delay: float = 0.0,
    fail_at: int | None = None,
    ends_with_stdin: bool = False,
) -> None:
    """Measure between `benchmark-start` and `benchmark-stop`, until the exporter shuts down.

    Args:
        name: what to measure; also the responder_id.
        url: the server.
        namespace: scope on a shared server.
        publisher_id: the only exporter to follow; None: any.
        delay: seconds that `benchmark-stop` takes longer than it has to.
        fail_at: sample whose `benchmark-stop` fails on purpose; None: none.
        ends_with_stdin: end when standard input does: whoever holds its other end is gone.

    Raises:
        TransportError: if the server cannot be used.
    """
    sampler = Sampler(name, METERS[name])
    with SignalResponder(url=url, namespace=namespace, responder_id=name) as responder:
        if publisher_id is not None:
            responder.lock_id(publisher_id)
        if ends_with_stdin:
            _end_with_stdin(responder)

        @responder.on("benchmark-start")
        def start(_: Signal) -> None:
            sampler.start()

        @responder.on("benchmark-stop")
        def stop(signal: Signal) -> str:
            summary = sampler.stop()
            time.sleep(delay)
            if signal.sample_no == fail_at:
                raise OSError(f"sample {fail_at} cannot be saved (made to fail, for show)")
            return summary

        responder.run()


def _end_with_stdin(responder: SignalResponder) -> None:
    def wait() -> None:
        # The descriptor, not sys.stdin: a thread inside a buffered reader would trip up the interpreter's exit.
        while os.read(sys.__stdin__.fileno() if sys.__stdin__ else 0, 1024):
            pass
        responder.close()

    threading.Thread(target=wait, name="end-with-stdin", daemon=True).start()


def main() -> int:
    """Run one collector by command-line arguments."""
    parser = argparse.ArgumentParser(prog="python -m state_signals.demo.collector", description=__doc__)
    parser.add_argument("name", choices=METERS)
    parser.add_argument("--namespace")
    parser.add_argument("--publisher-id")
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--fail-at", type=int)
    parser.add_argument("--ends-with-stdin", action="store_true")
    options = vars(parser.parse_args())
    # The URL may hold a password, and arguments are for everybody to see.
    url = os.environ.get("STATE_SIGNALS_URL", "redis://localhost:6379")
    try:
        collect(**options, url=url)
    except StateSignalsError as error:
        sys.exit(f"{options['name']}: {error}")
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
