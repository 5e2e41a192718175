"""With the real state-signals 1.0.1, in processes and an environment of its own, in both directions."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from state_signals import Signal
from state_signals.codec import ENVELOPE_KEY
from tests.parties import Parties, Wire, eventually, in_thread

ROOT = Path(__file__).parent.parent.parent
PEER = os.environ.get("STATE_SIGNALS_PEER") or str(ROOT / ".venv-peer" / "bin" / "python")
METADATA = {"job": "fio", "numbers": [1, 2.5, None], "nested": {"ü": "☃"}, "empty": {}}

Start = Callable[..., "Peer"]


class Peer:
    """A process that runs 1.0.1, and what it says."""

    def __init__(self, url: str, *arguments: str) -> None:
        if not Path(PEER).exists():
            pytest.fail(f"no Python with state-signals 1.0.1 at {PEER}; `make test` makes one")
        command = [PEER, str(Path(__file__).with_name("version_1.py")), str(urlsplit(url).port), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    async def says(self) -> dict[str, Any]:
        """Return the next thing that it says."""
        assert self.process.stdout
        line = await asyncio.wait_for(in_thread(self.process.stdout.readline), 30)
        assert line, "version 1 has ended"
        said: dict[str, Any] = json.loads(line)
        return said

    async def ends(self) -> int:
        return int(await asyncio.wait_for(in_thread(self.process.wait), 30))


@pytest.fixture
def url(redis_url: str) -> str:
    return redis_url


@pytest.fixture
def peer(redis_url: str) -> Iterator[Start]:
    started: list[Peer] = []

    def start(*arguments: str) -> Peer:
        started.append(Peer(redis_url, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()
        assert each.process.stdout
        each.process.stdout.close()


async def test_an_old_responder_follows_a_new_exporter(parties: Parties, peer: Start) -> None:
    old = peer("responder", "pcp", "stop", "silence")
    name = (await old.says())["id"]
    exporter = await parties.exporter(runner_host="newhost")
    assert await exporter.initialize_and_wait(1, ["start", "stop", "silence"], tag="t", timeout=30) == 0
    assert exporter.subs == {name}
    result = await exporter.publish_signal("start", sample=0, tag="", metadata=METADATA, timeout=30)
    assert result == (0, {name: "pcp did start"})
    assert result.succeeded[name].took is None
    result = await exporter.publish_signal("stop", timeout=30)
    assert result == (1, {name: "pcp could not"})
    result = await exporter.publish_signal("silence", timeout=0.3)
    assert result == (2, {})
    assert list(result.missing) == [name]
    await exporter.shutdown()
    assert await old.ends() == 0

    assert (await old.says())["event"] == "initialization"
    seen = await old.says()
    envelope = seen["metadata"].pop(ENVELOPE_KEY)
    assert seen == {
        "publisher_id": exporter.pub_id,
        "process_name": "fio",
        "event": "start",
        "runner_host": "newhost",
        "sample_no": 0,
        "tag": "",
        "metadata": METADATA,
    }
    assert (envelope["v"], envelope["seq"], envelope["wait"]) == (2, 2, 30)
    assert [(await old.says())["event"] for _ in range(3)] == ["stop", "silence", "shutdown"]


async def test_in_strict_version_1_an_old_responder_sees_what_the_user_gave(parties: Parties, peer: Start) -> None:
    old = peer("responder", "pcp")
    name = (await old.says())["id"]
    exporter = await parties.exporter(strict_v1=True)
    assert await exporter.initialize_and_wait(1, ["start"], timeout=30) == 0
    assert (await exporter.publish_signal("start", metadata=METADATA, timeout=30)).succeeded.keys() == {name}
    assert (await exporter.publish_signal("start", timeout=30)).ok
    assert (await old.says())["metadata"] is None
    assert (await old.says())["metadata"] == METADATA
    assert (await old.says())["metadata"] is None


async def test_an_old_responder_that_starts_late_is_found_by_periodic_announcements(
    parties: Parties, peer: Start
) -> None:
    exporter = await parties.exporter()
    waiting = parties.task(exporter.initialize_and_wait(1, ["start"], timeout=30, periodic=True))
    await eventually(lambda: exporter._core.state == "initialized", "the first announcement")
    peer("responder", "late")
    assert await waiting == 0
    assert (await exporter.publish_signal("start", timeout=30)).ok


@pytest.mark.parametrize("style", ["listen", "run"])
async def test_a_new_responder_follows_an_old_exporter(parties: Parties, peer: Start, wire: Wire, style: str) -> None:
    seen: list[Signal] = []

    def start(signal: Signal) -> str:
        seen.append(signal)
        return "started"

    def stop(signal: Signal) -> None:
        seen.append(signal)
        raise OSError("no space")

    if style == "run":
        responder = await parties.running("pcp", {"start": start, "stop": stop})
    else:
        responder = await parties.responder("pcp")

        async def follow() -> None:
            async for signal in responder.listen():
                if signal.event == "initialization":
                    await responder.srespond(signal)
                elif signal.event == "shutdown":
                    return
                elif signal.event == "start":
                    await responder.srespond(signal, ras=1, message=start(signal))
                else:
                    seen.append(signal)
                    await responder.respond(signal.publisher_id, signal.event, 0, "OSError: no space")

        parties.task(follow())
    steps = [
        {"event": "start", "sample": 3, "tag": "nightly", "metadata": METADATA, "timeout": 20},
        {"event": "stop", "timeout": 20},
    ]
    old = peer("exporter", "1", json.dumps(steps))
    said = await old.says()
    name = responder.responder_id
    assert (said["initialized"], said["subs"]) == (0, [name])
    assert await old.says() == {"code": 0, "messages": {name: "started"}}
    assert await old.says() == {"code": 1, "messages": {name: "OSError: no space"}}
    assert await old.ends() == 0
    assert seen[0] == Signal(said["id"], "old", "start", "oldhost", 3, "nightly", METADATA)
    assert (seen[1].metadata, seen[1].sample_no, seen[1].id) == (None, -1, None)
    # What answers version 1 has no more than the keys of version 1, in their order.
    answers = [json.loads(data) for data in wire.responses()]
    order = ["responder_id", "publisher_id", "event", "ras", "message"]
    assert all(list(answer) == [key for key in order if key in answer] for answer in answers)


async def test_both_kinds_of_responders_are_on_one_roster(parties: Parties, peer: Start) -> None:
    old = peer("responder", "old", "stop")
    name = (await old.says())["id"]
    new = [await parties.running("new", {"stop": lambda signal: f"for {signal.tag}"}) for _ in range(2)]
    exporter = await parties.exporter()
    assert await exporter.initialize_and_wait(3, ["start", "stop"], timeout=30) == 0
    assert exporter.subs == {name, *(responder.responder_id for responder in new)}
    assert (await exporter.publish_signal("start", metadata=METADATA, timeout=30)).ok
    result = await exporter.publish_signal("stop", tag="nightly", timeout=30)
    assert result.code == 1
    assert result.failed.keys() == {name}
    assert result.messages == {name: "old could not"} | {each.responder_id: "for nightly" for each in new}
    await exporter.shutdown()
    assert await old.ends() == 0


async def test_old_and_new_exporters_do_not_disturb_each_other(parties: Parties, peer: Start) -> None:
    await parties.running("new")
    exporter = await parties.exporter()
    assert await exporter.initialize_and_wait(1, ["start"], timeout=30) == 0
    old = peer("exporter", "1", json.dumps([{"event": "start", "timeout": 20}] * 3))
    assert (await old.says())["initialized"] == 0
    for _ in range(20):
        assert (await exporter.publish_signal("start", timeout=30)).ok
    assert [(await old.says())["code"] for _ in range(3)] == [0, 0, 0]
    assert await old.ends() == 0
