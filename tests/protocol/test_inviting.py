"""Whoever acts on signals and is not on the roster: its answer to the initialization may have been lost."""

from __future__ import annotations

import math
from typing import Any

import pytest

from state_signals import Limits
from state_signals.codec import decode_signal
from state_signals.protocol import registration
from state_signals.protocol.events import ResponderSubscribed
from state_signals.requests import Answer, Redeliver
from tests.protocol.stage import (
    Exporter,
    Responder,
    Server,
    answer,
    events,
    events_of,
    every_event,
    identifier,
    initialized,
    publish,
    subscribe,
)

NOPERM = ("NOPERM", "NOPERM this user has no permissions to access one of the channels")


def out_of_touch(*subs: str, **options: Any) -> Exporter:
    """An exporter whose server may have lost answers to its initialization."""
    core = initialized(*subs, **options)
    core.reconnects(0.0)
    core.work(0.0)
    return core


def invitations(core: Exporter, now: float = 1.0) -> list[Redeliver]:
    return [request for request in core.work(now) if isinstance(request, Redeliver)]


def answers_get_to(fio: Exporter, core: Responder) -> None:
    for request in core.work(1.0):
        if isinstance(request, Answer):
            fio.message_received(request.data, 1.0)


def is_invited(core: Responder, fio: Exporter) -> None:
    """Have a responder act that is not on the roster, and be asked to subscribe."""
    publish(fio, timeout=None)
    for data in fio.said(1.0):
        core.message_received(data, 1.0)
    [told] = events(core)
    core.respond_to(told.signal, 1, None, now=1.0, sent=1.0)
    answers_get_to(fio, core)
    [invitation] = invitations(fio)
    core.message_received(invitation.data, 1.0)


def test_whoever_acts_without_being_on_the_roster_gets_the_initialization_again_until_it_answers():
    core = out_of_touch("a")
    signal_id = publish(core, timeout=None)
    answer(core, "b", signal_id)
    [invitation] = invitations(core)
    envelope = decode_signal(invitation.data).envelope
    assert (invitation.responder_id, invitation.signal_id) == ("b", identifier(1))
    assert envelope is not None
    assert (envelope.id, envelope.again, envelope.redelivered) == (identifier(1), True, True)
    assert invitations(core, 5.0) == []
    assert len(invitations(core, 6.0)) == 1
    every_event(core)
    subscribe(core, "b", identifier(1))
    assert events(core) == [ResponderSubscribed("b")]
    assert core.subs == {"a", "b"}
    assert invitations(core, 100.0) == []


@pytest.mark.parametrize("waits_for", ["somebody else", "nobody"])
def test_a_responder_whose_answer_was_lost_comes_to_be_waited_for(waits_for):
    server = Server()
    fio = Exporter(server)
    core = Responder(server, responder_id="b")
    core.comes(0.0)
    fio.initialize(["start"], now=0.0, sent=0.0)
    if waits_for == "somebody else":
        fio.subs = {"a"}
    for data in fio.said(0.0):
        core.message_received(data, 0.0)
    [told] = events(core)
    core.respond_to(told.signal, None, None, now=0.0, sent=0.0)
    # The server has taken it, and lost it.
    core.work(0.0)
    fio.reconnects(0.5)
    is_invited(core, fio)
    answers_get_to(fio, core)
    assert "b" in fio.subs
    assert len(events_of(fio, ResponderSubscribed)) == 1
    # It has not acted twice.
    assert events(core) == []


def test_whoever_was_taken_off_the_roster_is_not_asked_to_come_back():
    core = out_of_touch("a", "b", "c")
    core.subs.discard("b")
    answer(core, "c", identifier(1), None, event="initialization", state="left")
    signal_id = publish(core, timeout=None)
    answer(core, "b", signal_id)
    answer(core, "c", signal_id)
    assert invitations(core) == []


