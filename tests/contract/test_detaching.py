"""A run that its exporter leaves to whoever resumes it: the steps of a script are processes of their own."""

from __future__ import annotations

import pytest

from state_signals import Closed, InvalidArgument
from tests.parties import Parties, Wire, eventually


async def test_the_next_one_goes_on_at_once(parties: Parties, wire: Wire) -> None:
    first, [(responder, heard)] = await parties.crew("a", publisher_id="fio-1", retention=1_000)
    await first.detach()
    assert wire.ask("GET", wire.keys.owner("fio-1")) is None
    second = await parties.resumed("fio-1")
    assert second.subs == {"a"}
    round_ = parties.task(second.publish_signal("start", timeout=-1))
    await responder.srespond(await heard.next("start"), 1)
    assert (await round_).ok
    await second.detach()
    third = await parties.resumed("fio-1")
    await third.close()
    assert (await heard.next("shutdown")).aborted is None
    assert heard.is_empty
    assert [signal["metadata"]["_state_signals"]["seq"] for signal in wire.journal("fio-1")] == [1, 2, 3]
    for key in (":signals", ":responses"):
        assert wire.lifetime("state-signals:{fio-1}" + key) > 0


async def test_who_comes_in_between_is_on_the_roster(parties: Parties, wire: Wire) -> None:
    first, _ = await parties.crew("a", publisher_id="fio-1")
    await first.detach()
    late = await parties.running("late", responder_id="late")
    await eventually(lambda: wire.ask("XRANGE", wire.keys.reply("fio-1"), "-", "+")[-1][1][1].find(b'"late"') > 0)
    second = await parties.resumed("fio-1")
    # At once: a signal that is published now has to wait for it.
    assert second.subs == {"a", late.responder_id}


async def test_who_leaves_in_between_is_not_waited_for(parties: Parties) -> None:
    first, [_, (b, _)] = await parties.crew("a", "b", publisher_id="fio-1")
    await first.detach()
    await b.close()
    second = await parties.resumed("fio-1")
    assert second.subs == {"a"}


async def test_it_expires_if_nobody_resumes_it(parties: Parties, wire: Wire) -> None:
    first, _ = await parties.crew("a", publisher_id="fio-1", retention=1_000)
    await first.detach()
    for what in ("signals", "responses", "record", "roster"):
        assert 0 < wire.lifetime("state-signals:{fio-1}:" + what) <= 1_000
    assert wire.lifetime(wire.keys.exporters) > 0


async def test_it_is_closed_for_its_first_exporter(parties: Parties) -> None:
    first, _ = await parties.crew("a", publisher_id="fio-1")
    await first.detach()
    with pytest.raises(Closed):
        await first.publish_signal("start")
    with pytest.raises(Closed):
        await first.detach()
    await first.close()
    assert (await parties.resumed("fio-1")).subs == {"a"}


async def test_what_nobody_could_resume_is_not_left(parties: Parties) -> None:
    exporter = await parties.exporter()
    with pytest.raises(InvalidArgument, match="initialize"):
        await exporter.detach()
    exporter, _ = await parties.crew("a", journal=False)
    with pytest.raises(InvalidArgument, match="no journal"):
        await exporter.detach()


@pytest.mark.parametrize("is_idle", [True, False])
async def test_a_connection_that_drops_at_that_moment_is_made_again(
    parties: Parties, wire: Wire, url: str, is_idle: bool
) -> None:
    if url.startswith("memory"):
        pytest.skip("there are no connections to memory")
    exporter, _ = await parties.crew("a", publisher_id="fio-1", retention=1_000)
    if is_idle:
        await eventually(lambda: wire.ask("HLEN", wire.keys.roster("fio-1")) == 1)
    wire.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await exporter.detach()
    assert wire.client.get(wire.keys.owner("fio-1")) is None
    # Until it expires, whoever comes finds it.
    assert float(wire.client.zscore(wire.keys.exporters, "fio-1") or 0.0) > wire.client.time()[0] + 500
