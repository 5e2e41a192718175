"""Servers that do not allow everything: what can go on goes on, and what is lost is said once."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
import redis

from state_signals import Outcome, Signal
from state_signals.server import EmbeddedServer
from tests.faults.runs import Run, command, cut_all, held, warnings
from tests.parties import Parties, eventually

STREAM, JOURNAL = "the stream of responses", "the journal: what is published"
CHANNEL = "the version 1 channel"
MISSED, MORTAL, ONCE = "the journal: signals", "presence: if this responder dies", "redelivery: this responder"

EXPORTERS: dict[str, tuple[list[str], list[str]]] = {
    "streams": (["-xadd", "-xread", "-xrange", "-xrevrange"], [STREAM, JOURNAL]),
    "reading streams": (["-xread"], [STREAM]),
    "transactions": (["-multi", "-exec"], [STREAM, JOURNAL]),
    "scripts": (["-eval", "-evalsha", "-script"], []),
    "hashes": (["-@hash"], [JOURNAL]),
    "keys": (["resetkeys"], [STREAM, JOURNAL]),
    "the list of exporters": (["resetkeys", "~state-signals:{*", "~state-signals:presence"], [JOURNAL]),
    "the version 1 channel": (["resetchannels", "&event-signal-pubsub", "&event-signal-redelivery:*"], [CHANNEL]),
}
"""What an exporter may not use, and what it says that it goes without."""

RESPONDERS: dict[str, tuple[list[str], list[str]]] = {
    "streams": (["-xadd", "-xread", "-xrange", "-xrevrange"], [MISSED]),
    "transactions": (["-multi", "-exec"], []),
    "scripts": (["-eval", "-evalsha", "-script"], []),
    "keys": (["resetkeys"], [MISSED, MORTAL]),
    "presence": (["resetkeys", "~state-signals:{*", "~state-signals:exporters"], [MORTAL]),
    "redelivery": (["resetchannels", "&event-signal-pubsub", "&event-signal-response"], [ONCE]),
}
"""What a responder may not use, and what it says that it goes without."""


@pytest.fixture
def url(own_server: EmbeddedServer) -> str:
    return own_server.url


def restricted(server: EmbeddedServer, rules: list[str]) -> str:
    """Return the URL for a user that may do everything but what the rules take away."""
    command(server.url, "ACL", "SETUSER", "some", "on", ">secret", "~*", "&*", "+@all", *rules)
    return f"redis://some:secret@127.0.0.1:{server.port}"


async def runs(run: Run, gate: threading.Event) -> None:
    """Check that rounds end with the outcome of each responder by its name, and in time."""
    good, bad, slow = run.scripts
    assert (await run.round()).ok
    gate.clear()
    result = await run.round("stop", timeout=0.3)
    gate.set()
    outcomes = {name: report.outcome for name, report in result.reports.items()}
    assert outcomes == {good.name: Outcome.SUCCEEDED, bad.name: Outcome.FAILED, slow.name: Outcome.MISSING}
    assert result.elapsed < 0.8
    assert (await run.round()).ok


async def start(shell: str, run: Run, gate: threading.Event, responders: str, **options: Any) -> None:
    """Start an exporter and three responders: one succeeds, one fails, and one waits for the gate."""

    def fail(signal: Signal) -> None:
        if signal.event == "stop":
            raise OSError("no space")

    gate.set()
    for name, act in (("good", None), ("bad", fail), ("slow", held(shell, gate))):
        await run.responder(name, act, responder_id=name, url=responders)
    await run.begin(**options)


async def cut(server: EmbeddedServer) -> None:
    """Cut all connections, and wait until everybody listens again."""

    def listening() -> Any:
        return command(server.url, "PUBSUB", "NUMSUB", "event-signal-pubsub", "event-signal-response")

    before = listening()
    with redis.Redis.from_url(server.url) as client:
        cut_all(client)
    await eventually(lambda: listening() == before, "the connections to what is published")


@pytest.mark.parametrize("missing", EXPORTERS)
async def test_an_exporter_that_may_not_use_everything(
    shell: str, parties: Parties, own_server: EmbeddedServer, missing: str
) -> None:
    rules, losses = EXPORTERS[missing]
    run, gate = Run(parties), threading.Event()
    with warnings("does not allow it") as warned:
        await start(shell, run, gate, own_server.url, url=restricted(own_server, rules))
        await runs(run, gate)
        await cut(own_server)
        await runs(run, gate)
        await run.check(is_hasty=True)
    assert [[loss for loss in losses if loss in text] for text in warned] == [[loss] for loss in losses]


@pytest.mark.parametrize("missing", RESPONDERS)
async def test_responders_that_may_not_use_everything(
    shell: str, parties: Parties, own_server: EmbeddedServer, missing: str
) -> None:
    rules, losses = RESPONDERS[missing]
    run, gate = Run(parties), threading.Event()
    with warnings("does not allow it") as warned:
        await start(shell, run, gate, restricted(own_server, rules))
        await runs(run, gate)
        await cut(own_server)
        await runs(run, gate)
        await run.check(is_hasty=True)
        # Whether it may read the journal, it knows when it has to.
        await eventually(lambda: len(warned) >= len(losses) * 3, "what all three say")
    said = Counter(loss for text in warned for loss in losses if loss in text)
    assert said == dict.fromkeys(losses, 3)
    assert len(warned) == said.total()


async def test_without_a_journal_rounds_hold_and_nothing_of_it_is_stored(
    shell: str, parties: Parties, own_server: EmbeddedServer
) -> None:
    run, gate = Run(parties), threading.Event()
    with warnings("does not allow it") as warned:
        await start(shell, run, gate, own_server.url, journal=False)
        await runs(run, gate)
        await cut(own_server)
        await runs(run, gate)
        await run.check(is_hasty=True)
    assert warned == []
    assert command(own_server.url, "KEYS", "*") == [b"state-signals:presence"]


async def test_an_exporter_that_may_no_longer_read_its_stream(
    shell: str, parties: Parties, own_server: EmbeddedServer
) -> None:
    run, gate = Run(parties), threading.Event()
    with warnings("does not allow it") as warned:
        await start(shell, run, gate, own_server.url, url=restricted(own_server, []))
        await runs(run, gate)
        command(own_server.url, "ACL", "SETUSER", "some", "-xread")
        # What it waits for was allowed when it began to, and ends after a while.
        await eventually(lambda: warned, "what goes without")
        await runs(run, gate)
        await run.check(is_hasty=True)
    assert len(warned) == 1
    assert STREAM in warned[0]