def test_whoever_is_on_it_and_comes_late_is_not_asked():
    core = out_of_touch("a")
    signal_id = publish(core, timeout=1.0)
    core.handle_timeout(1.0, 0.0)
    answer(core, "a", signal_id, now=2.0)
    assert invitations(core, 2.0) == []


def test_version_1_cannot_be_asked():
    core = out_of_touch("a")
    publish(core, timeout=None)
    answer(core, "b", None)
    assert invitations(core) == []


def test_a_run_that_is_over_asks_nobody():
    core = out_of_touch("a")
    signal_id = publish(core, timeout=None)
    answer(core, "b", signal_id)
    core.shutdown(now=1.0, sent=1.0)
    answer(core, "c", signal_id, now=1.0)
    assert invitations(core) == []


def test_strangers_cannot_make_it_ask_without_end():
    core = out_of_touch("a", limits=Limits(max_roster=3))
    signal_id = publish(core, timeout=None)
    for number in range(10):
        answer(core, f"stranger-{number}", signal_id)
    assert len(invitations(core)) == 3


def test_where_that_is_not_allowed_nobody_is_asked_twice():
    core = out_of_touch("a")
    core.server.refuses = {Redeliver: NOPERM}
    signal_id = publish(core, timeout=None)
    answer(core, "b", signal_id)
    assert len(invitations(core)) == 1
    answer(core, "c", signal_id)
    assert invitations(core) == []


def test_whoever_was_never_out_of_touch_has_lost_no_answer():
    core = initialized("a")
    signal_id = publish(core, timeout=None)
    answer(core, "b", signal_id)
    assert invitations(core) == []


def test_a_server_that_has_lost_answers_has_lost_that_one_perhaps():
    core = initialized("a")
    core.responses_lost()
    signal_id = publish(core, timeout=None)
    answer(core, "b", signal_id)
    assert len(invitations(core)) == 1


def test_whoever_was_put_on_it_and_taken_off_in_place_is_not_asked():
    core = out_of_touch("a")
    core.subs.add("b")
    publish(core, timeout=None)
    core.subs.discard("b")
    signal_id = publish(core, timeout=None)
    answer(core, "b", signal_id)
    assert invitations(core) == []


def test_whoever_goes_while_it_is_asked_is_asked_no_longer():
    core = out_of_touch("a")
    signal_id = publish(core, timeout=None)
    answer(core, "b", signal_id)
    assert len(invitations(core)) == 1
    subscribe(core, "b", identifier(1))
    answer(core, "b", identifier(1), None, event="initialization", state="left")
    assert invitations(core, 100.0) == []


def test_what_is_asked_needs_no_caller_and_holds_none_up():
    core = out_of_touch("a")
    signal_id = publish(core, timeout=None)
    assert core.next_upkeep() > 1.0
    answer(core, "b", signal_id)
    assert core.next_upkeep() == -math.inf
    assert core.next_request(1.0, is_urgent=True) is None


def test_whoever_comes_and_goes_under_new_names_is_not_remembered_for_ever(monkeypatch):
    monkeypatch.setattr(registration, "_MOST_DEPARTED", 3)
    core = out_of_touch()
    for number in range(100):
        subscribe(core, f"a-{number}", identifier(1))
        answer(core, f"a-{number}", identifier(1), None, event="initialization", state="left")
    departed = [number for number in range(100) if core._server.registration.has_gone(f"a-{number}")]
    assert departed == [97, 98, 99]


def test_who_wants_nothing_of_what_was_there_first_is_not_to_be_asked_by_it():
    server = Server()
    fio = Exporter(server)
    fio.initialize(["start"], now=0.0, sent=0.0)
    fio.said(0.0)
    core = Responder(server, responder_id="b", replay="none")
    core.comes(1.0)
    fio.subs = {"a"}
    fio.reconnects(1.0)
    is_invited(core, fio)
    assert events(core) == []
    assert core.counters["not-followed"] == 1
