"""A Cluster: every exporter's keys on some node, its responders on any, and what happens when nodes fail."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from state_signals.transport import topology
from state_signals.transport.keys import Keys
from tests.faults.failovers import PATIENCE, Run, begun, ended, finished, rounds, started
from tests.faults.groups import HOST, Cluster, Node
from tests.parties import Parties, eventually, in_thread

RESTORED = "the server had lost data"


@pytest.fixture(scope="module")
def formed() -> Iterator[Cluster]:
    with Cluster() as started:
        yield started


@pytest.fixture
def cluster(formed: Cluster) -> Cluster:
    """Three masters, and a replica of each."""
    formed.heal()
    return formed


def journal(run: Run) -> str:
    return Keys(run.namespace).journal(run.publisher_id)


def run_on(cluster: Cluster, node: Node, shell: str, **options: object) -> Run:
    """A run whose exporter's keys are on a node."""
    made = (Run(shell, cluster.url, f"fio-{number}", **options) for number in itertools.count())
    return next(run for run in made if cluster.owner(journal(run)) is node)


async def test_the_owner_of_the_exporters_keys_dies_in_the_middle_of_a_round(cluster: Cluster) -> None:
    first, second, third = cluster.masters
    print()
    async with started(
        *(run_on(cluster, first, shell) for shell in ("sync", "asyncio")),
        run_on(cluster, second, "sync"),
        run_on(cluster, third, "asyncio"),
    ) as runs:
        await rounds(runs, 0)
        pending = await begun(runs, 1)
        first.kill()
        print("ended", await ended(runs, pending, 1))
        print("rounds", await rounds(runs, 2))
        print("rounds", await rounds(runs, 3))
        await finished(runs)


async def test_acknowledged_signals_that_vanish_are_restored(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    node = cluster.masters[0]
    async with started(*(run_on(cluster, node, shell) for shell in ("sync", "asyncio"))) as runs:
        await rounds(runs, 0)
        await in_thread(cluster.replica(journal(runs[0])).lag)
        await rounds(runs, 1)
        pending = await begun(runs, 2)
        node.kill()
        print("ended", await ended(runs, pending, 2))
        await eventually(lambda: caplog.text.count(RESTORED) == 2, "both have noticed")
        print("rounds", await rounds(runs, 3))
        for run in runs:
            await run.responder("quick-late", replay="all")
        await finished(runs)


async def test_signals_that_vanish_while_nobody_waits_are_restored(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    node = cluster.masters[1]
    async with started(*(run_on(cluster, node, shell) for shell in ("sync", "asyncio"))) as runs:
        await rounds(runs, 0)
        replica = cluster.replica(journal(runs[0]))
        await in_thread(replica.lag)
        await rounds(runs, 1)
        node.kill()
        await in_thread(cluster.await_master, replica)
        print("rounds", await rounds(runs, 2))
        await eventually(lambda: caplog.text.count(RESTORED) == 2, "both have noticed")
        for run in runs:
            await run.responder("quick-late", replay="all")
        await finished(runs)


async def test_the_owner_of_the_presence_dies(cluster: Cluster) -> None:
    presence = cluster.owner(Keys("presence").presence)
    node = next(each for each in cluster.masters if each is not presence)
    async with started(
        *(run_on(cluster, node, shell, namespace="presence", presence_ttl=3) for shell in ("sync",))
    ) as runs:
        await rounds(runs, 0)
        pending = await begun(runs, 1)
        presence.kill()
        print("ended", await ended(runs, pending, 1))
        print("rounds", await rounds(runs, 2))
        await finished(runs)


async def test_a_broadcast_reaches_responders_at_every_node(
    cluster: Cluster, shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parties, heard = Parties(shell, cluster.url), []
    for node in cluster.nodes:
        address = (HOST, node.port)
        monkeypatch.setattr(
            topology.random, "shuffle", lambda known, first=address: known.sort(key=lambda each: each != first)
        )
        heard.append((await parties.listening(namespace="everywhere"))[1])
        channel = Keys("everywhere").signals
        assert node.ask("PUBSUB", "NUMSUB", channel) == [channel, 1]
    exporter = await parties.exporter(namespace="everywhere")
    await exporter.initialize(["start"])
    for number in range(10):
        await exporter.publish_signal("start", sample=number, wait=False)
    for each in heard:
        assert [(await each.next("start")).sample_no for _ in range(10)] == list(range(10))
    await parties.close()
