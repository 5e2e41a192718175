"""Signals that one responder gets again: each until it is answered, and never too many."""

from __future__ import annotations

import math

from state_signals.protocol.redelivery import Redeliveries
from state_signals.requests import Redeliver

FIRST, SECOND = "1" * 32, "2" * 32


def test_what_is_owed_is_sent_at_once_and_then_less_and_less_often():
    this = Redeliveries(10, lambda *_: True)
    this.add("a", FIRST, lambda: b"one")
    assert this.next_deadline() == -math.inf
    request = this.next(0.0)
    assert request == this.next(0.0) == Redeliver("a", FIRST, b"one")
    for now, then in ((0.0, 5.0), (5.0, 15.0), (15.0, 35.0)):
        this.sent(request, now)
        assert (this.next(now), this.next_deadline()) == (None, then)
        assert this.next(then) == request


def test_what_is_answered_is_not_sent_any_more():
    owed = {("a", FIRST), ("a", SECOND)}
    this = Redeliveries(10, lambda *key: key in owed)
    this.add("a", FIRST, lambda: b"one")
    this.add("a", SECOND, lambda: b"two")
    owed.remove(("a", FIRST))
    assert this.next(0.0) == Redeliver("a", SECOND, b"two")
    owed.clear()
    assert this.next(0.0) is None
    assert this.next_deadline() == math.inf


def test_the_oldest_is_forgotten_first_also_while_it_is_under_way():
    this = Redeliveries(1, lambda *_: True)
    this.add("a", FIRST, lambda: b"one")
    request = this.next(0.0)
    assert request is not None
    this.add("a", SECOND, lambda: b"two")
    this.sent(request, 0.0)
    assert this.next(0.0) == Redeliver("a", SECOND, b"two")


def test_what_the_server_does_not_allow_is_forgotten():
    this = Redeliveries(10, lambda *_: True)
    this.add("a", FIRST, lambda: b"one")
    this.are_off()
    assert (this.can_send, this.next(0.0)) == (False, None)


def test_many_are_sent_one_after_the_other_and_what_was_added_again_once():
    names = [f"responder-{number}" for number in range(1_000)]
    this = Redeliveries(1_000, lambda *_: True)
    for name in (*names, *names[::-1]):
        this.add(name, FIRST, lambda: b"one")
    told = []
    while (request := this.next(0.0)) is not None:
        told.append(request.responder_id)
        this.sent(request, 0.0)
    assert sorted(told) == sorted(names)
    assert this.next_deadline() == 5.0


def test_there_is_room_for_what_is_not_being_sent_and_pushes_nothing_out():
    this = Redeliveries(2, lambda *_: True)
    this.add("a", FIRST, lambda: b"one")
    assert not this.has_room_for("a", FIRST)
    assert this.has_room_for("a", SECOND)
    this.add("a", SECOND, lambda: b"two")
    assert not this.has_room_for("b", FIRST)
    this.are_off()
    assert not this.has_room_for("b", FIRST)
