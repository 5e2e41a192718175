"""What an exporter writes down about a round that has ended, for those who look back: bytes and back.

The answers of version 2 lie in the stream of responses and need not be written again. A verdict adds what nothing else
on the server tells: how the round ended, who was missing, lost or left, and what version 1 responders have answered.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from state_signals.arguments import is_unicode
from state_signals.exceptions import MalformedMessage
from state_signals.results import Outcome, PublishResult, Report

__all__ = ["Verdict", "WrittenReport", "decode_verdict", "encode_verdict"]

_LARGEST = 256 * 1024
"""Bytes; who is missing beyond that is counted, not named."""


class WrittenReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one responder did, as far as its answer does not say so itself; see `Report`."""

    outcome: Outcome
    ras: int | None = None
    message: str | None = None
    elapsed: float | None = None


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a round ended.

    Attributes:
        signal_id: the signal that opened it.
        ok: whether it came to what was asked.
        code: the version 1 code.
        elapsed: seconds from publication to its end, by the exporter's clock.
        counts: how many members came to each outcome.
        pending: how many were not waited for any more.
        reports: the members whose answer lies in no stream, by responder_id.
    """

    signal_id: str
    ok: bool
    code: int
    elapsed: float
    counts: dict[Outcome, int] = {}
    pending: int = 0
    reports: dict[str, WrittenReport] = {}


_WITHOUT_ANSWER = {outcome: WrittenReport(outcome=outcome) for outcome in Outcome}

_LARGEST_RAS = 2**63 - 1

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Verdict)


def encode_verdict(result: PublishResult, writers: Collection[str]) -> bytes:
    """Return what to write down about a round.

    Args:
        result: what it has come to.
        writers: responders whose answers are in the stream of responses.
    """
    outcomes = [report.outcome for report in result.reports.values()]
    # Mostly there is but one: this is faster than to look each up.
    counts = {outcome: outcomes.count(outcome) for outcome in dict.fromkeys(outcomes)}
    reports = {
        name: _WITHOUT_ANSWER[report.outcome] if report.ras is None else _written(report, report.ras)
        for name, report in result.reports.items()
        if report.ras is None or name not in writers
    }
    verdict = Verdict(
        signal_id=result.signal_id or "",
        ok=result.ok,
        code=int(result.code),
        elapsed=round(result.elapsed, 6),
        counts=counts,
        pending=len(result.pending),
        reports=reports,
    )
    data = _encoder.encode(verdict)
    return data if len(data) <= _LARGEST else _encoder.encode(msgspec.structs.replace(verdict, reports={}))


def decode_verdict(data: bytes) -> Verdict:
    """Return what was written down about a round.

    Raises:
        MalformedMessage: the only exception, whatever the bytes are.
    """
    if len(data) > _LARGEST:
        raise MalformedMessage("too-large", f"{len(data)} bytes; the limit is {_LARGEST}")
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MalformedMessage("wrong-type", str(error)[:200]) from None


def _written(report: Report, ras: int) -> WrittenReport:
    """Return what can be written: 1.0.1 sends numbers of any size, and texts that are no Unicode."""
    ras, message = max(-_LARGEST_RAS, min(ras, _LARGEST_RAS)), report.message
    if message is not None and not is_unicode(message):
        message = message.encode(errors="replace").decode()
    elapsed = None if report.elapsed is None else round(report.elapsed, 6)
    return WrittenReport(outcome=report.outcome, ras=ras, message=message, elapsed=elapsed)
