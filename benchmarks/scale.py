"""Calculate what very many responders need, from what was measured with fewer: `python -m benchmarks.scale FILE`.

FILE is what `python -m benchmarks.large` wrote. The costs of one responder are taken from its two smallest numbers, and
what follows from them for the larger ones is compared with what was measured there. What is carried on to 100,000 and
1,000,000 are the costs with its two largest numbers. Prints tables; with --write, puts them into docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import large
from benchmarks.tables import Table
from state_signals.limits import DEFAULT_LIMITS

__all__ = ["Costs", "Layout", "tables"]

_TEMPLATE = Path(__file__).with_name("scale.md.in")

_DOCS = Path(__file__).resolve().parent.parent / "docs"

_PLACE = re.compile(r"^\{\{(table ([a-z-]+)|machine)\}\}$", re.MULTILINE)

_BEATS_EVERY = 1 / 3
"""Part of `presence_ttl` after which the next proof of life comes."""

_TTL = 15.0

_ON_A_HOST = 100
"""Responders of one host, in the layouts: they share the connections of one process."""

Found = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What one responder costs in one round, in seconds of CPU and bytes, and all the time.

    Attributes:
        connection: server, for a connection that gets the signal and answers by itself, beyond the answer.
        answer: server, for an answer among others on a connection.
        collect: exporter, for an answer.
        own: the load, for an answer on a connection of its own.
        shared: a process with many responders of this project, for an answer.
        beat: server, for a proof of life among others on a connection.
        bytes_each: to and from the server, for a responder on a connection of its own.
        bytes_shared: likewise, for one that shares it.
        server_memory: bytes, for a connection.
        exporter_memory: bytes, for a name on the roster and in a result.
        responder_memory: bytes, for a responder in a process with others.
        cores: of the machine that it was measured on.
    """

    connection: float
    answer: float
    collect: float
    own: float
    shared: float
    beat: float
    bytes_each: float
    bytes_shared: float
    server_memory: float
    exporter_memory: float
    responder_memory: float
    cores: int

    @classmethod
    def of(cls, found: Found, cores: int) -> Costs:
        """Return what follows from what was measured with some numbers of responders.

        Raises:
            ValueError: if not all of them were measured with both crowds.
        """
        each, shared = _crowd(found, "connections"), _crowd(found, "processes")
        if not each or [one["responders"] for one in each] != [one["responders"] for one in shared]:
            raise ValueError("both crowds have to be measured: connections and processes")
        answer = _of_answers(shared, "server_cpu")
        return cls(
            connection=_of_answers(each, "server_cpu") - answer,
            answer=answer,
            collect=_of_answers([*each, *shared], "exporter_cpu"),
            own=_of_answers(each, "responders_cpu"),
            shared=_of_answers(shared, "responders_cpu"),
            beat=_median(shared, lambda one: one["idle"]["server"] / (one["responders"] / (_TTL * _BEATS_EVERY))),
            bytes_each=_bytes(each),
            bytes_shared=_bytes(shared),
            # What is kept of the answers is the same in both.
            server_memory=statistics.median(
                (one["memory"]["server"] - other["memory"]["server"]) / one["responders"]
                for one, other in zip(each, shared, strict=True)
            ),
            exporter_memory=_median(shared, lambda one: max(one["memory"]["exporter"].values()) / one["responders"]),
            responder_memory=_median(shared, lambda one: one["memory"]["responders"] / one["responders"]),
            cores=cores,
        )

    def server(self, connections: int, answers: int) -> float:
        """Return the server's CPU in a round."""
        return connections * self.connection + answers * self.answer

    def round(self, crowd: str, count: int, connections: int) -> float:
        """Return how long a round takes if all are on the machine that was measured on."""
        answering = self.own if crowd == "connections" else self.shared
        parts = (self.server(connections, count), count * self.collect, count * answering)
        return max(*parts[:2], sum(parts) / self.cores)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where very many responders are.

    Attributes:
        what: for people to read.
        responders: how many there are in all.
        together: how many share the connections of a process; 1: each has its own.
        shards: servers, each with an exporter and its share of the responders.
        ttl: `presence_ttl`, in seconds.
    """

    what: str
    responders: int
    together: int = 1
    shards: int = 1
    ttl: float = _TTL

    @property
    def each(self) -> int:
        """Responders of one exporter."""
        return self.responders // self.shards

    @property
    def connections(self) -> int:
        """Connections to one server, but for the exporter's: one for commands and one for subscriptions."""
        return 2 * self.each // self.together

    def server(self, costs: Costs) -> float:
        """Return one server's CPU in a round."""
        return costs.server(self.connections // 2, self.each)

    def exporter(self, costs: Costs) -> float:
        """Return one exporter's CPU in a round."""
        return self.each * costs.collect

    def presence(self, costs: Costs) -> float:
        """Return the share of one server's time that proofs of life take.

        Who shows it alone asks for the time and writes it: twice what an answer on a connection of its own costs.
        """
        each = costs.beat if self.together > 1 else 2 * (costs.connection + costs.answer)
        return self.each / (self.ttl * _BEATS_EVERY) * each


LAYOUTS = (
    Layout(what="10,000, a process each", responders=10_000),
    Layout(what="100,000, a process each", responders=100_000),
    Layout(what="1,000,000, a process each", responders=1_000_000),
    Layout(what="100,000 on 1,000 hosts, a process a host", responders=100_000, together=_ON_A_HOST),
    Layout(what="1,000,000 on 10,000 hosts, a process a host", responders=1_000_000, together=_ON_A_HOST),
    Layout(what="the same, in 10 shards", responders=1_000_000, together=_ON_A_HOST, shards=10),
    Layout(what="the same, presence_ttl=60", responders=1_000_000, together=_ON_A_HOST, shards=10, ttl=60.0),
    Layout(what="the same, in 50 shards", responders=1_000_000, together=_ON_A_HOST, shards=50, ttl=60.0),
)


def tables(found: Found, cores: int) -> list[Table]:
    """Return what was measured, what is calculated, and what follows."""
    counts = sorted({one["responders"] for one in found})
    few, many = (
        Costs.of([one for one in found if one["responders"] in some], cores) for some in (counts[:2], counts[-2:])
    )
    columns = zip(_costs(few), _costs(many), strict=True)
    rows = tuple((what, less, more) for (what, less), (_, more) in columns)
    heads = ("", *(f"{some[0]:,} and {some[-1]:,}" for some in (counts[:2], counts[-2:])))
    table = Table("costs", "What one responder costs in a round", heads, rows)
    return [table, _compared(few, found, counts[:2]), _layouts(many), _memory(many)]


def _costs(costs: Costs) -> tuple[tuple[str, str], ...]:
    return (
        ("server, a connection that hears the signal and answers, beyond the answer", _us(costs.connection)),
        ("server, an answer among others", _us(costs.answer)),
        ("exporter, an answer", _us(costs.collect)),
        ("responder of this project, sharing connections, a signal", _us(costs.shared)),
        ("server, a proof of life among others, and looks into silent journals", _us(costs.beat)),
        ("to and from the server, own connection", f"{costs.bytes_each:,.0f} bytes"),
        ("to and from the server, sharing", f"{costs.bytes_shared:,.0f} bytes"),
        ("memory of the server, a connection", f"{costs.server_memory / 1024:.0f} KiB"),
        ("memory of the exporter, a name", f"{costs.exporter_memory / 1024:.1f} KiB"),
        ("memory of a responder among others", f"{costs.responder_memory / 1024:.0f} KiB"),
    )


def _compared(costs: Costs, found: Found, fitted: Sequence[int]) -> Table:
    rows = []
    for one in found:
        count, crowd = one["responders"], one["crowd"]
        connections = one["connections"] if crowd == "connections" else one["connections"] // 2
        server, exporter = (_of_answers([one], whose) for whose in ("server_cpu", "exporter_cpu"))
        took = statistics.median(each for done in one["rounds"] for each in done["took"])
        pairs = (
            (server * 1e6, costs.server(connections, count) / count * 1e6),
            (exporter * 1e6, costs.collect * 1e6),
            (took * 1e3, costs.round(crowd, count, connections) * 1e3),
        )
        name = f"{count:,}, {crowd}" + (" (fitted)" if count in fitted else "")
        rows.append((name, *(cell for pair in pairs for cell in _pair(*pair))))
    columns = tuple(
        column
        for what in ("server µs an answer", "exporter µs an answer", "round ms")
        for column in (what, "calculated", "off by")
    )
    return Table("compared", "Measured and calculated", ("responders", *columns), tuple(rows))


def _layouts(costs: Costs) -> Table:
    rows = []
    for each in LAYOUTS:
        server, exporter = each.server(costs), each.exporter(costs)
        rows.append(
            (
                each.what,
                f"{each.shards}",
                f"{each.connections:,}",
                _seconds(server),
                _seconds(exporter),
                _seconds(max(server, exporter)),
                f"{each.responders / each.shards / (each.ttl * _BEATS_EVERY):,.0f}",
                f"{each.presence(costs):.1%}",
                "yes" if each.each <= DEFAULT_LIMITS.max_roster else "no",
            )
        )
    columns = (
        *("layout", "shards", "connections each", "server s a round", "exporter s", "round at least, s"),
        *("proofs of life a second", "of the server's time", "fits a roster"),
    )
    return Table("layouts", "Calculated: one round of very many", columns, tuple(rows))


def _memory(costs: Costs) -> Table:
    rows = []
    for each in LAYOUTS:
        is_shared = each.together > 1
        # Whoever has a process of its own needs what any Python needs, which nobody can save.
        rows.append(
            (
                each.what,
                _size(each.connections * costs.server_memory),
                _size(each.each * costs.exporter_memory),
                _size(each.together * costs.responder_memory) if is_shared else "",
                _size(each.each * (costs.bytes_shared if is_shared else costs.bytes_each)),
            )
        )
    columns = ("layout", "server, for connections", "exporter", "responders of a host", "moved in a round")
    return Table("memory", "Calculated: memory and bytes of one shard", columns, tuple(rows))


def _crowd(found: Found, crowd: str) -> list[Mapping[str, Any]]:
    return sorted((one for one in found if one["crowd"] == crowd), key=lambda one: int(one["responders"]))


def _of_answers(found: Found, whose: str) -> float:
    """Return the median of what an answer has cost somebody."""
    values: list[float] = [done[whose] / done["answers"] for one in found for done in one["rounds"]]
    return statistics.median(values)


def _bytes(found: Found) -> float:
    values: list[float] = [sum(done["bytes"]) / done["answers"] for one in found for done in one["rounds"]]
    return statistics.median(values)


def _median(found: Found, value: Callable[[Mapping[str, Any]], float]) -> float:
    return statistics.median(map(value, found))


def _pair(measured: float, calculated: float) -> tuple[str, str, str]:
    digits = 0 if measured >= 100 else 1
    return f"{measured:,.{digits}f}", f"{calculated:,.{digits}f}", f"{calculated / measured - 1:+.0%}"


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds < 10 else f"{seconds:.0f}"


def _size(count: float) -> str:
    for unit in ("KiB", "MiB"):
        count /= 1024
        if count < 1024:
            return f"{count:,.0f} {unit}"
    return f"{count / 1024:,.1f} GiB"


def document(found: list[Table], machine: Mapping[str, Any]) -> str:
    """Return the text of docs/scale.md, with the tables in their places."""
    texts = {table.name: table.as_markdown() for table in found}

    def put(place: re.Match[str]) -> str:
        if place[1] != "machine":
            return texts[place[2]]
        return (
            f"Measured on {machine['cores']} cores of {machine['cpu']}, {machine['memory'] / 2**30:.0f} GiB, with "
            f"{machine['python']},\n{machine['date']}, commit {machine['commit']}; used by other programs meanwhile: "
            f"{machine['others']:.0%} of the machine."
        )

    return _PLACE.sub(put, _TEMPLATE.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="what `python -m benchmarks.large` wrote")
    parser.add_argument("--write", action="store_true", help="write docs/scale.md")
    options = parser.parse_args()
    told = json.loads(options.file.read_text())
    found = tables(told["large"], told["machine"]["cores"])
    for table in found:
        print(table.as_text(), end="\n\n")
    if options.write:
        text = document([*large.tables(told["large"]), *found], told["machine"])
        (_DOCS / "scale.md").write_text(text)


if __name__ == "__main__":
    main()
