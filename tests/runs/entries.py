"""Entries of an exporter's streams, as they lie on a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from state_signals import Signal
from state_signals.codec import encode_response, encode_signal
from state_signals.messages import Envelope, Receipt, Response
from state_signals.results import Outcome, PublishResult, Report
from state_signals.runs.assembly import RunLog
from state_signals.verdicts import encode_verdict

__all__ = ["Entry", "Teller"]

PUBLISHER = "fio-1"


@dataclass(frozen=True)
class Entry:
    """An entry of one of the streams."""

    stream: str
    data: bytes
    at: float = 0.0

    def told_to(self, log: RunLog) -> None:
        if self.stream == "signals":
            log.signal(self.data)
        elif self.stream == "responses":
            log.response(self.at, self.data)
        else:
            log.verdict(self.at, self.data)


class Teller:
    """Tells what happens, by the server's clock; the exporter's is some seconds ahead of it.

    Attributes:
        entries: what has been told.
        now: the time; assignable.
    """

    def __init__(self, publisher_id: str = PUBLISHER, *, ahead: float = 0.0, now: float = 1000.0, seq: int = 0) -> None:
        self.entries: list[Entry] = []
        self.now = now
        self.seq = seq
        self._publisher_id = publisher_id
        self._ahead = ahead
        self._signals: dict[str, Signal] = {}
        self._announcement = ""

    def signal(self, event: str, *, wait: float | None = None, aborted: str | None = None, **fields: Any) -> str:
        """Publish a signal; return its id."""
        self.seq += 1
        known = {"process_name": "fio", "runner_host": "host-a", "tag": "nightly", **fields}
        signal = Signal(self._publisher_id, event=event, **known)
        signal_id = f"{self.seq:08x}{int(self.now * 1000):024x}"
        envelope = Envelope(id=signal_id, seq=self.seq, sent=self.now + self._ahead, wait=wait, aborted=aborted)
        self.entries.append(Entry("signals", encode_signal(signal, envelope)))
        self._signals[signal_id] = signal
        if event == "initialization":
            self._announcement = signal_id
        return signal_id

    def initialize(self, *names: str, took: float = 0.001) -> str:
        """Announce a run, to which responders subscribe."""
        signal_id = self.signal("initialization")
        for name in names:
            self.answer(name, signal_id, took=took, ttl=15.0)
        return signal_id

    def answer(
        self, name: str, signal_id: str, ras: int | None = 1, message: str | None = None, took: float = 0.0, **more: Any
    ) -> None:
        """Let an answer arrive now."""
        event = self._signals[signal_id].event
        response = Response(name, self._publisher_id, event, ras, message)
        receipt = Receipt(signal_id=signal_id, sent=self.now, took=took, **more)
        self.entries.append(Entry("responses", encode_response(response, receipt), self.now))

    def work(self, name: str, signal_id: str, message: str | None = None, took: float = 0.0) -> None:
        """Let a report of work arrive now."""
        self.answer(name, signal_id, None, message, took, state="working")

    def leave(self, name: str) -> None:
        """Let a responder leave now."""
        self.answer(name, self._announcement, None, state="left")

    def verdict(self, signal_id: str, elapsed: float, *, ok: bool, pending: tuple[str, ...] = (), **ends: Any) -> None:
        """Write down, now, how a round has ended: outcomes by name, or whole reports."""
        reports = {name: end if isinstance(end, Report) else Report(outcome=Outcome(end)) for name, end in ends.items()}
        result = PublishResult(ok=ok, reports=reports, pending=pending, signal_id=signal_id, elapsed=elapsed)
        written = {name for name, report in reports.items() if report.message != "version 1"}
        self.entries.append(Entry("rounds", encode_verdict(result, written), self.now))

    def log(self) -> RunLog:
        """Return what becomes of it."""
        log = RunLog(self._publisher_id)
        for entry in self.entries:
            entry.told_to(log)
        return log
