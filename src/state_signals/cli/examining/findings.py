"""What `doctor` finds: each with a verdict and, unless it is good, what to do."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from state_signals.cli import output

__all__ = ["Finding", "Verdict", "counted", "json_of", "lines_of"]

_WIDTH_OF_VERDICT = 9

_WIDTH_OF_CHECK = 15


class Verdict(StrEnum):
    """How good it is."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


_STYLES = {
    Verdict.OK: "green",
    Verdict.NOTE: "cyan",
    Verdict.WARNING: "yellow",
    Verdict.PROBLEM: "red",
    Verdict.UNKNOWN: "dim",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one thing.

    Attributes:
        check: what was looked at, in a word or two.
        verdict: how good it is.
        found: what is the case, in a sentence.
        remedy: what to do; empty if there is nothing to be done.
        facts: the same in numbers and names, for programs.
    """

    check: str
    verdict: Verdict
    found: str
    remedy: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def json_of(finding: Finding) -> str:
    """Return a finding as a line of JSON."""
    return output.json_line(
        {
            "check": finding.check,
            "verdict": str(finding.verdict),
            "found": finding.found,
            "remedy": finding.remedy or None,
            "facts": dict(finding.facts),
        }
    )


def lines_of(finding: Finding, width: int | None) -> list[str]:
    """Return a finding as lines for people, escaped.

    Args:
        finding: the finding.
        width: columns of the terminal that shows them; None: one line, and another one for the remedy.
    """
    verdict = output.styled(f"{finding.verdict:<{_WIDTH_OF_VERDICT}}", _STYLES[finding.verdict], sys.stdout)
    head = f"{verdict}{finding.check:<{_WIDTH_OF_CHECK}}"
    indent = " " * (_WIDTH_OF_VERDICT + _WIDTH_OF_CHECK)
    first, *more = _wrapped(output.escaped(finding.found), width, len(indent))
    lines = [head + first, *(indent + line for line in more)]
    if finding.remedy:
        arrow, *rest = _wrapped(output.escaped(finding.remedy), width, len(indent) + 3)
        lines += [f"{indent}-> {arrow}", *(f"{indent}   {line}" for line in rest)]
    return lines


def counted(findings: Iterable[Finding]) -> str:
    """Return how many findings have which verdict, the worst first."""
    order = (Verdict.PROBLEM, Verdict.WARNING, Verdict.UNKNOWN, Verdict.NOTE, Verdict.OK)
    numbers = dict.fromkeys(order, 0)
    for finding in findings:
        numbers[finding.verdict] += 1
    is_countable = {Verdict.PROBLEM, Verdict.WARNING, Verdict.NOTE}
    return ", ".join(
        f"{number} {verdict}{'s' if number != 1 and verdict in is_countable else ''}"
        for verdict, number in numbers.items()
        if number
    )


def _wrapped(text: str, width: int | None, indent: int) -> list[str]:
    if width is None:
        return [text]
    # What has to be copied is not hyphenated.
    room = max(30, width - indent - 1)
    return textwrap.wrap(text, room, break_on_hyphens=False, break_long_words=False) or [""]
