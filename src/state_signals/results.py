"""What became of a round: the outcome of each responder, and the result as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum, StrEnum
from typing import Any, Self

import msgspec

__all__ = ["Outcome", "PublishResult", "Report", "ResultCodes"]

_NAMES_SHOWN = 20
"""Names of one outcome that a result's text tells: there may be thousands."""


class ResultCodes(IntEnum):
    """What a round came to, as the one number that version 1 knew."""

    ALL_SUBS_SUCCESS = 0
    SUB_FAILED = 1
    MISSING_RESPONSE = 2


class Outcome(StrEnum):
    """A responder's end in a round."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    MISSING = "missing"
    LOST = "lost"
    LEFT = "left"


class Report(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one responder did in one round.

    Attributes:
        outcome: its end in the round.
        ras: the number that it answered; None if it did not answer.
        message: the text that it answered; None if there was none.
        elapsed: seconds from publication until its answer arrived; None if it did not answer.
        took: seconds that it says it spent from receipt to answer; None from version 1.
    """

    outcome: Outcome
    ras: int | None = None
    message: str | None = None
    elapsed: float | None = None
    took: float | None = None


class _Facts(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a `PublishResult` knows beyond the version 1 tuple."""

    ok: bool
    reports: Mapping[str, Report]
    pending: frozenset[str]
    signal_id: str | None
    elapsed: float


class PublishResult(tuple[ResultCodes, dict[str, str]]):  # noqa: SLOT001 - a tuple has no other room for more facts
    """What became of a round: the version 1 tuple `(code, messages)`, and everything by name.

    `code, messages = result` and `result == (0, {})` hold as they did in version 1. `messages` maps responder_id to
    message and holds also those of responders outside the roster.
    """

    _facts: _Facts

    def __new__(
        cls,
        *,
        ok: bool,
        messages: Mapping[str, str] | None = None,
        reports: Mapping[str, Report] | None = None,
        pending: Iterable[str] = (),
        signal_id: str | None = None,
        elapsed: float = 0.0,
    ) -> Self:
        """Derive the code from `ok` and the reports; see the attributes for the meaning of the rest."""
        reports = dict(reports or {})
        outcomes = set() if ok else {report.outcome for report in reports.values()}
        if ok:
            code = ResultCodes.ALL_SUBS_SUCCESS
        elif Outcome.FAILED in outcomes and outcomes.isdisjoint((Outcome.MISSING, Outcome.LOST)):
            code = ResultCodes.SUB_FAILED
        else:
            code = ResultCodes.MISSING_RESPONSE
        result = super().__new__(cls, (code, dict(messages or {})))
        result._facts = _Facts(ok=ok, reports=reports, pending=frozenset(pending), signal_id=signal_id, elapsed=elapsed)
        return result

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, Any]]:
        """Let copies and pickles keep what is beyond the tuple."""
        return (), {"messages": self.messages, **msgspec.structs.asdict(self._facts)}

    def __repr__(self) -> str:
        groups = {outcome: sorted(self._named(outcome)) for outcome in Outcome}
        counts = ", ".join(f"{outcome}={_shown(names)}" for outcome, names in groups.items() if names)
        return f"PublishResult(code={self.code.name}, {counts or 'nobody awaited'}, elapsed={self.elapsed:.6f})"

    def _named(self, outcome: Outcome) -> dict[str, Report]:
        return {name: report for name, report in self._facts.reports.items() if report.outcome is outcome}

    @property
    def code(self) -> ResultCodes:
        """The version 1 code. 0 when `ok`; else 2 if anyone is missing or lost, or nobody was there; else 1."""
        return self[0]

    @property
    def messages(self) -> dict[str, str]:
        """Messages by responder_id, also from responders outside the roster."""
        return self[1]

    @property
    def ok(self) -> bool:
        """Whether the round came to what was asked: everyone (or `min_success`) succeeded."""
        return self._facts.ok

    @property
    def reports(self) -> Mapping[str, Report]:
        """The report of each roster member whose outcome is known."""
        return self._facts.reports

    @property
    def succeeded(self) -> dict[str, Report]:
        """Those that answered with ras 1."""
        return self._named(Outcome.SUCCEEDED)

    @property
    def failed(self) -> dict[str, Report]:
        """Those that answered with any other ras."""
        return self._named(Outcome.FAILED)

    @property
    def missing(self) -> dict[str, Report]:
        """Those that had not answered when the deadline passed."""
        return self._named(Outcome.MISSING)

    @property
    def lost(self) -> dict[str, Report]:
        """Those whose process or host is gone."""
        return self._named(Outcome.LOST)

    @property
    def left(self) -> dict[str, Report]:
        """Those that closed in good order before they answered."""
        return self._named(Outcome.LEFT)

    @property
    def pending(self) -> frozenset[str]:
        """Those that were not waited for, because `fail_fast`, `min_success` or `wait=False` ended the round first."""
        return self._facts.pending

    @property
    def signal_id(self) -> str | None:
        """Identifier of the signal. With `strict_v1` it is not on the wire."""
        return self._facts.signal_id

    @property
    def elapsed(self) -> float:
        """Seconds from publication until the round ended."""
        return self._facts.elapsed


def _shown(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:_NAMES_SHOWN]))
    return f"[{shown}{f' and {len(names) - _NAMES_SHOWN:,} more' if len(names) > _NAMES_SHOWN else ''}]"
