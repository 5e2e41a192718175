"""The keyspace answers as a real Redis does."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from state_signals import requests
from state_signals.requests import Entry
from state_signals.server import EmbeddedServer
from state_signals.transport.base import Batch, Refusal
from state_signals.transport.commands import Commands, RequestRefused
from state_signals.transport.keys import Keys
from state_signals.transport.keyspace import Keyspace
from state_signals.transport.redis import RedisTransport

Execute = Callable[[Batch], list[Any]]

LARGEST = f"{2**64 - 1}-{2**64 - 1}"


class One:
    """Gives single commands to a keyspace whose time is `now`."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.keyspace = Keyspace(lambda: self.now)

    def __call__(self, *command: str | bytes | float) -> Any:
        (reply,) = self.keyspace.execute(Batch("k", (command,)))
        return reply


@pytest.fixture
def one() -> One:
    return One()


@pytest.fixture(scope="module")
def real(server: EmbeddedServer) -> Iterator[RedisTransport]:
    transport = RedisTransport(redis.Redis.from_url(server.url, protocol=2), Keys(), is_ours=True)
    yield transport
    transport.execute(Batch("k", (("FLUSHALL",),)))
    transport.close()


def both(real: RedisTransport) -> tuple[Execute, Execute]:
    """An empty keyspace and an empty server."""
    real.execute(Batch("k", (("FLUSHALL",),)))
    return Keyspace(time.time).execute, real.execute


# Random commands

TEXTS, HASHES, SETS, STREAMS = (st.sampled_from([*[own] * 9, "t", "h", "z", "s"]) for own in "thzs")
KEYS = st.sampled_from(["t", "h", "z", "s"])
NAMES = st.sampled_from(["x", "y", b"\xff"])
VALUES = st.sampled_from(["", "1", b"\x00\r\n", "long" * 30])
SCORES = st.sampled_from(
    [0, 1, 1, 2, 2, 3, -1, 1.5, 0.1, 1e20, 1_732_398_000.123, "+inf", "-inf", "1e3", "nan", "word"]
)
LIFETIMES = st.sampled_from([0, -1, 100_000, 2**63 - 1, "word", "1.5", "07"])
IDS = st.sampled_from(["*", "1", "2", "3-1", "3-2", "5-0", 7, "0-0", "word", "1-", "-1", "1-2-3", LARGEST, 2**64])
STARTS = st.sampled_from(["-", "-", "-", "0", "1", "(1", "2-1", "3-1", "(3-1", 4, "word", "(word", "(-"])
ENDS = st.sampled_from(["+", "+", "+", "0", "1", "2", "3", "3-1", 4, "99", LARGEST, "word"])
COUNTS = st.sampled_from([(), (), ("COUNT", 1), ("COUNT", 2), ("COUNT", 0), ("COUNT", -1), ("COUNT", "word"), ("X", 1)])
NUMBERS = st.sampled_from([0, 0, 1, 2, -1, "word"])
PAIRS = st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=3).map(lambda pairs: sum(pairs, ()))
TRIMS = st.sampled_from(
    [(), (), ("MAXLEN", "~", 3), ("MAXLEN", "~", 1000), ("MAXLEN", 2), ("MAXLEN", "=", 0), ("MAXLEN", "word")]
)


