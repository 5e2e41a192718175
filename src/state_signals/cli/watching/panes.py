"""What stands in each part of the screen, as lines of any width."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from state_signals.cli.times import age, clock, seconds
from state_signals.cli.watching.cells import Glyphs, Line, Span, fit, line_width, safe, wrapped
from state_signals.cli.watching.log import Entry
from state_signals.cli.watching.roster import Row, Standing, counted, has_problem, is_open, shown_round
from state_signals.cli.watching.view import Key, Listed
from state_signals.messages import NO_TAG
from state_signals.runs.model import Round, Run, RunState

__all__ = ["HELP", "footer", "header", "log_lines", "newest", "roster_lines", "run_lines", "window"]

_STATE_STYLES = {
    RunState.LIVE: "good",
    RunState.DETACHED: "warn",
    RunState.CRASHED: "bad",
    RunState.ENDED: "dim",
    RunState.ABORTED: "bad",
}

_STYLES = {
    Standing.LOST: "bad",
    Standing.FAILED: "bad",
    Standing.MISSING: "bad",
    Standing.PENDING: "warn",
    Standing.WORKING: "warn",
    Standing.LEFT: "warn",
    Standing.EXPECTED: "warn",
    Standing.SILENT: "dim",
    Standing.SUBSCRIBED: "good",
    Standing.SUCCEEDED: "good",
}

_OLD = 5.0
"""Seconds without a proof of life from which on it is worth a second look: they are due every third of 15."""

_SHORTEST_NAME = 12
"""Cells that the name of a run has, at the least."""

_LONGEST_ENTRY = 3
"""Lines of one entry of the log."""

HELP = (
    ("{up_down} j k", "choose a run; in the other panes: scroll"),
    ("Tab", "next pane: runs, responders, log"),
    ("PgUp PgDn g G", "a page up or down; beginning, end"),
    ("/", "only responders with a text in a column"),
    ("p", "problems only: not those that succeeded"),
    ("l", "log in place of responders, and back"),
    ("Esc", "no filter, back to the beginning"),
    ("?", "this help, and back"),
    ("q Ctrl-C", "quit"),
)
"""The keys, and what they do."""


def run_lines(
    runs: Sequence[Listed], chosen: Key | None, now: float, width: int, room: int, glyphs: Glyphs
) -> list[Line]:
    """Return the list of runs: as many as there is room for, the chosen one among them."""
    keys = [listed.key for listed in runs]
    place = keys.index(chosen) if chosen in keys else 0
    first, last = window(len(runs), room, place)
    shown = runs[first:last]
    states = max((len(listed.run.state) for listed in shown), default=0)
    # Marker, problem, name, state, age.
    name_width = max(1, width - 3 - states - 4)
    lines: list[Line] = []
    for listed in shown:
        run = listed.run
        is_chosen = listed.key == chosen
        lines.append(
            (
                Span(glyphs.marker if is_chosen else " ", "accent"),
                Span("!" if has_problem(run) else " ", "bad"),
                Span(fit(safe(run.publisher_id), name_width, glyphs), "title" if is_chosen else ""),
                Span(" "),
                Span(fit(run.state, states, glyphs), _STATE_STYLES[run.state]),
                Span(fit(age(now - _since(run)), 4, glyphs, to_the_right=True), "dim"),
            )
        )
    return lines


def _since(run: Run) -> float:
    """Return when what a run's state says has begun."""
    if run.state in (RunState.LIVE, RunState.DETACHED):
        return run.began_at
    return next((at for at in (run.ended_at, run.last_seen) if at is not None), run.began_at)


