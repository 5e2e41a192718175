"""Figures as tables, for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.bounds import TARGETS
from benchmarks.figures import Figure, Results
from benchmarks.plan import CONTENDERS

__all__ = ["Table", "as_text", "tables"]

_KINDS = {
    "process": "One responder in a process of its own",
    "connections": "{:,} responders, a connection each",
    "together": "{:,} responders in one process",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table: the first column is text, the others are numbers.

    Attributes:
        name: by which it is found.
        title: what it shows.
        columns: their heads.
        rows: cells, as many in each.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def as_text(self) -> str:
        """Return it for a terminal."""
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        lines = [
            "  ".join(cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(zipped))
            for row in (self.columns, *self.rows)
            for zipped in [list(zip(row, widths, strict=True))]
        ]
        return "\n".join([self.title, *(line.rstrip() for line in lines)])

    def as_markdown(self) -> str:
        """Return it as Markdown, without the title."""
        rules = ("---", *("--:" for _ in self.columns[1:]))
        return "\n".join("| " + " | ".join(row) + " |" for row in (self.columns, rules, *self.rows))


def as_text(results: Results) -> str:
    """Return all tables for a terminal."""
    return "\n\n".join(table.as_text() for table in tables(results))


def tables(results: Results) -> list[Table]:
    """Return all tables for which something was measured."""
    rounds = [_rounds(results, kind, count) for kind in _KINDS for count in results.counts(kind)]
    others: Iterable[Callable[[Results], Table]] = (_start_up, _memory, _unawaited, _idle, _deliveries, _targets)
    return [table for table in (*rounds, *(make(results) for make in others)) if table.rows]


def _rounds(results: Results, kind: str, count: int) -> Table:
    rows = []
    for name in (each for each in results.contenders(kind) if results.has(kind, count, each)):
        key = (kind, count, name)
        lost = results.lost(*key)
        tails = (_ms(results.tail(*key, percent)) for percent in (95, 99))
        own = CONTENDERS[name].floor
        rows.append(
            (
                _label(name) + (f" (loses {lost:.1%} of the answers)" if lost > 0 else ""),
                _spread(results.p50(*key).times(1e3)),
                *tails,
                _times(results, *key, "raw"),
                "" if own is None else _times(results, *key, own),
                *(_micro(results.cpu(*key, whose)) for whose in ("surveyor", "responders", "server")),
                f"{results.rounds(*key):,}",
            )
        )
    columns = ("", "p50 ms", "p95", "p99", "/ raw", "/ redis-py", "CPU µs: exporter", "responder", "server", "rounds")
    return Table(f"{kind}-{count}", _KINDS[kind].format(count), columns, tuple(rows))


def _start_up(results: Results) -> Table:
    counts = {kind: results.counts(kind) for kind in ("connections", "together")}
    heads = {"connections": "{:,} on connections, ms", "together": "{:,} in one process, ms"}
    columns = tuple((kind, count) for kind, found in counts.items() for count in found)
    names = list(dict.fromkeys(name for kind in counts for name in results.contenders(kind)))
    rows = [
        (
            _label(name),
            *(_figure(results.start_up(*key, name).times(1e3)) if results.has(*key, name) else "" for key in columns),
        )
        for name in names
        if CONTENDERS[name].label.startswith("state-signals")
    ]
    title = "Until everybody has subscribed"
    return Table("start-up", title, ("", *(heads[kind].format(count) for kind, count in columns)), tuple(rows))


def _memory(results: Results) -> Table:
    rows = []
    for name in results.contenders("together"):
        each = results.memory_each("together", name)
        if each is not None:
            rows.append((_label(name), f"{each / 1024:.1f}"))
    return Table("memory", "One more responder in a process", ("", "KiB"), tuple(rows))


def _unawaited(results: Results) -> Table:
    rows = tuple(
        (_label(each["contender"]), _figure(Figure.of(each["signals_per_second"]), spread=True))
        for each in results.found.get("unawaited", ())
    )
    return Table("unawaited", "Signals that nobody waits for", ("", "signals a second"), rows)


def _idle(results: Results) -> Table:
    rows = tuple(
        (_label(each["contender"]), *(f"{each[side] * 1e3:.2f}" for side in ("surveyor", "responders")))
        for each in results.found.get("idle", ())
    )
    return Table("idle", "While nothing happens, CPU a second", ("", "exporter, ms", "100 responders, ms"), rows)


def _deliveries(results: Results) -> Table:
    found = results.found.get("deliveries", ())
    exporters = sorted({each["exporters"] for each in found})
    made = {(each["contender"], each["namespaces"], each["exporters"]): each for each in found}
    rows = []
    for name, has_namespaces in dict.fromkeys((each["contender"], each["namespaces"]) for each in found):
        label = CONTENDERS[name].label.removesuffix(" asyncio") + (", namespaces" if has_namespaces else "")
        cells = (made[name, has_namespaces, count] for count in exporters)
        rows.append((label, *(f"{each['deliveries']:.0f} ({each['bytes'] / 1024:.1f} KiB)" for each in cells)))
    columns = ("deliveries a signal, bytes in and out", *(f"E = {count}" for count in exporters))
    return Table("deliveries", "E exporters on one server, 8 responders each", columns, tuple(rows))


def _targets(results: Results) -> Table:
    rows = []
    for target in TARGETS:
        value = target.value(results)
        if value is not None:
            limit = f"≤ {target.most:g}" if target.most is not None else f"≥ {target.least:g}"
            is_met = "yes" if target.is_met(value) else "no"
            rows.append((target.what, f"{limit}{target.unit}", f"{value:.3g}{target.unit}", is_met))
    return Table("targets", "What it has to show", ("", "aim", "measured", "met"), tuple(rows))


def _label(name: str) -> str:
    return CONTENDERS[name].label


def _times(results: Results, kind: str, count: int, name: str, other: str) -> str:
    if name == other or not results.has(kind, count, other):
        return ""
    return f"{results.ratio(kind, count, name, other).median:.2f} x"


def _figure(figure: Figure, *, spread: bool = False) -> str:
    if spread:
        return f"{figure.median:,.0f} ({figure.least:,.0f} to {figure.most:,.0f})"
    return f"{figure.median:,.0f}"


def _spread(figure: Figure) -> str:
    digits = 3 if figure.median < 1 else 2 if figure.median < 10 else 1
    return f"{figure.median:.{digits}f} ({figure.least:.{digits}f} to {figure.most:.{digits}f})"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.{3 if seconds < 1e-3 else 2 if seconds < 1e-2 else 1}f}"


def _micro(figure: Figure | None) -> str:
    return "" if figure is None else f"{figure.median * 1e6:.1f}"
