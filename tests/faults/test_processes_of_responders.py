"""Responders whose processes are killed, stopped, started again, or just take long."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from state_signals import Outcome, PublishResult
from state_signals.transport.keys import Keys
from tests.faults.measures import measured
from tests.faults.processes import Processes
from tests.parties import Parties, eventually

TTL = 1.5
"""Seconds that a proof of life is good for here."""

SLACK = 2.0 + 3.0
"""Seconds by which a loss is noticed after it could have been, at the latest; the rest is for a machine under load."""

PATIENCE = 30.0
"""Seconds that a round takes only if something is wrong."""


@pytest.fixture
def url(redis_url: str) -> str:
    return redis_url


@pytest.fixture
def processes(shell: str, redis_url: str) -> Iterator[Processes]:
    started = Processes(shell, redis_url)
    yield started
    started.close()


async def opened(parties: Parties, count: int, **options: Any) -> Any:
    """Return an exporter whose roster has so many members."""
    exporter = await parties.exporter(**options)
    assert await exporter.initialize_and_wait(count, ["start"], tag="t", timeout=PATIENCE, periodic=True) == 0
    return exporter


def outcomes(result: PublishResult) -> dict[str, Outcome]:
    return {name: report.outcome for name, report in result.reports.items()}


def server_time(client: redis.Redis) -> float:
    time: Any = client.time()
    return float(time[0]) + float(time[1]) / 1e6


class Proofs:
    """The proofs of life that the server has, and when an outcome was told, by its clock."""

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url)
        self.told: dict[str, float] = {}

    def newest(self, name: str) -> float:
        score = self.client.zscore(Keys(None).presence, name)
        assert isinstance(score, float)
        return score

    def outcome(self, name: str, _: object) -> None:
        self.told[name] = server_time(self.client)


@pytest.fixture
def proofs(redis_url: str) -> Iterator[Proofs]:
    seen = Proofs(redis_url)
    yield seen
    seen.client.close()


@pytest.mark.parametrize("whose", ["exporter", "responder"])
async def test_a_killed_responder_is_lost_by_name_and_soon(
    parties: Parties, processes: Processes, proofs: Proofs, whose: str
) -> None:
    ttl = {"presence_ttl": TTL}
    victim, left, right = await processes.members("victim", "left", "right", **(ttl if whose == "responder" else {}))
    exporter = await opened(parties, 3, **(ttl if whose == "exporter" else {}))
    others = dict.fromkeys((left.name, right.name), Outcome.SUCCEEDED)

    publishing = parties.task(
        exporter.publish_signal("start", 1, metadata={"victim": ["hold"]}, timeout=PATIENCE, on_outcome=proofs.outcome)
    )
    await victim.has_seen(1)
    victim.kill()
    killed = server_time(proofs.client)
    result = await publishing
    assert outcomes(result) == {victim.name: Outcome.LOST, **others}
    assert result.messages == {each.name: f"{name} did 1" for each, name in ((left, "left"), (right, "right"))}
    assert proofs.told[victim.name] >= proofs.newest(victim.name) + TTL
    assert proofs.told[victim.name] <= killed + TTL + SLACK
    measured(proofs.told[victim.name] - killed, f"lost (ttl {TTL})")
    # The others were not held up by that.
    assert all(proofs.told[each] < proofs.told[victim.name] for each in others)

    # It is known by now: nobody waits for it again.
    result = await exporter.publish_signal("start", 2, timeout=PATIENCE)
    assert outcomes(result) == {victim.name: Outcome.LOST, **others}
    assert result.elapsed < SLACK
    measured(result.elapsed, "the next round")

    # Unless that is asked for.
    result = await exporter.publish_signal("start", 3, timeout=TTL, on_lost="wait")
    assert outcomes(result) == {victim.name: Outcome.LOST, **others}
    assert TTL <= result.elapsed < TTL + SLACK
    for each in (left, right):
        await each.has_seen(1, 2, 3)


async def test_a_killed_responder_of_version_1_is_missing_not_lost(parties: Parties, processes: Processes) -> None:
    old, (new,) = await processes.version_1("old"), await processes.members("new")
    exporter = await opened(parties, 2, presence_ttl=1)
    assert (await exporter.publish_signal("start", timeout=PATIENCE)).ok
    old.kill()
    new.kill()
    result = await exporter.publish_signal("start", timeout=2)
    assert outcomes(result) == {old.name: Outcome.MISSING, new.name: Outcome.LOST}
    assert result.elapsed >= 2


@pytest.mark.parametrize("when", ["idle", "acting"])
async def test_a_stopped_responder_is_lost_and_welcome_back(
    parties: Parties, processes: Processes, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    victim, other = await processes.members("victim", "other")
    exporter = await opened(parties, 2, presence_ttl=TTL)
    both = {victim.name: Outcome.LOST, other.name: Outcome.SUCCEEDED}
    if when == "idle":
        victim.stop()
    publishing = parties.task(exporter.publish_signal("start", 1, metadata={"victim": ["hold"]}, timeout=PATIENCE))
    if when == "acting":
        await victim.has_seen(1)
        victim.stop()
    assert outcomes(await publishing) == both
    for sample in (2, 3):
        assert outcomes(await exporter.publish_signal("start", sample, timeout=PATIENCE)) == both
    assert exporter.subs == both.keys()

    # What it says now comes too late for all of them.
    victim.write()
    victim.thaw()
    thawed = time.monotonic()
    await eventually(lambda: exporter.counters.get("late") == 3, "three late answers")
    assert outcomes(publishing.result()) == both
    # Counted first, logged then.
    await eventually(lambda: sum("does not count" in line for line in caplog.messages) == 3, "three lines")
    result = await exporter.publish_signal("start", 4, timeout=PATIENCE)
    assert outcomes(result) == dict.fromkeys(both, Outcome.SUCCEEDED)
    measured(time.monotonic() - thawed, "back in a round")
    await victim.has_seen(1, 2, 3, 4)
    await other.has_seen(1, 2, 3, 4)
    assert not any(each.get("redelivered") for each in victim.said)


async def test_a_stopped_responder_that_is_waited_for_counts_once_it_is_back(
    parties: Parties, processes: Processes
) -> None:
    (victim,) = await processes.members("victim")
    exporter = await opened(parties, 1, presence_ttl=1)
    victim.stop()
    publishing = parties.task(exporter.publish_signal("start", 1, timeout=PATIENCE, on_lost="wait"))
    await eventually(lambda: _pending(exporter), "the round")
    # It is lost by now, for whoever does not wait.
    assert (await exporter.publish_signal("start", 2, timeout=PATIENCE)).lost
    assert not publishing.done()
    victim.thaw()
    assert (await publishing).ok
    await victim.has_seen(1, 2)


# Who just takes long is not lost


async def test_a_responder_that_acts_for_long_stays_alive(parties: Parties, processes: Processes) -> None:
    (slow,) = await processes.members("slow")
    exporter = await opened(parties, 1, presence_ttl=TTL)
    result = await exporter.publish_signal("start", 1, metadata={"slow": ["compute", 3.0]}, timeout=PATIENCE)
    assert outcomes(result) == {slow.name: Outcome.SUCCEEDED}
    assert result.elapsed >= 3
    assert (await exporter.publish_signal("start", 2, timeout=PATIENCE)).ok


async def test_a_stall_timer_cuts_off_who_says_nothing_and_no_one_else(parties: Parties, processes: Processes) -> None:
    silent, busy = await processes.members("silent", "busy")
    exporter = await opened(parties, 2, presence_ttl=TTL)
    told: dict[str, float] = {}
    began = time.monotonic()
    result = await exporter.publish_signal(
        "start",
        1,
        metadata={"silent": ["sleep", 2.5], "busy": ["report", 3.0]},
        timeout=PATIENCE,
        stall_timeout=TTL,
        on_outcome=lambda name, _: told.update({name: time.monotonic() - began}),
    )
    assert outcomes(result) == {silent.name: Outcome.MISSING, busy.name: Outcome.SUCCEEDED}
    assert told[silent.name] >= TTL
    assert told[busy.name] >= 3
    # Both are alive, and here for the next one.
    await eventually(lambda: exporter.counters.get("late") == 1, "the late answer")
    assert (await exporter.publish_signal("start", 2, timeout=PATIENCE)).ok


async def test_a_function_that_blocks_the_loop_hides_that_its_responder_lives(
    parties: Parties, processes: Processes
) -> None:
    if processes.shell == "sync":
        pytest.skip("threads have no loop to block")
    (blocked,) = await processes.members("blocked")
    exporter = await opened(parties, 1, presence_ttl=1)
    result = await exporter.publish_signal("start", 1, metadata={"blocked": ["block", 2.0]}, timeout=PATIENCE)
    assert outcomes(result) == {blocked.name: Outcome.LOST}
    await eventually(lambda: exporter.counters.get("late") == 1, "the late answer")
    assert (await exporter.publish_signal("start", 2, timeout=PATIENCE)).ok
    await blocked.has_seen(1, 2)


# Who was started again


async def test_who_died_while_it_acted_gets_the_signal_again(parties: Parties, processes: Processes) -> None:
    acting, done = [(await processes.members(name, responder_id=name))[0] for name in ("acting", "done")]
    exporter = await opened(parties, 2)
    publishing = parties.task(
        exporter.publish_signal("start", 1, metadata={"acting": ["hold"]}, timeout=PATIENCE, on_outcome=_nothing)
    )
    await acting.has_seen(1)
    await eventually(lambda: _pending(exporter) == {"acting"}, "the answer of the other")
    acting.kill()
    done.kill()
    again, idle = [(await processes.members(name, responder_id=name))[0] for name in ("acting", "done")]
    await again.has_seen(1)
    assert not publishing.done()
    again.write()
    result = await publishing
    assert result.ok
    assert result.messages == {"acting": "acting did 1", "done": "done did 1"}
    assert (await exporter.publish_signal("start", 2, timeout=PATIENCE)).ok
    await again.has_seen(1, 2)
    await idle.has_seen(2)
    assert exporter.subs == {"acting", "done"}
    told = [each for each in again.said if each.get("event") == "start"]
    assert [each["redelivered"] for each in told] == [True, False]
    assert all(not each.get("redelivered") for each in idle.said)


async def test_all_that_was_owed_comes_again_in_order(parties: Parties, processes: Processes) -> None:
    (acting,) = await processes.members("acting", responder_id="pcp-1")
    exporter = await opened(parties, 1)
    publishing = []
    for sample in (1, 2, 3):
        publishing.append(
            parties.task(exporter.publish_signal("start", sample, metadata={"acting": ["hold"]}, timeout=PATIENCE))
        )
        await eventually(lambda: len(exporter._core._responses._rounds) == len(publishing), "an open round")
    await acting.has_seen(1)
    acting.kill()
    (again,) = await processes.members("acting", responder_id="pcp-1")
    for _ in publishing:
        again.write()
    assert all(result.ok for result in await asyncio.gather(*publishing))
    await again.has_seen(1, 2, 3)
    assert all(each["redelivered"] for each in again.said if each.get("event") == "start")


async def test_who_is_asked_to_end_while_it_acts_answers_first(parties: Parties, processes: Processes) -> None:
    ending, other = await processes.members("ending", "other")
    exporter = await opened(parties, 2)
    publishing = parties.task(exporter.publish_signal("start", 1, metadata={"ending": ["hold"]}, timeout=PATIENCE))
    await ending.has_seen(1)
    ending.terminate()
    ending.write()
    assert (await publishing).ok
    assert await ending.ends() == 0
    await eventually(lambda: exporter.subs == {other.name}, "the good-bye")
    assert (await exporter.publish_signal("start", 2, timeout=PATIENCE)).ok


async def test_who_is_interrupted_while_it_acts_has_left(parties: Parties, processes: Processes) -> None:
    ending, other = await processes.members("ending", "other")
    exporter = await opened(parties, 2)
    publishing = parties.task(exporter.publish_signal("start", 1, metadata={"ending": ["sleep", 60]}, timeout=PATIENCE))
    await ending.has_seen(1)
    ending.interrupt()
    assert outcomes(await publishing) == {ending.name: Outcome.LEFT, other.name: Outcome.SUCCEEDED}
    assert await ending.ends() == -signal.SIGINT
    assert exporter.subs == {other.name}


async def test_who_comes_back_under_another_name_is_another(parties: Parties, processes: Processes) -> None:
    (before,) = await processes.members("pcp")
    exporter = await opened(parties, 1, presence_ttl=1)
    publishing = parties.task(exporter.publish_signal("start", 1, metadata={"pcp": ["hold"]}, timeout=PATIENCE))
    await before.has_seen(1)
    before.kill()
    (after,) = await processes.members("pcp")
    await eventually(lambda: after.name in exporter.subs, "the new one on the roster")
    assert outcomes(await publishing) == {before.name: Outcome.LOST}
    result = await exporter.publish_signal("start", 2, timeout=PATIENCE)
    assert outcomes(result) == {before.name: Outcome.LOST, after.name: Outcome.SUCCEEDED}
    exporter.subs.discard(before.name)
    assert (await exporter.publish_signal("start", 3, timeout=PATIENCE)).ok
    await after.has_seen(2, 3)


def _nothing(*_: object) -> None:
    """Ask to be told of each outcome."""


def _pending(exporter: Any) -> set[str]:
    pending: set[str] = exporter._core._responses.pending()
    return pending
