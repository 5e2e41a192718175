"""What is true in a world, and whether the parties are told so: the guarantees, as far as the core gives them.

The book sees everything: what the server carries out, what users do, what befalls processes. So it knows what the core
must find out.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from state_signals.messages import INITIALIZATION, Signal
from state_signals.protocol.events import (
    ClaimRefused,
    Event,
    OutcomeKnown,
    ResponderSubscribed,
    RoundCompleted,
    SignalRefused,
    SignalsMissed,
    SignalUnsent,
)
from state_signals.results import Outcome, PublishResult
from state_signals.transport.base import Batch, Refusal
from tests.simulation.world import Process, Violation, World

if TYPE_CHECKING:
    from tests.simulation.exporter import Exporter
    from tests.simulation.responder import Responder
    from tests.simulation.server import Server

__all__ = ["STRANGER", "Book", "Round"]

STRANGER = "stranger"
"""A publisher that is none."""

_LATENCY = 0.5
"""Seconds that news may take, at the most, while nothing is wrong."""

_RECOVERY = 15.0
"""Seconds that it may take, at the most, until everything is known again once trouble has ended."""

_GIVEN_UP_AFTER = 5.0
"""Seconds after which a responder passes over what nobody restores."""


@dataclass(kw_only=True)
class Round:
    """A signal that somebody has published, and what its exporter was told."""

    signal_id: str
    event: str
    roster: frozenset[str]
    opened_at: float
    deadline: float
    is_awaited: bool = True
    stall_timeout: float | None = None
    fail_fast: bool = False
    waits_for_lost: bool = False
    signs: dict[str, float] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    counted: set[str] = field(default_factory=set)


@dataclass
class Taken:
    """A signal that the server has taken."""

    place: int
    seq: int
    id: str
    event: str
    at: float
    by: Process
    is_gone: bool = False


@dataclass
class Heard:
    """What one incarnation of a responder has got of one exporter."""

    place: int | None = None
    missed: int = 0
    got: set[str] = field(default_factory=set)


def _read(data: Any) -> dict[str, Any]:
    """Return a message, whoever has sent it; empty: it is none."""
    try:
        message = json.loads(data)
    except (ValueError, TypeError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


class Book:
    """All that is true. Raises `Violation` when somebody is told otherwise."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.server: Server
        self.calm_at = math.inf
        self.histories: defaultdict[str, list[Taken]] = defaultdict(list)
        self.known: dict[str, Taken] = {}
        self.exporters: list[Exporter] = []
        self.owners: dict[str, Exporter] = {}
        self.responders: dict[str, Responder] = {}
        self.incarnations: list[Responder] = []
        self.answers: defaultdict[tuple[str, str], list[tuple[int | None, float, Process]]] = defaultdict(list)
        self.answers_v1: defaultdict[tuple[str, str, str], list[tuple[int | None, float]]] = defaultdict(list)
        self.delivered: dict[tuple[str, str | None], float] = {}
        self.beats: dict[str, float] = {}
        self.ages: defaultdict[Process, dict[str, float]] = defaultdict(dict)
        self.heard: defaultdict[tuple[Process, str], Heard] = defaultdict(Heard)
        self.lost_data_at = -math.inf
        self.counts: defaultdict[str, int] = defaultdict(int)

    # Who is who

    @property
    def has_lost_data(self) -> bool:
        """Whether the server has lost any."""
        return self.lost_data_at > -math.inf

    def exporter_started(self, exporter: Exporter) -> None:
        """A new incarnation of an exporter is there."""
        self.exporters.append(exporter)
        exporter.at_death.append(self.something_is_gone)

    def responder_started(self, responder: Responder) -> None:
        """A new incarnation of a responder is there."""
        self.responders[responder.responder_id] = responder
        self.incarnations.append(responder)
        responder.at_death.append(lambda: self._died(responder))

    def fate(self, owner: bytes, host: str) -> bool | None:
        """Whether the process of an exporter is alive, as far as one can see from a host."""
        for exporter in self.exporters:
            if exporter.owner == owner:
                return exporter.is_alive if exporter.host == host else None
        return None

    def live_exporters(self) -> Iterator[Exporter]:
        """Iterate over those that are there."""
        return (exporter for exporter in self.exporters if exporter.is_alive)

    # The server

    def executed(self, process: Process, batch: Batch, replies: list[Any]) -> None:
        """The server has carried out commands."""
        for command, reply in zip(batch.commands, replies, strict=True):
            if isinstance(reply, Refusal):
                continue
            key = str(command[1]) if len(command) > 1 else ""
            if command[0] == "XADD" and key.endswith(":signals"):
                self._taken(process, key, command)
            elif reply is not None and (
                (command[0] == "XADD" and key.endswith(":responses")) or key == self.server.keys.responses
            ):
                self._delivered(command[-1])
            elif command[0] == "SET" and reply is not None:
                self.owners.update({each.plan.publisher_id: each for each in self.exporters if each is process})
                self.something_is_gone()
            elif command[0] == "ZADD" and key == self.server.keys.presence:
                # Whoever was frozen after it had asked for the time shows that it lived then.
                ahead = self.server.time() - self.world.now
                shown = zip(command[3::2], command[2::2], strict=True)
                self.beats |= {str(name): float(score) - ahead for name, score in shown}
            elif command[0] == "ZREM" and key == self.server.keys.presence:
                # Whoever leaves does so, and its proof of life is not to be seen from then on.
                self.beats.update(dict.fromkeys(map(str, command[2:]), -math.inf))
            elif command[0] == "ZMSCORE":
                ages = {str(name): self.world.now - self.beats.get(str(name), -math.inf) for name in command[2:]}
                self.ages[process] |= ages

    def _taken(self, process: Process, key: str, command: tuple[Any, ...]) -> None:
        message = json.loads(command[-1])
        envelope = message["metadata"]["_state_signals"]
        if envelope["id"] in self.known:
            return
        history = self.histories[message["publisher_id"]]
        taken = Taken(len(history), envelope["seq"], envelope["id"], message["event"], self.world.now, process)
        if f"{taken.seq}-0" != command[-3]:
            raise Violation(f"{process.name} writes {taken.seq} at {command[-3]} of {key}")
        history.append(taken)
        self.known[taken.id] = taken
        self.counts["signals"] += 1

    def _delivered(self, data: Any) -> None:
        response = _read(data)
        if response.get("ras") is not None and response.get("state") is None:
            self.delivered[response["responder_id"], response.get("signal_id")] = self.world.now

    def in_journal(self, publisher_id: str) -> set[str]:
        """Return the identifiers of the signals that the journal holds now."""
        entries = self.server.entries(self.server.keys.journal(publisher_id))
        return {json.loads(fields[1])["metadata"]["_state_signals"]["id"] for _, fields in entries}

    def something_is_gone(self) -> None:
        """Find out which signals will never come back: neither the server nor their exporter has them."""
        for publisher_id, history in self.histories.items():
            journal: set[str] | None = None
            for taken in history:
                if not taken.is_gone and not self._is_remembered(publisher_id, taken):
                    journal = self.in_journal(publisher_id) if journal is None else journal
                    taken.is_gone = taken.id not in journal

    def _is_remembered(self, publisher_id: str, taken: Taken) -> bool:
        """Whether the exporter that has published a signal would put it back."""
        exporter = self.owners.get(publisher_id)
        if exporter is not taken.by or not exporter.is_alive:
            return False
        outgoing, name = exporter.core._server.outgoing, taken.id.encode()
        waiting = (each.entry for each in outgoing._queue if not each.is_withdrawn)
        return any(name in entry.data for entry in (*outgoing._taken, *waiting))

    # Responders

    def signal_received(self, responder: Responder, signal: Signal) -> None:
        """A responder is to act on a signal."""
        self.counts["received"] += 1
        envelope = signal.envelope
        if envelope is None or signal.publisher_id == STRANGER:
            return
        heard = self.heard[responder, signal.publisher_id]
        if envelope.id in heard.got:
            raise Violation(f"{responder.name} is to act twice on {signal.event} {envelope.id}")
        heard.got.add(envelope.id)
        taken = self.known.get(envelope.id)
        if not envelope.journal or envelope.redelivered:
            return
        if taken is None:
            if not self._had_two_owners(signal.publisher_id):
                raise Violation(f"{responder.name} is to act on {signal}, which the server has never taken")
            return
        if heard.place is None:
            # An initialization may have been retained: what comes next need not follow it.
            heard.place = None if signal.event == INITIALIZATION else taken.place
            return
        if taken.place <= heard.place:
            if signal.event == INITIALIZATION:
                return
            raise Violation(f"{responder.name} gets {signal.event} {envelope.seq} of {signal.publisher_id} too late")
        self._check_gap(responder, signal.publisher_id, heard, taken)
        heard.place = taken.place

    def _check_gap(self, responder: Responder, publisher_id: str, heard: Heard, taken: Taken) -> None:
        assert heard.place is not None
        between = self.histories[publisher_id][heard.place + 1 : taken.place]
        if not between:
            # What is missed may be told of together with what comes before that.
            return
        missed, heard.missed = heard.missed, 0
        self.something_is_gone()
        journal = self.in_journal(publisher_id)
        for skipped in between:
            if skipped.is_gone or skipped.id in heard.got or self._has_come_between(publisher_id, skipped, taken):
                continue
            is_excused = skipped.id not in journal and not skipped.by.was_well_since(
                self.world.now - _GIVEN_UP_AFTER - _LATENCY
            )
            if not missed or not is_excused:
                raise Violation(
                    f"{responder.name} gets {taken.event} {taken.seq} of {publisher_id} but never got "
                    f"{skipped.event} {skipped.seq} (it was {'told' if missed else 'not told'} so)"
                )
            heard.got.add(skipped.id)

    def _has_come_between(self, publisher_id: str, skipped: Taken, taken: Taken) -> bool:
        """Whether a signal is of somebody who had the name while its owner was out of touch, and does not any more."""
        before = self.histories[publisher_id][: skipped.place]
        return skipped.by is not taken.by and any(each.by is taken.by for each in before)

    def responder_hears_all(self, responder: Responder) -> None:
        """From here on a responder must not miss anything of exporters that can be seen, or that come later."""
        responder.hears_all_since = self.world.now
        for publisher_id in self.histories:
            key = self.server.keys.record(publisher_id).encode()
            if b"info" in (self.server.keyspace._live(key) or ()):
                responder.follows.add(publisher_id)

    def responder_told(self, responder: Responder, event: Event) -> None:
        """A responder's core has told something else."""
        if isinstance(event, SignalsMissed) and event.publisher_id != STRANGER:
            self.counts["missed"] += event.count
            self.heard[responder, event.publisher_id].missed += event.count

    def answered(self, responder: Responder, signal: Signal, ras: int | None) -> None:
        """A responder's user answers."""
        facts = (ras, self.world.now, responder)
        if signal.id is not None:
            responder.answers_since = min(responder.answers_since, self.world.now)
            self.answers[responder.responder_id, signal.id].append(facts)
        self.answers_v1[responder.responder_id, signal.publisher_id, signal.event].append(facts[:2])

    def _died(self, responder: Responder) -> None:
        ttl = responder.plan.presence_ttl
        if ttl is None or responder.is_finished:
            return
        self.world.after(ttl + 2.0 + _LATENCY, self._must_be_lost, responder, ttl)

    def _must_be_lost(self, responder: Responder, ttl: float) -> None:
        """Whoever could know that a responder was killed must know by now."""
        if self.responders[responder.responder_id] is not responder:
            return
        if self.beats.get(responder.responder_id, -math.inf) < self.lost_data_at:
            # With its proof of life, it is lost when it was that it had given one.
            return
        for exporter in self.live_exporters():
            limit = exporter.plan.presence_ttl
            if limit is None or not exporter.was_well_since(responder.died_at):
                continue
            if responder.responder_id in exporter.core.subs and responder.responder_id not in exporter.promised:
                continue
            for this in exporter.rounds.values():
                if (
                    responder.responder_id in this.roster
                    and responder.responder_id not in this.outcomes
                    and this.is_awaited
                    and not this.waits_for_lost
                    and this.opened_at < self.world.now - 2.0
                ):
                    raise Violation(
                        f"{exporter.name} still waits for {responder.name}, killed {ttl + 2.0} s ago, to act on "
                        f"{this.event} {this.signal_id}"
                    )

    # Exporters

    def resumed(self, exporter: Exporter) -> None:
        """An exporter goes on where another incarnation has ended."""
        self.counts["resumed"] += 1
        before = next(
            (each for each in reversed(self.exporters) if each.plan is exporter.plan and each is not exporter), None
        )
        if before is None or self.has_lost_data or self._had_two_owners(exporter.plan.publisher_id):
            return
        lost = {
            name
            for name, at in before.joined.items()
            if before.well_since <= at < before.died_at - _LATENCY and name in before.core.subs
        } - exporter.core.subs
        if lost and not before.troubles:
            raise Violation(f"{exporter.name} has forgotten {sorted(lost)}")

    def _had_two_owners(self, publisher_id: str) -> bool:
        return any(each.is_superseded for each in self.exporters if each.plan.publisher_id == publisher_id)

    def response_arrived(self, exporter: Exporter, data: bytes) -> None:
        """A response reaches an exporter's core."""
        response = _read(data)
        name, signal_id, state = response.get("responder_id"), response.get("signal_id"), response.get("state")
        if not isinstance(name, str) or response.get("publisher_id") != exporter.plan.publisher_id:
            return
        this = exporter.rounds.get(signal_id) if isinstance(signal_id, str) else None
        if response.get("event") == INITIALIZATION and response.get("ttl") is not None:
            exporter.promised.add(name)
        if this is None or this.event != response.get("event"):
            return
        if state == "working" and self.world.now < self._ends_at(this, name):
            this.signs[name] = self.world.now
        elif state is None and response.get("ras") is not None and self.world.now < self._ends_at(this, name):
            this.counted.add(name)

    def exporter_told(self, exporter: Exporter, event: Event) -> None:
        """An exporter's core has told something."""
        this = exporter.rounds.get(getattr(event, "signal_id", ""))
        match event:
            case OutcomeKnown() if this is not None:
                if event.responder_id in this.outcomes:
                    raise Violation(f"{exporter.name}: {event.responder_id} ends twice in {this.event}")
                this.outcomes[event.responder_id] = event.report.outcome
                self.counts[event.report.outcome.value] += 1
                self._check_outcome(exporter, this, event)
            case RoundCompleted() if this is not None:
                self.counts["rounds"] += 1
                self._check_result(exporter, this, event.result)
            case SignalUnsent():
                self.counts["unsent"] += 1
                if this is not None and self.world.now < this.deadline - 1e-6:
                    raise Violation(f"{exporter.name} gives {this.event} up too early")
            case SignalRefused():
                raise Violation(f"{exporter.name} is refused a signal: {event.why}")
            case ResponderSubscribed():
                exporter.joined[event.responder_id] = self.world.now
            case ClaimRefused():
                self.counts["refused"] += 1
                self.something_is_gone()

    def _check_outcome(self, exporter: Exporter, this: Round, event: OutcomeKnown) -> None:
        name, report = event.responder_id, event.report
        if name not in this.roster:
            raise Violation(f"{exporter.name} waited for {name}, who was not on the roster of {this.event}")
        if report.outcome in (Outcome.SUCCEEDED, Outcome.FAILED):
            given = [ras for ras, *_ in self.answers[name, this.signal_id]]
            if name not in self.responders or exporter.plan.strict_v1:
                given = [ras for ras, _ in self.answers_v1[name, exporter.plan.publisher_id, this.event]]
            if report.ras not in given or (report.ras == 1) != (report.outcome is Outcome.SUCCEEDED):
                raise Violation(f"{exporter.name}: {name} {report} in {this.event} {this.signal_id}; it gave {given}")
            if self.world.now >= self._ends_at(this, name):
                raise Violation(f"{exporter.name}: {name} {report} in {this.event}, after its time was up")
        elif report.outcome is Outcome.MISSING:
            self._check_missing(exporter, this, name)
        elif report.outcome is Outcome.LOST:
            self._check_lost(exporter, this, name)
        elif not any(each.left_at <= self.world.now for each in self.incarnations if each.responder_id == name):
            raise Violation(f"{exporter.name}: {name} has not left")

    def _check_missing(self, exporter: Exporter, this: Round, name: str) -> None:
        now, ends_at = self.world.now, self._ends_at(this, name)
        if now < ends_at - 1e-6:
            raise Violation(f"{exporter.name}: {name} is missing in {this.event} {ends_at - now:.3f} s too early")
        if name in this.counted:
            raise Violation(f"{exporter.name}: {name} is missing in {this.event}, though its answer has arrived")
        at = self.delivered.get((name, this.signal_id), math.inf)
        if exporter.core.reply is None and at < self.calm_at:
            # The channel forgets what it cannot deliver.
            return
        if at < now - _LATENCY and exporter.was_well_since(at - _RECOVERY):
            raise Violation(f"{exporter.name}: {name} has answered {this.event} {now - at:.3f} s ago")

    @staticmethod
    def _ends_at(this: Round, name: str) -> float:
        """Return when a responder is missing unless it answers."""
        if this.stall_timeout is None:
            return this.deadline
        return min(this.deadline, this.signs.get(name, this.opened_at) + this.stall_timeout)

    def _check_lost(self, exporter: Exporter, this: Round, name: str) -> None:
        now = self.world.now
        responder = self.responders.get(name)
        limit = exporter.plan.presence_ttl
        if responder is None or limit is None or responder.plan.presence_ttl is None:
            raise Violation(f"{exporter.name}: {name} is lost, though it has promised no proof of life")
        ttl = min(limit, responder.plan.presence_ttl)
        silent = self.ages[exporter].get(name, 0.0)
        if silent < ttl - _LATENCY:
            raise Violation(f"{exporter.name}: {name} is lost in {this.event}, {silent:.3f} s after a proof of life")
        since = now - 2 / 3 * ttl + _LATENCY
        # Whoever is out of touch goes by what it knew before.
        is_well = responder.was_well_since(since) and exporter.was_well_since(since)
        if is_well and responder.answers_since <= since and responder.left_at > now:
            raise Violation(f"{exporter.name}: {name} is lost in {this.event}, though nothing is wrong with it")

    def _check_result(self, exporter: Exporter, this: Round, result: PublishResult) -> None:
        told = {name: report.outcome for name, report in result.reports.items()}
        if told != this.outcomes and this.is_awaited:
            raise Violation(f"{exporter.name}: {this.event} came to {told}, but {this.outcomes} were told")
        if set(told) | set(result.pending) != this.roster:
            raise Violation(f"{exporter.name}: {this.event} accounts for {told} and {result.pending} of {this.roster}")
        if self.world.now > max(this.deadline, exporter.thawed_at) + 0.05:
            raise Violation(f"{exporter.name}: {this.event} has outlived its deadline")
        may_wait = this.fail_fast or not this.is_awaited or exporter.core.state.value != "initialized"
        if result.pending and not may_wait:
            raise Violation(f"{exporter.name}: {this.event} ended without {sorted(result.pending)}")

    def nothing_is_overdue(self, exporter: Exporter) -> None:
        """An exporter has just been told the time."""
        for this in exporter.core._responses._rounds.values():
            if this.deadline is not None and this.deadline <= exporter.now:
                raise Violation(f"{exporter.name}: {this.event} {this.signal_id} is still open after its deadline")

    # The end

    def everybody_knows(self) -> None:
        """Nothing has gone wrong for long: everybody has got everything."""
        self.something_is_gone()
        for responder in self.incarnations:
            if not responder.is_alive or responder.is_leaving:
                continue
            for publisher_id, history in self.histories.items():
                if history[0].at <= responder.hears_all_since and publisher_id not in responder.follows:
                    continue
                got = self.heard[responder, publisher_id].got
                if not got and not self.owners[publisher_id].is_alive:
                    # Nothing of it has come through while it was there.
                    continue
                for taken in history:
                    if taken.at <= responder.hears_all_since or taken.is_gone or taken.id in got:
                        continue
                    if self.world.now - taken.at < _LATENCY:
                        continue
                    raise Violation(
                        f"{responder.name} has never got {taken.event} {taken.seq} {taken.id} of {publisher_id}"
                    )

    def nothing_is_left(self) -> None:
        """All exporters have closed: what is left on the server expires."""
        keys, keyspace = self.server.keys, self.server.keyspace
        left = {key: value for key in keyspace._data if (value := keyspace._live(key)) is not None}
        for key in left:
            if key not in keyspace._expiries:
                raise Violation(f"{key!r} is left on the server for ever")
        for exporter in self.exporters:
            if not exporter.was_released:
                continue
            name = exporter.plan.publisher_id
            if exporter is not self.owners[name]:
                continue
            for place in (keys.owner(name), keys.record(name), keys.roster(name)):
                if place.encode() in left:
                    raise Violation(f"{exporter.name} has closed and left {place}")
            if name.encode() in left.get(keys.exporters.encode(), {}):
                raise Violation(f"{exporter.name} has closed and counts as live")
