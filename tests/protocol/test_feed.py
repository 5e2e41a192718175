"""One exporter's signals, as a responder gets them: each once, in order, none left out, whatever the network does."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state_signals.codec import decode_signal
from state_signals.protocol.feed import LOOK_AGAIN, Arrival, Feed
from tests.protocol.stage import signal

PATIENCE = 5.0
SILENCE = 5.0


def arrival(seq: int, **facts) -> Arrival:
    data = signal(seq, **facts)
    decoded = decode_signal(data)
    assert decoded.envelope is not None
    return Arrival(decoded, decoded.envelope, len(data))


def another(seq: int, **facts) -> Arrival:
    """A signal that has the same position as an earlier one, and was sent after all of those."""
    return arrival(seq, **({"id": f"{seq:01x}" * 32, "sent": 100.0 + seq} | facts))


def feed(last: int | None = 0, *, max_ahead: int = 100_000, now: float = 0.0) -> Feed:
    this = Feed(last, max_ahead, now)
    this.is_introduced = True
    return this


def seqs(arrivals: list[Arrival]) -> list[int]:
    return [each.envelope.seq for each in arrivals]


def takes(this: Feed, *numbers: int, now: float = 0.0) -> list[int]:
    """Have signals arrive by broadcast; return what is handed out."""
    return [seq for number in numbers for seq in seqs(this.take(arrival(number), now))]


def reads(this: Feed, *arrivals: Arrival | int, is_whole: bool = True, now: float = 0.0) -> tuple[list[int], int]:
    """Have the journal read; return what is handed out, and how many are missed."""
    found = [arrival(each) if isinstance(each, int) else each for each in arrivals]
    passed, missed = this.read(
        [each for each in found if each.envelope.seq > this.reads_after], is_whole=is_whole, now=now
    )
    return seqs(passed), missed


# Broadcasts


def test_what_is_next_is_handed_out_at_once():
    this = feed()
    assert takes(this, 1, 2, 3) == [1, 2, 3]
    assert (this.last, this.sent) == (3, 3.0)
    assert this.wanted_at == math.inf


def test_what_comes_twice_or_late_is_handed_out_once():
    this = feed()
    assert takes(this, 1, 1, 2, 1, 2) == [1, 2]
    assert this.wanted_at == math.inf


def test_a_gap_makes_the_journal_be_read_and_what_comes_after_it_wait():
    this = feed()
    assert takes(this, 1, 3, 4, now=7.0) == [1]
    assert this.wanted_at == 7.0
    assert reads(this, 1, 2, 3, 4) == ([2, 3, 4], 0)
    assert this.wanted_at == math.inf


def test_a_gap_that_closes_by_itself_needs_no_journal():
    this = feed()
    assert takes(this, 2, 4, 3, 1) == [1, 2, 3, 4]
    assert this.wanted_at == math.inf


def test_a_journal_that_ends_within_the_gap_is_gone_on_with_by_what_was_held_back():
    this = feed()
    takes(this, 3, 4, 6)
    assert reads(this, 1, 2) == ([1, 2, 3, 4], 0)
    assert this.wanted_at == LOOK_AGAIN


def test_before_it_is_known_what_to_take_everything_is_held_back():
    this = feed(None)
    this.is_introduced = False
    assert takes(this, 7, 8) == []
    first = this.first_ahead()
    assert first is not None
    assert first.envelope.seq == 7
    assert this.wanted_at == math.inf
    this.begin_after(6)
    this.is_introduced = True
    this.want(1.0)
    assert this.wanted_at <= 1.0
    assert reads(this, 7, 8, 9) == ([7, 8, 9], 0)


def test_what_is_held_back_is_bounded_and_the_rest_is_read_from_the_journal():
    size = arrival(7).size
    this = feed(max_ahead=3 * size)
    takes(this, *range(2, 9))
    assert len(this._ahead) == 3
    assert takes(this, 1) == [1, 2, 3, 4]
    assert this._bytes_ahead == 0
    assert takes(this, 8) == []
    assert reads(this, 4, 5, 6, 7, 8) == ([5, 6, 7, 8], 0)
    assert (this._ahead, this._bytes_ahead) == ({}, 0)


# Journals


def test_a_long_journal_is_read_in_pages():
    this = feed()
    this.want(0.0)
    assert reads(this, 1, 2, 3, is_whole=False) == ([1, 2, 3], 0)
    assert this.wanted_at == 0.0
    assert reads(this, 3, 4, is_whole=True) == ([4], 0)
    assert this.wanted_at == math.inf


def test_what_the_journal_has_lost_is_counted():
    this = feed(4)
    assert reads(this, 8, 9, 12) == ([8, 9, 12], 5)


def test_a_gap_that_nobody_fills_is_passed_over_after_a_while():
    this = feed()
    takes(this, 1, 4, 5)
    now = 0.0
    while now < PATIENCE:
        assert reads(this, 1, now=now) == ([], 0)
        assert this.wanted_at == now + LOOK_AGAIN
        now = this.wanted_at
    assert reads(this, 1, now=now) == ([4, 5], 2)
    assert this.wanted_at == math.inf


def test_after_a_gap_was_passed_over_the_next_one_has_the_whole_patience_again():
    this = feed()
    takes(this, 1, 3, 6)
    reads(this, 1, now=0.0)
    assert reads(this, 1, now=PATIENCE) == ([3], 1)
    assert reads(this, 3, now=PATIENCE + 0.1) == ([], 0)
    assert reads(this, 3, now=2 * PATIENCE + 0.2) == ([6], 2)


def test_an_exporter_that_puts_back_what_was_lost_within_that_while_loses_nothing():
    this = feed()
    takes(this, 1, 4)
    reads(this, 1, now=0.0)
    assert reads(this, 1, 2, 3, 4, now=PATIENCE - 0.1) == ([2, 3, 4], 0)


# Outages


def test_after_an_outage_nothing_is_handed_out_before_the_journal_was_read():
    this = feed()
    takes(this, 1, 2)
    this.doubt(5.0)
    assert this.wanted_at == 5.0
    assert takes(this, 3) == []
    assert reads(this, 2, 3, 4) == ([3, 4], 0)
    assert takes(this, 5) == [5]


def test_where_nothing_was_handed_out_there_is_nothing_to_doubt():
    this = feed()
    this.doubt(5.0)
    assert this.wanted_at == 5.0
    assert takes(this, 1) == [1]


def test_a_journal_that_was_cut_off_after_the_last_one_is_gone_on_with():
    this = feed()
    takes(this, 1, 2)
    this.doubt(0.0)
    assert reads(this, 7, 8) == ([7, 8], 4)


def test_an_empty_journal_is_waited_for_until_its_exporter_puts_it_back():
    this = feed()
    takes(this, 1, 2)
    this.doubt(0.0)
    assert reads(this, now=0.0) == ([], 0)
    assert this.wanted_at == LOOK_AGAIN
    assert reads(this, 1, now=1.0) == ([], 0)
    assert takes(this, 3, now=2.0) == []
    assert reads(this, 1, 2, 3, now=PATIENCE - 0.1) == ([3], 0)
    assert takes(this, 4) == [4]


def test_a_journal_that_has_become_another_is_read_from_its_beginning_and_what_is_new_is_handed_out():
    this = feed()
    takes(this, 1, 2, 3)
    this.doubt(0.0)
    assert reads(this, another(3), another(4)) == ([], 0)
    assert this.wanted_at == 0.0
    assert this.reads_after == 0
    # 1 is known; 2 is not.
    assert reads(this, 1, another(2), another(3), another(4)) == ([2, 3, 4], 0)
    assert seqs(this.take(another(5), 0.0)) == [5]


def test_a_journal_that_has_become_another_and_shorter_is_waited_for_and_then_read_from_its_beginning():
    this = feed()
    takes(this, 1, 2, 3, 4)
    this.doubt(0.0)
    assert reads(this, another(1), another(2), now=0.0) == ([], 0)
    assert reads(this, another(1), another(2), now=PATIENCE) == ([], 0)
    assert reads(this, another(1), another(2), now=PATIENCE) == ([1, 2], 0)


def test_what_was_broadcast_and_is_in_no_journal_any_more_is_handed_out_before_that_begins_anew():
    this = feed()
    takes(this, 1, 2)
    this.doubt(0.0)
    takes(this, 3, 5)
    assert reads(this, now=0.0) == ([], 0)
    assert reads(this, now=PATIENCE) == ([3, 5], 1)
    assert reads(this, now=PATIENCE) == ([], 0)
    assert reads(this, another(1), now=PATIENCE) == ([1], 0)


def test_in_a_journal_that_began_anew_gaps_are_seen_from_the_first_new_signal_on():
    this = feed()
    takes(this, 1, 2, 3)
    this.begin_anew(0.0)
    assert reads(this, 1, 2, another(5), another(7)) == ([5, 7], 1)


def test_of_several_that_were_sent_at_one_time_none_is_left_out_when_a_journal_began_anew():
    this = feed()
    takes(this, 1, 2)
    this.begin_anew(0.0)
    assert reads(this, 1, 2, arrival(3, sent=2.0), arrival(4, sent=2.0)) == ([3, 4], 0)


def test_if_the_last_one_is_lost_whatever_was_sent_at_its_time_may_be_new():
    this = feed()
    takes(this, 1, 2)
    this.begin_anew(0.0)
    assert reads(this, 1, another(2, sent=2.0), arrival(3, sent=2.0)) == ([2, 3], 0)


def test_while_it_is_not_known_where_a_journal_goes_on_broadcasts_are_held_back():
    this = feed()
    takes(this, 1, 2)
    this.begin_anew(0.0)
    assert seqs(this.take(another(1), 0.0)) == []
    assert reads(this, another(1), another(2)) == ([1, 2], 0)


# Silence


def test_after_a_silence_the_journal_is_looked_at():
    this = feed(now=100.0)
    takes(this, 1, now=101.0)
    assert this.wanted_at == math.inf
    assert this.look_at == 101.0 + SILENCE
    this.looked(arrival(1).envelope, 101.0 + SILENCE)
    assert this.wanted_at == math.inf
    assert this.look_at == 101.0 + 3 * SILENCE


@pytest.mark.parametrize("found", [None, arrival(2), another(1), another(2)])
def test_if_it_holds_something_else_it_is_read(found):
    this = feed()
    takes(this, 1)
    this.looked(found and found.envelope, 7.0)
    assert this.wanted_at == 7.0


def test_a_journal_without_signals_is_not_read_for_that():
    this = feed()
    this.looked(None, 7.0)
    assert this.wanted_at == math.inf


def test_what_was_passed_over_is_nothing_new():
    this = feed(1)
    this.looked(arrival(1).envelope, 7.0)
    assert this.wanted_at == math.inf


def test_a_look_that_fails_is_made_later():
    this = feed()
    this.put_off(7.0)
    assert (this.wanted_at, this.look_at) == (math.inf, 17.0)


def test_the_longer_a_silence_lasts_the_less_often_the_journal_is_looked_at_but_not_seldom():
    this = feed()
    times = []
    for _ in range(5):
        now = this.look_at
        this.looked(None, now)
        times.append(this.look_at - now)
    assert times == [10.0, 20.0, 30.0, 30.0, 30.0]
    takes(this, 1, now=1000.0)
    assert this.look_at == 1000.0 + SILENCE


def test_an_exporter_that_has_shut_down_is_looked_at_less_and_less_often():
    this = feed()
    this.is_ended = True
    times = []
    for _ in range(4):
        now = this.look_at
        this.looked(None, now)
        times.append(this.look_at - now)
    assert times == [2 * SILENCE, 4 * SILENCE, 8 * SILENCE, 16 * SILENCE]
    takes(this, 1, now=1000.0)
    assert this.look_at == 1000.0 + SILENCE


@pytest.mark.parametrize("fact", [{"is_dormant": True}, {"is_journaled": False}])
def test_an_exporter_that_is_gone_or_has_no_journal_is_not_looked_at(fact):
    this = feed()
    for name, value in fact.items():
        setattr(this, name, value)
    assert this.look_at == math.inf


# Pages


def test_a_page_that_cannot_be_used_hides_nothing():
    this = feed()
    takes(this, 1)
    this.want(5.0)
    assert this.read([], is_whole=False, now=5.0, last=b"0-64") == ([], 0)
    assert (this.wanted_at, this.beyond) == (5.0, b"0-64")
    assert reads(this, 1, 2, is_whole=False)[0] == [2]
    passed, missed = this.read([arrival(3)], is_whole=True, now=5.0, last=b"3-0")
    assert (seqs(passed), missed, this.beyond, this.wanted_at) == ([3], 0, None, math.inf)


def test_a_journal_that_has_nothing_to_compare_with_on_any_page_is_waited_for():
    this = feed()
    takes(this, 1, 2)
    assert this.read([], is_whole=False, now=5.0, last=b"0-64") == ([], 0)
    assert this.read([], is_whole=True, now=5.0, last=b"0-70") == ([], 0)
    assert this.wanted_at == 5.0 + LOOK_AGAIN
    assert this.beyond is None


def test_an_outage_makes_the_first_page_be_read_again():
    this = feed()
    takes(this, 1)
    this.read([arrival(1), arrival(2)], is_whole=False, now=5.0, last=b"2-0")
    assert this.beyond == b"2-0"
    this.doubt(6.0)
    assert this.beyond is None


# Without a journal


def test_what_no_journal_can_tell_is_passed_over():
    this = feed()
    takes(this, 1, 4, 5)
    passed, missed = this.without_journal()
    assert (seqs(passed), missed) == ([4, 5], 2)
    assert this.wanted_at == math.inf
    assert takes(this, 6) == [6]
    assert this.without_journal() == ([], 0)


def test_without_a_journal_it_begins_with_what_was_heard():
    this = feed(None)
    takes(this, 7, 8)
    passed, missed = this.without_journal()
    assert (seqs(passed), missed) == ([7, 8], 0)


def test_without_a_journal_there_is_nothing_to_doubt():
    this = feed()
    takes(this, 1)
    this.doubt(0.0)
    takes(this, 2)
    passed, missed = this.without_journal()
    assert (seqs(passed), missed) == ([2], 0)
    assert takes(this, 3) == [3]


# Whatever happens


@dataclass
class Journey:
    """A feed, and everything that happens to the signals on their way to it. The journal has them all."""

    page: int
    room: int
    rng: random.Random
    now: float = 0.0
    journal: list[Arrival] = field(default_factory=list)
    under_way: list[Arrival] = field(default_factory=list)
    got: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.feed = feed(max_ahead=self.room)

    def arrives(self) -> None:
        self.take(self.publish())

    def is_lost(self) -> None:
        self.publish()

    def comes_twice(self) -> None:
        for _ in range(2):
            self.take(self.journal[-1] if self.journal else self.publish())

    def comes_later(self) -> None:
        self.under_way.append(self.publish())

    def outage(self) -> None:
        self.under_way.clear()
        self.feed.doubt(self.now)

    def time_passes(self) -> None:
        self.now += 1.0
        self.rng.shuffle(self.under_way)
        while self.under_way:
            self.take(self.under_way.pop())
        self.feed.looked(self.journal[-1].envelope if self.journal else None, self.now)

    def read(self) -> None:
        if self.now >= self.feed.wanted_at:
            found = [each for each in self.journal if each.envelope.seq > self.feed.reads_after][: self.page]
            passed, missed = self.feed.read(found, is_whole=len(found) < self.page, now=self.now)
            assert missed == 0
            self.got += seqs(passed)

    def publish(self) -> Arrival:
        self.journal.append(arrival(len(self.journal) + 1))
        return self.journal[-1]

    def take(self, new: Arrival) -> None:
        self.got += seqs(self.feed.take(new, self.now))


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from(["arrives", "is_lost", "comes_twice", "comes_later", "outage", "time_passes", "read"]),
        max_size=60,
    ),
    st.integers(2, 5),
    st.integers(0, 8),
    st.randoms(use_true_random=False),
)
def test_everything_in_the_journal_is_handed_out_once_and_in_order(steps, page, room, rng):
    journey = Journey(page, room * arrival(1).size, rng)
    for step in steps:
        getattr(journey, step)()
        assert journey.feed._bytes_ahead == sum(each.size for each in journey.feed._ahead.values()) <= journey.room
    for _ in range(200):
        if len(journey.got) >= len(journey.journal):
            break
        journey.time_passes()
        journey.read()
    assert journey.got == list(range(1, len(journey.journal) + 1))


# What was held back when the server lost data


def test_what_was_held_back_of_a_history_that_is_lost_is_not_handed_out_in_the_new_one():
    this = feed()
    assert takes(this, 1, 2, 3, 6) == [1, 2, 3]
    this.doubt(1.0)
    assert takes(this, 7) == []
    assert reads(this, 3, another(4), another(5), now=1.0) == ([4, 5], 0)
    assert seqs(this.take(another(6), 2.0)) == [6, 7]


def test_what_was_held_back_before_it_was_known_where_to_begin_is_no_part_of_another_history():
    this = feed(None)
    assert takes(this, 3) == []
    this.doubt(1.0)
    this.begin_after(0)
    assert reads(this, another(1), another(2), now=1.0) == ([1, 2], 0)
    assert seqs(this.take(another(3), 2.0)) == [3]


def test_what_was_held_back_before_and_is_in_the_journal_is_handed_out_once():
    this = feed()
    assert takes(this, 1, 2, 3, 6) == [1, 2, 3]
    this.doubt(1.0)
    assert reads(this, 3, 4, is_whole=False, now=1.0) == ([4], 0)
    assert reads(this, 5, 6, now=1.0) == ([5, 6], 0)
    assert takes(this, 6, 7) == [7]


def test_what_was_held_back_before_is_all_there_is_where_the_journal_cannot_be_read():
    this = feed()
    assert takes(this, 1, 2, 3, 5, 6) == [1, 2, 3]
    this.doubt(1.0)
    passed, missed = this.without_journal()
    assert (seqs(passed), missed) == ([5, 6], 1)


def test_what_was_held_back_before_and_no_journal_has_is_waited_for_and_handed_out_in_the_end():
    this = feed()
    assert takes(this, 1, 2, 3, 5) == [1, 2, 3]
    this.doubt(1.0)
    assert reads(this, 3, 4, now=1.0) == ([4], 0)
    assert this.wanted_at == 1.0 + LOOK_AGAIN
    assert reads(this, 4, now=1.0 + PATIENCE) == ([5], 0)


def test_what_comes_now_takes_the_place_of_what_was_held_back_before():
    this = feed()
    assert takes(this, 1, 2, 3, 6) == [1, 2, 3]
    this.doubt(1.0)
    assert seqs(this.take(another(6), 1.0)) == []
    passed, _ = this.read([another(3, id=arrival(3).envelope.id), another(4), another(5)], is_whole=True, now=1.0)
    assert [each.envelope.id for each in passed] == [another(seq).envelope.id for seq in (4, 5, 6)]


def test_what_was_held_back_before_is_dropped_once_an_earlier_position_is_that_of_a_later_signal():
    this = feed(None)
    assert takes(this, 3) == []
    this.doubt(1.0)
    this.begin_after(0)
    passed, missed = this.read([another(1), another(2)], is_whole=True, now=1.0)
    assert (seqs(passed), missed) == ([1, 2], 0)
    assert this.wanted_at == math.inf
    assert seqs(this.take(another(3), 2.0)) == [3]
