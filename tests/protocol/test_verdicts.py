"""What an exporter writes down about its rounds, and when."""

from __future__ import annotations

from state_signals.protocol.events import Degraded, RoundCompleted
from state_signals.requests import Beat, Publish
from state_signals.results import Outcome
from state_signals.transport.commands import VERDICT
from state_signals.verdicts import Verdict, WrittenReport, decode_verdict
from tests.protocol.stage import KEYS, Exporter, Server, answer, events_of, identifier, initialized, publish, subscribe


def written(server: Server) -> list[Verdict]:
    """What lies on the server."""
    found = server._do(KEYS.rounds("fio-1"), "XRANGE", "-", "+")
    assert all(fields[0] == VERDICT for _, fields in found)
    return [decode_verdict(fields[1]) for _, fields in found]


def test_a_verdict_goes_out_with_the_next_signal():
    core = initialized("a")
    first = publish(core)
    answer(core, "a", first, now=0.25)
    assert written(core.server) == []
    publish(core, "stop", now=1.0)
    expected = Verdict(signal_id=first, ok=True, code=0, elapsed=0.25, counts={Outcome.SUCCEEDED: 1})
    assert written(core.server) == [expected]
    publish(core, now=2.0)
    assert len(written(core.server)) == 1


def test_an_answer_that_cannot_be_written_down_as_it_is_counts_all_the_same():
    core = initialized("a", "b")
    publish(core)
    for name, rest in (("a", rb'"ras": 1, "message": "\ud800"'), ("b", b'"ras": 1' + b"0" * 30)):
        core.message_received(
            b'{"responder_id": "%s", "publisher_id": "fio-1", "event": "start", %s}' % (name.encode(), rest), 0.25
        )
    publish(core, "stop", now=1.0)
    [verdict] = written(core.server)
    assert verdict.counts == {Outcome.SUCCEEDED: 1, Outcome.FAILED: 1}


def test_without_a_next_signal_it_goes_out_with_a_proof_of_life():
    core = initialized("a", presence_ttl=3.0)
    answer(core, "a", publish(core), now=0.25)
    assert isinstance(core.work(5.0)[-1], Beat)
    assert len(written(core.server)) == 1


def test_at_the_latest_it_goes_out_when_the_name_is_given_up():
    core = initialized("a")
    answer(core, "a", publish(core), now=0.25)
    release = core.release()
    core.server.carry_out(release)
    assert len(written(core.server)) == 1
    assert core.server._do(KEYS.rounds("fio-1"), "PTTL") > 0


def test_it_names_whom_no_answer_tells_of():
    core = initialized("a", "b", "c")
    subscribe(core, "c", identifier(1))
    first = publish(core, timeout=2.0)
    answer(core, "a", None, 0, now=0.5, message="no disk")
    answer(core, "c", first, 0, now=0.75)
    core.handle_timeout(2.0, 2.0)
    assert events_of(core, RoundCompleted)
    publish(core, "stop", now=3.0)
    [verdict] = written(core.server)
    assert (verdict.ok, verdict.code, verdict.elapsed) == (False, 2, 2.0)
    assert verdict.counts == {Outcome.FAILED: 2, Outcome.MISSING: 1}
    assert verdict.reports == {
        # Version 1: its answer lies in no stream.
        "a": WrittenReport(outcome=Outcome.FAILED, ras=0, message="no disk", elapsed=0.5),
        "b": WrittenReport(outcome=Outcome.MISSING),
    }


def test_those_that_were_not_waited_for_are_counted():
    core = initialized("a", "b")
    answer(core, "a", publish(core, fail_fast=True), 0, now=0.5)
    publish(core, "stop", now=1.0)
    [verdict] = written(core.server)
    assert (verdict.pending, verdict.counts) == (1, {Outcome.FAILED: 1})


def test_what_nobody_waited_for_has_no_verdict():
    core = initialized("a")
    publish(core, wait=False)
    publish(core, "stop", now=1.0)
    assert written(core.server) == []


