"""From commands to bytes and from bytes to replies."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from state_signals.transport import base, replies
from state_signals.transport.base import Batch, Refusal
from state_signals.transport.failures import PASSING, Passing

TWO = Batch("k", (("GET", "k"), ("DEL", "k")))
ATOMIC = Batch("k", TWO.commands, is_atomic=True)


def error(text: str) -> hiredis.ReplyError:
    return hiredis.ReplyError(text)


def read(data: bytes) -> list[Any]:
    reader = replies.reader()
    reader.feed(data)
    found = []
    while (reply := reader.gets()) is not replies.NOTHING:
        found.append(reply)
    return found


PARTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])), st.binary(), st.integers(), st.floats(allow_nan=False)
)


@given(st.lists(st.lists(PARTS, min_size=1, max_size=5).map(tuple), min_size=1, max_size=5))
def test_any_command_arrives_as_it_is(commands: list[tuple[Any, ...]]):
    data, count = replies.packed(Batch("k", tuple(commands)))
    assert count == len(commands)
    sent = [[part if isinstance(part, bytes) else str(part).encode() for part in command] for command in commands]
    arrived = read(data)
    for command, parts in zip(commands, arrived, strict=True):
        for part, text in zip(command, parts, strict=True):
            assert (
                float(text) == part
                if isinstance(part, float)
                else text == sent[arrived.index(parts)][parts.index(text)]
            )


def test_an_atomic_batch_is_surrounded():
    data, count = replies.packed(ATOMIC)
    assert count == 4
    assert [command[0] for command in read(data)] == [b"MULTI", b"GET", b"DEL", b"EXEC"]


def test_replies_are_read_undecoded():
    assert read(b"+OK\r\n:7\r\n$-1\r\n*-1\r\n$2\r\n\xff\x00\r\n*2\r\n:1\r\n*0\r\n") == [
        b"OK",
        7,
        None,
        None,
        b"\xff\x00",
        [1, []],
    ]
    assert read(b"$5\r\nhal") == []
    with pytest.raises(redis.ConnectionError):
        read(b"HTTP/1.1 400\r\n")


def test_errors_become_refusals():
    assert replies.outcomes(TWO, [error("WRONGTYPE Operation"), 1]) == [Refusal("WRONGTYPE", "WRONGTYPE Operation"), 1]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("WRONGTYPE Operation against", "WRONGTYPE"),
        ("ERR syntax error", "ERR"),
        ("NOPERM this user has no permissions", "NOPERM"),
        ("NOPERM", "NOPERM"),
        ("no such thing", "ERR"),
        ("Nothing", "ERR"),
        ("A: b", "ERR"),
        ("", "ERR"),
        ("OOM command not allowed", "OOM"),
        ("MY_KIND2 of error", "MY_KIND2"),
    ],
)
def test_the_kind_of_an_error_is_its_first_word(text: str, kind: str):
    assert replies.outcomes(TWO, [error(text), 1])[0] == Refusal(kind, text)


@pytest.mark.parametrize("kind", PASSING)
def test_errors_that_pass_by_themselves_are_raised(kind: str):
    for found in ([error(f"{kind} for now"), 1], [1, error(kind)]):
        with pytest.raises(Passing, match=kind) as caught:
            replies.outcomes(TWO, found)
        assert caught.value.kind == kind
    with pytest.raises(Passing):
        replies.outcomes(ATOMIC, [b"OK", b"QUEUED", b"QUEUED", [1, error(f"{kind} for now")]])
    with pytest.raises(Passing):
        replies.outcomes(ATOMIC, [b"OK", error(f"{kind} for now"), b"QUEUED", error("EXECABORT Transaction discarded")])


@pytest.mark.parametrize("text", ["NOAUTH Authentication required.", "WRONGPASS invalid username-password pair"])
def test_a_server_that_wants_a_password_says_so(text: str):
    with pytest.raises(redis.AuthenticationError, match=text):
        replies.outcomes(TWO, [error(text), error(text)])


def test_the_outcomes_of_an_atomic_batch():
    assert replies.outcomes(ATOMIC, [b"OK", b"QUEUED", b"QUEUED", [b"1", error("ERR no")]]) == [
        b"1",
        Refusal("ERR", "ERR no"),
    ]
    aborted = [b"OK", error("ERR wrong number"), b"QUEUED", error("EXECABORT Transaction discarded")]
    # What caused it says more than what came of it.
    assert replies.outcomes(ATOMIC, aborted) == [Refusal("ERR", "ERR wrong number")] * 2


def test_checks():
    replies.check(b"OK")
    replies.check_passing(b"OK")
    replies.check_refusal(b"OK")
    with pytest.raises(redis.exceptions.NoPermissionError, match="NOPERM no"):
        replies.check(error("NOPERM no"))
    with pytest.raises(redis.ResponseError, match="ERR no"):
        replies.check(error("ERR no"))
    with pytest.raises(Passing, match="LOADING now"):
        replies.check(error("LOADING now"))
    with pytest.raises(Passing, match="WRONGTYPE no"):
        replies.check_passing(error("WRONGTYPE no"))


def test_what_is_said_of_a_batch_is_short():
    assert replies.what(TWO) == "carry out GET, DEL"
    assert replies.what(Batch("k", (("GET", "a"), ("GET", "b")))) == "carry out GET"
    names = ("A", "B", "C", "D", "E", "F")
    assert replies.what(Batch("k", tuple((name, "secret") for name in names))) == "carry out A, B, C, D, E ..."


def test_the_wait_for_entries(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(base, "IDLE", 0.25)
    [command] = read(replies.wait_for_entries("s", b"7-1"))
    assert command == [b"XREAD", b"COUNT", b"500", b"BLOCK", b"250", b"STREAMS", b"s", b"7-1"]


def test_entries_and_their_responses():
    assert replies.entries(None) == []
    found = replies.entries(
        [[b"s", [[b"1-0", [b"r", b"1"]], [b"2-0", [b"o", b""]], [b"3-0", None], [b"4-0", [b"x", b"r", b"r", b"2"]]]]]
    )
    assert [name for name, _ in found] == [b"1-0", b"2-0", b"3-0", b"4-0"]
    assert replies.responses(found) == [b"1", b"2"]


@pytest.mark.parametrize("reply", [b"OK", 7, [7], [[b"s"]], [[b"s", 7]], [[b"s", [7]]], [[b"s", [[b"1-0"]]]]])
def test_what_is_no_reply_about_entries_is_a_lost_connection(reply: Any):
    with pytest.raises(redis.ConnectionError, match="this is no reply to XREAD"):
        replies.entries(reply)


def test_what_comes_over_a_subscription():
    assert replies.published([b"message", b"a", b"data"]) == b"data"
    for other in ([b"subscribe", b"a", 1], [b"pong", b""], b"PONG", [b"pmessage", b"a*", b"a", b"x"], None):
        assert replies.published(other) is None
    assert replies.confirmed([b"subscribe", b"a", 1])
    assert not replies.confirmed([b"message", b"a", b"data"])
    assert not replies.confirmed(b"OK")
