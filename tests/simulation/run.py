"""Worlds by their seeds, and the command line: `python -m tests.simulation --seeds N [--seed K] [--trace]`."""

from __future__ import annotations

import argparse
import multiprocessing
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from state_signals.limits import DEFAULT_LIMITS, Limits
from state_signals.protocol.states import ExporterState
from tests.simulation.exporter import Exporter, ExporterPlan
from tests.simulation.faults import KINDS, Faults, choose_network
from tests.simulation.invariants import Book
from tests.simulation.parties import Scene
from tests.simulation.responder import Responder, ResponderPlan
from tests.simulation.server import Server
from tests.simulation.version_1 import ExporterV1, ResponderV1
from tests.simulation.world import Process, Violation, World

__all__ = ["Outcome", "main", "simulate"]

_SHOWN = 80
"""Lines of the trace of a failed world that are shown without being asked for."""

_SPREADING = Limits(max_at_once=0, spread_each=0.4)
"""Of exporters that have few responders spread their answers as if they were thousands."""

_SETTLING = 35.0
"""Seconds until everything is as it should be, once nothing goes wrong any more."""


@dataclass(frozen=True)
class Outcome:
    """What became of a world.

    Attributes:
        seed: its seed.
        failure: what was wrong; empty: nothing.
        trace: what happened, if that was asked for.
        counts: how much of what has happened.
    """

    seed: int
    failure: str = ""
    trace: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def report(self) -> str:
        """What was wrong, and how to see it again."""
        return f"seed {self.seed}: {self.failure}\n  replay: python -m tests.simulation --seed {self.seed} --trace"


def simulate(seed: int, *, is_traced: bool = False, **cores: Callable[..., Any]) -> Outcome:
    """Let a world go by, and return what became of it."""
    world = World(seed, is_traced=is_traced)
    book = Book(world)
    failure = ""
    try:
        _Play(world, book, cores).go_by()
    except Violation as violation:
        failure = str(violation)
    except Exception:  # noqa: BLE001 - whatever it is, it should not be
        failure = traceback.format_exc()
    return Outcome(seed, failure, tuple(world.lines or ()), dict(book.counts))


