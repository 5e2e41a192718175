"""What one signal makes a server deliver when several exporters share it, each with responders of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import redis

from benchmarks.measures.scene import NAMESPACE, Stage
from benchmarks.plan import CONTENDERS
from benchmarks.processes import Worker
from benchmarks.progress import say
from benchmarks.servers import redis_server

__all__ = ["deliveries", "measure_deliveries"]

_STREAM_OF_RESPONSES = "}:responses"

_END = "the last of what is watched"


def measure_deliveries(stage: Stage) -> list[dict[str, Any]]:
    """Return deliveries and bytes per signal, by contender, number of exporters and whether they have namespaces."""
    found = []
    for name, has_namespaces in (("ours_asyncio", True), ("ours_asyncio", False), ("version_1", False)):
        if name not in stage.plan.contenders:
            continue
        for exporters in stage.plan.exporters:
            say(f"deliveries: {CONTENDERS[name].label}, {exporters} exporters")
            found.append(_measure(stage, name, exporters, has_namespaces=has_namespaces))
    return found


def _measure(stage: Stage, name: str, exporters: int, *, has_namespaces: bool) -> dict[str, Any]:
    plan = stage.plan
    with ExitStack() as stack:
        place = stack.enter_context(redis_server())
        client: Any = redis.Redis.from_url(place.url)
        stack.callback(client.close)
        surveyors = []
        for number in range(exporters):
            facts = {
                "url": place.url,
                "namespace": f"{NAMESPACE}-{number}" if has_namespaces else NAMESPACE,
            }
            surveyor = stack.enter_context(stage.worker(name, "surveyor", name=f"e{number}", **facts))
            responders = stage.worker(
                "generator", "responders", count=plan.per_exporter, name=f"r{number}", follows=f"e{number}", **facts
            )
            stack.enter_context(responders).ask("open")
            surveyors.append(surveyor)
        for surveyor in surveyors:
            surveyor.ask("open")
            surveyor.ask("gather", count=plan.per_exporter)
            surveyor.ask("survey", rounds=1, limit=1)
            if CONTENDERS[name].never_rests:
                surveyor.freeze()
        signals = exporters * plan.deliveries
        before = _bytes(client)
        _survey(name, surveyors, plan.deliveries)
        passed = _bytes(client) - before
        subscribers = dict(client.pubsub_numsub(*client.pubsub_channels()))
        with _watched(place.url) as commands:
            _survey(name, surveyors, plan.deliveries)
            client.echo(_END)
        return {
            "contender": name,
            "exporters": exporters,
            "namespaces": has_namespaces,
            "deliveries": deliveries(commands, subscribers) / signals,
            "bytes": passed / signals,
        }


def _survey(name: str, surveyors: list[Worker], rounds: int) -> None:
    """Let each of them do some rounds, one after another."""
    for surveyor in surveyors:
        if CONTENDERS[name].never_rests:
            surveyor.thaw()
        surveyor.ask("survey", rounds=rounds, limit=60)
        if CONTENDERS[name].never_rests:
            surveyor.freeze()


def _bytes(client: Any) -> int:
    """Return how many bytes have gone in and out of the server."""
    stats = client.info("stats")
    return int(stats["total_net_input_bytes"] + stats["total_net_output_bytes"])


@contextmanager
def _watched(url: str) -> Iterator[list[str]]:
    """Yield a list that holds all commands of the body once that has ended; the last one must be ECHO with `_END`."""
    client: Any = redis.Redis.from_url(url)
    commands: list[str] = []
    with client.monitor() as monitor:

        def read() -> None:
            for each in monitor.listen():
                commands.append(each["command"])
                if _END in each["command"]:
                    return

        reader = threading.Thread(target=read)
        reader.start()
        yield commands
        reader.join()
    client.close()


def deliveries(commands: Iterable[str], subscribers: Mapping[bytes, int]) -> int:
    """Return how many messages clients got: of each channel its subscribers, of a stream of responses its exporter.

    Args:
        commands: what the server was told while exporters did rounds, one after another.
        subscribers: how many each channel had before. Who subscribes meanwhile, as 1.0.1 does for each round, has gone
            again when the next one does.
    """
    passing: set[str] = set()
    made = 0
    for command in commands:
        verb, *arguments = command.split(" ", 2)
        place = arguments[0] if arguments else ""
        if verb.upper() == "SUBSCRIBE":
            passing.add(place)
        elif verb.upper() == "PUBLISH":
            made += subscribers.get(place.encode(), 0) + (place in passing)
        elif verb.upper() == "XADD":
            made += place.endswith(_STREAM_OF_RESPONSES)
    return made
