"""What requests mean to a server: step by step, and what is made of the replies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from state_signals import requests
from state_signals.requests import Entry
from state_signals.transport.base import Batch, Refusal
from state_signals.transport.commands import Commands, RequestRefused
from state_signals.transport.keys import Keys
from state_signals.transport.keyspace import Keyspace

KEYS = Keys("lab")
JOURNAL, REPLY, OWNER, RECORD, ROSTER = (
    getattr(KEYS, name)("fio") for name in ("journal", "reply", "owner", "record", "roster")
)
NOT_ALLOWED = Refusal("NOPERM", "NOPERM this user has no permissions")


class Server:
    """A keyspace, and the batches that it gets."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.batches: list[Batch] = []
        self.spoil: Callable[[Batch, list[Any]], list[Any]] = lambda _, found: found
        self._keyspace = Keyspace(lambda: self.now)
        self._commands = Commands(KEYS, retention=100.0)

    def __call__(self, request: Any) -> Any:
        """Carry out a request."""
        self.batches.clear()
        steps = self._commands.steps(request)
        try:
            batch = next(steps)
            while True:
                self.batches.append(batch)
                batch = steps.send(self.spoil(batch, self._keyspace.execute(batch)))
        except StopIteration as end:
            return end.value

    def ask(self, *command: Any) -> Any:
        return self._keyspace.execute(Batch("k", (command,)))[0]

    def heard(self, channel: str) -> list[bytes]:
        """What is published from now on."""
        heard: list[bytes] = []
        self._keyspace.subscribe(channel, heard.append)
        return heard

    def refuse(self, *words: str) -> None:
        """Refuse the commands with these names."""
        self.spoil = lambda batch, found: [
            NOT_ALLOWED if command[0] in words else reply for command, reply in zip(batch.commands, found, strict=True)
        ]


@pytest.fixture
def server() -> Server:
    return Server()


def test_all_keys_of_an_exporter_go_to_one_node(server: Server):
    for request in (
        requests.Claim("fio", b"me", 10.0),
        requests.Publish("fio", Entry(1, b"1"), record={"info": b"{}"}),
        requests.CheckJournal("fio"),
        requests.Restore("fio", (Entry(2, b"2"),), (b"2",), {"info": b"{}"}, {"pcp": b"{}"}),
        requests.Beat("fio", 10.0, b"1-1"),
        requests.SaveRoster("fio", {"pcp": b"{}"}),
        requests.OpenResponses("fio"),
        requests.Introduce("fio"),
        requests.CatchUp("fio", 0, 10),
        requests.Discover(60.0),
        requests.ShowPresence(("pcp",)),
        requests.CheckPresence(("pcp",)),
        requests.Answer(b"{}", REPLY),
        requests.Leave(("pcp",)),
        requests.Release("fio", b"me"),
    ):
        server(request)
        for batch in server.batches:
            # Channels are the same everywhere, and go along with whatever else is asked for.
            keys = {command[1] for command in batch.commands if command[0] not in ("TIME", "PUBLISH")}
            deleted = {key for command in batch.commands if command[0] == "DEL" for key in command[2:]}
            of_exporter = "{fio}" in batch.key
            assert all("{fio}" in str(key) if of_exporter else key == batch.key for key in keys | deleted), batch


def test_a_signal_is_written_and_broadcast_in_one_step(server: Server):
    heard = server.heard(KEYS.signals)
    server(requests.Publish("fio", Entry(1, b"one"), record={"info": b"{}"}))
    [batch] = server.batches
    assert batch.is_atomic
    assert heard == [b"one"]
    assert server.ask("XRANGE", JOURNAL, "-", "+") == [[b"1-0", [b"s", b"one"]]]
    assert server.ask("HGETALL", RECORD) == [b"info", b"{}"]
    assert server.ask("PTTL", JOURNAL) == server.ask("PTTL", RECORD) == 100_000


def test_a_signal_that_is_sent_again_is_in_the_journal_once(server: Server):
    heard = server.heard(KEYS.signals)
    assert server(requests.Publish("fio", Entry(1, b"one"))) == requests.Done()
    assert server(requests.Publish("fio", Entry(1, b"one"))) == requests.PositionTaken()
    assert heard == [b"one", b"one"]
    assert server.ask("XRANGE", JOURNAL, "-", "+") == [[b"1-0", [b"s", b"one"]]]


def test_what_the_server_refuses_is_told(server: Server):
    server.refuse("XADD")
    for request in (
        requests.Publish("fio", Entry(1, b"one")),
        requests.Restore("fio", (Entry(1, b"one"),), (), {}, {}),
    ):
        with pytest.raises(RequestRefused, match="NOPERM") as caught:
            server(request)
        assert caught.value.refusal is NOT_ALLOWED


