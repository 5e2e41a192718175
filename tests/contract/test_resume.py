"""One exporter at a time has a `publisher_id`, and another one may go on where it has died."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from state_signals import PublisherIdInUse, ServerUnreachable, UnknownExporter
from state_signals.identity import new_owner
from tests.parties import EVENTS, Parties, Wire, eventually, in_thread
from tests.programs import DEADLINE, program


@pytest.fixture
def owner_is(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the exporters that are made from then on belong to another process, as far as others can tell."""

    def be(what: str) -> None:
        def owner() -> bytes:
            facts = json.loads(new_owner()) | {"id": uuid.uuid4().hex}
            if what == "the dead":
                # Somebody else has the number of the process by now.
                facts["start"] = "another time"
            elif what == "the distant":
                facts["place"] = "another host"
            return json.dumps(facts).encode()

        monkeypatch.setattr("state_signals.exporter_endpoint.new_owner", owner)

    return be


async def crashed(parties: Parties, *names: str, tag: str | None = "nightly", **options: Any) -> Any:
    """Return the members of the roster of an exporter that has died after the signal with the number 2."""
    members = [await parties.running(name, {"start": lambda signal: signal.tag}, responder_id=name) for name in names]
    exporter = await parties.exporter("fio", publisher_id="fio-1", runner_host="bench-1", **options)
    assert await exporter.initialize_and_wait(len(names), ["start", "stop"], tag, timeout=-1) == 0
    await exporter.publish_signal("start", wait=False)
    # What is not urgent may be on its way yet.
    core = getattr(exporter, "subject", exporter)._core
    await eventually(lambda: not (core._server.registration._joined or core._server.registration._gone))
    await parties.crash(exporter)
    return members


def position(wire: Wire) -> bytes | None:
    """How far an exporter has read the responses, as far as the server knows."""
    record = wire.ask("HGETALL", "state-signals:{fio-1}:record")
    return dict(zip(record[::2], record[1::2], strict=True)).get(b"position")


# Resuming


@pytest.mark.parametrize("owner", ["the dead", "the distant"])
async def test_roster_events_tag_and_numbers_come_back(parties: Parties, wire: Wire, owner_is: Any, owner: str) -> None:
    owner_is(owner)
    await crashed(parties, "a", "b", presence_ttl=0.5)
    owner_is("the living")
    exporter = await parties.resumed("fio-1")
    assert exporter.subs == {"a", "b"}
    assert exporter.legal_events == ["start", "stop"]
    assert (exporter.pub_id, exporter.proc_name, exporter.runner_host) == ("fio-1", "fio", "bench-1")
    assert exporter.init_listener.is_alive()
    with pytest.raises(ValueError, match="legal"):
        await exporter.publish_signal("benchmark-start")
    assert await exporter.publish_signal("start", tag="t", timeout=-1) == (0, {"a": "t", "b": "t"})
    assert [(signal["event"], signal["metadata"]["_state_signals"]["seq"]) for signal in wire.journal("fio-1")] == [
        ("initialization", 1),
        ("start", 2),
        ("start", 3),
    ]
    await exporter.close()
    # Those that are locked to the tag hear of the end.
    assert [signal["tag"] for signal in wire.journal("fio-1")][-1] == "nightly"


async def test_it_can_be_resumed_again_and_again(parties: Parties, wire: Wire, owner_is: Any) -> None:
    owner_is("the dead")
    await crashed(parties, "a")
    for number in range(3):
        exporter = await parties.resumed("fio-1")
        assert await exporter.publish_signal("start", tag=str(number), timeout=-1) == (0, {"a": str(number)})
        await parties.crash(exporter)


async def test_who_subscribed_after_its_death_is_on_the_roster(parties: Parties, wire: Wire, owner_is: Any) -> None:
    owner_is("the dead")
    await crashed(parties, "a")
    late = await parties.running("late", responder_id="late")
    await eventually(lambda: wire.ask("ZMSCORE", wire.keys.presence, "late") != [None], "its answer")
    exporter = await parties.resumed("fio-1")
    await eventually(lambda: exporter.subs == {"a", late.responder_id})


