"""Runs whose exporter speaks version 1."""

from __future__ import annotations

from state_signals import Signal
from state_signals.cli.watching.version1 import Version1Runs
from state_signals.codec import WireResponse, decode_response
from state_signals.results import Outcome
from state_signals.runs.model import RunState


def signal(event: str) -> Signal:
    return Signal("fio-1", "fio", event, "host-a", 3, "nightly")


def response(name: str, event: str, ras: str = "") -> WireResponse:
    given = f', "ras": {ras}' if ras else ""
    return decode_response(f'{{"responder_id": "{name}", "publisher_id": "fio-1", "event": "{event}"{given}}}')


def test_a_run() -> None:
    known = Version1Runs()
    known.signal(1.0, signal("initialization"))
    known.response(2.0, response("perf", "initialization"))
    known.signal(3.0, signal("benchmark-start"))
    known.response(4.0, response("perf", "benchmark-start", "1"))
    known.response(4.5, response("pcap", "benchmark-start", "0"))
    known.response(5.0, response("perf", "benchmark-start", "0"))
    (run,) = known.runs
    assert (run.process_name, run.state, run.began_at, list(run.members)) == (
        "fio",
        RunState.LIVE,
        1.0,
        ["perf", "pcap"],
    )
    (this,) = run.rounds
    assert (this.event, this.sample_no, this.is_awaited) == ("benchmark-start", 3, False)
    assert {name: action.outcome for name, action in this.actions.items()} == {
        "perf": Outcome.SUCCEEDED,
        "pcap": Outcome.FAILED,
    }
    known.signal(6.0, signal("shutdown"))
    assert (run.state, run.ended_at) == (RunState.ENDED, 6.0)
    known.signal(7.0, signal("initialization"))
    assert [run.began_at for run in known.runs] == [7.0]


def test_what_nobody_knows_of_is_passed_over() -> None:
    known = Version1Runs()
    known.signal(1.0, signal("shutdown"))
    known.response(1.0, response("perf", "benchmark-start", "1"))
    assert known.runs == []


def test_not_more_than_so_many_are_remembered() -> None:
    known = Version1Runs()
    for number in range(150):
        known.signal(number, Signal(f"fio-{number}", "fio", "initialization", "h"))
    assert [run.publisher_id for run in known.runs] == [f"fio-{number}" for number in range(50, 150)]
    for number in range(300):
        known.signal(number, Signal("fio-149", "fio", "tick", "h"))
    assert len(known.runs[-1].rounds) == 200