def test_a_restored_journal_goes_on_where_it_ended(server: Server):
    server(requests.Publish("fio", Entry(1, b"one")))
    heard = server.heard(KEYS.signals)
    entries = tuple(Entry(number, b"%d" % number) for number in range(1, 4))
    server(requests.Restore("fio", entries, (b"3",), {"info": b"{}"}, {"pcp": b"{}"}))
    [batch] = server.batches
    assert batch.is_atomic
    assert [fields[1] for _, fields in server.ask("XRANGE", JOURNAL, "-", "+")] == [b"one", b"2", b"3"]
    assert heard == [b"3"]
    assert server.ask("HGETALL", ROSTER) == [b"pcp", b"{}"]
    assert server(requests.CheckJournal("fio")) == requests.JournalChecked(3, None, newest=b"3")


# Responses


def test_the_stream_of_the_responses_is_opened_once(server: Server):
    opened = server(requests.OpenResponses("fio"))
    assert not opened.has_lost
    assert server(requests.OpenResponses("fio", opened.after)) == opened
    assert server.ask("PTTL", REPLY) == 100_000


def test_reading_goes_on_after_the_last_response(server: Server):
    opened = server(requests.OpenResponses("fio"))
    server(requests.Answer(b"{}", REPLY))
    assert server(requests.OpenResponses("fio", opened.after)) == opened
    (last, _) = server.ask("XREVRANGE", REPLY, "+", "-", "COUNT", 1)[0]
    assert server(requests.OpenResponses("fio")) == requests.ResponsesOpened(last, has_lost=False)
    assert server(requests.OpenResponses("fio", b"0-0")) == requests.ResponsesOpened(b"0-0", has_lost=False)


def test_a_stream_that_is_gone_is_noticed(server: Server):
    opened = server(requests.OpenResponses("fio"))
    server.ask("DEL", REPLY)
    server.now += 1
    again = server(requests.OpenResponses("fio", opened.after))
    assert again.has_lost
    assert again.after > opened.after
    server.ask("DEL", REPLY)
    assert not server(requests.OpenResponses("fio")).has_lost


def test_what_somebody_else_has_put_there_is_replaced(server: Server):
    server.ask("SET", REPLY, "1")
    assert not server(requests.OpenResponses("fio")).has_lost
    assert len(server.ask("XRANGE", REPLY, "-", "+")) == 1


def test_a_server_that_has_gone_back_in_time_is_noticed(server: Server):
    server(requests.OpenResponses("fio"))
    again = server(requests.OpenResponses("fio", b"1700000099999-0"))
    assert again == requests.ResponsesOpened(b"0-0", has_lost=True)


def test_so_is_one_whose_clock_is_behind_and_that_has_new_responses_by_now(server: Server):
    server(requests.OpenResponses("fio"))
    server(requests.Answer(b"1", REPLY))
    # Read from a server that is gone, with a clock that was ahead.
    read = b"1700000050000-0"
    server(requests.Answer(b"2", REPLY))
    server.now += 100
    server(requests.Answer(b"3", REPLY))
    assert server(requests.OpenResponses("fio", read)) == requests.ResponsesOpened(b"0-0", has_lost=True)


def test_responses_that_were_cut_off_unread_are_noticed(server: Server):
    opened = server(requests.OpenResponses("fio"))
    server(requests.Answer(b"1", REPLY))
    server.ask("XADD", REPLY, "MAXLEN", 1, "*", "r", "2")
    assert server(requests.OpenResponses("fio", opened.after)).has_lost


@pytest.mark.parametrize("reply", [None, REPLY])
def test_an_answer_without_a_stream_goes_to_the_channel(server: Server, reply: str | None):
    heard = server.heard(KEYS.responses)
    server(requests.Answer(b"{}", reply))
    assert heard == [b"{}"]
    assert server.ask("XRANGE", REPLY, "-", "+") == []
    server.ask("SET", REPLY, "1")
    server(requests.Answer(b"{}", reply))
    assert heard == [b"{}"] * 2


def test_an_answer_that_a_full_server_does_not_take_goes_to_the_channel(server: Server):
    heard = server.heard(KEYS.responses)
    server(requests.OpenResponses("fio"))
    full = Refusal("OOM", "OOM command not allowed when used memory > 'maxmemory'")
    server.spoil = lambda batch, found: [
        full if command[0] == "XADD" else reply for command, reply in zip(batch.commands, found, strict=True)
    ]
    assert server(requests.Answer(b"{}", REPLY)) == requests.Done()
    assert heard == [b"{}"]


def test_a_journal_is_read_page_by_page_whatever_is_in_it(server: Server):
    for number in range(1, 4):
        server(requests.Publish("fio", Entry(number, b"%d" % number)))
    server.ask("XADD", JOURNAL, "3-1", "x", "x")
    first = server(requests.CatchUp("fio", 1, 2))
    assert first == requests.CaughtUp("fio", (b"2", b"3"), last=b"3-0", is_whole=False)
    rest = server(requests.CatchUp("fio", 1, 2, first.last))
    assert rest == requests.CaughtUp("fio", (), last=b"3-1", is_whole=True)
    assert server(requests.CatchUp("fio", 1, 2, rest.last)) == requests.CaughtUp("fio", ())


