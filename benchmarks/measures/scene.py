"""Surveyors and their responders, started together and ended together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

from benchmarks.contenders.base import Told
from benchmarks.plan import CONTENDERS, Plan
from benchmarks.processes import Worker
from benchmarks.servers import Place, free_port

__all__ = ["Entrant", "Kind", "Scene", "Stage"]

Kind = Literal["process", "connections", "together"]
"""Where responders are: one in a process of its own; each on a connection of its own; all in one process, sharing."""

NAMESPACE = "bench"


@dataclass(slots=True)
class Entrant:
    """One contender on the scene.

    Attributes:
        name: the contender.
        surveyor: the process that asks.
        responders: the process that answers; it may answer others, too.
        server: the process of the server; None if there is none.
    """

    name: str
    surveyor: Worker
    responders: Worker
    server: int | None

    @property
    def has_own_responders(self) -> bool:
        """Whether its responders answer nobody else."""
        return self.responders.told.contender == self.name

    @property
    def rests(self) -> bool:
        """Whether it can be left alone while it is not its turn."""
        return not CONTENDERS[self.name].never_rests


@dataclass(slots=True)
class Stage:
    """What there is to measure with.

    Attributes:
        plan: how much is measured.
        places: servers, by what needs them.
        notes: who is left out, and why.
    """

    plan: Plan
    places: dict[str, Place]
    notes: list[str]

    def contenders(self, kind: Kind) -> list[str]:
        """Return those that can take part, in order."""
        return [name for name in self.plan.contenders if kind != "together" or CONTENDERS[name].shares]

    def worker(self, contender: str, role: str, **facts: object) -> Worker:
        """Start a process of a contender."""
        needs = "redis" if contender == "generator" else CONTENDERS[contender].needs
        url = str(facts.pop("url", None) or self.places[needs or "redis"].url)
        told = Told(contender=contender, role=role, url=url, **facts)  # type: ignore[arg-type]
        return Worker(told)


class Scene:
    """Contenders with as many responders each.

    Args:
        stage: what there is.
        kind: where responders are.
        count: how many responders each contender has.
        names: the contenders; default: all that can.
    """

    def __init__(self, stage: Stage, kind: Kind, count: int, names: Sequence[str] | None = None) -> None:
        self._stage = stage
        self._kind = kind
        self._count = count
        self._names = stage.contenders(kind) if names is None else names

    @contextmanager
    def entrants(self) -> Iterator[list[Entrant]]:
        """Start all processes; they are there, and nothing else has been done, while the body lasts."""
        with ExitStack() as stack:
            generator = None
            if self._kind == "connections":
                generator = self._stage.worker("generator", "responders", count=self._count, namespace=NAMESPACE)
                stack.enter_context(generator)
            found = [self._entrant(stack, name, generator) for name in self._names]
            for entrant in found:
                entrant.surveyor.ready()
                entrant.responders.ready()
            if generator is not None:
                generator.ask("open")
            yield found

    def _entrant(self, stack: ExitStack, name: str, generator: Worker | None) -> Entrant:
        stage, needs = self._stage, CONTENDERS[name].needs
        # Without a server, it is the surveyor that listens.
        url = None if needs else f"tcp://127.0.0.1:{free_port()}"
        # A namespace each, unless they share the responders.
        namespace = f"{NAMESPACE}-{name}" if generator is None else NAMESPACE
        facts = {"url": url, "namespace": namespace, "shared": self._kind == "together"}
        surveyor = stack.enter_context(stage.worker(name, "surveyor", name=f"surveyor-{name}", **facts))
        if generator is not None and CONTENDERS[name].meets_generator:
            responders = generator
        else:
            responders = stack.enter_context(stage.worker(name, "responders", count=self._count, **facts))
        return Entrant(name, surveyor, responders, stage.places[needs].pid if needs else None)
