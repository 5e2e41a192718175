"""No order of asking, answering and waiting leads an exporter to anything but what is promised."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from state_signals import Limits, Outcome
from state_signals.codec import decode_signal
from state_signals.messages import INITIALIZATION
from state_signals.protocol.events import (
    LateResponse,
    MessageRefused,
    OutcomeKnown,
    ProgressReported,
    ResponderLeft,
    ResponderSubscribed,
    RoundCompleted,
    SubscriptionCompleted,
)
from state_signals.protocol.roster import ANNOUNCE_INTERVAL
from state_signals.protocol.states import ExporterState
from tests.protocol.stage import Exporter, events

LIMITS = Limits(max_roster=6, max_remembered=4)
MEMBERS = ["a", "b", "c"]
EVENTS = ["start", "stop"]
# What matters has to happen often: weights are given by repetition.
anybody = st.sampled_from([*MEMBERS * 4, "stranger-1", "stranger-2", "stranger-3", "stranger-4"])
rosters = st.sets(st.sampled_from(MEMBERS), min_size=1)
rases = st.sampled_from([1, 1, 1, 0, 2, None])
durations = st.sampled_from([0, 1, 3, 3, -1, None])
manners = st.sampled_from(
    [*["by id"] * 4, *["as version 1"] * 3, "working", "to another exporter", "by id, but of another event"]
)
REFUSALS = {"no-signal-id", "unknown-signal", "roster-full", "not-json", "missing-field", "too-deep"}
answers = st.lists(st.tuples(anybody, manners, rases), max_size=8)
publications = st.tuples(
    st.sampled_from(EVENTS),
    durations,
    st.sampled_from([None, None, None, 0, 1, 2, 4]),
    st.booleans(),
    st.sampled_from([True, True, True, False]),
)


@dataclass
class Expected:
    """A round as the specification sees it."""

    event: str
    members: frozenset[str]
    deadline: float | None
    min_success: int | None
    fail_fast: bool
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def pending(self) -> set[str]:
        return set(self.members) - set(self.outcomes)

    @property
    def succeeded(self) -> int:
        return list(self.outcomes.values()).count(Outcome.SUCCEEDED)

    @property
    def left(self) -> int:
        return list(self.outcomes.values()).count(Outcome.LEFT)

    @property
    def is_over(self) -> bool:
        if self.min_success is None:
            is_hopeless = self.succeeded + self.left < len(self.outcomes)
        else:
            is_hopeless = self.succeeded + len(self.pending) < self.min_success
        return not self.pending or (self.fail_fast and is_hopeless)

    @property
    def is_ok(self) -> bool:
        if self.min_success is None:
            return self.succeeded > 0 and self.succeeded + self.left == len(self.members)
        return self.succeeded >= self.min_success


class AnyWorld(RuleBasedStateMachine):
    """Every order of asking, answering (well, late, twice, falsely) and waiting, beside a model of what is promised."""

    def __init__(self) -> None:
        super().__init__()
        self.core = Exporter(limits=LIMITS)
        self.now = 0.0
        self.seq = 0
        self.said = 0
        self.subs: set[str] = set()
        self.open: dict[str, Expected] = {}
        self.is_waiting = False
        self.wanted, self.patience, self.next_announcement = 0, math.inf, math.inf
        self.expected: set[str] = set()
        self.announced: OrderedDict[str, None] = OrderedDict()
        self.ended: dict[str, str] = {}
        self.not_awaited: dict[str, str] = {}
        self.every_end: dict[str, None] = {}
        self.speaks_v2: set[str] = set()
        self.counters: dict[str, int] = {}

    # What is asked of it

    @initialize(expected=rosters)
    def begin(self, expected):
        self.announce(expected, None, None, periodic=False)

    @rule(
        expected=st.sets(st.sampled_from(MEMBERS), max_size=2),
        count=st.none() | st.integers(0, 4),
        timeout=durations,
        periodic=st.booleans(),
    )
    def announce(self, expected, count, timeout, periodic):
        self.core.initialize(
            EVENTS, expected=expected, now=self.now, sent=0.0, await_count=count, timeout=timeout, periodic=periodic
        )
        self.said += 1
        self.subs |= expected
        self.expected |= expected
        if count is not None:
            self.is_waiting = True
            self.wanted = count
            self.patience = math.inf if timeout in (-1, None) else self.now + timeout
            self.next_announcement = self.now + ANNOUNCE_INTERVAL if periodic else math.inf
        self.check()
        assert not (self.is_waiting and count is not None and self.has_enough)

    @rule(publications=st.lists(publications, min_size=1, max_size=3), answers=answers, data=st.data())
    def publishes_and_is_answered(self, publications, answers, data):
        for publication in publications:
            self.publish(*publication)
        self.responders_answer(answers, data)

    def publish(self, event: str, timeout: float | None, min_success: int | None, fail_fast: bool, wait: bool) -> None:
        signal_id = self.core.publish(
            event, timeout=timeout, min_success=min_success, fail_fast=fail_fast, wait=wait, now=self.now, sent=0.0
        )
        self.said += 1
        if wait and self.core.state is ExporterState.INITIALIZED:
            deadline = None if timeout in (-1, None) else self.now + timeout
            self.open[signal_id] = Expected(event, frozenset(self.subs), deadline, min_success, fail_fast)
            self.check()
        else:
            self.not_awaited[signal_id] = event
            self.every_end[signal_id] = None
            [completed] = self.events()
            assert (completed.signal_id, completed.result.ok) == (signal_id, True)
            members = self.subs if self.core.state is ExporterState.INITIALIZED else set()
            assert completed.result.pending == members

    @rule()
    def nothing_is_sent_if_anything_is_wrong(self):
        for wrong in ({"event": "pause"}, {"event": "shutdown"}, {"event": "start", "metadata": {"a": {1}}}):
            with pytest.raises((ValueError, TypeError)):
                self.core.publish(**wrong, now=self.now, sent=0.0)
        assert self.core.said(self.now) == []
        assert self.events() == []

    @rule(names=rosters)
    def the_user_sets_the_roster(self, names):
        self.core.subs = set(names)
        self.subs = set(names)

    @rule(data=st.data())
    def the_caller_gives_up(self, data):
        if self.open:
            signal_id = data.draw(st.sampled_from(sorted(self.open)))
            self.core.abandon(signal_id)
            self.end(signal_id)
        self.check()

    @rule(expected=rosters, late=anybody)
    def shutdown_and_begin_again(self, expected, late):
        self.core.shutdown(now=self.now, sent=0.0)
        self.said += 1
        told = self.events()
        ends = [event for event in told if isinstance(event, RoundCompleted)]
        assert [event.signal_id for event in ends] == list(self.open)
        for event in ends:
            assert event.result.pending == self.open[event.signal_id].pending
            self.end(event.signal_id)
        self.ended |= dict.fromkeys(self.announced, INITIALIZATION)
        self.announced.clear()
        assert told[len(ends) :] == [SubscriptionCompleted(enough=False)] * self.is_waiting
        self.is_waiting = False
        self.subs = set()
        self.expected = set()
        self.publish("anything", 1, None, False, True)
        self.subscribe(late, None)
        assert self.core.subs == set()
        self.begin(expected)

    # What arrives

    @precondition(lambda self: self.open)
    @rule(answers=answers, data=st.data())
    def responders_answer(self, answers, data):
        for responder, manner, ras in answers:
            self.expire()
            signal_id = data.draw(st.sampled_from(list(self.open))) if self.open else "f" * 32
            event = self.event_of(signal_id)
            if manner == "by id":
                self.answer_by_id(responder, signal_id, event, ras)
            elif manner == "as version 1":
                self.answer_as_version_1(responder, event, ras)
            elif manner == "working":
                if self.is_open(signal_id):
                    self.notice_v2(responder)
                self.say(None, responder, event, signal_id=signal_id, ras=ras, state="working")
            elif manner == "to another exporter":
                self.say(None, responder, event, signal_id=signal_id, ras=ras, publisher_id="fio-2")
                self.say(None, responder, event, ras=ras, publisher_id="fio-2")
            else:
                self.answer_by_id(responder, signal_id, "stop" if event == "start" else "start", ras)

    @rule(responder=anybody, ras=rases, event=st.sampled_from([*EVENTS, "pause"]), data=st.data())
    def somebody_answers_what_is_not_open(self, responder, ras, event, data):
        self.expire()
        known = [*list(self.every_end)[-6:], *self.announced]
        signal_id = data.draw(st.sampled_from([*known, "f" * 32, "not an id"]))
        self.answer_by_id(responder, signal_id, data.draw(st.sampled_from([self.event_of(signal_id), event])), ras)
        self.answer_as_version_1(responder, event, ras)

    @rule(responder=anybody, data=st.data())
    def somebody_subscribes(self, responder, data):
        is_welcome = self.subscribe(
            responder, data.draw(st.sampled_from([None, *self.announced, *self.open, *list(self.ended)[-6:], "f" * 32]))
        )
        assert not (self.is_waiting and is_welcome and self.has_enough)

    @rule(responder=anybody, data=st.data())
    def somebody_leaves(self, responder, data):
        self.expire()
        signal_id = data.draw(st.sampled_from([*self.announced, *list(self.ended)[-6:], "f" * 32]))
        if responder in self.subs and signal_id in self.announced:
            self.subs.discard(responder)
            self.expected.discard(responder)
            for this in self.open.values():
                if responder in this.pending and not this.is_over:
                    this.outcomes[responder] = Outcome.LEFT
        was_there = responder in self.core.subs
        self.receive(responder, INITIALIZATION, signal_id=signal_id, state="left")
        self.check()
        assert not (self.is_waiting and was_there and responder not in self.subs and self.has_enough)

    @rule(data=st.sampled_from([b"", b"{}", b"[" * 1000, b'{"responder_id":"a"}']))
    def something_odd_arrives(self, data):
        self.expire()
        before = sum(self.core.counters.values())
        self.core.message_received(data, self.now)
        assert sum(self.core.counters.values()) - before == 1
        self.check()

    # Time

    @rule(seconds=st.sampled_from([0.25, 1.0, 2.0]))
    def time_passes(self, seconds):
        until = self.now + seconds
        while (deadline := self.core.next_deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.core.handle_timeout(self.now, 0.0)
            if self.is_waiting and self.next_announcement <= self.now < self.patience:
                self.next_announcement = self.now + ANNOUNCE_INTERVAL
                self.said += 1
            self.expire()
            self.check()
            later = self.core.next_deadline()
            assert later is None or later > self.now
        self.now = until

    @rule(seconds=st.sampled_from([0.25, 1.0, 5.0]))
    def time_passes_while_the_shell_is_busy(self, seconds):
        self.now += seconds

    # What has to hold, always

    @invariant()
    def it_says_everything_once_and_counts_it_without_gaps(self):
        for data in self.core.said(self.now):
            signal = decode_signal(data)
            self.seq += 1
            assert signal.seq == self.seq
            if signal.event == INITIALIZATION and signal.id is not None:
                self.announced[signal.id] = None
                while len(self.announced) > LIMITS.max_remembered:
                    self.announced.popitem(last=False)
        assert self.seq == self.said

    @invariant()
    def memory_stays_within_the_limits(self):
        assert len(self.core._responses._ended) <= LIMITS.max_remembered
        assert len(self.core._responses._not_awaited) <= LIMITS.max_remembered
        assert len(self.core._responses._announcements) <= LIMITS.max_remembered
        assert len(self.core._responses._speaks_v2) <= LIMITS.max_roster
        assert set(self.core._responses._rounds) == set(self.open)
        assert not self.core._events

    @invariant()
    def it_wants_to_be_woken_exactly_when_something_is_due(self):
        deadline = self.core.next_deadline()
        due = [this.deadline for this in self.open.values() if this.deadline is not None]
        if self.is_waiting:
            due += [self.patience, self.next_announcement]
        earliest = min(due, default=math.inf)
        assert deadline == (None if earliest == math.inf else earliest)

    @invariant()
    def counters_only_grow(self):
        assert all(self.core.counters[name] >= count for name, count in self.counters.items())
        self.counters = dict(self.core.counters)

    @invariant()
    def the_roster_is_who_subscribed_was_expected_or_was_set(self):
        assert self.core.subs == self.subs

    # How that is checked

    @property
    def has_enough(self) -> bool:
        return len(self.subs) >= self.wanted and not self.expected & self.subs

    def answer_by_id(self, responder: str, signal_id: str, event: str, ras: int | None) -> None:
        is_ours = event == self.event_of(signal_id)
        counts = is_ours and self.is_open(signal_id) and self.counts(signal_id, responder, ras)
        if is_ours and self.is_remembered(signal_id):
            self.notice_v2(responder)
        self.say(signal_id if counts else None, responder, event, ras=ras, signal_id=signal_id, sent=0.0, took=0.0)

    def answer_as_version_1(self, responder: str, event: str, ras: int | None) -> None:
        of_event = (each for each in reversed(self.open) if self.is_open(each) and self.open[each].event == event)
        signal_id = next(of_event, None)
        counts = signal_id is not None and responder not in self.speaks_v2 and self.counts(signal_id, responder, ras)
        self.say(signal_id if counts else None, responder, event, ras=ras)

    def subscribe(self, responder: str, signal_id: str | None) -> bool:
        self.expire()
        is_welcome = (
            self.core.state is ExporterState.INITIALIZED
            and (signal_id is None or signal_id in self.announced)
            and (responder in self.subs or len(self.subs) < LIMITS.max_roster)
        )
        if is_welcome:
            self.subs.add(responder)
            self.expected.discard(responder)
            if signal_id is not None:
                self.notice_v2(responder)
        before = sum(self.core.counters.values())
        self.receive(responder, INITIALIZATION, signal_id=signal_id)
        assert sum(self.core.counters.values()) - before == (not is_welcome)
        self.check()
        return is_welcome

    def expire(self) -> None:
        """Whatever it is told next, what is due comes first."""
        for this in self.open.values():
            if this.deadline is not None and this.deadline <= self.now:
                this.outcomes |= dict.fromkeys(this.pending, Outcome.MISSING)

    def counts(self, signal_id: str, responder: str, ras: int | None) -> bool:
        return ras is not None and responder in self.open[signal_id].pending

    def say(self, counts_for: str | None, responder: str, event: str, **rest: Any) -> None:
        """Give it a message that counts for a round or for none, and see that it is told apart."""
        before = sum(self.core.counters.values())
        self.receive(responder, event, **rest)
        assert sum(self.core.counters.values()) - before == (counts_for is None)
        if counts_for is not None:
            outcome = Outcome.SUCCEEDED if rest["ras"] == 1 else Outcome.FAILED
            self.open[counts_for].outcomes[responder] = outcome
        self.check()

    def receive(self, responder: str, event: str, *, publisher_id: str = "fio-1", **rest: Any) -> None:
        message = {"responder_id": responder, "publisher_id": publisher_id, "event": event} | rest
        wire = {key: value for key, value in message.items() if value is not None}
        self.core.message_received(json.dumps(wire), self.now)

    def check(self) -> None:
        """See that exactly the outcomes of the model were told, and exactly the rounds that are over have ended."""
        told: dict[str, dict[str, Outcome]] = {}
        for event in self.events():
            if isinstance(event, OutcomeKnown):
                outcomes = told.setdefault(event.signal_id, {})
                assert event.responder_id not in outcomes
                outcomes[event.responder_id] = event.report.outcome
            elif isinstance(event, RoundCompleted):
                this = self.open[event.signal_id]
                assert this.is_over
                assert {name: report.outcome for name, report in event.result.reports.items()} == this.outcomes
                assert event.result.ok is this.is_ok
                assert event.result.pending == this.pending
                self.end(event.signal_id)
            elif isinstance(event, SubscriptionCompleted):
                assert self.is_waiting
                assert self.has_enough if event.enough else self.now >= self.patience
                self.is_waiting = False
            elif isinstance(event, MessageRefused):
                assert event.reason in REFUSALS
            else:
                assert isinstance(event, ResponderSubscribed | ResponderLeft | LateResponse | ProgressReported)
        assert not any(this.is_over for this in self.open.values())

    def events(self) -> list[Any]:
        self.core.work(self.now)
        return events(self.core)

    def end(self, signal_id: str) -> None:
        assert signal_id not in self.every_end
        self.every_end[signal_id] = None
        self.ended[signal_id] = self.open.pop(signal_id).event

    def event_of(self, signal_id: str) -> str:
        if signal_id in self.open:
            return self.open[signal_id].event
        return (self.ended | self.not_awaited).get(signal_id, "start")

    def is_open(self, signal_id: str) -> bool:
        return signal_id in self.open and not self.open[signal_id].is_over

    def is_remembered(self, signal_id: str) -> bool:
        last = slice(-LIMITS.max_remembered, None)
        ended = [*self.ended, *(each for each in self.open if not self.is_open(each))]
        return self.is_open(signal_id) or signal_id in [*ended[last], *list(self.not_awaited)[last]]

    def notice_v2(self, responder: str) -> None:
        if len(self.speaks_v2) < LIMITS.max_roster:
            self.speaks_v2.add(responder)


AnyWorld.TestCase.settings = settings(max_examples=200, stateful_step_count=50)
TestAnyWorld = pytest.mark.timeout(500)(AnyWorld.TestCase)  # to make a failure short takes its time