async def test_what_the_user_has_made_of_the_roster_comes_back(parties: Parties, wire: Wire, owner_is: Any) -> None:
    owner_is("the dead")
    first, (a, _) = await parties.crew("a", "b", publisher_id="fio-1")
    first.subs.discard("b")
    first.subs.add("c")
    await first.publish_signal("start", timeout=0)
    await eventually(lambda: set(wire.roster("fio-1")) == {"a", "c"})
    first.subs = {"a"}
    publishing = parties.task(first.publish_signal("stop", timeout=-1))
    await a[0].srespond(await a[1].next("stop"), 1)
    assert (await publishing).ok
    await eventually(lambda: set(wire.roster("fio-1")) == {"a"})
    # The third entry is the subscription of b.
    before = [at for at, _ in wire.ask("XRANGE", "state-signals:{fio-1}:responses", "-", "+", "COUNT", 2)]
    await eventually(lambda: position(wire) and position(wire) not in before, "how far it has read")
    await parties.crash(first)
    assert (await parties.resumed("fio-1")).subs == {"a"}


async def test_who_was_expected_still_is(parties: Parties, wire: Wire, owner_is: Any) -> None:
    owner_is("the dead")
    first = await parties.exporter(publisher_id="fio-1")
    await first.initialize(EVENTS, expected_resps=["a"])
    await eventually(lambda: set(wire.roster("fio-1")) == {"a"})
    await parties.crash(first)
    exporter = await parties.resumed("fio-1")
    assert exporter.subs == exporter.absent == {"a"}
    await parties.running("a", responder_id="a")
    await eventually(lambda: not exporter.absent)
    assert (await exporter.publish_signal("start", timeout=-1)).ok


async def test_who_has_died_meanwhile_is_lost(parties: Parties, wire: Wire, owner_is: Any) -> None:
    owner_is("the dead")
    (a,) = await crashed(parties, "a", presence_ttl=0.5)
    await parties.crash(a)
    exporter = await parties.resumed("fio-1", presence_ttl=0.5)
    assert list((await exporter.publish_signal("stop", timeout=-1)).lost) == ["a"]


async def test_after_shutdown_the_numbers_come_back_and_no_roster(parties: Parties, wire: Wire, owner_is: Any) -> None:
    owner_is("the dead")
    first = await parties.exporter(publisher_id="fio-1")
    await first.initialize(EVENTS, expected_resps=["a"])
    await first.shutdown()
    await parties.crash(first)
    _, heard = await parties.listening(replay="none")
    exporter = await parties.resumed("fio-1")
    assert (exporter.subs, exporter.legal_events) == (set(), None)
    await exporter.publish_signal("start")
    assert (await heard.next()).seq == 3
    assert (await exporter.publish_signal("stop")).ok


async def test_nothing_to_resume_is_said(parties: Parties, wire: Wire) -> None:
    with pytest.raises(UnknownExporter, match=r"no exporter 'fio-1'.*check publisher_id, url and namespace"):
        await parties.resumed("fio-1")
    assert wire.stored() == []


async def test_what_was_closed_cannot_be_resumed(parties: Parties, wire: Wire) -> None:
    exporter = await parties.exporter(publisher_id="fio-1")
    await exporter.initialize(EVENTS)
    await exporter.close()
    with pytest.raises(UnknownExporter):
        await parties.resumed("fio-1")


async def test_another_namespace_has_nothing_to_resume(parties: Parties, wire: Wire, owner_is: Any) -> None:
    owner_is("the dead")
    await crashed(parties, "a")
    with pytest.raises(UnknownExporter):
        await parties.resumed("fio-1", namespace="elsewhere")


