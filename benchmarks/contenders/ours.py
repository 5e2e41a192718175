"""This project, with threads."""

from __future__ import annotations

import threading

from benchmarks.contenders.base import EVENT, ROUND_TIMEOUT, SLOW_EVENT, Told
from state_signals import SignalExporter, SignalResponder, TransportError


class Surveyor:
    def __init__(self, told: Told) -> None:
        self._told = told

    def open(self) -> None:
        told = self._told
        self._exporter = SignalExporter("bench", url=told.url, namespace=told.namespace, publisher_id=told.name)

    def gather(self, count: int) -> None:
        if self._exporter.initialize_and_wait(count, [EVENT, SLOW_EVENT], timeout=60):
            raise TimeoutError(f"{len(self._exporter.subs)} of {count} responders have come")

    def survey(self) -> int:
        return len(self._exporter.publish_signal(EVENT, sample=1, tag="bench", timeout=ROUND_TIMEOUT).succeeded)

    def hurry(self, timeout: float) -> int:
        try:
            return len(self._exporter.publish_signal(SLOW_EVENT, tag="bench", timeout=timeout).succeeded)
        except TransportError:
            # The server has not even had the time to tell all.
            return 0

    def announce(self) -> None:
        self._exporter.publish_signal(EVENT, sample=1, tag="bench", wait=False)

    def close(self) -> None:
        self._exporter.close()


class Responders:
    """Each in a thread of its own, for `run()` is a loop."""

    def __init__(self, told: Told) -> None:
        self._told = told

    def open(self) -> None:
        told = self._told
        self._all = [
            SignalResponder(url=told.url, namespace=told.namespace, responder_id=name, conn_timeout=60)
            for name in told.names
        ]
        self._threads = [threading.Thread(target=_act, args=(responder, told.follows)) for responder in self._all]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        for responder in self._all:
            responder.close()
        for thread in self._threads:
            thread.join()


def _act(responder: SignalResponder, follows: str | None) -> None:
    if follows is not None:
        responder.lock_id(follows)
    responder.on(EVENT)(lambda _signal: None)
    responder.run()
