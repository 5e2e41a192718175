"""What an exporter has on the server, how it gets there, and how it is put back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from state_signals import Limits
from state_signals.codec import ENVELOPE_KEY, decode_signal
from state_signals.protocol.events import (
    ClaimHeld,
    ClaimRefused,
    Degraded,
    Restored,
    RoundCompleted,
    SignalRefused,
    SignalSent,
    SignalUnsent,
)
from state_signals.protocol.refusals import is_permanent
from state_signals.protocol.states import ExporterState
from state_signals.requests import (
    Beat,
    CheckJournal,
    CheckPresence,
    Claim,
    Publish,
    Redeliver,
    Release,
    Restore,
    SaveRoster,
)
from state_signals.transport.base import Batch
from tests.protocol.stage import (
    EPOCH,
    KEYS,
    Exporter,
    Server,
    answer,
    envelopes,
    events,
    events_of,
    every_event,
    identifier,
    initialized,
    publish,
    result,
    sent,
    signal,
    subscribe,
)

NOPERM = ("NOPERM", "NOPERM this user has no permissions to run this command")
OUT_OF_MEMORY = ("OOM", "OOM command not allowed when used memory > 'maxmemory'")
UNKNOWN = ("ERR", "ERR unknown command `ZMSCORE`")


def kinds(requests: list[Any]) -> list[type]:
    return [type(request) for request in requests]


def loses_reply(core: Exporter, now: float = 0.0) -> Any:
    """Have the next request carried out, but the connection lost before the reply."""
    request = core.next_request(now)
    core.server.carry_out(request)
    core.connection_lost()
    core.connection_restored(now)
    return request


def loses_request(core: Exporter, now: float = 0.0) -> Any:
    """Have the connection lost before the next request is carried out."""
    request = core.next_request(now)
    core.connection_lost()
    core.connection_restored(now)
    return request


# The claim comes first


def test_nothing_goes_out_before_the_identifier_is_ours():
    core = Exporter()
    assert core.next_request(0.0) is None
    signal_id = core.publish("start", now=0.0, sent=0.0)
    assert kinds(core.work())[:2] == [Claim, Publish]
    assert core.server.owner() == b"us"
    assert every_event(core)[:2] == [ClaimHeld(found=False), SignalSent(signal_id)]


def test_an_identifier_may_be_claimed_before_there_is_anything_to_say():
    core = Exporter()
    core.claim()
    assert core.next_upkeep() < 0.0
    assert kinds(core.work()) == [Claim, Beat]
    assert every_event(core) == [ClaimHeld(found=False)]
    assert core.can_be_claimed
    assert core.claim_ttl == 15.0


def test_an_identifier_of_somebody_who_lives_is_refused_and_nothing_goes_out():
    server = Server()
    server.set_owner(b"them", ttl=15.0)
    core = Exporter(server, fate=lambda owner: owner == b"them")
    core.publish("start", now=0.0, sent=0.0)
    core.work()
    assert every_event(core) == [ClaimRefused(b"them")]
    assert (server.broadcast, server.journal()) == ([], [])
    assert core.next_upkeep() == float("inf")
    assert core.release() is None
    core.reconnects(100.0)
    assert core.work(100.0) == []


def test_an_identifier_of_a_dead_process_is_taken_over():
    server = Server()
    server.set_owner(b"them", ttl=15.0)
    core = Exporter(server, fate=lambda _: False)
    publish(core)
    assert server.owner() == b"us"
    assert len(server.journal()) == 1


def test_an_identifier_of_somebody_out_of_sight_is_ours_once_that_has_been_silent_for_long_enough():
    server = Server()
    server.set_owner(b"them", ttl=3.0)
    core = Exporter(server)
    core.publish("start", now=0.0, sent=0.0)
    now = claimed_at = 0.0
    while server.owner() != b"us":
        assert core.work(now)
        assert server.owner() == b"us" or server.broadcast == []
        claimed_at, now = now, max(now, core.next_upkeep())
    assert 3.0 <= claimed_at < 3.5
    assert len(server.broadcast) == 1


def test_an_identifier_of_somebody_out_of_sight_that_goes_on_proving_to_live_is_refused():
    server = Server()
    server.set_owner(b"them", ttl=3.0)
    core = Exporter(server)
    core.publish("start", now=0.0, sent=0.0)
    core.work(0.0)
    server.now = 1.0
    server.set_owner(b"them", ttl=3.0)
    core.work(1.0)
    assert every_event(core) == [ClaimRefused(b"them")]


def test_whoever_takes_our_identifier_while_we_are_away_keeps_it():
    core = initialized("a")
    publish(core)
    core.server.set_owner(b"them", ttl=15.0)
    core.reconnects(1.0)
    publish(core, "stop", now=1.0)
    assert events_of(core, ClaimRefused) == [ClaimRefused(b"them")]
    assert len(core.server.journal()) == 2


def test_a_proof_of_life_shows_that_somebody_has_taken_our_identifier():
    core = initialized("a")
    core.server.set_owner(b"them", ttl=15.0)
    assert kinds(core.work(5.0)) == [Beat]
    assert events(core) == [ClaimRefused(b"them")]


def test_who_was_kept_from_running_looks_whose_the_identifier_is_before_it_says_anything():
    core = initialized("a")
    core.server.set_owner(b"them", ttl=15.0)
    before = len(core.server.journal())
    core.publish("start", now=12.0, sent=12.0)
    assert kinds(core.work(12.0)) == [CheckJournal]
    assert every_event(core) == [ClaimRefused(b"them")]
    assert len(core.server.journal()) == before


def test_who_was_kept_from_running_and_was_not_replaced_renews_the_claim_first():
    core = initialized("a")
    core.publish("start", now=12.0, sent=12.0)
    assert kinds(core.work(12.0))[:3] == [CheckJournal, Beat, Publish]
    core.publish("stop", now=13.0, sent=13.0)
    assert kinds(core.work(13.0)) == [Publish]


def test_a_claim_counts_from_when_it_was_asked_for_not_from_when_the_reply_was_read():
    core = initialized("a")
    beat = core.next_request(5.0)
    assert isinstance(beat, Beat)
    reply = core.server.carry_out(beat)
    core.server.set_owner(b"them", ttl=100.0)
    core.reply_received(beat, reply, 60.0)
    core.publish("start", now=60.0, sent=60.0)
    assert kinds(core.work(60.0)) == [CheckJournal]
    assert events_of(core, ClaimRefused) == [ClaimRefused(b"them")]


def test_a_claim_that_has_run_out_is_made_again_and_the_journal_is_checked():
    core = initialized("a")
    publish(core, timeout=None)
    done = core.work(60.0)
    assert kinds(done)[:4] == [CheckJournal, Claim, CheckJournal, Restore]
    assert core.server.owner() == b"us"
    assert [event for event in every_event(core) if isinstance(event, ClaimHeld)] == []


# The journal


def began(core: Exporter) -> float:
    found: float = json.loads(core.server.record()[b"info"])["began"] - EPOCH
    return found


@pytest.mark.parametrize("is_forgotten", [False, True])
def test_it_has_not_begun_before_it_says_something(is_forgotten):
    core = Exporter(presence_ttl=3.0)
    core.claim()
    core.work(0.0)
    if is_forgotten:
        # Whoever comes now does not hear of it.
        core.server.loses_everything()
        core.reconnects(100.0)
    core.work(100.0)
    core.initialize(["start"], now=100.5, sent=0.0)
    core.work(100.5)
    assert began(core) == 100.0


def test_it_has_begun_with_its_first_signal_whatever_the_server_forgets():
    core = initialized(presence_ttl=3.0)
    core.server.loses_everything()
    core.reconnects(50.0)
    core.work(50.0)
    core.work(60.0)
    assert began(core) == 0.0


def test_what_is_broadcast_is_in_the_journal_byte_for_byte():
    core = initialized("a")
    publish(core)
    core.shutdown(now=0.0, sent=0.0)
    core.work()
    assert core.server.journal() == core.server.broadcast
    assert [decode_signal(data).event for data in core.server.journal()] == ["initialization", "start", "shutdown"]


def test_a_signal_counts_as_sent_once_the_server_has_it():
    core = initialized("a")
    signal_id = core.publish("start", now=0.0, sent=0.0)
    answer(core, "a", signal_id)
    assert events_of(core, RoundCompleted) == []
    core.work()
    told = every_event(core)
    assert [type(event) for event in told] == [SignalSent, RoundCompleted]
    assert told[1].result.ok


def test_what_nobody_waits_for_is_over_once_the_server_has_it():
    core = initialized("a")
    core.publish("start", wait=False, now=0.0, sent=0.0)
    assert every_event(core) == []
    core.work()
    assert result(core).ok


def test_an_answer_that_overtakes_the_reply_to_a_signal_nobody_waits_for_is_not_late():
    core = initialized("a")
    signal_id = core.publish("start", wait=False, now=0.0, sent=0.0)
    answer(core, "a", signal_id)
    assert every_event(core) == []
    assert core.counters == {"not-awaited": 1}


def test_a_signal_whose_reply_was_lost_is_found_in_the_journal_and_not_sent_twice():
    core = initialized("a")
    signal_id = core.publish("start", now=0.0, sent=0.0)
    assert isinstance(loses_reply(core), Publish)
    assert kinds(core.work())[0] is CheckJournal
    assert [each["id"] for each in envelopes(core)] == [signal_id]
    assert every_event(core) == [SignalSent(signal_id)]
    assert len(core.server.journal()) == 2


def test_a_signal_that_did_not_get_to_the_server_is_sent_again_at_the_same_position():
    core = initialized("a")
    signal_id = core.publish("start", now=0.0, sent=0.0)
    assert isinstance(loses_request(core), Publish)
    core.work()
    assert [(each["id"], each["seq"]) for each in envelopes(core)] == [(signal_id, 2)]


def test_a_position_that_is_taken_is_ours_or_shows_that_somebody_has_taken_our_place():
    for owner, is_ours in ((b"us", True), (b"them", False)):
        core = initialized()
        core.server.write(signal(2))
        core.server.set_owner(owner, ttl=9.0)
        signal_id = core.publish("start", now=1.0, sent=1.0)
        core.work(1.0)
        told = every_event(core)
        assert (SignalSent(signal_id) in told) is is_ours
        assert (ClaimRefused(b"them") in told) is not is_ours


def test_a_signal_that_was_given_up_and_arrives_after_all_takes_nobodys_place():
    core = initialized("a")
    given_up = core.publish("start", timeout=1.0, now=0.0, sent=0.0)
    request = loses_request(core)
    core.handle_timeout(1.0, 1.0)
    assert SignalUnsent(given_up) in every_event(core)
    signal_id = core.publish("stop", now=1.0, sent=1.0)
    # It was on its way for longer than the exporter has waited for it.
    check = core.next_request(1.0)
    assert isinstance(check, CheckJournal)
    core.reply_received(check, core.server.carry_out(check), 1.0)
    core.server.carry_out(request)
    core.work(1.0)
    assert SignalSent(signal_id) in every_event(core)
    journal = [decode_signal(data).envelope for data in core.server.journal()]
    assert [(each.seq, each.id) for each in journal if each] == [(1, identifier(1)), (2, given_up), (3, signal_id)]
    # Also if the server loses both.
    core.server.forget_journal()
    core.reconnects(2.0)
    core.work(2.0)
    assert [decode_signal(data).seq for data in core.server.journal()] == [1, 2, 3]


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_position_that_is_taken_by_what_is_gone_is_no_reason_to_try_for_ever(is_refused):
    core = initialized()
    core.server.write(signal(2))
    core.server.keyspace.execute(Batch("k", (("XADD", KEYS.journal("fio-1"), "MAXLEN", "0", "3-0", "s", b"x"),)))
    if is_refused:
        core.server.refuses = {CheckJournal: ("LOADING", "LOADING the dataset")}
    signal_id = core.publish("start", now=1.0, sent=1.0)
    core.work(1.0)
    assert SignalSent(signal_id) in every_event(core)


def test_after_an_outage_in_which_nothing_was_under_way_nothing_is_said_twice():
    core = initialized("a")
    publish(core)
    core.said()
    core.reconnects(1.0)
    assert kinds(core.work(1.0)) == [CheckJournal, Beat]
    assert core.said(1.0) == []


def test_a_signal_that_was_not_sent_in_time_is_given_up_and_makes_no_gap():
    core = initialized("a")
    signal_id = core.publish("start", timeout=5, now=0.0, sent=0.0)
    assert core.next_deadline() == 5.0
    core.handle_timeout(5.0, 0.0)
    assert every_event(core) == [SignalUnsent(signal_id)]
    assert publish(core, now=6.0) == identifier(3)
    assert [(each["id"], each["seq"]) for each in envelopes(core, 6.0)] == [(identifier(3), 2)]


def test_a_signal_that_was_given_up_though_the_server_has_it_is_counted():
    core = initialized("a")
    core.publish("start", timeout=5, now=0.0, sent=0.0)
    loses_reply(core)
    core.handle_timeout(5.0, 0.0)
    publish(core, now=6.0)
    assert [each["seq"] for each in envelopes(core, 6.0)] == [2, 3]


# A server that has lost its data


def test_an_empty_server_gets_everything_back_and_the_open_round_goes_on_under_the_same_identifier():
    core = initialized()
    subscribe(core, "a", identifier(1))
    subscribe(core, "b", identifier(1))
    signal_id = publish(core, timeout=None)
    answer(core, "a", signal_id)
    before = (core.server.journal(), core.server.record(), core.server.roster())
    core.said()
    every_event(core)
    core.server.loses_everything()
    core.reconnects(1.0)
    core.work(1.0)
    assert (core.server.journal(), core.server.record(), core.server.roster()) == before
    assert events(core) == [Restored(signals=2, responders=2)]
    again = [(each["id"], each["seq"], each["again"]) for each in envelopes(core, 1.0)]
    assert again == [(identifier(1), 1, True), (signal_id, 2, True)]
    answer(core, "b", signal_id)
    assert set(result(core).succeeded) == {"a", "b"}


def test_only_what_is_missing_is_put_back():
    core = initialized("a")
    for _ in range(3):
        publish(core, timeout=None, wait=False)
    kept = core.server.journal()[:2]
    core.server.forget_journal()
    core.server.write(*kept)
    core.reconnects(1.0)
    [restore] = [request for request in core.work(1.0) if isinstance(request, Restore)]
    assert [entry.seq for entry in restore.entries] == [3, 4]
    assert len(core.server.journal()) == 4


def test_a_restoration_whose_reply_was_lost_leaves_nothing_twice():
    core = initialized("a")
    publish(core, timeout=None)
    before = core.server.journal()
    core.server.loses_everything()
    core.reconnects(1.0)
    request = core.next_request(1.0)
    assert isinstance(request, CheckJournal)
    core.reply_received(request, core.server.carry_out(request), 1.0)
    assert isinstance(core.next_request(1.0), Claim)
    claim = core.next_request(1.0)
    assert claim is not None
    core.reply_received(claim, core.server.carry_out(claim), 1.0)
    check = core.next_request(1.0)
    assert check is not None
    core.reply_received(check, core.server.carry_out(check), 1.0)
    assert isinstance(loses_reply(core, 1.0), Restore)
    core.work(1.0)
    assert core.server.journal() == before


def test_what_is_remembered_for_a_restoration_is_bounded():
    core = initialized("a", limits=Limits(max_remembered=3))
    for _ in range(9):
        publish(core, wait=False)
    core.server.loses_everything()
    core.reconnects(1.0)
    core.work(1.0)
    assert [decode_signal(data).seq for data in core.server.journal()] == [8, 9, 10]


def test_after_shutdown_no_roster_and_nothing_to_subscribe_to_is_put_back():
    core = initialized("a")
    core.shutdown(now=0.0, sent=0.0)
    core.work()
    assert b"init" not in core.server.record()
    core.server.loses_everything()
    core.reconnects(1.0)
    core.work(1.0)
    assert [decode_signal(data).event for data in core.server.journal()] == ["initialization", "shutdown"]
    assert (set(core.server.record()), core.server.roster()) == ({b"info"}, {})


def test_lost_responses_make_open_rounds_known_again_but_put_nothing_back():
    core = initialized("a")
    signal_id = publish(core, timeout=None)
    core.said()
    core.responses_lost()
    [restore] = [request for request in core.work(1.0) if isinstance(request, Restore)]
    assert (restore.entries, restore.record, restore.roster) == ((), {}, {})
    assert [each["id"] for each in envelopes(core, 1.0)] == [identifier(1), signal_id]
    assert events(core) == []


def test_lost_responses_of_nobody_are_nothing():
    core = Exporter()
    publish(core)
    core.said()
    core.responses_lost()
    assert core.said(1.0) == []


# What is kept beside the journal


def test_an_initialization_is_kept_as_it_was_broadcast_with_what_it_takes_to_resume():
    core = Exporter(presence_ttl=3.0)
    core.initialize(["start"], tag="nightly", now=0.0, sent=0.0)
    core.work()
    kept = core.server.record()
    assert kept[b"init"] == core.server.broadcast[0]
    facts = json.loads(kept[b"info"])
    assert (facts["process_name"], facts["runner_host"]) == ("fio", "node1")
    assert (facts["events"], facts["tag"], facts["announcement"]) == (["start"], "nightly", identifier(1))
    assert (facts["ttl"], facts["began"]) == (3.0, 1_700_000_000.0)


def test_the_roster_is_kept_and_who_leaves_is_taken_off():
    core = initialized()
    core.initialize(["start"], expected=["b"], now=0.0, sent=0.0)
    subscribe(core, "a", identifier(1), ttl=3.0)
    subscribe(core, "c")
    core.work()
    roster = {name: json.loads(data) for name, data in core.server.roster().items()}
    assert roster == {b"a": {"v": 2, "ttl": 3.0}, b"b": {"v": 1, "expected": True}, b"c": {"v": 1}}
    answer(core, "a", identifier(1), None, event="initialization", state="left")
    core.work()
    assert set(core.server.roster()) == {b"b", b"c"}
    core.shutdown(now=0.0, sent=0.0)
    core.work()
    assert core.server.roster() == {}


def test_a_roster_that_the_user_has_changed_is_kept_with_the_next_round():
    core = initialized("a", "b")
    subscribe(core, "c", identifier(1), ttl=3.0)
    publish(core)
    assert set(core.server.roster()) == {b"a", b"b", b"c"}
    core.subs = {"b", "d"}
    publish(core)
    assert set(core.server.roster()) == {b"b", b"d"}


def test_signals_do_not_wait_for_what_nobody_waits_for():
    core = initialized()
    subscribe(core, "a", identifier(1))
    core.publish("start", now=5.0, sent=0.0)
    assert kinds(core.work(5.0, is_urgent=True)) == [Publish]
    assert core.next_upkeep() <= 5.0
    assert kinds(core.work(5.0)) == [SaveRoster, Beat]
    assert core.next_upkeep() == 10.0


def test_how_far_the_responses_were_read_is_kept_with_the_proofs_of_life():
    core = initialized("a")
    assert core.position is None
    core.responses_read(b"7-1")
    assert core.position == b"7-1"
    core.work(5.0)
    assert core.server.record()[b"position"] == b"7-1"


def test_an_exporter_that_has_said_nothing_needs_no_upkeep():
    assert Exporter().next_upkeep() == float("inf")
    assert Exporter(journal=False).next_upkeep() == float("inf")


def test_an_identifier_that_is_given_up_leaves_the_journal_and_nothing_else():
    core = initialized()
    subscribe(core, "a", identifier(1))
    core.work()
    request = core.release()
    assert request == Release("fio-1", b"us")
    core.server.carry_out(request)
    assert (core.server.owner(), core.server.record(), core.server.roster()) == (None, {}, {})
    assert len(core.server.journal()) == 1


def test_what_is_not_ours_is_not_given_up():
    assert Exporter().release() is None
    core = Exporter(journal=False)
    publish(core)
    assert core.release() is None


# A server that refuses


@pytest.mark.parametrize(
    ("refusal", "lasts"),
    [
        (NOPERM, True),
        (UNKNOWN, True),
        (("WRONGTYPE", "WRONGTYPE Operation against a key"), True),
        (("CROSSSLOT", "CROSSSLOT Keys in request"), True),
        (OUT_OF_MEMORY, False),
        (("LOADING", "LOADING Redis is loading the dataset in memory"), False),
    ],
)
def test_a_missing_permission_or_command_lasts_and_other_refusals_do_not(refusal, lasts):
    assert is_permanent(*refusal) is lasts


@pytest.mark.parametrize("request_", [Claim, Publish, CheckJournal, Restore, SaveRoster, Beat])
def test_without_the_permission_for_a_journal_signals_are_only_broadcast_and_that_is_told_once(request_):
    server = Server()
    server.refuses = {request_: NOPERM}
    server.lets_broadcast = True
    core = Exporter(server)
    core.initialize(["start"], now=0.0, sent=0.0)
    subscribe(core, "a", identifier(1))
    core.work()
    core.responses_lost()
    core.reconnects(6.0)
    signal_id = publish(core, now=6.0, timeout=None)
    core.reconnects(7.0)
    publish(core, now=12.0)
    told = every_event(core)
    [degraded] = [event for event in told if isinstance(event, Degraded)]
    assert (degraded.lost.partition(":")[0], degraded.why) == ("the journal", NOPERM[1])
    assert [event for event in told if isinstance(event, ClaimHeld)] == [ClaimHeld(found=False)]
    assert not core.can_be_claimed
    assert core.next_upkeep() == float("inf")
    assert decode_signal(server.broadcast[-1]).envelope.journal is False  # type: ignore[union-attr]
    answer(core, "a", signal_id, now=12.0)
    [completed] = events_of(core, RoundCompleted)
    assert completed.result.ok


def test_a_server_that_does_not_let_us_broadcast_refuses_the_signal():
    core = initialized("a", journal=False)
    core.server.refuses = {Publish: NOPERM}
    signal_id = publish(core)
    assert events(core) == [SignalRefused(signal_id, NOPERM[1])]
    core.server.refuses = {}
    answer(core, "a", signal_id)
    assert core.counters == {"late": 1}
    publish(core)
    assert [each["seq"] for each in envelopes(core)] == [2]


def test_a_signal_that_is_refused_for_now_is_refused_to_its_publisher_and_leaves_no_gap():
    core = initialized("a")
    core.server.refuses = {Publish: OUT_OF_MEMORY}
    signal_id = publish(core)
    assert events(core) == [SignalRefused(signal_id, OUT_OF_MEMORY[1])]
    core.server.refuses = {}
    publish(core)
    assert [each["seq"] for each in envelopes(core)] == [2]
    assert core.can_be_claimed


def test_a_claim_that_is_refused_for_now_is_done_without():
    server = Server()
    server.refuses = {Claim: OUT_OF_MEMORY}
    core = Exporter(server)
    publish(core)
    assert events_of(core, Degraded)[0].why == "the server refuses the claim"
    assert len(server.broadcast) == 1
    assert server.journal() == []


@pytest.mark.parametrize("request_", [SaveRoster, Beat, CheckJournal, Restore])
def test_what_is_refused_for_now_is_put_off_and_signals_go_on(request_):
    core = initialized()
    subscribe(core, "a", identifier(1))
    core.responses_lost()
    core.server.refuses = {request_: OUT_OF_MEMORY}
    core.reconnects(6.0)
    signal_id = publish(core, now=6.0)
    assert events_of(core, Degraded) == []
    assert decode_signal(core.server.journal()[-1]).id == signal_id
    core.server.refuses = {}
    core.reconnects(12.0)
    assert Beat in kinds(core.work(12.0))
    assert core.can_be_claimed


def test_without_the_permission_for_presence_nobody_is_lost_and_that_is_told_once():
    core = initialized(presence_ttl=3.0)
    subscribe(core, "a", identifier(1), ttl=3.0)
    core.server.refuses = {CheckPresence: NOPERM}
    publish(core, timeout=20)
    core.work(1.0)
    [degraded] = events_of(core, Degraded)
    assert (degraded.lost.partition(":")[0], degraded.why) == ("presence", NOPERM[1])
    for second in range(2, 20):
        core.work(float(second))
    assert every_event(core) == []
    assert core.next_deadline() == 20.0


def test_without_the_permission_for_redelivery_it_is_done_without_and_that_is_told_once():
    core = initialized()
    core.server.refuses = {Redeliver: NOPERM}
    subscribe(core, "a", identifier(1))
    publish(core, timeout=None)
    for _ in range(3):
        subscribe(core, "a", identifier(1))
        core.work()
    [degraded] = events_of(core, Degraded)
    assert degraded.lost.startswith("redelivery")


# Without a journal


def test_without_a_journal_signals_are_broadcast_and_nothing_is_stored():
    core = Exporter(journal=False)
    core.initialize(["start"], now=0.0, sent=0.0)
    subscribe(core, "a", identifier(1))
    signal_id = publish(core)
    core.reconnects(1.0)
    answer(core, "a", signal_id)
    assert result(core).ok
    assert kinds(core.work(60.0)) == []
    assert core.server.keyspace._data == {}
    assert [each["journal"] for each in envelopes(core)] == [False, False]


def test_without_a_journal_a_signal_of_which_nobody_knows_is_sent_again_under_the_same_identifier():
    core = initialized("a", journal=False)
    signal_id = core.publish("start", now=0.0, sent=0.0)
    loses_reply(core)
    core.work()
    assert [each["id"] for each in envelopes(core)] == [signal_id, signal_id]


def test_a_strict_version_1_exporter_stores_nothing():
    core = Exporter(strict_v1=True)
    core.initialize(["start"], now=0.0, sent=0.0)
    publish(core)
    core.shutdown(now=0.0, sent=0.0)
    core.work()
    assert core.server.keyspace._data == {}
    assert len(core.server.broadcast) == 3
    assert core.reply is None


def test_lost_responses_without_a_journal_are_announced_again_too():
    core = initialized("a", journal=False)
    signal_id = publish(core, timeout=None)
    core.said()
    core.responses_lost()
    assert [each["id"] for each in envelopes(core)] == [identifier(1), signal_id]
    core.server.refuses = {Restore: NOPERM}
    core.responses_lost()
    assert kinds(core.work()) == [Restore]
    assert core.work() == []


def test_what_is_queued_when_the_stream_turns_out_to_be_of_no_use_is_answered_on_the_channel():
    for is_strict in (False, True):
        core = Exporter(reply="a-stream", strict_v1=is_strict)
        core.initialize(["start"], now=0.0, sent=0.0)
        core.responses_refused()
        [announcement] = sent(core)
        assert "reply" not in announcement.get("metadata", {}).get(ENVELOPE_KEY, {})


def test_a_stream_of_responses_that_cannot_be_used_is_not_asked_for_any_more():
    core = Exporter(reply="the-stream")
    assert core.reply == "the-stream"
    core.responses_refused()
    assert core.reply is None
    publish(core)
    assert "reply" not in envelopes(core)[0]


def test_a_closed_exporter_still_says_what_it_said_before_it_closed():
    core = initialized("a")
    core.shutdown(now=0.0, sent=0.0)
    core.close(0.0)
    core.work()
    assert core.state is ExporterState.CLOSED
    assert decode_signal(core.server.journal()[-1]).event == "shutdown"
