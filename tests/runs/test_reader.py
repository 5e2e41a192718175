"""Reading runs from a real server, after and while they go on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from state_signals import Outcome
from state_signals.exceptions import ServerRefused, ServerUnreachable
from state_signals.runs.model import Run, RunState
from state_signals.runs.reader import RunReader
from state_signals.runs.recent import newest_runs
from state_signals.server import EmbeddedServer
from state_signals.transport.connect import async_transport
from tests.faults.groups import Cluster
from tests.parties import EVENTS, Heard, Parties, eventually
from tests.programs import program

ROOT = Path(__file__).parent.parent.parent
PEER = os.environ.get("STATE_SIGNALS_PEER") or str(ROOT / ".venv-peer" / "bin" / "python")

HOSTILE = "\x1b[2J\u202e{}*?[a]:signals\nü"

ODD = "a {}*?[a]:signals}:signals ü"


@pytest.fixture
def url(redis_url: str) -> str:
    return redis_url


@pytest.fixture
def shell() -> str:
    return "asyncio"


async def reading(url: str, namespace: str | None = None) -> AsyncIterator[RunReader]:
    transport = async_transport(url=url, host="", port=0, namespace=namespace)
    await transport.connect()
    yield RunReader(transport)
    await transport.close()


@pytest.fixture
async def reader(redis_url: str) -> AsyncIterator[RunReader]:
    async for made in reading(redis_url):
        yield made


async def only(reader: RunReader, publisher_id: str) -> Run:
    (run,) = await reader.read(publisher_id)
    return run


async def answer(member: tuple[Any, Heard], event: str, ras: int = 1, message: str | None = None) -> None:
    responder, heard = member
    await responder.srespond(await heard.next(event), ras, message)


def outcomes(run: Run, place: int = -1) -> dict[str, Outcome | None]:
    return {name: action.outcome for name, action in run.rounds[place].actions.items()}


def check_order(run: Run) -> None:
    """What follows from each other comes after each other, on one clock."""
    moments = [run.began_at]
    for this in run.rounds:
        moments.append(this.published_at)
        for action in this.actions.values():
            received, answered = action.received_at, action.answered_at
            if received is not None and answered is not None:
                assert this.published_at <= received <= answered
                # What an exporter has counted had arrived; the server's milliseconds may be a part of one ahead.
                assert action.is_late or this.ended_at is None or answered <= this.ended_at + 0.002
        moments += [] if this.ended_at is None else [this.ended_at]
    moments += [] if run.ended_at is None else [run.ended_at]
    assert moments == sorted(moments)


async def test_a_run_while_it_goes_on_and_afterwards(reader: RunReader, parties: Parties) -> None:
    exporter, (a, b) = await parties.crew("a", "b", runner_host="host-a")
    publishing = parties.task(exporter.publish_signal("start", 3, "nightly", {"k": [1]}, timeout=20))
    await answer(b, "start", 0, "no disk")
    heard = await a[1].next("start")
    await a[0].working(heard, "half way")
    async with asyncio.timeout(20):
        while not ((run := await only(reader, exporter.pub_id)).open_round and run.rounds[0].actions["a"].progress):
            pass
    assert run.state is RunState.LIVE
    assert outcomes(run) == {"a": None, "b": Outcome.FAILED}
    await a[0].srespond(heard, 1, "fine")
    result = await publishing
    run = await only(reader, exporter.pub_id)
    # The verdict is not written yet, but everybody has answered.
    assert run.open_round is None
    await exporter.shutdown()
    run = await only(reader, exporter.pub_id)
    (this,) = run.rounds
    assert (run.state, run.process_name, run.runner_host, run.is_whole) == (RunState.ENDED, "fio", "host-a", True)
    assert (this.signal_id, this.seq, this.event, this.sample_no) == (result.signal_id, 2, "start", 3)
    assert (this.tag, this.metadata, this.wait, this.ok) == ("nightly", {"k": [1]}, 20.0, False)
    assert this.elapsed == pytest.approx(result.elapsed, abs=1e-5)
    action = this.actions["a"]
    assert (action.outcome, action.ras, action.message) == (Outcome.SUCCEEDED, 1, "fine")
    assert [each.message for each in action.progress] == ["half way"]
    assert action.took == pytest.approx(result.succeeded["a"].took)
    assert this.actions["b"].message == "no disk"
    assert set(run.members) == {"a", "b"}
    assert all(member.ttl == 15.0 and member.speaks_v2 for member in run.members.values())
    check_order(run)


async def test_missing_lost_left_and_late(reader: RunReader, parties: Parties) -> None:
    exporter, members = await parties.crew(
        "good", "late", "dead", "leaver", responders={"presence_ttl": 0.5}, presence_ttl=0.5
    )
    good, late, dead, leaver = members
    await parties.crash(dead[0])
    publishing = parties.task(exporter.publish_signal("start", timeout=2.5))
    await answer(good, "start")
    await leaver[0].close()
    heard = await late[1].next("start")
    result = await publishing
    assert (set(result.missing), set(result.lost), set(result.left)) == ({"late"}, {"dead"}, {"leaver"})
    await late[0].srespond(heard, 1, "sorry")
    await eventually(lambda: exporter._core.counters["late"], "the late answer is read")
    await exporter.shutdown()
    run = await only(reader, exporter.pub_id)
    assert outcomes(run) == {
        "good": Outcome.SUCCEEDED,
        "late": Outcome.MISSING,
        "dead": Outcome.LOST,
        "leaver": Outcome.LEFT,
    }
    action = run.rounds[0].actions["late"]
    assert (action.is_late, action.ras, action.message) == (True, 1, "sorry")
    assert run.members["leaver"].left_at is not None
    check_order(run)


async def test_an_aborted_run(reader: RunReader, parties: Parties) -> None:
    exporter = await parties.exporter()
    await exporter.initialize(EVENTS, tag=HOSTILE)
    await exporter.abort(HOSTILE)
    run = await only(reader, exporter.pub_id)
    assert (run.state, run.aborted, run.tag) == (RunState.ABORTED, HOSTILE, HOSTILE)
    assert run.ended_at is not None


async def test_runs_under_one_name(reader: RunReader, parties: Parties) -> None:
    exporter = await parties.exporter(publisher_id="fio-1")
    for number in range(3):
        await exporter.initialize(EVENTS, tag=f"run {number}")
        await exporter.publish_signal("start", wait=False)
        if number < 2:
            await exporter.shutdown()
    first, second, third = await reader.read("fio-1")
    assert [run.tag for run in (first, second, third)] == ["run 0", "run 1", "run 2"]
    assert [run.state for run in (first, second, third)] == [RunState.ENDED, RunState.ENDED, RunState.LIVE]
    assert all(run.is_whole for run in (first, second, third))
    # Nobody has waited, and nobody was there.
    assert first.rounds[0].wait is None
    assert first.rounds[0].ended_at is None
    assert third.legal_events == EVENTS


async def test_a_run_that_was_left_to_others(reader: RunReader, parties: Parties) -> None:
    exporter, _ = await parties.crew("a")
    await exporter.detach()
    run = await only(reader, exporter.pub_id)
    assert (run.state, run.legal_events) == (RunState.DETACHED, EVENTS)
    assert await reader.exporters() == [exporter.pub_id]
    resumed = await parties.resumed(exporter.pub_id)
    assert (await only(reader, exporter.pub_id)).state is RunState.LIVE
    await resumed.shutdown()
    assert (await only(reader, exporter.pub_id)).state is RunState.ENDED


CRASHES = """
    import sys
    from state_signals import SignalExporter
    exporter = SignalExporter("fio", url=sys.argv[1], publisher_id="crashed")
    exporter.initialize_and_wait(1, ["start"], timeout=20)
    print("ready", flush=True)
    exporter.publish_signal("start", timeout=-1)
