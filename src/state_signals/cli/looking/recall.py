"""What `history` does: it finds the runs that are asked for, and prints them as they are asked for."""

from __future__ import annotations

from dataclasses import dataclass

from state_signals.cli import output
from state_signals.cli.looking.account import print_account
from state_signals.cli.looking.finding import chosen, resolved
from state_signals.cli.looking.overview import print_overview
from state_signals.cli.looking.spreadsheet import csv_lines
from state_signals.cli.looking.words import scope
from state_signals.cli.options import Server
from state_signals.runs.objects import run_object
from state_signals.runs.reader import RunReader
from state_signals.runs.recent import Numbered, newest_runs, numbered
from state_signals.transport.base import AsyncTransport
from state_signals.transport.urls import redacted

__all__ = ["Question", "recall"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which runs, and how they are printed.

    Attributes:
        publisher_id: of this exporter, or of the one whose name begins so; None: the newest of all.
        which: of an exporter's runs this one; None: all.
        limit: of all exporters' runs so many.
        tag: only those with this tag; None: any.
        since: only those that began then or later; None: whenever.
        as_json: a JSON object each.
        as_csv: a line for each round and responder.
    """

    publisher_id: str | None
    which: int | None
    limit: int
    tag: str | None
    since: float | None
    as_json: bool
    as_csv: bool


async def recall(transport: AsyncTransport, server: Server, question: Question) -> int:
    """Print the runs. Return the exit code.

    Raises:
        InvalidArgument: if no such exporter or run is known.
        TransportError: if they cannot be read.
        BrokenPipeError: if nobody reads what is printed.
    """
    reader = RunReader(transport)
    runs = await _found(reader, server, question)
    if question.as_json:
        for each in runs:
            output.print_line(output.json_line(run_object(each.run, each.number)))
    elif question.as_csv:
        for line in csv_lines(runs):
            output.print_line(line)
    elif question.publisher_id is None:
        if runs:
            print_overview(runs)
    else:
        for place, each in enumerate(runs):
            if place:
                output.print_line("")
            print_account(each)
    if not runs:
        _say_nothing(server, question)
    return 0


async def _found(reader: RunReader, server: Server, question: Question) -> list[Numbered]:
    if question.publisher_id is None:
        return await newest_runs(reader, limit=question.limit, since=question.since, tag=question.tag)
    name = await resolved(reader, question.publisher_id, server)
    runs = numbered(await reader.log(name))
    return runs if question.which is None else [chosen(runs, question.which)]


def _say_nothing(server: Server, question: Question) -> None:
    asked = "" if question.tag is None else f"with the tag {question.tag!r:.80} "
    asked += "" if question.since is None else "from that time on "
    where = f"{redacted(server.url)} ({scope(server.namespace)})"
    output.note(
        f"no run {asked}is known at {where}; servers remember runs for a day, unless their exporters say otherwise, "
        "and none of exporters of version 1"
    )
