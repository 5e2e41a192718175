"""Signals on their way: numbered without gaps, whatever happens to some of them, and remembered within limits."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest
from msgspec.structs import replace

from state_signals import InvalidType, Limits, MessageTooLarge, Signal
from state_signals.codec import decode_signal
from state_signals.limits import DEFAULT_LIMITS
from state_signals.messages import Envelope
from state_signals.protocol.outgoing import Outgoing, Publication, broadcast_again
from tests.protocol.stage import identifier, signal


def publication(number: int, *, deadline: float | None = None, is_strict: bool = False, **metadata) -> Publication:
    name = identifier(number)
    envelope = None if is_strict else Envelope(id=name, seq=1, sent=0.0)
    return Publication(Signal("fio-1", "fio", "start", "node1", metadata=metadata), envelope, name, deadline)


def queue(*numbers: int, limits: Limits = DEFAULT_LIMITS) -> Outgoing:
    outgoing = Outgoing(limits)
    for number in numbers:
        outgoing.add(publication(number))
    return outgoing


def take_all(outgoing: Outgoing) -> list[tuple[int | None, int]]:
    """Have the server take everything; return positions on the wire and beside it."""
    taken = []
    while outgoing.first() is not None:
        entry = outgoing.taken().entry
        taken.append((decode_signal(entry.data).seq, entry.seq))
    return taken


def test_signals_are_numbered_from_1_in_the_order_in_which_they_were_added():
    outgoing = queue(11, 12, 13)
    assert len(outgoing) == 3
    first = outgoing.first()
    assert first is not None
    assert first.signal_id == identifier(11)
    assert outgoing.first() is first
    assert take_all(outgoing) == [(1, 1), (2, 2), (3, 3)]
    assert outgoing.head == 3
    assert not outgoing


def test_a_signal_that_was_given_up_leaves_no_gap():
    outgoing = queue(11, 12, 13, 14)
    outgoing.withdraw(identifier(11))
    outgoing.withdraw(identifier(13))
    outgoing.withdraw("unknown")
    assert take_all(outgoing) == [(1, 1), (2, 2)]


def test_a_signal_that_the_server_refuses_leaves_no_gap():
    outgoing = queue(11, 12)
    outgoing.first()
    assert outgoing.dropped().signal_id == identifier(11)
    assert take_all(outgoing) == [(1, 1)]


def test_numbers_go_on_after_what_an_earlier_owner_has_written():
    outgoing = queue(11, 12)
    outgoing.resume(41)
    outgoing.resume(7)
    assert take_all(outgoing) == [(42, 42), (43, 43)]


def test_what_cannot_be_sent_is_not_queued():
    outgoing = queue(11, limits=Limits(max_payload=400))
    with pytest.raises(MessageTooLarge):
        outgoing.add(publication(12, text="x" * 400))
    with pytest.raises(InvalidType):
        outgoing.add(publication(12, text=b""))
    assert take_all(outgoing) == [(1, 1)]


@pytest.mark.parametrize("change", [{"again": True}, {"redelivered": True}, {"journal": False}, {"seq": 10**6}])
def test_a_signal_that_can_be_sent_can_also_be_sent_once_more_in_any_form(change):
    limits = Limits(max_payload=500)
    outgoing = Outgoing(limits)
    size = 500
    while not outgoing:
        with suppress(MessageTooLarge):
            outgoing.add(publication(1, text="x" * size))
        size -= 1
    first = outgoing.first()
    assert first is not None
    assert first.envelope is not None
    assert len(first.entry.data) > 400
    first.envelope = replace(first.envelope, **change)
    form = first.encode(change.get("seq", 1), limits, redelivered="redelivered" in change)
    assert decode_signal(form.data, limits=limits)


def test_a_version_1_signal_may_be_as_large_as_the_limit():
    size = 500 - len(publication(1, is_strict=True, text="").encode(1, DEFAULT_LIMITS).data)
    outgoing = Outgoing(Limits(max_payload=500))
    outgoing.add(publication(1, is_strict=True, text="x" * size))
    with pytest.raises(MessageTooLarge):
        outgoing.add(publication(1, is_strict=True, text="x" * (size + 1)))


def test_it_is_known_what_is_queued():
    outgoing = queue(11)
    assert identifier(11) in outgoing
    take_all(outgoing)
    assert identifier(11) not in outgoing


def test_a_signal_whose_time_is_over_is_given_up_once():
    outgoing = Outgoing(DEFAULT_LIMITS)
    for number, deadline in ((11, 5.0), (12, None), (13, 3.0), (14, 9.0)):
        outgoing.add(publication(number, deadline=deadline))
    assert outgoing.next_deadline() == 3.0
    assert outgoing.overdue(2.9) == []
    assert [each.signal_id for each in outgoing.overdue(5.0)] == [identifier(11), identifier(13)]
    assert outgoing.overdue(5.0) == []
    assert outgoing.next_deadline() == 9.0
    outgoing.withdraw(identifier(14))
    assert outgoing.next_deadline() == math.inf
    assert take_all(outgoing) == [(1, 1)]


# Whether the server has it


def test_only_a_signal_that_may_be_there_can_have_been_taken():
    outgoing = queue()
    assert not outgoing.was_taken(99, signal(99))
    outgoing = queue(11)
    first = outgoing.first()
    assert first is not None
    assert not outgoing.was_taken(1, first.entry.data)
    first.is_attempted = True
    assert not outgoing.was_taken(0, b"")
    assert not outgoing.was_taken(1, signal(1, id=identifier(12)))
    assert outgoing.was_taken(1, first.entry.data)


def test_what_was_given_up_and_has_arrived_after_all_keeps_its_position():
    outgoing = queue(11, 12)
    first = outgoing.first()
    assert first is not None
    first.is_attempted = True
    outgoing.withdraw(identifier(11))
    assert outgoing.first() is not None
    # Whatever else is there is somebody's doing.
    assert not outgoing.adopt(1, signal(1, id=identifier(9)))
    assert not outgoing.adopt(7, first.entry.data)
    assert outgoing.adopt(1, first.entry.data)
    following = outgoing.first()
    assert following is not None
    assert (following.signal_id, following.entry.seq) == (identifier(12), 2)
    outgoing.taken()
    assert [entry.seq for entry in outgoing.missing_after(0)] == [1, 2]


def test_what_a_journal_has_lost_is_what_we_remember_beyond_its_end():
    outgoing = queue(11, 12, 13)
    take_all(outgoing)
    assert [entry.seq for entry in outgoing.missing_after(0)] == [1, 2, 3]
    assert [entry.seq for entry in outgoing.missing_after(2)] == [3]
    assert outgoing.missing_after(3) == ()


def test_the_memory_holds_so_many_signals_and_the_oldest_are_forgotten_first():
    outgoing = queue(*range(10), limits=Limits(max_remembered=3))
    take_all(outgoing)
    assert [entry.seq for entry in outgoing.missing_after(0)] == [8, 9, 10]


def test_the_memory_holds_so_many_bytes():
    size = len(publication(1).encode(1, DEFAULT_LIMITS).data)
    outgoing = queue(*range(9), limits=Limits(max_journal_memory=2 * size))
    take_all(outgoing)
    assert [entry.seq for entry in outgoing.missing_after(0)] == [8, 9]
    assert outgoing._bytes_taken == sum(len(entry.data) for entry in outgoing._taken)
    outgoing = queue(1, limits=Limits(max_journal_memory=size - 1))
    take_all(outgoing)
    assert outgoing.missing_after(0) == ()
    assert outgoing._bytes_taken == 0


# Without a journal


def test_without_a_journal_signals_say_so_and_nothing_is_remembered():
    outgoing = queue(11)
    take_all(outgoing)
    outgoing.add(publication(12))
    outgoing.add(publication(13, is_strict=True))
    outgoing.journal_is_off()
    assert outgoing.missing_after(0) == ()
    first = outgoing.first()
    assert first is not None
    envelope = decode_signal(first.entry.data).envelope
    assert envelope is not None
    assert (envelope.journal, envelope.seq, envelope.id) == (False, 2, identifier(12))
    assert outgoing.taken(is_journaled=False) is first
    first = outgoing.first()
    assert first is not None
    assert decode_signal(first.entry.data).envelope is None
    outgoing.taken(is_journaled=False)
    assert (outgoing.missing_after(0), outgoing._bytes_taken) == ((), 0)


def test_a_signal_that_is_broadcast_again_says_so_and_is_the_same_otherwise():
    again = decode_signal(broadcast_again(signal(7, ttl=15.0), DEFAULT_LIMITS))
    before = decode_signal(signal(7, ttl=15.0, again=True))
    assert again == before
    assert again.envelope == before.envelope


def test_a_signal_without_an_envelope_is_broadcast_again_as_it_is():
    data = publication(1, is_strict=True).encode(1, DEFAULT_LIMITS).data
    assert broadcast_again(data, DEFAULT_LIMITS) is data


def test_what_is_no_signal_is_broadcast_again_as_it_is():
    assert broadcast_again(b"nonsense", DEFAULT_LIMITS) == b"nonsense"


def test_a_signal_that_is_redelivered_says_so():
    data = publication(1).encode(7, DEFAULT_LIMITS, redelivered=True).data
    assert decode_signal(data).redelivered
    assert decode_signal(data).seq == 7