def window(number: int, room: int, place: int) -> tuple[int, int]:
    """Return which part of a list to show: from where to where, with one place in it that must be seen."""
    first = min(max(0, place - room // 2), max(0, number - room))
    return first, min(number, first + room)


def header(run: Run, rows: Sequence[Row], now: float, width: int, glyphs: Glyphs) -> list[Line]:
    """Return what is to be said of a run: which it is, its round, how many responders stand how."""
    return [
        _identity(run, now, width, glyphs),
        _round_line(run, now, glyphs),
        *wrapped(_counts(rows, glyphs), width, 2),
    ]


def _identity(run: Run, now: float, width: int, glyphs: Glyphs) -> Line:
    passed = age(now - _since(run))
    goes_on = run.state in (RunState.LIVE, RunState.DETACHED)
    state = (Span(" "), Span(run.state, _STATE_STYLES[run.state]), Span(f" {passed}" if goes_on else f" {passed} ago"))
    room = max(_SHORTEST_NAME, width - line_width(state))
    name = safe(run.publisher_id)
    spans = [Span(fit(name, min(room, cell_len(name)), glyphs), "title"), *state]
    if run.aborted:
        spans.append(Span(f": {safe(run.aborted)}", "bad"))
    for fact in (run.runner_host, *([] if run.tag == NO_TAG else [run.tag])):
        more = Span(f" {glyphs.dot} {safe(fact)}", "dim")
        # The log tells it, too.
        if line_width((*spans, more)) <= width:
            spans.append(more)
    return tuple(spans)


def _round_line(run: Run, now: float, glyphs: Glyphs) -> Line:
    this = shown_round(run)
    if this is None:
        return (Span("no signal yet", "dim"),)
    spans = [Span(safe(this.event), "event")]
    if this.sample_no != -1:
        spans.append(Span(f" sample {this.sample_no}"))
    spans.append(Span(f" {glyphs.dot} ", "dim"))
    spans += _progress(run, this, now)
    return tuple(spans)


def _progress(run: Run, this: Round, now: float) -> list[Span]:
    if not this.is_awaited:
        return [Span(f"not waited for, {age(now - this.published_at)} ago", "dim")]
    if is_open(run):
        spans = [Span(f"open for {age(now - this.published_at)}", "warn")]
        left = this.published_at + (this.wait or 0.0) - now
        if left == float("inf"):
            return [*spans, Span(", no time limit")]
        return [*spans, Span(f", {age(left)} left" if left > 0 else ", its time is up")]
    if this.ended_at is None:
        return [Span("nobody waits for it any more", "dim")]
    elapsed = this.elapsed if this.elapsed is not None else this.ended_at - this.published_at
    style = "" if this.ok is None else "good" if this.ok else "bad"
    return [Span(f"done in {seconds(elapsed)}", style), Span(f", {age(now - this.ended_at)} ago", "dim")]


def _counts(rows: Sequence[Row], glyphs: Glyphs) -> Line:
    if not rows:
        return (Span("nobody has subscribed", "dim"),)
    spans: list[Span] = []
    for standing, number in counted(rows):
        if spans:
            spans.append(Span(f" {glyphs.dot} ", "dim"))
        spans.append(Span(f"{number} {standing}", _STYLES[standing]))
    return tuple(spans)


def roster_lines(
    rows: Sequence[Row], scrolled: int, width: int, room: int, glyphs: Glyphs, *, is_focused: bool
) -> tuple[list[Line], int]:
    """Return the responders: a line of titles and as many rows as there is room for; the rest is counted.

    Returns:
        The lines, and how far they can be scrolled.
    """
    room -= 1
    is_whole = len(rows) <= room
    visible = room if is_whole else max(0, room - 1)
    furthest = max(0, len(rows) - visible)
    first = min(scrolled, furthest)
    shown = rows[first : first + visible]
    # As wide as the longest, on every page the same if it can be.
    longest = max((len(row.standing) for row in rows), default=9)
    names = max((cell_len(safe(row.responder_id)) for row in shown), default=0)
    columns = (min(max(names, 9), max(9, width * 2 // 5)), max(longest, len("outcome")), 6, 4)
    style = "focus" if is_focused else "heading"
    lines: list[Line] = [(Span(_cells(("responder", "outcome", "time", "seen", "message"), columns, glyphs), style),)]
    lines += [_row_line(row, columns, glyphs) for row in shown]
    if not is_whole:
        above = f"{first} above, " if first else ""
        below = [f"{number} {standing}" for standing, number in counted(rows[first + visible :])]
        text = f"{glyphs.dots} {above}and {', '.join(below)}" if below else f"{glyphs.dots} {above}no more"
        lines.append((Span(text, "dim"),))
    return lines, furthest


def _cells(texts: Sequence[str], columns: Sequence[int], glyphs: Glyphs) -> str:
    name, outcome, time, seen = (
        fit(text, width, glyphs, to_the_right=place > 1)
        for place, (text, width) in enumerate(zip(texts, columns, strict=False))
    )
    return f"{name} {outcome} {time} {seen}  {texts[4]}"


def _row_line(row: Row, columns: Sequence[int], glyphs: Glyphs) -> Line:
    name_width, outcome_width, time_width, seen_width = columns
    ticking = f"{age(row.seconds)}" if row.is_ticking else seconds(row.seconds)
    style = _STYLES[row.standing]
    seen_style = "warn" if row.seen is not None and row.seen > 2 * _OLD else "dim"
    return (
        Span(fit(safe(row.responder_id), name_width, glyphs), "title" if style == "bad" else ""),
        Span(" "),
        Span(fit(row.standing, outcome_width, glyphs), style),
        Span(" " + fit(ticking, time_width, glyphs, to_the_right=True)),
        Span(" " + fit(age(row.seen), seen_width, glyphs, to_the_right=True), seen_style),
        Span("  " + safe(row.message) if row.message else ""),
    )


def log_lines(entry: Entry, width: int) -> list[Line]:
    """Return an entry of the log, on as many lines as it needs, up to three."""
    moment = Span(f" {clock(entry.at)} ", "dim")
    indent = cell_len(moment.text)
    lines = wrapped(entry.spans, max(1, width - indent), _LONGEST_ENTRY)
    return [((moment if place == 0 else Span(" " * indent)), *line) for place, line in enumerate(lines)]


def newest(number: int, room: int, scrolled: int) -> tuple[int, int, int]:
    """Return which part of the log to show: from where to where, and how far it can be scrolled."""
    furthest = max(0, number - room)
    last = number - min(scrolled, furthest)
    return max(0, last - room), last, furthest


def footer(glyphs: Glyphs, words: str, *, problems_only: bool, is_log_large: bool) -> Line:
    """Return the keys, and the words that the responders are filtered by."""
    spans: list[Span] = []
    if words:
        spans.append(Span(f" filter: {words} ", "on"))
    keys: tuple[tuple[str, str, bool], ...] = (
        (f"{glyphs.up_down} jk", "run", False),
        ("Tab", "pane", False),
        ("/", "filter", False),
        ("p", "problems", problems_only),
        ("l", "log", is_log_large),
        ("?", "help", False),
        ("q", "quit", False),
    )
    if words:
        keys = (("Esc", "everybody", False), *keys[2:])
    for key, what, is_on in keys:
        spans += [Span(" "), Span(key, "key"), Span(f" {what}", "on" if is_on else "dim"), Span(" ")]
    return tuple(spans)
