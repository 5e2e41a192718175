"""A run with something to see: nine collectors, of which one is slow, one fails, and one dies.

    with scene() as run:
        run.url, run.publisher_id      # the run goes on meanwhile
        run.wait()                     # until it has ended; the server is there until the body ends

All of it is real: a server, processes, signals and answers. `python -m docs.pictures.scene` lets it go by, and prints
what to look at it with.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from state_signals import SignalExporter
from state_signals.server import EmbeddedServer

__all__ = ["COLLECTORS", "Scene", "scene"]

COLLECTORS = {
    "client-1/mpstat": "quick",
    "client-1/iostat": "quick",
    "client-1/perf": "failing",
    "client-2/mpstat": "quick",
    "client-2/iostat": "quick",
    "server-1/mpstat": "quick",
    "server-1/iostat": "quick",
    "server-1/tcpdump": "slow",
    "server-2/bpftrace": "dying",
}
"""The collectors by name, and the role of each; see `docs/pictures/collector.py`."""

EVENTS = ["benchmark-start", "iteration-start", "iteration-stop", "benchmark-stop"]

_SAMPLES = 4
_PATIENCE = 30.0
_TAG = "nightly"


@dataclass(slots=True)
class Scene:
    """A run that goes on.

    Attributes:
        url: the server.
        publisher_id: the exporter.
        begun: (event, sample) of the signals that were sent, or are about to be.
    """

    url: str
    publisher_id: str
    begun: list[tuple[str, int]] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _error: BaseException | None = None

    def wait(self, timeout: float = 120.0) -> None:
        """Wait until the run has ended.

        Raises:
            TimeoutError: it does not.
            RuntimeError: it failed.
        """
        if not self._ended.wait(timeout):
            raise TimeoutError(f"the run has not ended after {timeout:g} s")
        if self._error is not None:
            raise RuntimeError("the run failed") from self._error

    def wait_for(self, event: str, sample: int, timeout: float = 60.0) -> None:
        """Wait until a signal was sent, or is about to be.

        Raises:
            TimeoutError: it is not.
        """
        deadline = time.monotonic() + timeout
        while (event, sample) not in self.begun:
            if time.monotonic() > deadline or self._error is not None:
                raise TimeoutError(f"{event} {sample} was not sent") from self._error
            time.sleep(0.01)


@contextmanager
def scene(work_seconds: float = 2.0) -> Iterator[Scene]:
    """Start a server, the collectors and a run; end all of them afterwards.

    Args:
        work_seconds: how long each of the four iterations works.
    """
    # What the library would warn of is what there is to see.
    logging.getLogger("state_signals").setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedServer())
        exporter = stack.enter_context(SignalExporter("uperf", url=server.url, runner_host="bench-head"))
        processes = [stack.enter_context(_collector(name, role, server.url)) for name, role in COLLECTORS.items()]
        # The run is not to begin with nothing but waiting until Python has started.
        for process in processes:
            if process.stdout is None or not process.stdout.readline():
                raise RuntimeError("a collector has not started")
        exporter.initialize_and_wait(
            len(COLLECTORS), EVENTS, tag=_TAG, expected_resps=list(COLLECTORS), timeout=_PATIENCE
        )
        run = Scene(server.url, exporter.pub_id)
        thread = threading.Thread(target=_perform, args=(run, exporter, work_seconds), name="scene")
        thread.start()
        stack.callback(thread.join)
        yield run


def _perform(run: Scene, exporter: SignalExporter, work_seconds: float) -> None:
    def publish(event: str, sample: int = -1) -> None:
        run.begun.append((event, sample))
        exporter.publish_signal(event, sample, _TAG, timeout=10)

    try:
        publish("benchmark-start")
        for sample in range(1, _SAMPLES + 1):
            publish("iteration-start", sample)
            time.sleep(work_seconds)
            publish("iteration-stop", sample)
            time.sleep(work_seconds / 4)
        publish("benchmark-stop")
        exporter.shutdown()
    except BaseException as error:  # noqa: BLE001 - told to who waits
        run._error = error  # noqa: SLF001 - of this module
    finally:
        run._ended.set()  # noqa: SLF001 - likewise


@contextmanager
def _collector(name: str, role: str, url: str) -> Iterator[subprocess.Popen[bytes]]:
    program = Path(__file__).with_name("collector.py")
    # The roles are meant to fail and to die: what they say of it is not for here.
    command = [sys.executable, str(program), role, name, url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


def main() -> None:
    """Let the run go by."""
    with scene() as run:
        print(f"export STATE_SIGNALS_URL={run.url}; state-signals watch {run.publisher_id}")
        run.wait()


if __name__ == "__main__":
    main()
