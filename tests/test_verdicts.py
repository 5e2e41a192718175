"""What is written down about rounds, as bytes and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state_signals import MalformedMessage, Outcome, PublishResult, Report
from state_signals.verdicts import decode_verdict, encode_verdict

reports = st.builds(
    Report,
    outcome=st.sampled_from(Outcome),
    # 1.0.1 sends both as they are.
    ras=st.none() | st.integers() | st.integers(-(10**30), 10**30),
    message=st.none() | st.text(st.characters(exclude_categories=())),
    elapsed=st.none() | st.floats(0, 1e6),
)
names = st.text(min_size=1, max_size=20)


@given(st.dictionaries(names, reports, max_size=8), st.booleans(), st.sets(names, max_size=3))
def test_what_goes_in_comes_out(given_reports, ok, pending):
    result = PublishResult(ok=ok, reports=given_reports, pending=pending, signal_id="1" * 32, elapsed=1.25)
    verdict = decode_verdict(encode_verdict(result, ()))
    assert (verdict.ok, verdict.code, verdict.pending) == (ok, result.code, len(pending))
    assert {name: each.outcome for name, each in verdict.reports.items()} == {
        name: each.outcome for name, each in given_reports.items()
    }
    assert sum(verdict.counts.values()) == len(given_reports)


def test_what_only_version_1_sends_is_written_as_well_as_can_be():
    given_reports = {"a": Report(outcome=Outcome.FAILED, ras=-(10**30), message="no \ud800")}
    data = encode_verdict(PublishResult(ok=False, reports=given_reports, signal_id="1" * 32), ())
    written = decode_verdict(data).reports["a"]
    assert (written.outcome, written.ras, written.message) == (Outcome.FAILED, -(2**63) + 1, "no ?")


def test_answers_that_lie_in_the_stream_are_not_written_again():
    result = PublishResult(
        ok=False,
        reports={
            "v2": Report(outcome=Outcome.SUCCEEDED, ras=1),
            "v1": Report(outcome=Outcome.SUCCEEDED, ras=1),
            "dead": Report(outcome=Outcome.LOST),
        },
        signal_id="1" * 32,
    )
    assert set(decode_verdict(encode_verdict(result, result.reports.keys() - {"v1"})).reports) == {"v1", "dead"}


def test_a_multitude_is_counted_and_not_named():
    missing = {f"responder-{number:06}": Report(outcome=Outcome.MISSING) for number in range(20_000)}
    data = encode_verdict(PublishResult(ok=False, reports=missing, signal_id="1" * 32), missing.keys())
    assert len(data) < 1_000
    assert decode_verdict(data).counts == {Outcome.MISSING: 20_000}


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"signal_id": 1}', b"\xff", b'{"x": ' * 5_000, b" " * 300_000])
def test_anything_else_is_refused(data):
    with pytest.raises(MalformedMessage):
        decode_verdict(data)


@given(st.binary(max_size=200))
def test_whatever_it_is_nothing_else_is_raised(data):
    try:
        decode_verdict(data)
    except MalformedMessage:
        return