async def test_what_could_not_be_resumed_still_can_be(
    parties: Parties, wire: Wire, owner_is: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner_is("the dead")
    await crashed(parties, "a")
    owner_is("the living")

    def refuse(*_: Any) -> None:
        raise ServerUnreachable("not now")

    with monkeypatch.context() as patch, pytest.raises(ServerUnreachable, match="not now"):
        patch.setattr(f"state_signals.{parties.shell}.listener.Listener.start", refuse)
        await parties.resumed("fio-1")
    exporter = await parties.resumed("fio-1")
    assert exporter.subs == {"a"}
    # Nobody was told of an end.
    assert [signal["event"] for signal in wire.journal("fio-1")] == ["initialization", "start"]


# Only one at a time


async def another(parties: Parties, how: str, **options: Any) -> Any:
    return await (parties.resumed("fio-1", **options) if how == "resumes" else taken(parties, **options))


async def taken(parties: Parties, **options: Any) -> Any:
    return await parties.exporter("fio", publisher_id="fio-1", **options)


@pytest.mark.parametrize("second", ["is made", "resumes"])
@pytest.mark.parametrize("first", ["is made", "resumes"])
async def test_a_living_exporter_keeps_its_publisher_id(
    parties: Parties, wire: Wire, owner_is: Any, first: str, second: str
) -> None:
    owner_is("the dead")
    await crashed(parties, "a")
    owner_is("the living")
    exporter = await another(parties, first)
    if first == "is made":
        assert await exporter.initialize_and_wait(1, ["start"], timeout=-1) == 0
    with pytest.raises(PublisherIdInUse, match="'fio-1' belongs to another exporter"):
        await another(parties, second)
    assert await exporter.publish_signal("start", tag="t", timeout=-1) == (0, {"a": "t"})
    await exporter.close()
    # Then it is free at once.
    assert (await taken(parties)).pub_id == "fio-1"


async def test_one_that_is_out_of_sight_keeps_it_as_long_as_it_lives(parties: Parties, owner_is: Any) -> None:
    owner_is("the distant")
    exporter = await taken(parties, presence_ttl=1.0)
    owner_is("the living")
    for how in ("is made", "resumes"):
        with pytest.raises(PublisherIdInUse):
            await another(parties, how, presence_ttl=1.0)
    await exporter.initialize(EVENTS)


async def test_its_publisher_id_is_free_once_its_presence_is_over(parties: Parties, wire: Wire, owner_is: Any) -> None:
    owner_is("the distant")
    await parties.crash(await taken(parties, presence_ttl=0.5))
    owner_is("the living")
    await (await taken(parties)).initialize(EVENTS)


async def test_who_is_made_anew_has_nothing_of_the_one_that_died(parties: Parties, wire: Wire, owner_is: Any) -> None:
    owner_is("the dead")
    await crashed(parties, "a")
    exporter = await taken(parties)
    assert exporter.subs == set()
    assert exporter.legal_events is None
    await eventually(lambda: wire.roster("fio-1") == {})
    await exporter.initialize(["other"])
    await eventually(lambda: exporter.subs == {"a"})
    # But its signals go on where the journal ends: nobody takes them for the old ones.
    assert wire.journal("fio-1")[-1]["metadata"]["_state_signals"]["seq"] == 3
    assert (await exporter.publish_signal("other", timeout=-1)).ok


async def test_whose_publisher_id_was_taken_says_so(parties: Parties, wire: Wire) -> None:
    _, heard = await parties.listening()
    exporter = await taken(parties, presence_ttl=0.5)
    await exporter.initialize(EVENTS, expected_resps=["a"])
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    await heard.next("start")
    wire.ask("SET", "state-signals:{fio-1}:owner", b"somebody else", "PX", 60_000)
    with pytest.raises(PublisherIdInUse, match="somebody else"):
        await publishing
    parties.forget(publishing)
    with pytest.raises(PublisherIdInUse):
        await exporter.publish_signal("stop")
    await exporter.close()
    # What belongs to somebody else is left alone, and nobody is told of an end.
    assert wire.ask("GET", "state-signals:{fio-1}:owner") == b"somebody else"
    assert [signal["event"] for signal in wire.journal("fio-1")] == ["initialization", "start"]


async def test_without_a_journal_there_is_nothing_to_claim(parties: Parties) -> None:
    for options in ({"journal": False}, {"strict_v1": True}):
        for _ in range(2):
            await (await taken(parties, **options)).initialize(EVENTS)


# Real processes

DYING = {
    "sync": """
        import sys, state_signals
        exporter = state_signals.SignalExporter("fio", url=sys.argv[1], publisher_id="fio-1", presence_ttl=3600)
        assert exporter.initialize_and_wait(1, ["start"], "nightly", timeout=20) == 0
        print(exporter.publish_signal("start", timeout=20).ok, flush=True)
        sys.stdin.read()
    """,
    "asyncio": """
        import asyncio, sys
        from state_signals.asyncio import SignalExporter
        async def main():
            exporter = SignalExporter("fio", url=sys.argv[1], publisher_id="fio-1", presence_ttl=3600)
            assert await exporter.initialize_and_wait(1, ["start"], "nightly", timeout=20) == 0
            print((await exporter.publish_signal("start", timeout=20)).ok, flush=True)
            await asyncio.sleep(1000)
        asyncio.run(main())
    """,
}


async def test_a_killed_process_is_resumed_at_once(shell: str, redis_url: str) -> None:
    parties = Parties(shell, redis_url)
    await parties.running("a", responder_id="a")
    with program(DYING[shell], redis_url) as process:
        assert process.stdout
        assert await in_thread(process.stdout.readline) == "True\n"
        with pytest.raises(PublisherIdInUse):
            await parties.resumed("fio-1")
        process.kill()
        process.wait(DEADLINE)
        # The end of its presence is not waited for.
        exporter = await parties.resumed("fio-1")
        assert exporter.subs == {"a"}
        assert (await exporter.publish_signal("start", timeout=-1)).ok
    await parties.close()
