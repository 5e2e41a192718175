"""Exporters whose processes are killed or stopped, and that are resumed in others."""

from __future__ import annotations

import signal
import sys
import textwrap
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from state_signals import PublisherIdInUse
from state_signals.transport.keys import Keys
from tests.faults.measures import measured
from tests.faults.processes import Process, Processes, resumed
from tests.parties import Parties, eventually

PATIENCE = 30.0
"""Seconds that a round takes only if something is wrong."""

AT_ONCE = 5.0
"""Seconds that something takes at the most that waits for nobody: much less than a proof of life is good for."""


@pytest.fixture
def url(redis_url: str) -> str:
    return redis_url


@pytest.fixture
def processes(shell: str, redis_url: str) -> Iterator[Processes]:
    started = Processes(shell, redis_url)
    yield started
    started.close()


async def opened(processes: Processes, *members: Process, **options: Any) -> Process:
    """Return an exporter in a process of its own, whose roster has these members."""
    exporter = await processes.exporter(publisher_id="fio-1", **options)
    arguments = {"legal_events": ["start"], "tag": "nightly", "timeout": PATIENCE}
    said = await exporter.does("initialize_and_wait", await_sub_count=len(members), **arguments)
    assert said == {"result": 0}
    return exporter


async def publishes(exporter: Process, sample: int) -> None:
    said = await exporter.does("publish_signal", event="start", sample=sample, timeout=PATIENCE)
    assert said["result"]["ok"], said


async def is_resumed(exporter: Any, *members: Process) -> None:
    """Check that everything is back."""
    assert exporter.pub_id == "fio-1"
    assert exporter.proc_name == "fio"
    assert exporter.subs == {each.name for each in members}
    assert exporter.legal_events == ["start"]
    assert exporter._core.tag == "nightly"


def positions(member: Process) -> list[int]:
    return [each["seq"] for each in member.said if "seq" in each]


def kept(url: str) -> dict[str, Any]:
    """What the server has of the exporter, but for how far it has read."""
    keys = Keys(None)
    with redis.Redis.from_url(url) as client:
        record: Any = client.hgetall(keys.record("fio-1"))
        return {
            "owner": client.get(keys.owner("fio-1")),
            "journal": client.xrange(keys.journal("fio-1")),
            "record": {name: value for name, value in record.items() if name != b"position"},
            "roster": client.hgetall(keys.roster("fio-1")),
        }


async def test_an_exporter_that_was_killed_in_a_round_is_resumed_at_once(
    parties: Parties, processes: Processes
) -> None:
    members = await processes.members("left", "right")
    killed = await opened(processes, *members)
    await publishes(killed, 1)
    metadata = {"left": ["hold"]}
    killed.write(["publish_signal", {"event": "start", "sample": 2, "metadata": metadata, "timeout": PATIENCE}])
    for each in members:
        await each.has_seen(1, 2)
    killed.kill()

    began = time.monotonic()
    exporter = await resumed(parties, "fio-1")
    took = time.monotonic() - began
    assert took < AT_ONCE
    measured(took, "resumed")
    await is_resumed(exporter, *members)
    members[0].write()
    for sample in (3, 4):
        result = await exporter.publish_signal("start", sample, timeout=PATIENCE)
        assert result.ok
        assert result.succeeded.keys() == {each.name for each in members}
    for each in members:
        await each.has_seen(1, 2, 3, 4)
        assert positions(each) == [1, 2, 3, 4, 5]
    await exporter.close()
    assert [await each.ends() for each in members] == [0, 0]