def test_an_answer_goes_to_one_place(server: Server):
    server(requests.OpenResponses("fio"))
    heard = server.heard(KEYS.responses)
    server(requests.Answer(b"{}", REPLY))
    assert heard == []
    assert [fields for _, fields in server.ask("XRANGE", REPLY, "-", "+")][1:] == [[b"r", b"{}"]]


# Claims and presence


def test_a_claim_is_the_first_ones(server: Server):
    mine = server(requests.Claim("fio", b"me", 10.0))
    assert (mine.owner, mine.expires_in, mine.server_time) == (b"me", 10.0, server.now)
    yours = server(requests.Claim("fio", b"you", 10.0))
    assert yours.owner == b"me"
    server.now += 10.1
    assert server(requests.Claim("fio", b"you", 10.0)).owner == b"you"
    assert server(requests.Claim("fio", b"me", 10.0, instead_of=b"you")).owner == b"me"
    assert server(requests.Claim("fio", b"you", 10.0, instead_of=b"you")).owner == b"me"


def test_of_all_that_would_take_the_place_of_the_dead_one_does(server: Server):
    server(requests.Claim("fio", b"dead", 10.0))
    first, second = (requests.Claim("fio", heir, 10.0, instead_of=b"dead") for heir in (b"one", b"two"))
    interrupted = Commands(KEYS, retention=100.0).steps(first)
    batch = next(interrupted)
    found = server._keyspace.execute(batch)
    # The other one comes in between, and must not.
    assert server(second).owner == b"dead"
    batch = interrupted.send(found)
    with pytest.raises(StopIteration) as end:
        while True:
            batch = interrupted.send(server._keyspace.execute(batch))
    assert end.value.value.owner == b"one"
    assert server(second).owner == b"one"


def test_only_who_holds_the_claim_is_seen(server: Server):
    server(requests.Claim("fio", b"me", 10.0))
    server.now += 5
    server(requests.Claim("fio", b"you", 10.0))
    assert server(requests.Discover(60.0)).seen == {"fio": server.now - 5}


def test_a_beat_renews(server: Server):
    server(requests.Claim("fio", b"me", 10.0))
    server(requests.Publish("fio", Entry(1, b"1"), record={"info": b"{}"}))
    server.now += 5
    assert server(requests.Beat("fio", 10.0, b"7-0")).owner == b"me"
    assert server.ask("PTTL", OWNER) == 10_000
    assert server.ask("PTTL", JOURNAL) == 100_000
    assert server.ask("HGETALL", RECORD) == [b"info", b"{}", b"position", b"7-0"]
    assert server(requests.Discover(1.0)).seen == {"fio": server.now}


def test_proofs_of_life_have_the_servers_time(server: Server):
    server(requests.ShowPresence(("pcp", "vmstat")))
    server.now += 5
    server(requests.ShowPresence(("pcp",)))
    found = server(requests.CheckPresence(("pcp", "vmstat", "nobody")))
    assert found == requests.PresenceChecked({"pcp": server.now, "vmstat": server.now - 5, "nobody": None}, server.now)
    server(requests.Leave(("pcp",)))
    assert server(requests.CheckPresence(("pcp",))).seen == {"pcp": None}


def test_what_is_released_is_gone_but_for_the_streams(server: Server):
    server(requests.Claim("fio", b"me", 10.0))
    server(requests.Publish("fio", Entry(1, b"1"), record={"info": b"{}"}))
    server(requests.SaveRoster("fio", {"pcp": b"{}"}))
    server(requests.Release("fio", b"you"))
    assert server.ask("GET", OWNER) == b"me"
    server(requests.Release("fio", b"me"))
    assert server.ask("GET", OWNER) is None
    assert server.ask("HGETALL", RECORD) == server.ask("HGETALL", ROSTER) == []
    assert len(server.ask("XRANGE", JOURNAL, "-", "+")) == 1
    assert server(requests.Discover(60.0)).seen == {}


def test_whoever_leaves_a_run_to_others_leaves_all_that_is_known_of_its_roster(server: Server):
    server(requests.Claim("fio", b"me", 10.0))
    server(requests.Publish("fio", Entry(1, b"1"), record={"info": b"{}"}))
    server(requests.SaveRoster("fio", {"pcp": b"{}", "vmstat": b"{}"}))
    unsaved = requests.SaveRoster("fio", {"iostat": b"{}"}, gone=("pcp",))
    server(requests.Release("fio", b"you", keeps_record=True, roster=unsaved))
    assert b"iostat" not in server.ask("HGETALL", ROSTER)
    server(requests.Release("fio", b"me", keeps_record=True, position=b"5-0", roster=unsaved))
    assert server.ask("HGETALL", ROSTER)[::2] == [b"vmstat", b"iostat"]
    assert server.ask("HGETALL", RECORD)[-2:] == [b"position", b"5-0"]
