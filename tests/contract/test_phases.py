"""`with exporter.phase("iteration"):` announces the start before the body and the stop after it."""

from __future__ import annotations

from typing import Any

import pytest

from state_signals import IllegalEvent, RoundFailed, Signal
from tests.parties import Parties, Wire

PHASE = ["iteration-start", "iteration-stop"]


class Collector:
    """Notes what it was told, and fails where it shall."""

    def __init__(self, *failing: str) -> None:
        self.told: list[Signal] = []
        self._failing = failing

    def __call__(self, signal: Signal) -> None:
        self.told.append(signal)
        if signal.event in self._failing:
            raise RuntimeError("no")

    @property
    def events(self) -> list[str]:
        return [signal.event for signal in self.told if signal.event in PHASE]


async def ready(parties: Parties, *collectors: Collector) -> Any:
    for number, collector in enumerate(collectors):
        await parties.running(f"r{number}", {None: collector}, responder_id=f"r{number}")
    exporter = await parties.exporter()
    assert await exporter.initialize_and_wait(len(collectors), PHASE, timeout=-1) == 0
    return exporter


async def test_start_comes_before_the_body_and_stop_after_it(parties: Parties) -> None:
    collector = Collector()
    exporter = await ready(parties, collector)
    async with exporter.phase("iteration", sample=3, tag="nightly", metadata={"a": 1}) as started:
        assert started.ok
        assert collector.events == ["iteration-start"]
    assert collector.events == PHASE
    for signal in collector.told[1:]:
        assert (signal.sample_no, signal.tag, signal.metadata) == (3, "nightly", {"a": 1})


async def test_stop_is_announced_when_the_body_raises(parties: Parties) -> None:
    collector = Collector()
    exporter = await ready(parties, collector)
    with pytest.raises(LookupError, match="mine"):
        async with exporter.phase("iteration"):
            raise LookupError("mine")
    assert collector.events == PHASE


async def test_the_error_of_the_body_wins_over_a_failed_stop(parties: Parties) -> None:
    collector = Collector("iteration-stop")
    exporter = await ready(parties, collector)
    with pytest.raises(LookupError):
        async with exporter.phase("iteration"):
            raise LookupError
    assert collector.events == PHASE


async def test_when_the_start_fails_the_body_does_not_run_and_those_that_started_are_told_to_stop(
    parties: Parties,
) -> None:
    working, broken = Collector(), Collector("iteration-start")
    exporter = await ready(parties, working, broken)
    with pytest.raises(RoundFailed, match="iteration-start") as raised:
        async with exporter.phase("iteration"):
            pytest.fail("the body must not run")
    assert (list(raised.value.result.failed), list(raised.value.result.succeeded)) == (["r1"], ["r0"])
    assert working.events == broken.events == PHASE


async def test_a_failed_stop_raises(parties: Parties) -> None:
    exporter = await ready(parties, Collector("iteration-stop"))
    with pytest.raises(RoundFailed, match="iteration-stop"):
        async with exporter.phase("iteration"):
            pass


async def test_a_phase_that_is_not_checked_goes_on(parties: Parties) -> None:
    collector = Collector(*PHASE)
    exporter = await ready(parties, collector)
    async with exporter.phase("iteration", check=False) as started:
        assert list(started.failed) == ["r0"]
    assert collector.events == PHASE


async def test_nothing_is_sent_unless_both_events_are_legal(parties: Parties, wire: Wire) -> None:
    exporter = await parties.exporter()
    await exporter.initialize(["iteration-start"])
    with pytest.raises(IllegalEvent, match="iteration-stop"):
        async with exporter.phase("iteration"):
            pytest.fail("the body must not run")
    assert len(wire.signals()) == 1


async def test_what_went_wrong_is_raised_also_when_the_exporter_was_closed_meanwhile(parties: Parties) -> None:
    exporter = await parties.exporter()
    await exporter.initialize(["benchmark-start", "benchmark-stop"])
    with pytest.raises(LookupError):
        async with exporter.phase("benchmark", check=False):
            await exporter.close()
            raise LookupError
