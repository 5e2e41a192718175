"""Who reads answers lets the others gather for a moment, if that is long enough to sleep."""

from __future__ import annotations

import json
import time
import uuid
from types import SimpleNamespace

import pytest

from state_signals import SignalExporter
from state_signals.protocol.events import RoundCompleted
from state_signals.sync import session

NAMES = [f"r{number}" for number in range(100)]


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was slept, instead of that."""
    found: list[float] = []
    clock = SimpleNamespace(monotonic=time.monotonic, time=time.time, sleep=found.append)
    monkeypatch.setattr(session, "time", clock)
    return found


def answers(exporter: SignalExporter, signal_id: str, names: list[str]) -> list[bytes]:
    said = {
        "publisher_id": exporter.pub_id,
        "event": "start",
        "ras": 1,
        "signal_id": signal_id,
        "sent": 1.0,
        "took": 0.1,
    }
    return [json.dumps({"responder_id": name, **said}).encode() for name in names]


def test_answers_gather_until_the_last_one_is_there(slept: list[float]) -> None:
    with SignalExporter("fio", url=f"memory://{uuid.uuid4()}") as exporter:
        exporter.initialize(["start"], expected_resps=NAMES)
        # As if it had begun a while ago.
        began = time.monotonic() - 5.0
        signal_id = exporter._core.publish("start", timeout=60, tells_outcomes=False, now=began, sent=time.time())
        waiter = exporter._waiters.add(signal_id, is_for_round=True)
        exporter._send(time.monotonic() + 60)
        assert slept == []
        exporter._received(answers(exporter, signal_id, NAMES[:50]), None)
        # However long it takes: others may have begun a round that takes less.
        assert slept == [pytest.approx(0.00015)]
        exporter._received(answers(exporter, signal_id, NAMES[50:]), None)
        assert len(slept) == 1
        assert isinstance(waiter.news.get(), RoundCompleted)


@pytest.mark.parametrize("gathering", [0.0, 0.00005])
def test_what_is_shorter_than_a_sleep_is_not_slept(
    slept: list[float], monkeypatch: pytest.MonkeyPatch, gathering: float
) -> None:
    with SignalExporter("fio", url=f"memory://{uuid.uuid4()}") as exporter:
        monkeypatch.setattr(exporter._core, "gathering", lambda _: gathering)
        exporter._received([], None)
        assert slept == []