class _Play:
    """A world with its parties, from the first to the last."""

    def __init__(self, world: World, book: Book, cores: dict[str, Callable[..., Any]]) -> None:
        rng = world.rng
        self.world, self.book = world, book
        self.server = book.server = Server(world, choose_network(world), book.executed)
        calm_at = rng.uniform(25.0, 65.0)
        book.calm_at = calm_at
        self.scene = Scene(world, self.server, book, calm_at, calm_at + _SETTLING, **cores)
        kinds = rng.sample(KINDS, rng.choice([0, 1, 2, 4, len(KINDS)]))
        self.faults = Faults(self.scene, kinds, rng.choice([2.0, 5.0, 15.0]))
        world.tell("WORLD", "calm at %s, faults: %s, %s", calm_at, kinds, self.server.network)

    def go_by(self) -> None:
        """Let it go by."""
        self._enter()
        self.faults.begin()
        self.world.run(self.scene.ends_at - 1.0)
        self._check_subscriptions()
        for _ in range(10):
            self.world.run(self.world.now + 10.0)
            if not any(self.book.live_exporters()):
                break
        self._check_end()
        for responder in self.book.incarnations:
            if responder.is_alive:
                responder.leave()
        self.world.run(self.world.now + 10.0)
        if late := [each.name for each in self.book.incarnations if each.is_alive]:
            raise Violation(f"{late} cannot close")
        self.book.nothing_is_left()

    def _enter(self) -> None:
        rng, world = self.world.rng, self.world
        responders = rng.randint(1, 5)
        ttl = rng.choice([3.0, 15.0, 15.0, None])
        for number in range(responders):
            plan = ResponderPlan(
                name=f"responder-{number}",
                host=f"host-{number}",
                has_fixed_id=rng.random() < 0.7,
                presence_ttl=rng.choice([ttl, 15.0]),
                replay=rng.choice(["state", "state", "all"]),
                acts_inline=rng.random() < 0.7,
                slowness=rng.choice([0.5, 5.0]),
            )
            world.after(self._arrival(), Responder, self.scene, plan)
        for number in range(rng.choice([1, 1, 2, 3])):
            self._plan_exporter(number, responders, ttl)
        for number in range(rng.choice([0, 0, 1])):
            world.after(self._arrival(), ResponderV1, self.scene, f"old-responder-{number}")
        if rng.random() < 0.2:
            world.after(self._arrival(), ExporterV1, self.scene, "old-exporter")

    def _plan_exporter(self, number: int, awaited: int, ttl: float | None) -> None:
        rng = self.world.rng
        has_fixed_id = rng.random() < 0.8
        kind: dict[str, Any] = rng.choice([{}, {}, {}, {}, {}, {"journal": False}, {"strict_v1": True}])
        plan = ExporterPlan(
            name=f"exporter-{number}",
            publisher_id=f"publisher-{number}",
            has_fixed_id=has_fixed_id,
            host=f"host-{number}",
            awaited=awaited,
            presence_ttl=ttl,
            pace=rng.choice([0.3, 2.0, 6.0]),
            at_end=self.faults.exporter_ended,
            limits=self.world.whims.choice([DEFAULT_LIMITS, DEFAULT_LIMITS, _SPREADING]),
            **kind,
        )
        self.world.after(self._arrival(), Exporter, self.scene, plan)

    def _arrival(self) -> float:
        return self.world.rng.choice([0.0, 2.0, 2.0, 20.0]) * self.world.rng.random()

    def _check_subscriptions(self) -> None:
        """Whoever is there is on every roster, unless its user has still much to do before that."""
        there = [each for each in self.book.incarnations if each.is_alive and not each.is_leaving]
        names = {each.responder_id for each in there if not each.is_behind}
        for exporter in self.book.live_exporters():
            if exporter.plan.journal and not exporter.plan.strict_v1:
                if exporter.initialized_at > self.world.now - 5.0:
                    continue
                if exporter.core.state is ExporterState.INITIALIZED and (absent := names - exporter.core.subs):
                    raise Violation(f"{sorted(absent)} have not subscribed to {exporter.name}")

    def _check_end(self) -> None:
        parties: list[Process] = [each for each in self.book.exporters if each.is_alive]
        if parties:
            raise Violation(f"{[each.name for each in parties]} cannot come to an end")
        self.book.everybody_knows()


def _failures(seeds: range, processes: int) -> tuple[list[Outcome], Counter[str]]:
    failures: list[Outcome] = []
    counts: Counter[str] = Counter()
    with multiprocessing.Pool(processes) as pool:
        for outcome in pool.imap_unordered(simulate, seeds, chunksize=8):
            counts.update(outcome.counts)
            if outcome.failure:
                failures.append(outcome)
                print(outcome.report, flush=True)
    return failures, counts


def main(arguments: list[str] | None = None) -> int:
    """Run worlds; return 1 if one has failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many worlds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="run this one only")
    parser.add_argument("--trace", action="store_true", help="print what happens")
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    options = parser.parse_args(arguments)
    if options.seed is not None:
        outcome = simulate(options.seed, is_traced=options.trace)
        print("\n".join(outcome.trace))
        print(outcome.report if outcome.failure else f"seed {outcome.seed}: all is well, {outcome.counts}")
        return int(bool(outcome.failure))
    began = time.monotonic()
    failures, counts = _failures(range(options.first, options.first + options.seeds), options.processes)
    failures.sort(key=lambda each: each.seed)
    if failures:
        print("\n".join(simulate(failures[0].seed, is_traced=True).trace[-_SHOWN:]))
    took = time.monotonic() - began
    facts = ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))
    print(f"{options.seeds:,} worlds in {took:.1f} s, {len(failures)} failed ({facts})")
    return int(bool(failures))
