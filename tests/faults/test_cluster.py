"""A Cluster: every exporter's keys on some node, its responders on any, and what happens when nodes fail."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import redis.asyncio

from state_signals import Outcome
from state_signals.transport.keys import Keys
from tests.faults.failovers import (
    OTHER,
    PATIENCE,
    RESTORED,
    Run,
    begun,
    ended,
    finished,
    lost_answers,
    measured,
    rounds,
    started,
)
from tests.faults.groups import HOST, Cluster, Node, until
from tests.parties import Parties, eventually, in_thread


@pytest.fixture(scope="module")
def formed() -> Iterator[Cluster]:
    with Cluster() as started:
        yield started


@pytest.fixture
def cluster(formed: Cluster) -> Cluster:
    """Three masters, and a replica of each."""
    formed.heal()
    return formed


def run_on(cluster: Cluster, node: Node, shell: str, **options: Any) -> Run:
    """A run whose exporter's keys are on a node."""
    made = (Run(shell, cluster.url, f"fio-{number}", **options) for number in itertools.count())
    return next(run for run in made if cluster.owner(run.keys.journal(run.publisher_id)) is node)


def both_on(cluster: Cluster, node: Node, **options: Any) -> list[Run]:
    """A run of each shell whose exporter's keys are on a node."""
    return [run_on(cluster, node, shell, **options) for shell in OTHER]


async def test_the_owner_of_the_exporters_keys_dies_in_the_middle_of_a_round(cluster: Cluster) -> None:
    first, second, third = cluster.masters
    elsewhere = [run_on(cluster, second, "sync"), run_on(cluster, third, "asyncio")]
    async with started(*both_on(cluster, first), *elsewhere) as runs:
        await rounds(runs, 0)
        pending = await begun(runs, 1)
        first.kill()
        measured(await ended(runs, pending, 1))
        await rounds(runs, 2)
        await finished(runs)


async def test_the_owner_is_replaced_in_the_middle_of_a_round(cluster: Cluster) -> None:
    node = cluster.masters[2]
    async with started(*both_on(cluster, node)) as runs:
        await rounds(runs, 0)
        pending = await begun(runs, 1)
        replica = cluster.replica(runs[0].keys.journal(runs[0].publisher_id))
        assert replica.ask("CLUSTER", "FAILOVER") in ("OK", True)
        sample, longest = 2, await ended(runs, pending, 1)
        while node.info("replication")["role"] == "master":
            longest = max(longest, await rounds(runs, sample))
            sample += 1
        measured(max(longest, await rounds(runs, sample)))
        await finished(runs)