async def test_an_exporter_is_killed_again_and_again(parties: Parties, processes: Processes) -> None:
    members = await processes.members("left", "right")
    exporter = await opened(processes, *members)
    generations = 3
    for sample in range(1, generations + 1):
        await publishes(exporter, sample)
        # This one may be sent or not when the end comes.
        exporter.write(["publish_signal", {"event": "start", "sample": 100 * sample, "timeout": PATIENCE}])
        exporter.kill()
        exporter = await processes.exporter("resume", publisher_id="fio-1")
        said = exporter.said[0]
        assert said == {"id": "fio-1", "subs": sorted(each.name for each in members), "events": ["start"]}
    await publishes(exporter, generations + 1)
    for each in members:
        await eventually(lambda: generations + 1 in each.seen, "the last signal")  # noqa: B023
        assert [sample for sample in each.seen if sample < 100] == list(range(1, generations + 2))
        # Each once and in order, whatever its exporter came to.
        assert len(set(each.seen)) == len(each.seen)
        assert positions(each) == list(range(1, len(each.seen) + 2))
    assert members[0].seen == members[1].seen


async def test_a_member_that_was_stopped_meanwhile_misses_nothing(parties: Parties, processes: Processes) -> None:
    sleeper = await processes.member()
    killed = await opened(processes, sleeper, presence_ttl=1)
    await publishes(killed, 1)
    sleeper.stop()
    assert not (await killed.does("publish_signal", event="start", sample=2, timeout=PATIENCE))["result"]["ok"]
    killed.kill()
    exporter = await resumed(parties, "fio-1", presence_ttl=1)
    result = await exporter.publish_signal("start", 3, timeout=PATIENCE)
    assert result.lost.keys() == {sleeper.name}
    sleeper.thaw()
    await eventually(lambda: exporter.counters.get("late"), "the late answer")
    assert (await exporter.publish_signal("start", 4, timeout=PATIENCE)).ok
    await sleeper.has_seen(1, 2, 3, 4)
    assert positions(sleeper) == list(range(1, 6))


async def test_who_has_left_and_who_has_come_meanwhile_is_known(parties: Parties, processes: Processes) -> None:
    stays, leaves = await processes.members("stays", "leaves")
    killed = await opened(processes, stays, leaves)
    killed.kill()
    leaves.terminate()
    assert await leaves.ends() == 0
    (comes,) = await processes.members("comes")
    await eventually(lambda: any(each.get("event") == "initialization" for each in comes.said), "the subscription")
    exporter = await resumed(parties, "fio-1")
    await eventually(lambda: exporter.subs == {stays.name, comes.name}, "the roster")
    assert (await exporter.publish_signal("start", 1, timeout=PATIENCE)).ok
    await stays.has_seen(1)
    await comes.has_seen(1)


async def test_who_comes_between_two_of_one_name_hears_nothing_of_the_first(processes: Processes) -> None:
    early = await processes.member("early")
    first = await opened(processes, early)
    await publishes(first, 1)
    assert await first.does("close") == {"result": None}
    first.finish()
    assert await first.ends() == 0
    assert await early.ends() == 0
    late = await processes.member("late")
    second = await opened(processes, late)
    await publishes(second, 2)
    assert await second.does("close") == {"result": None}
    assert await late.ends() == 0
    assert [each["event"] for each in late.said[1:]] == ["initialization", "start", "shutdown"]
    assert late.seen == [2]


async def test_of_two_with_one_name_the_second_is_refused(parties: Parties, processes: Processes) -> None:
    member = await processes.member()
    first = await opened(processes, member)
    began = time.monotonic()
    for method in ("new", "resume"):
        second = await processes.exporter(method, publisher_id="fio-1")
        assert second.said == [{"error": "PublisherIdInUse"}]
        assert await second.ends() == 0
        assert second.errors == []
    with pytest.raises(PublisherIdInUse, match="fio-1"):
        await parties.exporter(publisher_id="fio-1")
    assert time.monotonic() - began < AT_ONCE
    await publishes(first, 1)
    await member.has_seen(1)


