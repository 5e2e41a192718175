"""What is known about the nodes of a Cluster, and where to ask."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from state_signals.transport.failures import Passing
from state_signals.transport.topology import Topology

ONE, TWO, THREE, NEW = ("h1", 1), ("h2", 2), ("h3", 3), ("h4", 4)
ERROR = ConnectionError()


def range_of(first: int, last: int, *nodes: tuple[str | None, int]) -> list[Any]:
    """A range as in the reply to `CLUSTER SLOTS`."""
    return [first, last, *([None if host is None else host.encode(), port, b"id", []] for host, port in nodes)]


THIRDS = [range_of(10923, 16383, THREE), range_of(0, 5460, ONE, NEW), range_of(5461, 10922, TWO)]


@pytest.fixture
def topology() -> Topology:
    made = Topology([ONE, TWO])
    made.update(THIRDS, ONE)
    return made


def test_at_first_it_is_to_be_asked_for():
    topology = Topology([ONE, TWO])
    assert topology.is_stale
    assert sorted(topology.candidates()) == [ONE, TWO]
    assert topology.nodes == {ONE, TWO}
    with pytest.raises(Passing, match="no node has the slot") as caught:
        topology.owner("key")
    assert caught.value.kind == "CLUSTERDOWN"


def test_each_key_has_an_owner(topology: Topology):
    assert not topology.is_stale
    assert topology.nodes == {ONE, TWO, THREE, NEW}
    assert topology.owner("foo") == THREE
    assert key_slot(b"foo") == 12182
    # As Redis does it: what is in the first braces counts.
    assert topology.owner("state-signals:{foo}:signals") == topology.owner("x{foo}y{bar}") == THREE


@given(st.text(), st.lists(st.integers(0, 16383), unique=True, min_size=1).map(sorted))
def test_owners_are_found_in_any_map(key: str, firsts: list[int]):
    topology = Topology([ONE])
    # Every second range is nobody's.
    ends = [*firsts[1:], 16384]
    ranges = list(zip(firsts, ends, strict=True))[::2]
    topology.update([range_of(first, end - 1, ("h", first + 1)) for first, end in ranges], ONE)
    slot = key_slot(key.encode())
    owners = [("h", first + 1) for first, end in ranges if first <= slot < end]
    if owners:
        assert topology.owner(key) == owners[0]
    else:
        with pytest.raises(Passing, match=f"no node has the slot {slot}"):
            topology.owner(key)
        assert topology.is_stale


def test_a_slot_that_is_nobodys_is_asked_for_again(topology: Topology):
    topology.update([range_of(0, 0, ONE)], ONE)
    assert not topology.is_stale
    with pytest.raises(Passing):
        topology.owner("foo")
    assert topology.is_stale


def test_a_node_that_failed_is_asked_last(topology: Topology):
    for node in (TWO, THREE, ONE, THREE):
        topology.failed(node, ERROR)
        assert topology.is_stale
        assert topology.candidates()[-1] == node
    assert topology.candidates() == [NEW, TWO, ONE, THREE]
    topology.works(ONE)
    assert topology.candidates()[2:] == [TWO, THREE]
    topology.works(ONE)


def test_where_a_node_sends_us_is_asked_first(topology: Topology):
    topology.failed(ONE, Passing("MOVED", "MOVED 3999 h4:4"))
    assert topology.is_stale
    assert topology.candidates()[0] == NEW
    assert len(topology.candidates()) == 4
    topology.failed(NEW, ERROR)
    assert topology.candidates()[-1] == NEW
    topology.failed(ONE, Passing("MOVED", "MOVED 3999 h9:9"))
    assert topology.candidates()[0] == ("h9", 9)
    topology.update(THIRDS, NEW)
    assert sorted(topology.candidates()) == [ONE, TWO, THREE, NEW]


@pytest.mark.parametrize(
    ("text", "hint"),
    [("MOVED 3999 :7", ("h1", 7)), ("MOVED 3999 ::1:7", ("::1", 7)), ("MOVED 1 h:x", None), ("ASK 3999 h9:9", None)],
)
def test_what_a_node_may_say(topology: Topology, text: str, hint: tuple[str, int] | None):
    topology.failed(ONE, Passing(text.split(maxsplit=1)[0], text))
    assert topology.is_stale
    # It answers: it is no worse than others.
    assert topology._failed == []
    assert topology._hint == hint


def test_a_node_that_does_not_know_its_name_is_where_it_was_asked():
    topology = Topology([ONE])
    topology.update([range_of(0, 16383, (None, 7), ("", 8), ("?", 9))], ("asked", 1))
    assert topology.owner("foo") == ("asked", 7)
    assert topology.nodes == {("asked", 7), ("asked", 8), ("asked", 9), ONE}


def test_addresses_are_translated():
    topology = Topology([ONE], lambda address: ("gate", address[1]))
    topology.update(THIRDS, ONE)
    assert topology.owner("foo") == ("gate", 3)
    topology.failed(ONE, Passing("MOVED", "MOVED 1 h9:9"))
    assert topology.candidates()[0] == ("gate", 9)


def test_it_tells_when_slots_have_another_master(topology: Topology):
    assert not topology.has_moved
    topology.update(THIRDS[::-1], TWO)
    assert not topology.has_moved
    topology.update([range_of(0, 5460, NEW, ONE), *THIRDS[::2]], TWO)
    assert topology.has_moved
    topology.has_moved = False
    topology.update([range_of(0, 5460, NEW, ONE), *THIRDS[::2]], TWO)
    assert not topology.has_moved
    topology.update([range_of(0, 5460, NEW)], TWO)
    assert topology.has_moved
