"""What `timeline` does: it gets the run that is asked for, draws it, and writes the picture where it belongs."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from state_signals.cli import output
from state_signals.cli.exit_codes import ExitCode
from state_signals.cli.looking.finding import chosen, resolved
from state_signals.cli.looking.formats import Format, by_suffix
from state_signals.cli.options import Server
from state_signals.cli.stepping.steps import perform_step
from state_signals.exceptions import InvalidArgument
from state_signals.runs.loading import load_runs
from state_signals.runs.model import Run
from state_signals.runs.objects import run_object
from state_signals.runs.reader import RunReader
from state_signals.runs.recent import numbered
from state_signals.timeline.lanes import MOST_LANES
from state_signals.timeline.view import Selection, View, view_of

if TYPE_CHECKING:
    from state_signals.transport.base import AsyncTransport

__all__ = ["Order", "draw"]

_PIPE_WIDTH = 110
"""Columns of what is read by nobody in particular."""

_DRAWN = "▌█╌├┤─┴▼✗■»«…·µ"

_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be drawn, and as what.

    Attributes:
        publisher_id: the exporter, or how its id begins; None: the only one in a file.
        which: which of its runs: 1 is the first, -1 the last.
        file: where to write; None: standard output.
        kind: as what; None: by the file's suffix.
        events: only rounds of these; empty: of all.
        since: seconds from the run's beginning at which the picture begins; None: there.
        until: seconds at which it ends; None: at the run's end.
        every: whether each responder has a lane of its own.
    """

    publisher_id: str | None
    which: int
    file: Path | None
    kind: Format | None
    events: tuple[str, ...]
    since: float | None
    until: float | None
    every: bool


@dataclass(frozen=True, slots=True)
class _Found:
    number: int
    run: Run


def draw(order: Order, source: Path | None, server: Server) -> int:
    """Draw a run. Return the exit code.

    Args:
        order: what is asked for.
        source: the file that it is read from; None: from the server.
        server: where it is otherwise.

    Raises:
        InvalidArgument: something that is asked for cannot be, or is not there.
        TransportError: the server cannot be read.
    """
    kind = _checked(order)
    if kind in (Format.SVG, Format.PNG) and importlib.util.find_spec("matplotlib") is None:
        output.error(f"{kind} is drawn by matplotlib, which is not here: pip install 'state-signals[plot]'")
        return ExitCode.USAGE
    found: list[_Found] = []
    if source is not None:
        found.append(_from_file(source, order))
    elif (code := perform_step(lambda transport: _read(transport, server, order, found), server)) or not found:
        return code
    return _write(order, kind, found[0])


def _checked(order: Order) -> Format:
    """Return the format, if what is asked for can be."""
    for option, value in (("--from-time", order.since), ("--to-time", order.until)):
        if value is not None and not 0 <= value < math.inf:
            raise InvalidArgument(f"{option} takes seconds from the run's beginning, not {value:g}")
    if order.since is not None and order.until is not None and order.since >= order.until:
        raise InvalidArgument(f"--from-time {order.since:g} is not before --to-time {order.until:g}")
    kind = order.kind or (Format.TEXT if order.file is None or _is_stdout(order.file) else by_suffix(order.file))
    if kind is Format.PNG and _is_stdout(order.file) and sys.stdout.isatty():
        raise InvalidArgument("a PNG is not for a terminal; give -o FILE, or redirect standard output")
    if order.file is not None and not _is_stdout(order.file) and not order.file.absolute().parent.is_dir():
        raise InvalidArgument(f"cannot write {order.file}: there is no folder {order.file.absolute().parent}")
    return kind


def _is_stdout(file: Path | None) -> bool:
    return file is None or str(file) == "-"


async def _read(transport: AsyncTransport, server: Server, order: Order, found: list[_Found]) -> int:
    reader = RunReader(transport)
    name = await resolved(reader, order.publisher_id or "", server)
    each = chosen(numbered(await reader.log(name)), order.which)
    found.append(_Found(each.number, each.run))
    return ExitCode.OK


