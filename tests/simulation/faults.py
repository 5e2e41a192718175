"""What goes wrong in a world, and when."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from state_signals.transport.base import Batch
from tests.simulation.exporter import Exporter, ExporterPlan
from tests.simulation.parties import Scene
from tests.simulation.responder import Responder, ResponderPlan
from tests.simulation.server import Network
from tests.simulation.world import Process, World

__all__ = ["KINDS", "Faults", "choose_network"]

KINDS = (
    "cuts",
    "lags",
    "responder crashes",
    "exporter crashes",
    "freezes",
    "outages",
    "empty restarts",
    "failovers",
    "stalls",
    "leaves",
    "impostors",
    "hostile messages",
)
"""What may go wrong beside the small things that the network does."""


def choose_network(world: World) -> Network:
    """Return a network with some weaknesses, or none."""
    rng = world.rng

    def sometimes(share: float) -> float:
        return rng.choice([0.0, 0.0, share * rng.random()])

    return Network(
        latency=rng.choice([0.002, 0.01, 0.1]),
        lost_requests=sometimes(0.03),
        lost_replies=sometimes(0.03),
        lost_broadcasts=sometimes(0.1),
        duplicates=sometimes(0.2),
        delays=sometimes(0.1),
        backlog=rng.choice([3, 20, 1000, 1000]),
    )


@dataclass
class Faults:
    """Lets things go wrong until the world is calm."""

    scene: Scene
    kinds: list[str]
    interval: float

    def __post_init__(self) -> None:
        self.world = self.scene.world
        self.rng = self.world.rng
        self._restarts: dict[str, Callable[[], Any]] = {}
        self._actions = {
            "cuts": self._cut,
            "lags": self._lag,
            "responder crashes": self._crash_responder,
            "exporter crashes": self._crash_exporter,
            "freezes": self._freeze,
            "outages": lambda: self._stop_server("kept"),
            "empty restarts": lambda: self._stop_server("empty"),
            "failovers": self._fail_over,
            "stalls": self._stall_server,
            "leaves": self._leave,
            "impostors": self._impostor,
            "hostile messages": self._say_nonsense,
        }

    def begin(self) -> None:
        """Plan the first fault, and the end of all."""
        self.world.at(self.scene.calm_at, self._end)
        if self.kinds:
            self.world.after(self.rng.expovariate(1 / self.interval), self._next)

    def _next(self) -> None:
        # Whatever it is, it is over when the world is calm.
        if self.world.now < self.scene.calm_at - 15.0:
            self._actions[self.rng.choice(self.kinds)]()
            self.world.after(self.rng.expovariate(1 / self.interval), self._next)

    def _end(self) -> None:
        self.world.tell("WORLD", "CALM")
        self.scene.server.network.is_calm = True

    # Processes

    def _processes(self) -> list[Process]:
        book = self.scene.book
        return [each for each in (*book.exporters, *book.incarnations) if each.is_alive]

    def _duration(self) -> float:
        return min(self.rng.choice([0.1, 1.0, 5.0, 20.0]) * self.rng.random(), self._time_left())

    def _time_left(self) -> float:
        return max(0.0, self.scene.calm_at - self.world.now - 0.1)

    def _cut(self) -> None:
        lines = [line for line in self.scene.server.lines if line.process.is_alive]
        if not lines:
            return
        line = self.rng.choice(lines)
        chosen = [line] if self.rng.random() < 0.6 else [each for each in lines if each.process is line.process]
        is_noticed = self.rng.random() < 0.7
        for each in chosen:
            each.process.tell("CUT %s%s", each.kind, "" if is_noticed else " (not noticed)")
            each.cut(is_noticed=is_noticed)

    def _lag(self) -> None:
        process = self._one_of(self._processes())
        if process is None or process.lag_until > self.world.now:
            return
        lag = self._duration()
        process.tell("LAG of %s s", lag)
        process.lag_until = self.world.now + lag
        process.trouble("lag")
        self.world.after(lag, process.is_well, "lag")
        if lag > 10.0:
            for line in [line for line in self.scene.server.lines if line.process is process]:
                line.cut(is_noticed=False)

    def _freeze(self) -> None:
        process = self._one_of(self._processes())
        if process is not None and not process.is_frozen:
            process.freeze()
            self.world.after(self._duration(), process.thaw)

    def _crash_responder(self) -> None:
        responder = self._one_of(
            [each for each in self.scene.book.incarnations if each.is_alive and not each.is_leaving]
        )
        if responder is None:
            return
        responder.kill()
        self._restart_responder(responder.plan)

    def _restart_responder(self, plan: ResponderPlan) -> None:
        if self.rng.random() < 0.8:
            self.world.after(self._duration(), lambda: Responder(self.scene, plan))

    def _leave(self) -> None:
        responder = self._one_of(
            [each for each in self.scene.book.incarnations if each.is_alive and not each.is_leaving]
        )
        if responder is None:
            return
        responder.leave()
        # The next one comes when this one is gone for sure.
        if self.rng.random() < 0.5 and self._time_left() > 10.0:
            self.world.after(10.0, lambda: None if responder.is_alive else Responder(self.scene, responder.plan))

    def _crash_exporter(self) -> None:
        exporter = self._one_of([each for each in self.scene.book.exporters if each.is_alive])
        if exporter is None:
            return
        exporter.kill()
        if self.rng.random() < 0.8:
            self.world.after(self._duration(), self._next_exporter, exporter.plan, self.rng.random() < 0.7)

    def _next_exporter(self, plan: ExporterPlan, resumes: bool) -> None:
        if not any(each.is_alive and each.plan is plan for each in self.scene.book.exporters):
            Exporter(self.scene, plan, resumes=resumes and plan.is_claimed)

    def exporter_ended(self, exporter: Exporter, why: str) -> None:
        """Do as a user would: try again."""
        if why in ("refused", "nothing to resume"):
            self.world.after(2.0, self._next_exporter, exporter.plan, why == "refused")
        elif why == "detached":
            self.scene.book.counts["detached"] += 1
            self.world.after(self.rng.uniform(0.1, 20.0), self._next_exporter, exporter.plan, True)

    def _impostor(self) -> None:
        """Somebody resumes an exporter that is alive, on another host."""
        claimed = [each for each in self.scene.book.exporters if each.is_alive and each.plan.is_claimed]
        exporter = self._one_of(claimed)
        if exporter is not None:
            plan = exporter.plan
            Exporter(self.scene, plan, resumes=self.rng.random() < 0.5)

    def _one_of(self, processes: list[Any]) -> Any:
        return self.rng.choice(processes) if processes else None

    # The server

    def _stop_server(self, data: str, snapshot: Any = None) -> None:
        server, book = self.scene.server, self.scene.book
        if not server.is_up:
            return
        duration = self._duration()
        self.world.tell("SERVER", "DOWN for %s s, data: %s", duration, data)
        server.refuses_at_once = self.rng.random() < 0.7
        server.stop(is_noticed=self.rng.random() < 0.7)
        for process in self._processes():
            process.trouble("server")
        if data == "empty":
            server.keyspace.flush()
        elif data == "older":
            server.go_back(snapshot)
        if data != "kept":
            book.lost_data_at = self.world.now
            book.something_is_gone()
            server.offset += self.rng.choice([0.0, 0.0, 0.5, -0.5])
        self.world.after(duration, self._start_server)

    def _start_server(self) -> None:
        self.world.tell("SERVER", "UP")
        self.scene.server.start()
        self._all_is_well()

    def _fail_over(self) -> None:
        snapshot = self.scene.server.snapshot()
        self.world.tell("SERVER", "(the replica knows this, and no more)")
        self.world.after(self.rng.choice([0.05, 1.0]) * self.rng.random(), self._stop_server, "older", snapshot)

    def _stall_server(self) -> None:
        server = self.scene.server
        if not server.is_up or server.is_stalled:
            return
        duration = self._duration()
        self.world.tell("SERVER", "STALLED for %s s", duration)
        server.is_stalled = True
        for process in self._processes():
            process.trouble("server")
        self.world.after(duration, self._unstall_server, server.epoch)

    def _unstall_server(self, epoch: int) -> None:
        if self.scene.server.epoch == epoch:
            self.world.tell("SERVER", "GOES ON")
            self.scene.server.go_on()
            self._all_is_well()

    def _all_is_well(self) -> None:
        for process in self._processes():
            process.is_well("server")

    # Messages

    def _say_nonsense(self) -> None:
        keys, rng = self.scene.server.keys, self.rng
        if not self.scene.server.is_up:
            return
        channel, data = rng.choice([keys.signals, keys.responses]), self._nonsense()
        self.world.tell("STRANGER", "> %s: %s", channel, data)
        commands: list[tuple[str | bytes, ...]] = [("PUBLISH", channel, data)]
        if self.scene.book.exporters and channel == keys.responses:
            publisher_id = rng.choice(self.scene.book.exporters).plan.publisher_id
            commands.append(("XADD", keys.reply(publisher_id), "NOMKSTREAM", "*", "r", data))
        self.scene.server.keyspace.execute(Batch(channel, tuple(commands)))

    def _nonsense(self) -> bytes:
        rng, book = self.rng, self.scene.book
        exporter, responder = self._one_of(book.exporters), self._one_of(book.incarnations)
        publisher_id = exporter.plan.publisher_id if exporter else "nobody"
        responder_id = responder.responder_id if responder else "nobody"
        envelope = {"v": 2, "id": "f" * 32, "seq": 1, "sent": 0.0, "reply": "somebody's key", "wait": 5.0}
        signal = {"publisher_id": publisher_id, "process_name": "x", "event": "work", "runner_host": "x"}
        response = {"responder_id": responder_id, "publisher_id": publisher_id, "event": "work", "ras": 1}
        forged = self._envelope_of_a_stranger()
        choices: list[Any] = [
            b"",
            b"\xff\xfe",
            b"[" * 100_000,
            b"[[1, 2]]",
            {**signal, "metadata": {"_state_signals": envelope}},
            {**signal, "metadata": {"_state_signals": {**envelope, "seq": 0}}},
            {**signal, "metadata": {"_state_signals": {**envelope, "id": 7}}},
            {**signal, "publisher_id": "stranger", "metadata": {"_state_signals": forged}},
            {**signal, "sample_no": "many"},
            {**response, "signal_id": "e" * 32},
            {**response, "signal_id": 5},
            {**response, "responder_id": "stranger", "signal_id": rng.choice([*book.known, "d" * 32])},
            {**response, "responder_id": "stranger", "event": "initialization", "signal_id": "d" * 32},
            {**response, "responder_id": "stranger", "state": "left", "event": "initialization"},
            {**response, "state": "left", "event": "initialization", "signal_id": "d" * 32},
            {**response, "publisher_id": "somebody else"},
            {**response, "took": "long"},
        ]
        chosen = rng.choice(choices)
        return chosen if isinstance(chosen, bytes) else json.dumps(chosen).encode()

    def _envelope_of_a_stranger(self) -> dict[str, Any]:
        reply = self.scene.server.keys.reply("stranger")
        seq = self.rng.choice([1, 5, 10**6, 2**40])
        return {"v": 2, "id": self.world.new_id(), "seq": seq, "sent": 1.7e9, "reply": reply, "wait": 5.0}
