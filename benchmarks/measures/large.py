"""One exporter with very many responders: how long all takes, what it costs, and whether anybody is left out.

Twice: with a connection each (the load of `generator`), and as asyncio responders of this project, some thousands in
each of a few processes, which share their connections. The server is one for each number, so that its memory is known.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import redis

from benchmarks.contenders.base import Told
from benchmarks.processes import Worker, cpu_seconds, unshared_memory
from benchmarks.progress import say
from benchmarks.servers import Place, raise_file_limit, redis_server

__all__ = ["EXPORTERS", "Crowd", "measure_large"]

Crowd = Literal["connections", "processes"]
"""Where responders are: on a connection each, in one process; or in PROCESSES, which share two connections each."""

EXPORTERS = ("ours", "ours_asyncio")

PROCESSES = 4

HURRY = 0.2
"""Seconds that a round has whose responders take longer."""

_SPARE_FILES = 500
"""Connections that are needed besides those of the responders."""

_REST = 2.5
"""Seconds until nobody answers any more to a round that was hurried."""

IDLE = 6.0
"""Seconds for which nothing happens but proofs of life, of which everybody gives one every five seconds."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """What is measured at the moment."""

    crowd: Crowd
    count: int
    server: Place
    surveyors: dict[str, Worker]
    responders: list[Worker]


def measure_large(counts: Sequence[int], crowds: Sequence[Crowd], rounds: int) -> list[dict[str, Any]]:
    """Return what each number of responders brought, as objects.

    Args:
        counts: how many responders.
        crowds: where they are.
        rounds: how many rounds each exporter does; the first is not counted.
    """
    most = raise_file_limit() - _SPARE_FILES
    found = []
    for count in counts:
        for crowd in crowds:
            if crowd == "connections" and count > most:
                say(f"{count} connections are more than a process may have here ({most}): left out")
                continue
            say(f"{count} responders, {crowd}")
            with _scene(crowd, count) as scene:
                found.append(_measured(scene, rounds))
    return found


@contextmanager
def _scene(crowd: Crowd, count: int) -> Iterator[_Scene]:
    with ExitStack() as stack:
        # The default, 10,000, would be just too few.
        server = stack.enter_context(redis_server("--maxclients", str(raise_file_limit() - 100)))

        def worker(contender: str, role: str, **facts: Any) -> Worker:
            told = Told(contender=contender, role=role, url=server.url, namespace="large", **facts)
            return stack.enter_context(Worker(told))

        surveyors = {name: worker(name, "surveyor", name=f"surveyor-{name}") for name in EXPORTERS}
        if crowd == "connections":
            responders = [worker("generator", "responders", count=count)]
        else:
            shares = [count // PROCESSES + (place < count % PROCESSES) for place in range(PROCESSES)]
            responders = [
                worker("ours_asyncio", "responders", count=share, name=f"r{place}")
                for place, share in enumerate(shares)
            ]
        for each in (*surveyors.values(), *responders):
            each.ready()
        yield _Scene(crowd, count, server, surveyors, responders)


def _measured(scene: _Scene, rounds: int) -> dict[str, Any]:
    server = redis.Redis.from_url(scene.server.url)
    pids = [each.pid for each in scene.responders]
    empty = {"server": _used(server), "responders": sum(map(unshared_memory, pids))}
    for surveyor in scene.surveyors.values():
        surveyor.ask("open")
    before = {name: unshared_memory(each.pid) for name, each in scene.surveyors.items()}
    started = _start(scene)
    done = [_rounds(scene, server, name, rounds) for name in EXPORTERS]
    memory = {
        "exporter": {name: unshared_memory(each.pid) - before[name] for name, each in scene.surveyors.items()},
        "exporter_most": {name: _most_memory(each.pid) for name, each in scene.surveyors.items()},
        "server": _used(server) - empty["server"],
        "server_most": int(server.info("memory")["used_memory_peak"]),
        "responders": sum(map(unshared_memory, pids)) - empty["responders"],
    }
    # Nobody on the load's connections gives proofs of life.
    idle = _idle(scene) if scene.crowd == "processes" else None
    hurried = [_hurried(scene, name) for name in EXPORTERS]
    ended = _end(scene)
    server.close()
    return {
        "crowd": scene.crowd,
        "responders": scene.count,
        "connections": 2 * len(scene.responders) if scene.crowd == "processes" else scene.count,
        "start_up": started,
        "rounds": done,
        "hurried": hurried,
        "memory": memory,
        "idle": idle,
        "ended": ended,
    }


def _start(scene: _Scene) -> dict[str, Any]:
    """Let everybody connect and subscribe to the first exporter; then, all being there, to the second."""
    first, second = EXPORTERS
    pids = [each.pid for each in scene.responders]
    used = [cpu_seconds(scene.server.pid), sum(map(cpu_seconds, pids))]
    began = time.perf_counter()
    for each in scene.responders:
        each.tell("open")
    if scene.crowd == "connections":
        # They are connected before: it is the answers that are measured.
        for each in scene.responders:
            each.read()
        began = time.perf_counter()
    scene.surveyors[first].ask("gather", count=scene.count)
    took = time.perf_counter() - began
    if scene.crowd == "processes":
        for each in scene.responders:
            each.read()
    cpu = {
        "server": cpu_seconds(scene.server.pid) - used[0],
        "responders": sum(map(cpu_seconds, pids)) - used[1],
    }
    storm = scene.surveyors[second].ask("gather", count=scene.count)
    return {"took": took, "cpu": cpu, "storm": storm["took"], "storm_cpu": storm["cpu"]}


def _rounds(scene: _Scene, server: Any, name: str, rounds: int) -> dict[str, Any]:
    scene.surveyors[name].ask("survey", rounds=1, limit=60)
    pids = [each.pid for each in scene.responders]
    moved = _moved(server)
    before = [cpu_seconds(scene.server.pid), sum(map(cpu_seconds, pids))]
    said = scene.surveyors[name].ask("survey", rounds=rounds, limit=30)
    used = [cpu_seconds(scene.server.pid), sum(map(cpu_seconds, pids))]
    return {
        "contender": name,
        "took": [round(each, 6) for each in said["took"]],
        "answers": said["answers"],
        "fewest": said["fewest"],
        "exporter_cpu": said["cpu"],
        "server_cpu": used[0] - before[0],
        "responders_cpu": used[1] - before[1],
        "bytes": [after - earlier for after, earlier in zip(_moved(server), moved, strict=True)],
    }


def _idle(scene: _Scene) -> dict[str, Any]:
    """Return the CPU that a second takes in which there are only proofs of life."""
    pids = [each.pid for each in scene.responders]
    before = [cpu_seconds(scene.server.pid), sum(map(cpu_seconds, pids))]
    for surveyor in scene.surveyors.values():
        surveyor.tell("idle", seconds=IDLE)
    exporters = {name: surveyor.read()["cpu"] / IDLE for name, surveyor in scene.surveyors.items()}
    used = [cpu_seconds(scene.server.pid), sum(map(cpu_seconds, pids))]
    return {
        "exporters": exporters,
        "server": (used[0] - before[0]) / IDLE,
        "responders": (used[1] - before[1]) / IDLE,
    }


def _hurried(scene: _Scene, name: str) -> dict[str, Any]:
    said = scene.surveyors[name].ask("hurry", timeout=HURRY)
    time.sleep(_REST)
    return {"contender": name, "over": said["took"] - HURRY, "answers": said["answers"]}


def _end(scene: _Scene) -> dict[str, Any]:
    began = time.perf_counter()
    for surveyor in scene.surveyors.values():
        surveyor.ask("close")
    for each in scene.responders:
        each.tell("close")
    for each in scene.responders:
        each.read()
    return {"took": time.perf_counter() - began}


def _used(server: Any) -> int:
    return int(server.info("memory")["used_memory"])


def _moved(server: Any) -> tuple[int, int]:
    """Return the bytes that the server has received, and those that it has sent."""
    found = server.info("stats")
    return int(found["total_net_input_bytes"]), int(found["total_net_output_bytes"])


def _most_memory(pid: int) -> int:
    """Return the most bytes that a process has had in memory; where the system does not tell, what it has now."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return int(psutil.Process(pid).memory_info().rss)
