"""Answers to an initialization whose exporter expects many: each is sent at its moment, whoever is busy with what."""

from __future__ import annotations

import json
from typing import Any

import pytest

from state_signals import Limits, Signal
from state_signals.codec import encode_signal
from state_signals.messages import Envelope
from tests.parties import EVENTS, Parties, Wire, eventually


def core_of(party: Any) -> Any:
    return getattr(party, "subject", party)._core


def announcement(spread: float, signal_id: str = "1" * 32) -> bytes:
    """An initialization of an exporter that is not there, so that answers to it are published on the channel."""
    envelope = Envelope(id=signal_id, seq=1, sent=1000.0, journal=False, spread=spread)
    return encode_signal(Signal("fio-1", "fio", "initialization", "node1"), envelope)


def said(wire: Wire) -> list[str]:
    answers = map(json.loads, wire.responses())
    return [answer.get("state") or answer["event"] for answer in answers if answer["publisher_id"] == "fio-1"]


async def test_it_is_sent_though_nothing_else_happens(parties: Parties, wire: Wire) -> None:
    await parties.running("pcp")
    wire.say_signal(announcement(0.1))
    await eventually(lambda: said(wire) == ["initialization"])


async def test_it_is_sent_though_the_next_proof_of_life_comes_much_later(parties: Parties, wire: Wire) -> None:
    await parties.running("pcp")
    wire.say_signal(announcement(0.0))
    await eventually(lambda: said(wire) == ["initialization"])
    wire.say_signal(announcement(0.1, "2" * 32))
    await eventually(lambda: said(wire) == ["initialization"] * 2)


async def test_it_is_sent_before_its_moment_if_the_responder_closes(parties: Parties, wire: Wire) -> None:
    responder, heard = await parties.listening("pcp")
    core = core_of(responder)
    core._chance, core._limits = lambda _: 1.0, Limits(max_spread=1000.0)
    wire.say_signal(announcement(1000.0))
    await responder.srespond(await heard.next("initialization"), 1)
    assert said(wire) == []
    await responder.close()
    assert said(wire) == ["initialization", "left"]


async def test_all_subscribe_and_act(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {(await parties.running(f"pcp-{number}")).responder_id for number in range(5)}
    exporter = await parties.exporter()
    monkeypatch.setattr(core_of(exporter), "_limits", Limits(max_at_once=2, spread_each=0.05))
    assert await exporter.initialize_and_wait(5, EVENTS, timeout=-1) == 0
    assert exporter.subs == names
    assert (await exporter.publish_signal("start", timeout=-1)).ok
