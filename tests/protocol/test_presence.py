"""Who counts as alive, from proofs of life whose clock is not ours."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state_signals.protocol.presence import Presence
from state_signals.requests import PresenceChecked


def presence(*names: str, ttl: float | None = 15.0, wanted: float | None = 15.0, now: float = 0.0) -> Presence:
    """Presence of responders that have just come to be known."""
    this = Presence(ttl)
    for name in names:
        this.follow(name, wanted, now)
    return this


def looks(
    this: Presence, now: float, *, asked_at: float = 0.0, server_time: float | None = None, **scores: float | None
) -> None:
    this.checked(PresenceChecked(scores, now if server_time is None else server_time), asked_at or now, now)


def test_who_gives_no_proof_of_life_for_too_long_is_lost():
    this = presence("a", "b")
    looks(this, 1.0, a=0.5, b=0.5)
    looks(this, 15.5, a=0.5, b=14.0)
    assert not this.is_lost("a")
    looks(this, 15.6, a=0.5, b=14.0)
    assert this.is_lost("a")
    assert not this.is_lost("b")


def test_nobody_is_lost_before_anybody_has_looked():
    this = presence("a")
    assert not this.is_lost("a")
    looks(this, 1000.0, a=None)
    assert not this.is_lost("a")
    looks(this, 1015.0, a=None)
    assert not this.is_lost("a")
    looks(this, 1015.1, a=None)
    assert this.is_lost("a")


def test_a_look_that_is_older_than_the_question_says_nothing():
    this = presence("a")
    looks(this, 20.0, a=0.0)
    assert this.is_lost("a", since=20.0)
    assert not this.is_lost("a", since=20.1)


def test_a_message_is_a_proof_of_life_too():
    this = presence("a")
    this.heard("a", 20.0)
    this.heard("stranger", 20.0)
    looks(this, 34.9, a=0.0)
    assert not this.is_lost("a")
    looks(this, 35.1, a=0.0)
    assert this.is_lost("a")
    assert not this.is_lost("stranger")


def test_who_is_lost_may_come_back():
    this = presence("a")
    looks(this, 20.0, a=0.0)
    assert this.is_lost("a")
    looks(this, 21.0, a=20.5)
    assert not this.is_lost("a")


def test_whoever_promises_no_proof_of_life_is_never_lost():
    this = presence("a", wanted=None)
    looks(this, 1000.0, a=0.0)
    assert not this.is_lost("a")
    assert this.ttl_of("a") is None
    assert this.followed(["a"]) == ()


def test_an_exporter_that_wants_none_loses_nobody():
    this = presence("a", ttl=None)
    looks(this, 1000.0, a=0.0)
    assert not this.is_lost("a")


@pytest.mark.parametrize(("ours", "theirs", "good_for"), [(15.0, 3.0, 3.0), (3.0, 15.0, 3.0), (0.0, 1.0, 0.0)])
def test_the_shorter_time_counts(ours, theirs, good_for):
    assert presence("a", ttl=ours, wanted=theirs).ttl_of("a") == good_for


def test_who_subscribes_again_without_a_promise_is_not_looked_after_any_more():
    this = presence("a", "b")
    this.follow("a", None, 1.0)
    assert this.followed(["a", "b", "stranger"]) == ("b",)


def test_who_is_forgotten_is_not_lost():
    this = presence("a", "b")
    looks(this, 20.0, a=0.0, b=0.0)
    this.forget("a")
    this.forget("a")
    assert not this.is_lost("a")
    assert this.is_lost("b")
    this.forget_all()
    assert not this.is_lost("b")


def test_after_an_outage_everybody_has_the_whole_time_again():
    this = presence("a")
    looks(this, 1.0, a=0.5)
    this.outage_ended(100.0)
    looks(this, 100.0, a=0.5)
    looks(this, 115.0, a=0.5)
    assert not this.is_lost("a")
    looks(this, 115.1, a=0.5)
    assert this.is_lost("a")


def test_a_server_that_comes_back_empty_kills_nobody_who_was_seen():
    this = presence("a")
    looks(this, 1.0, a=1.0)
    looks(this, 10.0, a=None)
    assert not this.is_lost("a")
    looks(this, 17.0, a=None)
    assert this.is_lost("a")


def test_the_age_of_the_first_proof_comes_from_the_servers_clock():
    this = Presence(15.0)
    this.follow("a", 15.0, now=-100.0)
    looks(this, 5.0, server_time=1_000_020.0, a=1_000_000.0)
    assert this.is_lost("a")
    looks(this, 5.5, server_time=1_000_020.5, a=1_000_010.0)
    assert not this.is_lost("a")


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_a_server_whose_clock_is_set_makes_nobody_lost_who_goes_on_proving_to_live(before, after):
    this = presence("a")
    looks(this, 0.0, server_time=before, a=before)
    for second in range(1, 60):
        jumped = before if second < 30 else after
        looks(this, float(second), server_time=jumped + second, a=jumped + second - 0.5)
        assert not this.is_lost("a")


def test_who_is_not_followed_is_not_kept_in_memory():
    this = presence("a")
    looks(this, 1.0, a=0.0, b=0.0, c=None)
    assert set(this._vitals) == {"a"}


def test_a_reply_that_took_long_tells_of_the_time_when_it_was_asked_for():
    this = presence("a")
    looks(this, 1.0, a=0.0)
    looks(this, 30.0, asked_at=14.0, a=0.0)
    assert not this.is_lost("a")
    looks(this, 30.0, asked_at=15.5, a=0.0)
    assert this.is_lost("a")


@pytest.mark.parametrize(("ttl", "seconds"), [(15.0, 1.0), (3.0, 1.0), (0.3, 0.1), (None, 1.0)])
def test_three_looks_fit_into_the_time_and_one_a_second_is_enough(ttl, seconds):
    assert math.isclose(Presence(ttl).interval(), seconds)