def test_a_lost_reply_makes_no_second_verdict_necessary():
    core = initialized("a")
    answer(core, "a", publish(core), now=0.25)
    core.publish("stop", now=1.0, sent=1.0)
    request = core.next_request(1.0)
    assert isinstance(request, Publish)
    core.server.carry_out(request)
    core.reconnects(2.0)
    core.work(2.0)
    publish(core, now=3.0)
    # It may be there twice: nobody knows whether it was written.
    assert {each.signal_id for each in written(core.server)} == {identifier(2)}


def test_a_position_that_is_taken_counts_as_written():
    core = initialized("a")
    answer(core, "a", publish(core), now=0.25)
    core.server.write(core.server.journal()[-1].replace(b'"seq":2', b'"seq":3'))
    publish(core, "stop", now=1.0)
    publish(core, now=2.0)
    assert len(written(core.server)) == 1


def test_without_a_journal_nothing_is_written():
    core = initialized("a", journal=False)
    answer(core, "a", publish(core), now=0.25)
    publish(core, "stop", now=1.0)
    assert written(core.server) == []


def test_many_go_out_step_by_step():
    core = initialized("a")
    for number in range(40):
        signal_id = core.publish("start", now=float(number), sent=0.0)
        answer(core, "a", signal_id, now=number + 0.5)
    core.work(40.0)
    assert len(written(core.server)) > 16
    core.publish("stop", now=50.0, sent=0.0)
    core.work(50.0)
    assert len({each.signal_id for each in written(core.server)}) == 40


def test_a_name_that_is_left_to_others_counts_as_live():
    server = Server()
    core = Exporter(server, presence_ttl=3.0)
    core.initialize(["start"], now=0.0, sent=0.0)
    subscribe(core, "a", None)
    core.responses_read(b"7-0")
    core.work(0.0)
    server.carry_out(core.release(keeps_record=True, lives_on=True))
    assert server.owner() is None
    assert server.record()[b"position"] == b"7-0"
    assert set(server.roster()) == {b"a"}
    newcomer = Exporter(server, resumes=True, owner=b"them")
    newcomer.claim()
    newcomer.work(1.0)
    assert newcomer.subs == {"a"}


def test_a_signal_goes_out_whatever_holds_up_the_rounds():
    core = initialized("a")
    core.server._do(KEYS.rounds("fio-1"), "SET", b"somebody else's")
    answer(core, "a", publish(core), now=0.25)
    publish(core, "stop", now=1.0)
    assert not events_of(core, Degraded)
    assert isinstance(core.work(6.0)[-1], Beat)
    assert not events_of(core, Degraded)
    assert core.can_be_claimed
    assert len(core.server.broadcast) == len(core.server.journal()) == 3


def test_where_rounds_must_not_be_written_down_signals_are_kept_all_the_same():
    core = initialized("a")
    answer(core, "a", publish(core), now=0.25)
    core.publish("stop", now=1.0, sent=1.0)
    refused = core.next_request(1.0)
    assert isinstance(refused, Publish)
    assert refused.verdicts
    core.request_refused(refused, "NOPERM", "NOPERM no permissions to access a key", 1.0)
    again = core.next_request(1.0)
    assert isinstance(again, Publish)
    assert (again.entry, again.verdicts, again.is_journaled) == (refused.entry, (), True)
    core.reply_received(again, core.server.carry_out(again), 1.0)
    [completed] = events_of(core, RoundCompleted)[-1:]
    assert completed
    core.handle_timeout(60.0, 60.0)
    release = core.release()
    assert release is not None
    assert not release.verdicts


def test_without_a_journal_nothing_is_kept_to_be_written_down():
    core = initialized("a")
    answer(core, "a", publish(core), now=0.25)
    core.server.refuses = {Beat: ("NOPERM", "NOPERM no permissions")}
    core.work(60.0)
    assert not core.can_be_claimed
    assert not core._server.unwritten()
