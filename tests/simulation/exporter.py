"""An exporter of a world: the core, driven as the shells drive it, and what its user does."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from state_signals.limits import DEFAULT_LIMITS, Limits
from state_signals.protocol.events import (
    ClaimHeld,
    ClaimRefused,
    Event,
    RoundCompleted,
    SignalRefused,
    SignalSent,
    SignalUnsent,
    SubscriptionCompleted,
)
from state_signals.protocol.states import ExporterState
from state_signals.requests import OpenResponses
from state_signals.transport.base import TIMEOUT
from tests.simulation.invariants import Round
from tests.simulation.parties import EVENTS, Backoff, Party, Scene
from tests.simulation.server import Inbox, Unreachable, perform
from tests.simulation.world import Bell, Future, Violation

__all__ = ["Exporter", "ExporterPlan"]


@dataclass
class ExporterPlan:
    """What an exporter's user does, over all its incarnations."""

    name: str
    publisher_id: str
    has_fixed_id: bool
    host: str
    awaited: int
    presence_ttl: float | None
    journal: bool = True
    strict_v1: bool = False
    pace: float = 2.0
    resumes: bool = False
    began: int = 0
    is_over: bool = False
    limits: Limits = DEFAULT_LIMITS
    at_end: Callable[[Exporter, str], None] = lambda *_: None

    @property
    def is_claimed(self) -> bool:
        """Whether nobody else can have its identifier."""
        return self.has_fixed_id and self.journal and not self.strict_v1