def _from_file(source: Path, order: Order) -> _Found:
    shown = "standard input" if str(source) == "-" else str(source)
    try:
        data = sys.stdin.buffer.read() if str(source) == "-" else source.read_bytes()
    except OSError as error:
        raise InvalidArgument(f"cannot read {shown}: {error.strerror or error}") from error
    runs = [_Found(number, run) for number, run in load_runs(data, shown)]
    wanted = order.publisher_id
    names = list(dict.fromkeys(each.run.publisher_id for each in runs))
    meant = names if wanted is None else [name for name in names if name.startswith(wanted)]
    if wanted in names:
        meant = [wanted]
    if not meant:
        where = f"it has {_listed(names)}" if names else "it has none at all"
        raise InvalidArgument(f"there is no run of {wanted or 'anybody'!r:.200} in {shown}; {where}")
    if len(meant) > 1:
        raise InvalidArgument(f"there are runs of {len(meant)} exporters in {shown}; choose one of {_listed(meant)}")
    return chosen([each for each in runs if each.run.publisher_id == meant[0]], order.which)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _write(order: Order, kind: Format, found: _Found) -> int:
    known = list(dict.fromkeys(this.event for this in found.run.rounds))
    for event in order.events:
        if event not in known:
            there = f"it has {_listed(known)}" if known else "it has no rounds"
            raise InvalidArgument(f"--event: there is no round of {event!r:.200} in that run; {there}")
    selection = Selection(events=frozenset(order.events), since=order.since, until=order.until)
    if kind is Format.JSON:
        rounds = [this for this in found.run.rounds if selection.takes(this, found.run)]
        line = output.json_line(run_object(replace(found.run, rounds=rounds), found.number))
        return _put(order.file, f"{line}\n".encode())
    view = view_of(found.run, output.escaped, selection)
    if kind is Format.TEXT and _is_stdout(order.file):
        return _print(view, order)
    return _put(order.file, _rendered(view, kind, order))


def _rendered(view: View, kind: Format, order: Order) -> bytes:
    # Each is imported when it is used: matplotlib takes half a second.
    if kind is Format.HTML:
        from state_signals.timeline.html import render as page  # noqa: PLC0415

        return page(view)
    if kind is Format.TRACE:
        from state_signals.timeline.trace import render as trace  # noqa: PLC0415

        return trace(view)
    if kind is Format.CSV:
        from state_signals.timeline.table import render as table  # noqa: PLC0415

        return table(view)
    if kind is Format.TEXT:
        from state_signals.timeline.text import lines_of  # noqa: PLC0415

        lines = lines_of(view, _PIPE_WIDTH, most_lanes=None if order.every else MOST_LANES)
        text = "".join("".join(segment.text for segment in line).rstrip() + "\n" for line in lines)
        return text.encode("utf-8", "backslashreplace")
    from state_signals.timeline.picture.page import render as picture  # noqa: PLC0415

    most = None if order.every else MOST_LANES
    return picture(view, "svg" if kind is Format.SVG else "png", most_lanes=most)


def _put(file: Path | None, data: bytes) -> int:
    if file is None or _is_stdout(file):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return ExitCode.OK
    try:
        file.write_bytes(data)
    except OSError as error:
        raise InvalidArgument(f"cannot write {file}: {error.strerror or error}") from error
    output.note(f"{file}: {len(data) / 1000:,.0f} kB")
    return ExitCode.OK


def _print(view: View, order: Order) -> int:
    from state_signals.timeline.text import MOST_LANES_OF_TEXT, lines_of  # noqa: PLC0415 - where it is used

    stream = sys.stdout
    width = shutil.get_terminal_size().columns if output.is_terminal(stream) or "COLUMNS" in os.environ else _PIPE_WIDTH
    most = None if order.every else MOST_LANES_OF_TEXT
    for line in lines_of(view, max(60, width - 1), is_plain=not _can_draw(stream.encoding), most_lanes=most):
        output.print_line(
            "".join(
                output.styled(segment.text, segment.style, stream) if segment.style else segment.text
                for segment in line
            ).rstrip()
        )
    return ExitCode.OK


def _can_draw(encoding: str | None) -> bool:
    try:
        _DRAWN.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