async def test_an_exporter_that_is_interrupted_in_a_round_says_good_bye(processes: Processes) -> None:
    member = await processes.member()
    exporter = processes.launch(sys.executable, "-c", textwrap.dedent(INTERRUPTED[processes.shell]), processes.url)
    await member.has_seen(1)
    exporter.interrupt()
    assert await exporter.ends() == -signal.SIGINT
    await eventually(lambda: exporter.errors[-1:] == ["KeyboardInterrupt\n"], f"the error ({exporter.errors})")
    member.write()
    assert await member.ends() == 0
    assert [each.get("event") for each in member.said[1:]] == ["initialization", "start", "shutdown"]


INTERRUPTED = {
    "sync": """
    import sys
    from state_signals import SignalExporter

    with SignalExporter("fio", url=sys.argv[1]) as exporter:
        assert exporter.initialize_and_wait(1, ["start"]) == 0
        exporter.publish_signal("start", 1, timeout=None, metadata={"pcp": ["hold"]})
    """,
    "asyncio": """
    import asyncio, sys
    from state_signals.asyncio import SignalExporter

    async def main():
        async with SignalExporter("fio", url=sys.argv[1]) as exporter:
            assert await exporter.initialize_and_wait(1, ["start"]) == 0
            await exporter.publish_signal("start", 1, timeout=None, metadata={"pcp": ["hold"]})

    asyncio.run(main())
    """,
}


@pytest.mark.parametrize("what", ["publish", "close", "in-a-round"])
async def test_a_stopped_exporter_that_was_replaced_harms_nothing(
    parties: Parties, processes: Processes, what: str
) -> None:
    member = await processes.member()
    stopped = await opened(processes, member, presence_ttl=1)
    await publishes(stopped, 1)
    publish = {"event": "start", "sample": 2, "timeout": PATIENCE}
    samples = [1]
    if what == "in-a-round":
        stopped.write(["publish_signal", {**publish, "metadata": {"pcp": ["hold"]}}])
        samples.append(2)
        await member.has_seen(*samples)
    stopped.stop()
    # Its process is there: as long as its claim lasts, nobody knows that it will not go on.
    with pytest.raises(PublisherIdInUse):
        await resumed(parties, "fio-1", presence_ttl=1)
    await eventually(lambda: kept(parties.url)["owner"] is None, "the end of the claim")
    exporter = await resumed(parties, "fio-1", presence_ttl=1)
    await is_resumed(exporter, member)
    publishing = parties.task(exporter.publish_signal("start", 3, timeout=PATIENCE))
    await eventually(lambda: exporter._core._server.outgoing.head == len(samples) + 2, "the next signal")

    before, count = kept(parties.url), len(stopped.said)
    if what == "publish":
        stopped.write(["publish_signal", publish])
    elif what == "close":
        stopped.write(["close", {}])
    stopped.thaw()
    assert await stopped.says(count + 1) == ({"result": None} if what == "close" else {"error": "PublisherIdInUse"})
    if what != "close":
        assert await stopped.does("close") == {"result": None}
    stopped.finish()
    assert await stopped.ends() == 0
    assert kept(parties.url) == before

    member.write()
    assert (await publishing).ok
    assert (await exporter.publish_signal("start", 4, timeout=PATIENCE)).ok
    await member.has_seen(*samples, 3, 4)
    assert positions(member) == list(range(1, len(samples) + 4))
    assert exporter.subs == {member.name}


async def test_a_stopped_exporter_that_nobody_replaced_goes_on(processes: Processes, redis_url: str) -> None:
    member = await processes.member()
    stopped = await opened(processes, member, presence_ttl=1)
    metadata = {"pcp": ["hold"]}
    stopped.write(["publish_signal", {"event": "start", "sample": 1, "metadata": metadata, "timeout": PATIENCE}])
    await member.has_seen(1)
    stopped.stop()
    member.write()
    await eventually(lambda: kept(redis_url)["owner"] is None, "the end of the claim")
    stopped.thaw()
    # It was answered in time, and nobody takes the member for lost because the exporter could not look.
    assert (await stopped.says(3))["result"]["ok"]
    await publishes(stopped, 2)
    await member.has_seen(1, 2)
    await eventually(lambda: kept(redis_url)["owner"] is not None, "a new claim")
