"""What `ps` shows: the exporters of a server, as they are now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from state_signals.cli import output, times
from state_signals.cli.looking.tables import Cell, Column, print_table
from state_signals.cli.looking.words import STATE_STYLES, counted, scope, tag_of
from state_signals.cli.options import Server
from state_signals.messages import INITIALIZATION, SHUTDOWN
from state_signals.runs.model import Member, Round, RunState
from state_signals.runs.objects import member_object, round_object
from state_signals.runs.reader import Exporter, RunReader
from state_signals.transport.base import AsyncTransport
from state_signals.transport.urls import redacted

__all__ = ["Vital", "exporter_object", "list_exporters", "vital"]

_NOTHING = (
    "no exporter is {} at {} ({}); {}those of version 1 leave nothing on the server: "
    "'state-signals listen' shows what they announce"
)

_COLUMNS = (
    Column("PUBLISHER_ID", least=14),
    Column("NAME", least=8, rank=2),
    Column("HOST", least=10, rank=1),
    Column("TAG", least=8, rank=3),
    Column("STATE"),
    Column("AGE", is_number=True),
    Column("LAST EVENT", least=12),
    Column("AGO", is_number=True),
    Column("ROSTER", least=10),
    Column("OPEN ROUND"),
)


class Vital(StrEnum):
    """How a responder is."""

    ALIVE = "alive"
    LOST = "lost"
    EXPECTED = "expected"
    UNKNOWN = "unknown"
    """It gives no proofs of life: it speaks version 1, or was told not to."""


_STYLES = {Vital.LOST: "red", Vital.EXPECTED: "yellow"}


def vital(member: Member, now: float) -> Vital:
    """Return how a responder is at some time."""
    if member.is_expected:
        return Vital.EXPECTED
    if member.ttl is None or member.last_seen is None:
        return Vital.UNKNOWN
    return Vital.LOST if member.is_lost(now) else Vital.ALIVE


@dataclass(frozen=True, slots=True)
class _Last:
    event: str
    sample_no: int
    at: float


async def list_exporters(transport: AsyncTransport, server: Server, *, with_ended: bool, as_json: bool) -> int:
    """Print the exporters. Return the exit code.

    Raises:
        TransportError: if they cannot be read.
        BrokenPipeError: if nobody reads what is printed.
    """
    reader = RunReader(transport)
    names = await reader.exporters()
    if with_ended:
        names = list(dict.fromkeys([*names, *await reader.publisher_ids()]))
    found = [await reader.glance(name) for name in names]
    # One that ends just now leaves nothing but its journal.
    shown = [each for each in found if with_ended or each.is_there]
    shown.sort(key=lambda each: _began(each) or 0.0, reverse=True)
    if as_json:
        for each in shown:
            output.print_line(output.json_line(exporter_object(each)))
    elif shown:
        print_table(_COLUMNS, [_row(each) for each in shown])
    if not shown:
        what, more = ("known", "") if with_ended else ("there", "--all shows those whose run has ended, too; ")
        output.note(_NOTHING.format(what, redacted(server.url), scope(server.namespace), more))
    return 0


def exporter_object(exporter: Exporter) -> dict[str, Any]:
    """Return what is known of an exporter, its roster by name."""
    now, run, record = exporter.vitals.now, exporter.run, exporter.record
    began, last = _began(exporter), _last(exporter)
    roster = _roster(exporter)
    open_round = _open_round(exporter)
    return {
        "publisher_id": exporter.publisher_id,
        "process_name": run.process_name if run else record.process_name if record else None,
        "runner_host": run.runner_host if run else record.runner_host if record else None,
        "tag": run.tag if run else record.tag if record else None,
        "state": str(exporter.state),
        "began_at": _rounded(began),
        "age": None if began is None else _rounded(max(0.0, now - began)),
        "last_seen": _rounded(exporter.vitals.last_seen),
        "legal_events": exporter.vitals.legal_events,
        "last_event": None
        if last is None
        else {
            "event": last.event,
            "sample_no": last.sample_no,
            "published_at": _rounded(last.at),
            "age": _rounded(max(0.0, now - last.at)),
        },
        "counts": _counts(roster, now),
        "roster": {
            name: {"state": str(vital(member, now)), **member_object(member)} for name, member in roster.items()
        },
        "open_round": None if open_round is None else {**round_object(open_round), "pending": _pending(open_round)},
    }


def _row(exporter: Exporter) -> list[Cell]:
    facts = exporter_object(exporter)
    counts, last, age = facts["counts"], facts["last_event"], facts["age"]
    size = sum(counts.values())
    worst = next((style for kind, style in _STYLES.items() if counts[str(kind)]), "")
    event = ""
    if last is not None:
        event = last["event"] + (f" {last['sample_no']}" if last["sample_no"] != -1 else "")
    waiting = ""
    if facts["open_round"] is not None:
        waiting = f"{len(facts['open_round']['pending'])} pending"
    return [
        Cell(exporter.publisher_id),
        Cell(facts["process_name"] or ""),
        Cell(facts["runner_host"] or ""),
        Cell(tag_of(facts["tag"] or "")),
        Cell(str(exporter.state), STATE_STYLES[exporter.state]),
        Cell(times.age(age)),
        Cell(event),
        Cell(times.age(None if last is None else last["age"])),
        Cell(counted(counts) if size else "nobody", worst),
        Cell(waiting, "yellow"),
    ]


def _began(exporter: Exporter) -> float | None:
    """Return when the run began, or, between two of them, the exporter."""
    run, record = exporter.run, exporter.record
    if run is not None and (run.ended_at is None or record is None or record.began is None):
        return run.began_at
    return None if record is None else record.began


def _last(exporter: Exporter) -> _Last | None:
    run = exporter.run
    if run is None:
        return None
    if run.ended_at is not None:
        return _Last(SHUTDOWN, -1, run.ended_at)
    if run.rounds:
        return _Last(run.rounds[-1].event, run.rounds[-1].sample_no, run.rounds[-1].published_at)
    return _Last(INITIALIZATION, -1, run.began_at)


def _roster(exporter: Exporter) -> dict[str, Member]:
    """Return who is waited for, as the server keeps it; sorted."""
    members = {} if exporter.run is None else exporter.run.members
    found = {}
    for name, entry in sorted(exporter.vitals.roster.items()):
        found[name] = members.get(name) or Member(
            responder_id=name,
            last_seen=exporter.vitals.seen.get(name),
            ttl=entry.ttl,
            speaks_v2=entry.speaks_v2 or entry.is_expected,
            is_expected=entry.is_expected,
        )
    return found


def _counts(roster: dict[str, Member], now: float) -> dict[str, int]:
    states = [vital(member, now) for member in roster.values()]
    return {str(kind): states.count(kind) for kind in Vital}


def _open_round(exporter: Exporter) -> Round | None:
    """Return the round that the exporter waits for; None: it waits for nobody."""
    this = None if exporter.run is None else exporter.run.open_round
    if this is None or exporter.state not in (RunState.LIVE, RunState.DETACHED):
        return None
    return None if this.is_overdue(exporter.vitals.now) else this


def _pending(this: Round) -> Sequence[str]:
    return sorted(name for name, action in this.actions.items() if action.outcome is None and not action.is_late)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