def command(*parts: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    """A command from words, strategies of words, and strategies of tuples of them."""

    def flat(drawn: tuple[Any, ...]) -> tuple[Any, ...]:
        return sum((part if isinstance(part, tuple) else (part,) for part in drawn), ())

    return st.tuples(*(part if isinstance(part, st.SearchStrategy) else st.just(part) for part in parts)).map(flat)


SHORT = ["GET", "GET t b", "HSET h x", "HSET h x 1 y", "ZADD z 1 x 2", "TIME a", "PUBLISH a", "XRANGE s - + COUNT"]
SHORT += ["XADD s * x", "XADD s * x 1 y", "XADD s NOMKSTREAM * x", "SET t 1 PX", "SET t 1 WORD", "WORD a b", "word"]
ODD = st.sampled_from([tuple(words.split()) for words in SHORT])

COMMANDS = st.one_of(
    command("SET", TEXTS, VALUES, st.sampled_from([(), ("NX",), ("NX", "NX")])),
    command("SET", TEXTS, VALUES, st.sampled_from([(), ("NX",)]), "PX", LIFETIMES),
    command("GET", TEXTS),
    command("PTTL", KEYS),
    command("PEXPIRE", KEYS, LIFETIMES),
    command("DEL", st.lists(KEYS, min_size=1, max_size=2).map(tuple)),
    command("HSET", HASHES, PAIRS),
    command("HDEL", HASHES, st.lists(NAMES, min_size=1, max_size=2).map(tuple)),
    command("HGETALL", HASHES),
    command("ZADD", SETS, SCORES, NAMES),
    command("ZADD", SETS, 1, "x", 2, "y", 2, "z"),
    command("ZREM", SETS, st.lists(NAMES, min_size=1, max_size=2).map(tuple)),
    command("ZMSCORE", SETS, NAMES, NAMES),
    command("ZREVRANGEBYSCORE", SETS, SCORES, SCORES, "WITHSCORES", "LIMIT", NUMBERS, NUMBERS),
    command("ZREVRANGEBYSCORE", SETS, "+inf", SCORES, "WITHSCORES", "LIMIT", 0, 10),
    command("ZREMRANGEBYSCORE", SETS, SCORES, SCORES),
    command("XADD", STREAMS, st.sampled_from([(), ("NOMKSTREAM",)]), TRIMS, IDS, PAIRS),
    command("XADD", STREAMS, st.sampled_from(["1", "2", "3", "3-1", "4", "*"]), "x", "1"),
    command("XRANGE", STREAMS, STARTS, ENDS, COUNTS),
    command("XREVRANGE", STREAMS, ENDS, STARTS, COUNTS),
    command("PUBLISH", KEYS, VALUES),
    st.sampled_from([("TIME",), ("PING",)]),
    ODD,
)

BATCHES = st.builds(Batch, st.just("k"), st.lists(COMMANDS, max_size=8).map(tuple), is_atomic=st.booleans())


class Comparable:
    """Replies without what depends on the time."""

    def __init__(self) -> None:
        self._made: dict[tuple[Any, bytes], str] = {}
        self._count = 0

    def __call__(self, command: tuple[Any, ...], reply: Any) -> Any:
        if isinstance(reply, Refusal) or reply is None:
            return reply
        match command[0]:
            case "TIME":
                reply = [part.isdigit() for part in reply]
            case "PTTL":
                reply = min(reply, 0)
            case "HGETALL":
                reply = dict(zip(reply[::2], reply[1::2], strict=True))
            case "XADD" if "*" in command:
                # Those that the server has made, by their order.
                self._count += 1
                self._made[command[1], reply] = f"*{self._count}"
                reply = f"*{self._count}"
            case "XRANGE" | "XREVRANGE":
                reply = [[self._made.get((command[1], entry), entry), fields] for entry, fields in reply]
        return reply


@given(batches=st.lists(BATCHES, min_size=1, max_size=12))
@settings(max_examples=200, deadline=None)
@example([Batch("k", (("SET", "a", "1"), ("GET",)), is_atomic=True), Batch("k", (("GET", "a"),))])
@example([Batch("k", (("SET", "a", "1"), ("HGETALL", "a"), ("GET", "a")), is_atomic=True)])
@example([Batch("k", (("XADD", "a", "MAXLEN", 0, "5", "x", "1"), ("XADD", "a", "5", "x", "1"), ("DEL", "a")))])
@example([Batch("k", (*(("XADD", "a", n, "x", "1") for n in (1, 2, 3)), ("XRANGE", "a", "-", "1", "COUNT", 2)))])
@example([Batch("k", (("XADD", "a", "*", "x", "1"), ("XADD", "a", "*", "x", "2"), ("XREVRANGE", "a", "+", "-")))])
def test_it_answers_random_commands_as_a_server(real: RedisTransport, batches: list[Batch]) -> None:
    answers: list[Any] = []
    for execute in both(real):
        comparable = Comparable()
        pairs = [pair for batch in batches for pair in zip(batch.commands, execute(batch), strict=True)]
        answers.append([comparable(*pair) for pair in pairs])
    assert answers[0] == answers[1]


# Requests of the protocol

ME, YOU = b"me", b"you"

REQUESTS: list[Any] = [
    requests.Claim("fio", ME, ttl=10.0),
    requests.Claim("fio", YOU, ttl=10.0),
    requests.Claim("fio", YOU, ttl=10.0, instead_of=ME),
    requests.Publish("fio", Entry(1, b"first"), record={"info": b"{}", "legal": b"[]"}),
    requests.Publish("fio", Entry(2, b"second")),
    requests.Publish("fio", Entry(3, b"third"), forgotten=("legal",), forgets_roster=True),
    requests.Publish("fio", Entry(2, b"again"), record={"position": b"1-1"}),
    requests.Publish("fio", Entry(9, b"broadcast"), is_journaled=False),
    requests.Redeliver("pcp", "f" * 32, b"first"),
    requests.CheckJournal("fio"),
    requests.Restore(
        "fio", (Entry(1, b"first"), Entry(4, b"fourth")), (b"fourth",), {"info": b"{}"}, {"pcp": b"{}", "vmstat": b"{}"}
    ),
    requests.Restore("fio", (), (), {}, {}),
    requests.Beat("fio", ttl=10.0),
    requests.Beat("fio", ttl=10.0, position=b"5-0"),
    requests.CheckPresence(("pcp", "nobody")),
    requests.CheckPresence(()),
    requests.SaveRoster("fio", {"pcp": b'{"a": 1}'}),
    requests.SaveRoster("fio", {str(number): b"{}" for number in range(2500)}, gone=("pcp", "nobody")),
    requests.SaveRoster("fio", {}),
    requests.Release("fio", ME),
    requests.Release("fio", YOU),
    requests.Release("fio", ME, keeps_record=True, roster=requests.SaveRoster("fio", {"pcp": b"{}"}, gone=("nobody",))),
    requests.OpenResponses("fio"),
    requests.OpenResponses("fio", after=b"1-1"),
    requests.OpenResponses("fio", after=b"99999999999999-0"),
    requests.Discover(60.0),
    requests.Discover(-60.0),
    requests.Introduce("fio"),
    requests.CatchUp("fio", after=0, count=2),
    requests.CatchUp("fio", after=2, count=100),
    requests.Answer(b"answer", reply=Keys().reply("fio")),
    requests.Answer(b"answer", reply=None),
    requests.ShowPresence(("pcp", "vmstat")),
    requests.Leave(("pcp",)),
    # Somebody else's doing.
    Batch("k", (("SET", Keys().reply("fio"), "1"),)),
    Batch("k", (("SET", Keys().journal("fio"), "1"),)),
    Batch("k", (("SET", Keys().presence, "1"),)),
    Batch("k", (("DEL", Keys().journal("fio"), Keys().presence),)),
    Batch("k", (("XADD", Keys().journal("fio"), LARGEST, "x", "1"),)),
]


def carried_out(execute: Execute, request: Any) -> Any:
    if isinstance(request, Batch):
        return execute(request)
    steps = Commands(Keys(), retention=100.0).steps(request)
    try:
        batch = next(steps)
        while True:
            batch = steps.send(execute(batch))
    except StopIteration as end:
        return without_time(end.value)
    except RequestRefused as refused:
        return refused.refusal


def without_time(reply: Any) -> Any:
    match reply:
        case requests.Claimed():
            return replace(reply, expires_in=reply.expires_in > 0, server_time=0.0, newest=reply.newest is not None)
        case requests.Beaten():
            return replace(reply, server_time=0.0)
        case requests.PresenceChecked():
            return replace(reply, seen={name: seen is not None for name, seen in reply.seen.items()}, server_time=0.0)
        case requests.Discovered():
            return replace(reply, seen=dict.fromkeys(reply.seen, 0.0), server_time=0.0)
        case requests.ResponsesOpened():
            return replace(reply, after=reply.after if len(reply.after) < 10 else b"new")
    return reply


@given(chosen=st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
@example(REQUESTS)
@example(REQUESTS[::-1])
def test_requests_have_the_same_replies_as_from_a_server(real: RedisTransport, chosen: list[Any]) -> None:
    answers = [[carried_out(execute, request) for request in chosen] for execute in both(real)]
    assert answers[0] == answers[1]


# Time

MAKE = (("SET", "k", "1"), ("HSET", "k", "x", "1"), ("ZADD", "k", 1, "x"), ("XADD", "k", "1-0", "x", "1"))


@pytest.mark.parametrize("make", MAKE)
def test_what_has_expired_is_gone(one: One, make: tuple[str, ...]) -> None:
    one(*make)
    one("PEXPIRE", "k", 100)
    one.now += 0.05
    assert one("PTTL", "k") == 50
    one.now += 0.051
    assert one("PTTL", "k") == -2
    assert one("PEXPIRE", "k", 100) == 0
    assert one("DEL", "k") == 0
    assert [one("GET", "k"), one("HGETALL", "k"), one("XRANGE", "k", "-", "+")] == [None, [], []]
    assert one("ZREVRANGEBYSCORE", "k", "+inf", "-inf", "WITHSCORES", "LIMIT", 0, 9) == []


@pytest.mark.parametrize("make", MAKE)
def test_what_is_made_anew_does_not_expire(one: One, make: tuple[str, ...]) -> None:
    first = one(*make)
    one("PEXPIRE", "k", 100)
    one.now += 1
    assert one(*make) == first
    assert one("PTTL", "k") == -1


def test_a_claim_that_has_expired_can_be_made(one: One) -> None:
    assert one("SET", "k", "1", "NX", "PX", 100) == b"OK"
    assert one("SET", "k", "2", "NX", "PX", 100) is None
    one.now += 0.2
    assert one("SET", "k", "3", "NX", "PX", 100) == b"OK"
    assert one("GET", "k") == b"3"
    one("SET", "k", "4")
    assert one("PTTL", "k") == -1


def test_what_has_expired_does_not_pile_up(one: One) -> None:
    one("SET", "kept", "1")
    for number in range(10_000):
        one("XADD", f"stream-{number}", "*", "x", "1")
        one("PEXPIRE", f"stream-{number}", 10)
        one.now += 0.001
    assert len(one.keyspace._data) < 200
    assert len(one.keyspace._expiries) < 200
    assert one("GET", "kept") == b"1"


def test_ids_grow_when_the_clock_goes_back(one: One) -> None:
    first = one("XADD", "k", "*", "x", "1")
    assert first == b"1700000000000-0"
    one.now -= 10
    assert one("XADD", "k", "*", "x", "1") == b"1700000000000-1"
    one.now += 20
    assert one("XADD", "k", "*", "x", "1") == b"1700000010000-0"
    assert one("TIME") == [b"1700000010", b"0"]


def test_a_stream_grows_to_its_length_approximately(one: One) -> None:
    for number in range(1, 5001):
        one("XADD", "k", "MAXLEN", "~", 1000, f"{number}-0", "x", "1")
        assert len(one("XRANGE", "k", "-", "+")) <= 1099
    assert one("XRANGE", "k", "-", "+", "COUNT", 1)[0][0] <= b"4001-0"
    assert one("XREVRANGE", "k", "+", "-", "COUNT", 1) == [[b"5000-0", [b"x", b"1"]]]


def test_flush_leaves_nothing_but_the_subscriptions(one: One) -> None:
    heard: list[bytes] = []
    one.keyspace.subscribe("c", heard.append)
    for make in MAKE:
        one(make[0], make[0], *make[2:])
        one("PEXPIRE", make[0], 100)
    one.keyspace.flush()
    assert not one.keyspace._data
    assert one("PTTL", "SET") == -2
    assert one("PUBLISH", "c", "1") == 1
    assert heard == [b"1"]


def test_subscribers_hear_what_is_published_until_they_go(one: One) -> None:
    first: list[bytes] = []
    second: list[bytes] = []
    one.keyspace.subscribe("c", deliver := first.append)
    one.keyspace.subscribe("c", second.append)
    assert one("PUBLISH", "c", "1") == 2
    assert one("PUBLISH", "d", "2") == 0
    one.keyspace.unsubscribe("c", deliver)
    one.keyspace.unsubscribe("c", deliver)
    assert one("PUBLISH", "c", b"\xff") == 1
    assert (first, second) == ([b"1"], [b"1", b"\xff"])
    assert list(one.keyspace._subscribers) == [b"c"]


def test_who_is_told_may_go(one: One) -> None:
    def deliver(_: bytes) -> None:
        one.keyspace.unsubscribe("c", deliver)

    one.keyspace.subscribe("c", deliver)
    assert one("PUBLISH", "c", "1") == 1
    assert one("PUBLISH", "c", "1") == 0
    assert not one.keyspace._subscribers


def test_a_stream_tells_of_each_entry(one: One) -> None:
    heard: list[bytes] = []
    one.keyspace.subscribe("k", heard.append)
    one("XADD", "k", "1", "x", "1")
    one("XADD", "k", "1", "x", "1")
    one("XADD", "other", "2", "x", "1")
    one("XADD", "k", "2", "x", "1")
    assert heard == [b"1-0", b"2-0"]


def test_a_signal_handler_may_give_commands_at_any_moment(one: One) -> None:
    handled = 0

    def handle(*_: object) -> None:
        nonlocal handled
        # Another one may interrupt this one.
        handled = number = handled + 1
        one("XADD", "k", "MAXLEN", "~", 100, "*", "x", "handler")
        one("HSET", "h", f"handler-{number}", "1")
        one("ZADD", "z", number, f"handler-{number}")
        one("ZREMRANGEBYSCORE", "z", "-inf", number - 50)

    before = signal.signal(signal.SIGALRM, handle)
    given, added = 0, []
    deadline = time.monotonic() + 20
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
        while handled < 500 and time.monotonic() < deadline:
            given += 1
            added.append(one("XADD", "k", "MAXLEN", "~", 100, "*", "x", "main"))
            one("HSET", "h", f"main-{given}", "1")
            one("ZREVRANGEBYSCORE", "z", "+inf", "-inf", "WITHSCORES", "LIMIT", 0, 10)
            one("ZREMRANGEBYSCORE", "z", "-inf", -1)
            ids = [entry[0] for entry in one("XRANGE", "k", "-", "+")]
            assert len(ids) == len(set(ids))
            assert ids == sorted(ids, key=lambda text: tuple(map(int, text.split(b"-"))))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert handled >= 500
    assert len(set(added)) == given
    assert len(one("HGETALL", "h")) == 2 * (given + handled)