"""


async def test_an_exporter_that_was_killed(reader: RunReader, parties: Parties, redis_url: str) -> None:
    responder, heard = await parties.listening("a", responder_id="a")
    with program(CRASHES, redis_url) as process:
        await responder.srespond(await heard.next("initialization"), 1)
        signal_ = await heard.next("start")
        assert (await only(reader, "crashed")).state is RunState.LIVE
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    # On its own host its end is known at once.
    run = await only(reader, "crashed")
    assert run.state is RunState.CRASHED
    assert outcomes(run) == {"a": None}
    glance = await reader.glance("crashed")
    assert (glance.state, glance.is_there) == (RunState.CRASHED, True)
    await responder.srespond(signal_, 1)
    async with asyncio.timeout(20):
        while outcomes(await only(reader, "crashed")) != {"a": Outcome.SUCCEEDED}:
            pass


@pytest.fixture
def peer(redis_url: str) -> Iterator[subprocess.Popen[str]]:
    if not Path(PEER).exists():
        pytest.fail(f"no Python with state-signals 1.0.1 at {PEER}; `make test` makes one")
    script = str(ROOT / "tests" / "interop" / "version_1.py")
    command = [PEER, script, str(urlsplit(redis_url).port), "responder", "pcp", "stop"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


async def test_a_responder_of_version_1(reader: RunReader, parties: Parties, peer: subprocess.Popen[str]) -> None:
    assert peer.stdout
    name = json.loads(await asyncio.to_thread(peer.stdout.readline))["id"]
    exporter = await parties.exporter()
    assert await exporter.initialize_and_wait(1, EVENTS, periodic=True, timeout=20) == 0
    assert (await exporter.publish_signal("start", timeout=20)).ok
    glance = await reader.glance(exporter.pub_id)
    assert set(glance.vitals.roster) == {name}
    result = await exporter.publish_signal("stop", timeout=20)
    await exporter.shutdown()
    run = await only(reader, exporter.pub_id)
    assert [(this.event, this.ok) for this in run.rounds] == [("start", True), ("stop", False)]
    action = run.rounds[1].actions[name]
    assert (action.outcome, action.ras, action.message) == (Outcome.FAILED, 0, "pcp could not")
    assert action.answered_at == pytest.approx(run.rounds[1].published_at + result.failed[name].elapsed, abs=1e-5)
    assert (action.received_at, action.took) == (None, None)
    assert not run.members[name].speaks_v2


async def test_odd_names(reader: RunReader, parties: Parties) -> None:
    exporter = await parties.exporter(HOSTILE, publisher_id=ODD)
    await exporter.initialize(EVENTS)
    assert await reader.exporters() == [ODD]
    assert await reader.publisher_ids() == [ODD]
    assert (await only(reader, ODD)).process_name == HOSTILE


async def test_namespaces_are_kept_apart(reader: RunReader, parties: Parties, redis_url: str) -> None:
    here, there = (
        await parties.exporter(publisher_id="here"),
        await parties.exporter(publisher_id="there", namespace="lab"),
    )
    for exporter in (here, there):
        await exporter.initialize(EVENTS)
    assert (await reader.publisher_ids(), await reader.exporters()) == (["here"], ["here"])
    async for other in reading(redis_url, "lab"):
        assert (await other.publisher_ids(), await other.exporters()) == (["there"], ["there"])
        assert await reader.read("there") == []


async def test_nothing_where_nothing_is(reader: RunReader) -> None:
    assert await reader.exporters() == []
    assert await reader.publisher_ids() == []
    assert await reader.read("nobody") == []
    assert not await reader.has_journal("nobody")
    assert await reader.last_active("nobody") == 0.0
    assert (await reader.glance("nobody")).run is None


async def test_what_others_have_put_there_is_passed_over(reader: RunReader, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("state-signals:{text}:signals", "x")
        client.set(b"state-signals:{\xff}:signals", "x")
        client.xadd("state-signals:{odd}:signals", {"s": b"\xff", "x": "y"})
        client.xadd("state-signals:{odd}:signals", {"other": "field"})
        client.xadd("state-signals:{odd}:responses", {"r": "[]"})
        client.xadd("state-signals:{odd}:rounds", {"v": "nothing"})
        client.hset("state-signals:{odd}:roster", mapping={b"\xff": "x", "a": "["})
        client.hset("state-signals:{odd}:record", "info", "?")
        client.set("state-signals:exporters", "x")
        client.set("state-signals:presence", "x")
    assert await reader.publisher_ids() == ["odd", "text"]
    assert await reader.exporters() == []
    log = await reader.log("odd")
    assert (log.runs, log.refused.total()) == ([], 3)
    assert await reader.read("text") == []
    assert (await reader.glance("odd")).run is None


async def test_many_signals_are_read_page_by_page(reader: RunReader, parties: Parties) -> None:
    exporter, (member,) = await parties.crew("a")
    for number in range(250):
        publishing = parties.task(exporter.publish_signal("start", number, metadata={"k": "x" * 5000}, timeout=20))
        await answer(member, "start")
        await publishing
    run = await only(reader, exporter.pub_id)
    assert [this.sample_no for this in run.rounds] == list(range(250))
    assert all(this.ok for this in run.rounds)
    assert run.is_whole
    check_order(run)
    glance = await reader.glance(exporter.pub_id)
    assert glance.run is not None
    assert (glance.run.rounds[-1].signal_id, glance.run.rounds[-1].ok) == (run.rounds[-1].signal_id, True)
    assert glance.run.rounds[-1].published_at == pytest.approx(run.rounds[-1].published_at, abs=0.1)
    assert len(glance.run.rounds) < 50


async def test_reading_changes_nothing(reader: RunReader, parties: Parties, redis_url: str) -> None:
    exporter, _ = await parties.crew("a")
    await exporter.detach()
    with redis.Redis.from_url(redis_url) as client:
        client.acl_setuser("reads", enabled=True, nopass=True, keys="*", categories=["+@read", "+@connection"])
        client.acl_setuser("reads", enabled=True, commands=["+time", "+cluster|slots", "+role"])
    port = urlsplit(redis_url).port
    async for restricted in reading(f"redis://reads:x@127.0.0.1:{port}"):
        assert await restricted.publisher_ids() == [exporter.pub_id]
        assert (await restricted.glance(exporter.pub_id)).state is RunState.DETACHED
        assert len(await restricted.read(exporter.pub_id)) == 1
        assert await restricted.last_active(exporter.pub_id) > 0
    with redis.Redis.from_url(redis_url) as client:
        client.acl_setuser("reads", enabled=True, commands=["-xrange"])
    async for forbidden in reading(f"redis://reads:x@127.0.0.1:{port}"):
        with pytest.raises(ServerRefused, match="xrange"):
            await forbidden.read(exporter.pub_id)
    with redis.Redis.from_url(redis_url) as client:
        client.acl_deluser("reads")


async def test_without_a_server_it_says_so() -> None:
    with EmbeddedServer() as server:
        transport = async_transport(url=server.url, host="", port=0, namespace=None)
        await transport.connect()
    with pytest.raises(ServerUnreachable):
        await RunReader(transport).read("fio-1")
    await transport.close()


async def test_the_newest_runs_come_first(reader: RunReader, parties: Parties) -> None:
    for number in range(4):
        exporter = await parties.exporter(publisher_id=f"fio-{number % 2}-{number}")
        await exporter.initialize(EVENTS, tag=f"tag {number % 2}")
        await exporter.shutdown()
        if number == 3:
            # Its second run is newer than any other one.
            await exporter.initialize(EVENTS, tag="again")
        await exporter.close()
    found = await newest_runs(reader, limit=3)
    assert [(each.run.publisher_id, each.number, each.of) for each in found] == [
        ("fio-1-3", 2, 2),
        ("fio-1-3", 1, 2),
        ("fio-0-2", 1, 1),
    ]
    assert [each.run.publisher_id for each in await newest_runs(reader, limit=9, tag="tag 1")] == ["fio-1-3", "fio-1-1"]
    since = found[1].run.began_at
    assert len(await newest_runs(reader, limit=9, since=since)) == 2
    assert await newest_runs(reader, limit=9, since=since + 3600) == []


async def test_a_cluster_is_looked_through_on_every_node(shell: str) -> None:
    with Cluster() as cluster:
        parties = Parties(shell, cluster.url)
        names = [f"fio-{number}" for number in range(12)]
        for name in names:
            exporter = await parties.exporter(publisher_id=name)
            await exporter.initialize(EVENTS)
        assert len({cluster.owner(f"state-signals:{{{name}}}:signals") for name in names}) == 3
        async for reader in reading(cluster.url):
            assert await reader.publisher_ids() == sorted(names)
            assert sorted(await reader.exporters()) == sorted(names)
            assert [(await only(reader, name)).state for name in names] == [RunState.LIVE] * 12
        await parties.close()
