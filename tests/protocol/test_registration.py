"""Whose an identifier is, and what is kept of an exporter for whoever resumes it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state_signals.protocol.registration import Member, Record, Registration, read_member, read_record
from state_signals.requests import Beat, Claim, Claimed, SaveRoster

HUGE = b'{"ttl": 1' + b"0" * 400 + b"}"

texts = st.text(max_size=20)
seconds = st.floats(0.0, 1e9)


def registration(fate: bool | None = None, ttl: float = 15.0) -> Registration:
    return Registration("fio-1", b"us", ttl, lambda _: fate)


def claims(this: Registration, owner: bytes | None, now: float = 0.0, expires_in: float = 15.0) -> None:
    """Have a claim made whose outcome is that."""
    assert this.claim(now) is not None
    this.claimed(Claimed(owner, expires_in, 0, {}, {}, 1000.0 + now), now)


def held(ttl: float = 15.0) -> Registration:
    this = registration(ttl=ttl)
    claims(this, b"us")
    return this


# Records


@given(st.builds(Member, st.none() | seconds, st.booleans(), st.booleans()))
def test_a_member_comes_out_as_it_went_in(member):
    assert read_member(member.encode()) == member


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"1",
        b"null",
        b'"v"',
        b"{}",
        b'{"v": "2", "ttl": "15", "expected": 1}',
        b"[" * 100_000,
        HUGE,
    ],
)
def test_whatever_is_on_a_roster_is_a_member_of_whom_nothing_is_known(data):
    assert read_member(data) == Member()


@given(
    st.builds(
        Record, texts, texts, st.none() | st.lists(texts), st.none() | texts, st.none() | texts, st.none() | seconds
    ),
    st.none() | st.from_regex(rb"[0-9]{1,19}-[0-9]{1,19}", fullmatch=True),
)
def test_a_record_comes_out_as_it_went_in(record, position):
    fields = {b"info": record.encode(), b"init": b"..."} | ({} if position is None else {b"position": position})
    found = read_record(fields)
    assert found is not None
    assert found.position == position
    assert found.encode() == record.encode()


@pytest.mark.parametrize("position", [b"", b"garbage", b"1", b"1-", b"-1-0", b"1" * 23 + b"-0", b"1-0 ", b"$"])
def test_a_position_that_is_none_is_not_taken(position):
    found = read_record({b"info": Record("fio", "node1").encode(), b"position": position})
    assert found is not None
    assert found.position is None


def test_without_its_initialization_an_exporter_is_not_initialized():
    found = read_record({b"info": Record("fio", "node1", ["start"]).encode()})
    assert found == Record("fio", "node1")


@pytest.mark.parametrize(
    "info",
    [
        None,
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b'{"process_name": "fio"}',
        b'{"process_name": "fio", "runner_host": "node1", "events": 7}',
        b'{"process_name": "fio", "runner_host": "node1", "ttl": "soon"}',
        b'{"process_name": "fio", "runner_host": "node1", "began": []}',
        b'{"process_name": "fio", "runner_host": "node1", ' + HUGE[1:],
        b"[" * 100_000,
    ],
)
def test_whatever_is_kept_is_a_record_or_none(info):
    fields = {b"init": b"..."} | ({} if info is None else {b"info": info})
    assert read_record(fields) is None


def test_what_is_no_text_is_no_tag_and_no_identifier_of_an_announcement():
    info = {"process_name": "fio", "runner_host": "node1", "tag": 7, "announcement": ["1"]}
    assert read_record({b"info": json.dumps(info).encode()}) == Record("fio", "node1")


# The claim


def test_an_identifier_is_claimed_as_ours():
    this = registration()
    assert this.claim(0.0) == Claim("fio-1", b"us", 15.0)
    claims(this, b"us", now=3.0)
    assert this.is_held
    assert this.began == 1003.0
    assert this.claim(4.0) is None


def test_a_server_that_keeps_no_claims_lets_us_go_on():
    this = registration()
    claims(this, None)
    assert this.is_held


def test_it_began_with_the_first_claim():
    this = held()
    this.owner_seen(None)
    assert not this.is_held
    claims(this, b"us", now=50.0)
    assert this.began == 1000.0


def test_an_identifier_whose_owner_is_alive_is_refused_at_once_and_for_good():
    this = registration(fate=True)
    claims(this, b"them")
    assert this.refused_by == b"them"
    assert not this.is_held
    assert this.claim(1e9) is None
    assert this.next_deadline() == math.inf


def test_a_dead_owner_is_replaced_at_once():
    this = registration(fate=False)
    claims(this, b"them")
    assert this.next_deadline() <= 0.0
    assert this.claim(0.0) == Claim("fio-1", b"us", 15.0, instead_of=b"them")
    claims(this, b"us")
    assert this.is_held


def test_an_owner_out_of_sight_is_waited_for_until_its_claim_has_run_out():
    this = registration(fate=None)
    looks, now, left = 0, 0.0, 15.0
    while left > 0:
        claims(this, b"them", now, expires_in=left)
        assert this.claim(now + 0.005) is None
        assert this.refused_by is None
        looks += 1
        left -= this.next_deadline() - now
        now = this.next_deadline()
    assert looks <= 17
    assert now < 15.1
    claims(this, b"us", now)
    assert this.is_held


def test_an_owner_out_of_sight_that_renews_its_claim_is_alive():
    this = registration(fate=None)
    claims(this, b"them", 0.0, expires_in=10.0)
    claims(this, b"them", 1.0, expires_in=9.2)
    assert this.refused_by is None
    claims(this, b"them", 2.0, expires_in=14.0)
    assert this.refused_by == b"them"


def test_a_reply_that_comes_late_is_no_sign_that_the_claim_was_renewed():
    this = registration()
    claims(this, b"them", now=0.0, expires_in=10.0)
    assert this.claim(1.0) is not None
    # It was read at once, and reaches us much later.
    this.claimed(Claimed(b"them", 9.0, 0, {}, {}, 1000.0), 2.5)
    assert this.refused_by is None
    claims(this, b"them", now=4.0)
    assert this.refused_by == b"them"


def test_another_owner_that_was_faster_is_alive():
    this = registration(fate=None)
    claims(this, b"them", 0.0, expires_in=0.5)
    claims(this, b"somebody else", 0.6, expires_in=15.0)
    assert this.refused_by == b"somebody else"


def test_whoever_is_seen_in_our_place_has_taken_our_identifier():
    this = held()
    this.owner_seen(b"us")
    assert (this.is_held, this.refused_by) == (True, None)
    this.owner_seen(b"them")
    assert this.refused_by == b"them"


# The saved roster


def test_who_has_joined_and_who_has_gone_is_saved_until_it_is():
    this = held()
    assert this.save() is None
    this.joined("a", Member())
    this.joined("b", Member(ttl=3.0))
    this.joined("c", Member())
    this.gone("c")
    request = this.save()
    assert request == SaveRoster("fio-1", {"a": Member().encode(), "b": Member(ttl=3.0).encode()}, ("c",))
    assert this.save() == request
    this.saved(request)
    assert this.save() is None


def test_what_has_changed_while_it_was_saved_is_saved_again():
    this = held()
    this.joined("a", Member())
    this.gone("b")
    request = this.save()
    assert request is not None
    this.joined("a", Member(ttl=3.0))
    this.joined("b", Member())
    this.joined("c", Member())
    this.saved(request)
    again = this.save()
    assert again is not None
    assert set(again.joined) == {"a", "b", "c"}
    assert again.gone == ()


def test_a_roster_that_is_deleted_is_not_saved():
    this = held()
    this.joined("a", Member())
    this.gone("b")
    this.roster_forgotten()
    assert this.save() is None


# Proofs of life


def test_a_proof_of_life_is_given_at_once_and_then_three_times_as_often_as_needed():
    this = held(ttl=15.0)
    assert this.beat(0.0, b"7-0") == Beat("fio-1", 15.0, b"7-0")
    this.beaten(0.0)
    assert this.beat(4.9, None) is None
    assert this.next_deadline() == 5.0
    assert this.beat(5.0, None) == Beat("fio-1", 15.0)


def test_after_an_outage_a_proof_of_life_is_due():
    this = held()
    this.beaten(0.0)
    this.beat_soon()
    assert this.next_deadline() < 0.0
    assert this.beat(0.0, None) is not None


def test_whose_identifier_is_not_ours_gives_no_proof_of_life():
    assert registration().beat(0.0, None) is None


def test_a_roster_to_save_does_not_wait_for_the_next_proof_of_life():
    this = held()
    this.beaten(0.0)
    this.gone("a")
    assert this.next_deadline() < 0.0


@given(st.binary(max_size=50) | st.recursive(st.none() | st.booleans() | seconds | texts, st.lists).map(json.dumps))
def test_whatever_was_written_nothing_raises(written: Any):
    data = written if isinstance(written, bytes) else written.encode()
    assert isinstance(read_member(data), Member)
    assert read_record({b"info": data, b"init": data}) is None