async def test_acknowledged_signals_that_vanish_in_the_middle_of_a_round_are_restored(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    node = cluster.masters[0]
    async with started(*both_on(cluster, node)) as runs:
        await rounds(runs, 0)
        await in_thread(cluster.replica(runs[0].keys.journal(runs[0].publisher_id)).lag)
        await rounds(runs, 1)
        pending = await begun(runs, 2)
        node.kill()
        measured(await ended(runs, pending, 2))
        await eventually(lambda: caplog.text.count(RESTORED) == 2, "both have noticed")
        await rounds(runs, 3)
        for run in runs:
            await run.observe()
        await finished(runs)


async def test_acknowledged_signals_that_vanish_while_nobody_waits_are_restored(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    node = cluster.masters[1]
    async with started(*both_on(cluster, node)) as runs:
        await rounds(runs, 0)
        replica = cluster.replica(runs[0].keys.journal(runs[0].publisher_id))
        await in_thread(replica.lag)
        await rounds(runs, 1)
        began = time.monotonic()
        node.kill()
        await in_thread(cluster.await_master, replica)
        await eventually(lambda: caplog.text.count(RESTORED) == 2, "both have noticed")
        measured(time.monotonic() - began)
        await rounds(runs, 2)
        for run in runs:
            await run.observe()
        await finished(runs)


async def test_acknowledged_answers_that_vanish_unread_are_given_again(cluster: Cluster) -> None:
    node = cluster.masters[0]
    run = run_on(cluster, node, "sync")

    async def taken_over(node: Node) -> None:
        await in_thread(cluster.await_master, node)

    try:
        replica = cluster.replica(run.keys.journal(run.publisher_id))
        measured(await lost_answers(run, node, replica, taken_over))
    finally:
        await run.close()


async def test_the_owner_hangs_in_the_middle_of_a_round(cluster: Cluster, impatient: None) -> None:
    node = cluster.masters[1]
    async with started(*both_on(cluster, node)) as runs:
        await rounds(runs, 0)
        pending = await begun(runs, 1)
        node.pause()
        measured(await ended(runs, pending, 1))
        await rounds(runs, 2)
        node.resume()
        for sample in range(3, 13):
            await rounds(runs, sample)
        await in_thread(
            until, lambda: node.info("replication")["role"] == "slave", "the old master follows the new one"
        )
        await rounds(runs, 13)
        await finished(runs)


async def test_presence_is_known_wherever_it_is_kept(cluster: Cluster) -> None:
    keys = Keys("presence")
    owner, heir = cluster.owner(keys.presence), cluster.replica(keys.presence)
    elsewhere = (name for name in map(str, itertools.count()) if cluster.owner(keys.journal(name)) is not owner)
    options: dict[str, Any] = {"namespace": keys.namespace, "presence_ttl": 3}
    made: list[tuple[Parties, Any, asyncio.Task[Any]]] = []
    for shell in OTHER:
        parties, fio = Parties(shell, cluster.url), next(elsewhere)
        responder, heard = await parties.listening(responder_id=f"pcp-{shell}", **options)
        responder.lock_id(fio)
        exporter = await parties.exporter(publisher_id=fio, **options)
        waiting = parties.task(exporter.initialize_and_wait(1, ["start"], timeout=PATIENCE))
        await responder.srespond(await heard.next("initialization"))
        assert await waiting == 0
        made.append((parties, responder, parties.task(exporter.publish_signal("start", timeout=PATIENCE))))
        await heard.next("start")
    owner.kill()
    await in_thread(cluster.await_master, heir)

    def oldest() -> float:
        return min(float(heir.client.zscore(keys.presence, responder.responder_id) or 0) for _, responder, _ in made)

    # Whoever lives shows it again, and is not taken for lost although nobody could see it for a while.
    before = oldest()
    await eventually(lambda: oldest() > before + 3, "proofs of life")
    assert not any(round_.done() for _, _, round_ in made)
    stopped = time.monotonic()
    for parties, responder, _ in made:
        # As good as dead: nothing in it shows that it lives.
        await (in_thread(responder._link.stop) if parties.shell == "sync" else responder._link.stop())
    for parties, responder, round_ in made:
        lost = (await round_).lost
        assert {name: report.outcome for name, report in lost.items()} == {responder.responder_id: Outcome.LOST}
        await parties.close()
    measured(time.monotonic() - stopped)


async def test_a_broadcast_reaches_responders_at_every_node(
    cluster: Cluster, shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parties, keys, heard = Parties(shell, cluster.url), Keys(f"everywhere-{shell}"), []
    for node in cluster.nodes:
        address = (HOST, node.port)
        # Nodes are tried at random.
        monkeypatch.setattr(random, "shuffle", lambda known, first=address: known.sort(key=lambda each: each != first))
        heard.append((await parties.listening(namespace=keys.namespace))[1])
        assert node.ask("PUBSUB", "NUMSUB", keys.signals) == [keys.signals, 1]
    exporter = await parties.exporter(namespace=keys.namespace)
    await exporter.initialize(["start"])
    for number in range(10):
        await exporter.publish_signal("start", sample=number, wait=False)
    for each in heard:
        assert [(await each.next("start")).sample_no for _ in range(10)] == list(range(10))
    await parties.close()


async def test_clients_of_the_users_follow_the_slots(cluster: Cluster) -> None:
    node = cluster.masters[0]
    port = cluster.nodes[1].port
    clients: dict[str, Any] = {
        "sync": redis.RedisCluster(host=HOST, port=port, decode_responses=True),
        "asyncio": redis.asyncio.RedisCluster(host=HOST, port=port),
    }
    await clients["asyncio"].initialize()
    runs = both_on(cluster, node, clients=clients)
    async with started(*runs):
        assert [run.exporter.redis for run in runs] == list(clients.values())
        await rounds(runs, 0)
        pending = await begun(runs, 1)
        node.kill()
        measured(await ended(runs, pending, 1))
        await rounds(runs, 2)
        await finished(runs)
    key = runs[0].keys.journal(runs[0].publisher_id) + ":mine"
    assert clients["sync"].set(key, "ä")
    assert clients["sync"].get(key) == "ä"
    assert await clients["asyncio"].get(key) == "ä".encode()
    clients["sync"].close()
    await clients["asyncio"].aclose()


async def test_a_password_is_told_to_every_node():
    with Cluster("p@ss/w:rd?") as cluster:
        async with started(*(run_on(cluster, node, "sync") for node in cluster.masters)) as runs:
            await rounds(runs, 0)
            await finished(runs)
