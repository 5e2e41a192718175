"""The names of channels and keys."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from state_signals import InvalidArgument, InvalidType
from state_signals.transport.keys import Keys

namespaces = st.none() | st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True)


def test_without_a_namespace_the_channels_are_those_of_version_1():
    assert Keys().signals == "event-signal-pubsub"
    assert Keys().responses == "event-signal-response"


def test_a_namespace_is_a_suffix_of_channels_and_a_prefix_of_keys():
    keys = Keys("lab-7")
    assert keys.signals == "event-signal-pubsub:lab-7"
    assert keys.responses == "event-signal-response:lab-7"
    assert keys.reply("fio-1") == "state-signals:lab-7:{fio-1}:responses"


def test_the_braces_put_all_keys_of_one_exporter_in_one_cluster_slot():
    assert Keys().reply("fio-1") == "state-signals:{fio-1}:responses"


@pytest.mark.parametrize("namespace", ["", "a:b", "{a}", "a b", "a\n", "é", "x" * 65, "*", "a/b"])
def test_a_namespace_cannot_spell_another_ones_keys(namespace):
    with pytest.raises(InvalidArgument, match=r"^namespace must be 1 to 64 letters, digits, dots"):
        Keys(namespace)


@pytest.mark.parametrize("namespace", [1, b"lab", ["lab"], True])
def test_a_namespace_is_text(namespace):
    with pytest.raises(InvalidType, match=r"^namespace must be str or None, not"):
        Keys(namespace)


@given(namespaces, namespaces, st.text(), st.text())
def test_runs_in_different_namespaces_never_meet(one, another, publisher_id, other_id):
    assume(one != another)
    here, there = Keys(one), Keys(another)
    assert len({here.signals, here.responses, there.signals, there.responses}) == 4
    assert here.reply(publisher_id) != there.reply(other_id)


@given(namespaces, st.text(), st.text())
def test_two_exporters_never_share_a_key(namespace, publisher_id, other_id):
    assume(publisher_id != other_id)
    assert Keys(namespace).reply(publisher_id) != Keys(namespace).reply(other_id)
