"""What the collectors measure: one quantity each, sampled in a thread while a phase lasts."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

__all__ = ["METERS", "Meter", "Sampler", "measured"]

_INTERVAL = 0.1
"""Seconds between two readings."""

_SUMMARY = re.compile(r"[^:]+: mean (?P<mean>[^,]+), peak (?P<peak>[^,]+), \d+ readings?")


@dataclass(frozen=True, slots=True)
class Meter:
    """One quantity of the machine.

    Attributes:
        read: returns its value now; None if this machine does not tell.
        show: formats a value.
        is_counter: the value only grows, and what counts is how fast.
    """

    read: Callable[[], float | None]
    show: Callable[[float], str]
    is_counter: bool = False


class Sampler:
    """Reads a meter ten times a second between `start()` and `stop()`."""

    def __init__(self, name: str, meter: Meter) -> None:
        self._name = name
        self._meter = meter
        self._values: list[float] = []
        self._enough = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin anew."""
        self.stop()
        self._values = []
        self._enough.clear()
        self._thread = threading.Thread(target=self._sample, name=f"sampler-{self._name}", daemon=True)
        self._thread.start()

    def stop(self) -> str:
        """End, and return what was measured in one line. Idempotent."""
        self._enough.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        return self._summary()

    def _sample(self) -> None:
        # The first reading is where counters count from; psutil's percentages need one, too.
        before, then = self._meter.read(), time.monotonic()
        while not self._enough.wait(_INTERVAL):
            value, now = self._meter.read(), time.monotonic()
            if value is None or before is None:
                return
            self._values.append((value - before) / (now - then) if self._meter.is_counter else value)
            before, then = value, now

    def _summary(self) -> str:
        if not self._values:
            return f"{self._name}: nothing measured"
        mean, peak = sum(self._values) / len(self._values), max(self._values)
        count = f"{len(self._values)} reading{'' if len(self._values) == 1 else 's'}"
        return f"{self._name}: mean {self._meter.show(mean)}, peak {self._meter.show(peak)}, {count}"


def measured(message: str | None) -> tuple[str, str] | None:
    """Return mean and peak from a collector's summary; None if it is none."""
    found = _SUMMARY.fullmatch(message or "")
    return (found["mean"], found["peak"]) if found else None


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _percent(value: float) -> str:
    return f"{_number(value)} %"


def _bytes_per_second(value: float) -> str:
    for unit in ("B/s", "kB/s", "MB/s"):
        if value < 1000:
            return f"{_number(value)} {unit}"
        value /= 1000
    return f"{_number(value)} GB/s"


def _per_second(value: float) -> str:
    return f"{_number(value / 1000)} k/s" if value >= 1000 else f"{_number(value)} /s"


def _memory_used() -> float:
    return float(psutil.virtual_memory().used)


def _disk_bytes() -> float | None:
    counters = psutil.disk_io_counters()
    return float(counters.read_bytes + counters.write_bytes) if counters else None


def _network_bytes() -> float | None:
    # Every interface, the loopback too: that is where the signals themselves travel.
    counters = psutil.net_io_counters()
    return float(counters.bytes_recv + counters.bytes_sent) if counters else None


METERS = {
    "cpu": Meter(psutil.cpu_percent, _percent),
    "memory": Meter(_memory_used, lambda value: f"{value / 2**30:.2f} GiB"),
    "disk": Meter(_disk_bytes, _bytes_per_second, is_counter=True),
    "network": Meter(_network_bytes, _bytes_per_second, is_counter=True),
    "tracer": Meter(lambda: float(psutil.cpu_stats().ctx_switches), _per_second, is_counter=True),
    "flaky": Meter(lambda: psutil.getloadavg()[0], lambda value: f"{value:.2f}"),
}
"""By the collector's name. The tracer counts context switches, the flaky one reads the load average."""
