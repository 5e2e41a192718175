"""state-signals 1.0.1. Its exporters keep a core busy, so they are frozen while it is not their turn."""

from __future__ import annotations

import threading

from benchmarks.contenders.base import EVENT, ROUND_TIMEOUT, Told
from state_signals import SignalExporter, SignalResponder


class Surveyor:
    def __init__(self, told: Told) -> None:
        self._told = told

    def open(self) -> None:
        host, port = self._told.address
        self._exporter = SignalExporter("bench", redis_host=host, redis_port=port, log_level="CRITICAL")

    def gather(self, count: int) -> None:
        if self._exporter.initialize_and_wait(count, [EVENT], tag=self._told.name, timeout=60, periodic=True):
            raise TimeoutError(f"{len(self._exporter.subs)} of {count} responders have come")

    def survey(self) -> int:
        result, _ = self._exporter.publish_signal(EVENT, sample=1, tag=self._told.name, timeout=int(ROUND_TIMEOUT))
        return len(self._exporter.subs) if int(result) == 0 else 0

    def announce(self) -> None:
        raise NotImplementedError("1.0.1 waits for answers")

    def close(self) -> None:
        self._exporter.shutdown()


class Responders:
    def __init__(self, told: Told) -> None:
        self._told = told

    def open(self) -> None:
        host, port = self._told.address
        for name in self._told.names:
            responder = SignalResponder(responder_name=name, redis_host=host, redis_port=port, log_level="CRITICAL")
            threading.Thread(target=_answer, args=(responder,), daemon=True).start()

    def close(self) -> None:
        """Nothing to do: they are daemons, and end upon shutdown."""


def _answer(responder: SignalResponder) -> None:
    for signal in responder.listen():
        if signal.event == "shutdown":
            return
        responder.srespond(signal, 1)