class Exporter(Party):
    """One incarnation of an exporter."""

    def __init__(self, scene: Scene, plan: ExporterPlan, *, resumes: bool = False) -> None:
        plan.began += 1
        self.plan = plan
        self.owner = f"{plan.name}.{plan.began}".encode()
        core = scene.exporter_core(
            plan.publisher_id,
            plan.name,
            plan.host,
            reply=scene.server.keys.reply(plan.publisher_id) if plan.journal else None,
            owner=self.owner,
            fate=lambda owner: scene.book.fate(owner, plan.host),
            strict_v1=plan.strict_v1,
            journal=plan.journal,
            presence_ttl=plan.presence_ttl,
            resumes=resumes,
            limits=plan.limits,
            new_id=scene.world.new_id,
        )
        super().__init__(scene, f"{plan.name}.{plan.began}", plan.host, core)
        self.resumes = resumes
        self.rounds: dict[str, Round] = {}
        self.initialized_at = -math.inf
        self.joined: dict[str, float] = {}
        self.promised: set[str] = set()
        self.is_superseded = False
        self.was_released = False
        self._news: dict[str, Future] = {}
        self._timer = Bell()
        self._listeners: list[tuple[dict[str, bool], list[Inbox]]] = []
        self.book.exporter_started(self)
        self.start(self.keep_up())
        self.start(self._keep_time())
        self.start(self._run())

    # What the shell does

    def changed(self) -> None:
        while (event := self.core.next_event()) is not None:
            self.tell("* %s", event)
            self.book.exporter_told(self, event)
            self._pass_on(event)
        self._timer.ring()

    def patience(self) -> float:
        if not self.is_impatient:
            return TIMEOUT
        waits = [each.deadline - self.world.now for each in self.rounds.values() if each.deadline > self.world.now]
        return min(TIMEOUT, *waits, TIMEOUT)

    def _pass_on(self, event: Event) -> None:
        match event:
            case SignalSent():
                self._tell(f"sent {event.signal_id}", event)
            case RoundCompleted() | SignalUnsent() | SignalRefused():
                self._tell(event.signal_id, event)
                self._tell(f"sent {event.signal_id}", event)
            case SubscriptionCompleted():
                self._tell("subscription", event)
            case ClaimHeld():
                self._tell("claim", event)
            case ClaimRefused():
                self.is_superseded = True
                for future in list(self._news.values()):
                    future.know(event)

    def _tell(self, key: str, event: Event) -> None:
        future = self._news.get(key)
        if future is not None:
            future.know(event)

    def _expect(self, key: str) -> Future:
        future = self._news[key] = Future()
        return future

    async def _keep_time(self) -> None:
        not_before = 0.0
        while True:
            deadline = self.core.next_deadline()
            due = math.inf if deadline is None else max(self.moment(deadline), not_before)
            due = min([due, *(each.deadline for each in self.rounds.values() if each.deadline > self.world.now)])
            await self._timer.wait(self.world, due)
            if self.world.now < due:
                continue
            self.core.handle_timeout(self.now, self.wall)
            self.changed()
            self.book.nothing_is_overdue(self)
            self.bell.ring()
            not_before = self.world.now + 0.05

    async def _listen(self) -> None:
        """Hear of responses: once this returns, none is missed."""
        if self._listeners:
            return
        is_open: dict[str, bool] = {}
        session: tuple[dict[str, bool], list[Inbox]] = (is_open, [])
        self._listeners = [session]
        opened = []
        for kind, read in (("stream", self._open_stream), ("channel", self._open_channel)):
            if kind == "stream" and self.core.reply is None:
                continue
            self.trouble(kind)
            opened.append(future := Future())
            self.start(self._read(kind, read, session, future))
        for future in opened:
            await future

    def _stop_listening(self) -> None:
        for is_open, inboxes in self._listeners:
            is_open.clear()
            for inbox in inboxes:
                inbox.close()
        self._listeners = []
        self.is_well("stream")
        self.is_well("channel")

    async def _read(
        self,
        kind: str,
        open_inbox: Callable[[], Coroutine[Future, None, Inbox]],
        session: tuple[dict[str, bool], list[Inbox]],
        opened: Future,
    ) -> None:
        backoff = Backoff(self.world)
        while session in self._listeners:
            try:
                inbox = await open_inbox()
            except Unreachable:
                await self.sleep(backoff.next())
                continue
            backoff = Backoff(self.world)
            session[1][:] = [each for each in session[1] if each.is_open] + [inbox]
            opened.know()
            try:
                while session in self._listeners:
                    self._received(await inbox.receive(math.inf), None if kind == "channel" else inbox)
            except Unreachable:
                self.tell("%s lost", kind)
            inbox.close()

    async def _open_stream(self) -> Inbox:
        line = await self.server.connect(self, "asking")
        try:
            request = OpenResponses(self.plan.publisher_id, self.core.position)
            opened = await perform(line, self.server.commands, request)
        finally:
            self.is_well("asking")
            line.close()
        key = self.server.keys.reply(self.plan.publisher_id)
        inbox = await self.server.collect(self, "stream", key, opened.after)
        self.tell("stream open: %s -> %s", request, opened)
        self.core.responses_read(opened.after)
        if opened.has_lost:
            self.core.responses_lost()
            self.bell.ring()
        return inbox

    async def _open_channel(self) -> Inbox:
        return await self.server.subscribe(self, "channel", [self.server.keys.responses])

    def _received(self, arrived: list[bytes], stream: Inbox | None) -> None:
        for data in arrived:
            self.tell("< %s", data)
            self.book.response_arrived(self, data)
            self.core.message_received(data, self.now)
        if stream is not None:
            self.core.responses_read(stream.last)
        self.changed()
        self.bell.ring()

    # What the user does

    async def _run(self) -> None:
        plan = self.plan
        if plan.has_fixed_id and self.core.can_be_claimed:
            claim = self._expect("claim")
            self.core.claim()
            self.bell.ring()
            verdict = await claim
            if isinstance(verdict, ClaimRefused):
                self._quit("refused")
                return
            if self.resumes and not verdict.found:
                await self._release()
                self._quit("nothing to resume")
                return
            if self.core.state is ExporterState.INITIALIZED:
                self.book.resumed(self)
                await self._listen()
        await self._work()
        if self.is_superseded:
            self._quit("superseded")
            return
        await self._close()

    async def _work(self) -> None:
        rng = self.world.rng
        while not self.is_superseded:
            if self.core.state is not ExporterState.INITIALIZED and not await self._initialize():
                continue
            if self.world.now >= self.scene.ends_at:
                await self._publish("stop", timeout=25.0)
                return
            choice = rng.random()
            if choice < 0.03:
                await self._shut_down()
            elif choice < 0.05 and self.plan.is_claimed and not self.scene.is_calm and not self.rounds:
                await self._detach()
            elif choice < 0.15:
                for _ in range(rng.randint(2, 4)):
                    self.start(self._publish(rng.choice(EVENTS)))
                await self.sleep(rng.expovariate(1.0))
            elif choice < 0.25:
                await self._publish(rng.choice(EVENTS), wait=False)
            else:
                await self._publish(rng.choice(EVENTS))
            await self.sleep(rng.expovariate(1 / self.plan.pace))

    async def _initialize(self) -> bool:
        rng, core = self.world.rng, self.core
        self.is_held = True
        before = core.state
        waits = rng.random() < 0.7
        timeout = rng.choice([2.0, 10.0, 20.0])
        until = self.world.now + timeout
        subscription = self._expect("subscription")
        options: dict[str, Any] = {"await_count": self.plan.awaited} if waits else {}
        if waits and rng.random() < 0.2:
            options["periodic"] = True
        announcement = core.initialize(EVENTS, now=self.now, sent=self.wall, timeout=timeout, **options)
        self.initialized_at = self.world.now
        sent = self._expect(f"sent {announcement}")
        self._timer.ring()
        try:
            await self._listen()
            self.is_held = False
            self.bell.ring()
            self.changed()
            end = await sent
            if isinstance(end, SignalSent) and waits and not self.is_superseded:
                await subscription
                self._check_time(until)
                core.abandon_subscription()
            if not isinstance(end, SignalSent):
                core.initialization_failed(before, announcement)
                self._stop_listening()
        finally:
            self._news.pop(f"sent {announcement}", None)
            core.abandon(announcement)
        return isinstance(end, SignalSent)

    async def _publish(self, event: str, *, timeout: float | None = None, wait: bool = True) -> None:
        rng, core = self.world.rng, self.core
        if core.state is not ExporterState.INITIALIZED or self.is_superseded:
            return
        options: dict[str, Any] = {}
        if timeout is None and self.scene.is_calm:
            timeout = rng.choice([5.0, 20.0])
        elif timeout is None:
            timeout = rng.choice([0.2, 1.0, 5.0, 20.0, 20.0, 30.0, None])
            if timeout is None and not self._can_wait_for_ever():
                timeout = 10.0
            if rng.random() < 0.2:
                options = rng.choice([{"fail_fast": True}, {"min_success": 1}, {"waits_for_lost": timeout is not None}])
            if rng.random() < 0.2:
                options["stall_timeout"] = rng.choice([1.0, 3.0, 10.0])
        metadata = rng.choice([None, {}, {"sample": 1}])
        signal_id = core.publish(
            event, timeout=timeout, wait=wait, metadata=metadata, now=self.now, sent=self.wall, **options
        )
        this = Round(
            signal_id=signal_id,
            event=event,
            roster=frozenset(core.subs),
            opened_at=self.world.now,
            deadline=math.inf if timeout is None else self.world.now + timeout,
            is_awaited=wait,
            **{name: value for name, value in options.items() if name != "min_success"},
        )
        self.rounds[signal_id] = this
        self.tell("publish %s %s timeout=%s wait=%s %s for %s", event, signal_id[:6], timeout, wait, options, core.subs)
        end = self._expect(signal_id)
        self._timer.ring()
        self.bell.ring()
        await end
        del self.rounds[signal_id], self._news[signal_id]
        if not self.is_superseded:
            self._check_time(this.deadline)
        core.abandon(signal_id)

    def _can_wait_for_ever(self) -> bool:
        """Whether everybody on the roster will answer in the end: who misses nothing, and is missed if it dies."""
        known = (self.book.responders.get(name) for name in self.core.subs)
        is_safe = self.plan.journal and not self.plan.strict_v1 and self.plan.presence_ttl is not None
        return is_safe and all(each is not None and each.plan.presence_ttl is not None for each in known)

    def _check_time(self, until: float) -> None:
        if self.world.now > max(until, self.thawed_at) + 0.05:
            raise Violation(f"{self.name}: a call ends {self.world.now - until:.3f} s after its deadline")

    async def _shut_down(self, timeout: float = 20.0) -> bool:
        signal_id = self.core.shutdown(timeout=timeout, now=self.now, sent=self.wall)
        sent = self._expect(f"sent {signal_id}")
        self.changed()
        self.bell.ring()
        end = await sent
        del self._news[f"sent {signal_id}"]
        self.core.abandon(signal_id)
        self._stop_listening()
        return isinstance(end, SignalSent)

    async def _close(self) -> None:
        if self.core.state is ExporterState.INITIALIZED:
            await self._shut_down(2.0)
        self._stop_listening()
        await self._release()
        self.core.close(self.now)
        self.changed()
        self._quit("closed")

    async def _detach(self) -> None:
        """Leave the run to whoever resumes it."""
        self._stop_listening()
        deadline = self.world.now + 2.0
        while not self.is_idle() and self.world.now < deadline:
            self.bell.ring()
            await self.sleep(0.05)
        await self._release(lives_on=True)
        self._quit("detached")

    async def _release(self, *, lives_on: bool = False) -> None:
        await self.stop()
        request = self.core.release(keeps_record=lives_on, lives_on=lives_on)
        if request is None or not self.is_up:
            return
        try:
            line = await self.server.connect(self, "asking")
            await perform(line, self.server.commands, request, 2.0)
            self.was_released = not lives_on
        except Unreachable:
            pass

    def _quit(self, why: str) -> None:
        self.is_finished = True
        self.plan.at_end(self, why)
        self.kill(why.upper())
