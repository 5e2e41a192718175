"""The running log of a run."""

from __future__ import annotations

from state_signals.cli.watching.cells import plain
from state_signals.cli.watching.log import Log
from state_signals.results import Outcome
from state_signals.runs.model import Run, RunState
from tests.cli.watching.scenes import HOSTILE, NOW, crowd, ended, failed, pending, round_of, run_of, succeeded


def entries(run: Run) -> list[str]:
    found = Log().entries(run, NOW)
    assert [entry.at for entry in found] == sorted(entry.at for entry in found)
    return [plain(entry.spans) for entry in found]


def test_a_run_from_its_beginning_to_its_end() -> None:
    first = round_of(
        succeeded("perf"),
        succeeded("pcap"),
        signal_id="1",
        published_at=NOW - 9,
        ended_at=NOW - 8,
        elapsed=0.02,
        ok=True,
    )
    second = round_of(
        succeeded("perf"), failed("pcap", "disk full"), sample_no=3, ended_at=NOW - 3, elapsed=0.5, ok=False
    )
    run = run_of(first, second, tag="nightly", state=RunState.ENDED, ended_at=NOW)
    assert entries(run) == [
        "initialization of fio on bench-head, tag nightly",
        "pcap, perf joined",
        "iteration-start  2 of 2 succeeded in 20 ms",
        "iteration-start sample 3  1 of 2 succeeded in 500 ms",
        "pcap failed after 500 ms: disk full",
        "shutdown",
    ]


def test_who_leaves_and_who_is_lost() -> None:
    run = run_of(round_of(succeeded("a"), succeeded("b"), ended_at=NOW - 3.9, elapsed=0.1, ok=True))
    run.members["a"].left_at = NOW - 2
    run.members["b"].last_seen = NOW - 16
    assert entries(run)[-2:] == ["a left", "b lost"]


def test_whom_a_round_has_lost_is_told_once() -> None:
    run = run_of(round_of(succeeded("a"), ended("b", Outcome.LOST), ended_at=NOW - 1), round_of(succeeded("a")))
    run.members["b"].last_seen = NOW - 16
    assert [entry for entry in entries(run) if "lost" in entry] == ["b lost"]


def test_the_many_share_an_entry() -> None:
    found = entries(crowd(1_000))
    assert "broken, busy, dead and 997 more joined" in found
    run = run_of(round_of(*(failed(f"n{place}", "x", after=place / 10) for place in range(9)), ended_at=NOW))
    assert entries(run)[-6:] == [
        *(f"n{place} failed after {'<1 ms' if not place else f'{place}00 ms'}: x" for place in range(5)),
        "and 4 more failed or were late",
    ]


def test_missing_and_late() -> None:
    late = failed("slow", "done", after=30)
    late.outcome, late.is_late = Outcome.MISSING, True
    run = run_of(round_of(late, ended("gone", Outcome.MISSING), ended_at=NOW + 16, elapsed=20.0, ok=False))
    assert entries(run)[-2:] == ["slow, gone missing", "slow late for iteration-start after 30.0 s: done"]


def test_how_a_run_ended_otherwise() -> None:
    assert entries(run_of(state=RunState.ABORTED, ended_at=NOW, aborted="disk full"))[-1] == "aborted: disk full"
    crashed = run_of(state=RunState.CRASHED, last_seen=NOW - 20)
    assert entries(crashed)[-1] == "crashed: no sign of life of the exporter since"


def test_an_open_round_is_waited_for_as_long_as_its_exporter_is_there() -> None:
    assert entries(run_of(round_of(pending("perf"))))[-1] == "iteration-start  waiting"
    assert entries(run_of(round_of(pending("perf")), state=RunState.CRASHED))[-1] == "iteration-start"


def test_what_becomes_known_later_is_told() -> None:
    log = Log()
    before = round_of(succeeded("perf"), signal_id="1", ended_at=NOW - 3, elapsed=0.1, ok=True)
    run = run_of(before, round_of(signal_id="2"))
    log.entries(run, NOW)
    run.rounds[0] = round_of(failed("perf", ""), signal_id="1", ended_at=NOW - 3, elapsed=0.1, ok=False)
    assert any("perf failed" in plain(entry.spans) for entry in log.entries(run, NOW))


def test_hostile_texts_are_shown_escaped() -> None:
    for name in HOSTILE:
        action = failed(name, name)
        run = run_of(
            round_of(action, event=name, tag=name), process_name=name, runner_host=name, tag=name, aborted=name
        )
        run.state = RunState.ABORTED
        assert all(entry.isprintable() for entry in entries(run))
