"""A responder of a world: the core, driven as the shells drive it, and what its user does."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from state_signals.limits import DEFAULT_LIMITS, Limits
from state_signals.messages import INITIALIZATION, SHUTDOWN, Signal
from state_signals.protocol.events import SignalReceived
from state_signals.protocol.following import Replay
from state_signals.requests import CatchUp
from state_signals.transport.commands import RequestRefused
from tests.simulation.parties import Backoff, Party, Scene
from tests.simulation.server import Inbox, Line, Unreachable, perform
from tests.simulation.world import Violation

__all__ = ["Responder", "ResponderPlan"]


@dataclass
class ResponderPlan:
    """What a responder's user does, over all its incarnations."""

    name: str
    host: str
    has_fixed_id: bool
    presence_ttl: float | None
    replay: Replay = "state"
    acts_inline: bool = True
    slowness: float = 0.5
    began: int = 0
    limits: Limits = DEFAULT_LIMITS
    leaves: bool = False


@dataclass
class Act:
    """How a user acts on a signal."""

    duration: float
    ras: int | None = 1
    message: str | None = None
    answers: bool = True
    reports_every: float = math.inf
    by_name: bool = False


class Responder(Party):
    """One incarnation of a responder."""

    def __init__(self, scene: Scene, plan: ResponderPlan) -> None:
        plan.began += 1
        self.plan = plan
        self.responder_id = plan.name if plan.has_fixed_id else f"{plan.name}.{plan.began}"
        core = scene.responder_core(
            self.responder_id,
            reply_of=scene.server.keys.reply,
            replay=plan.replay,
            presence_ttl=plan.presence_ttl,
            limits=plan.limits,
            chance=lambda _: scene.world.whims.random(),
        )
        super().__init__(scene, f"{plan.name}.{plan.began}", plan.host, core)
        keys = scene.server.keys
        self.channels = [keys.signals, keys.redeliveries(self.responder_id)]
        self.hears_all_since = math.inf
        self.answers_since = math.inf
        self.follows: set[str] = set()
        self.left_at = math.inf
        self.is_leaving = False
        self.acting = 0
        self._inbox: Inbox | None = None
        self._asks: Line | None = None
        self.trouble("inbox")
        self.book.responder_started(self)
        self.start(self.keep_up())
        self.start(self._main())

    @property
    def is_behind(self) -> bool:
        """Whether there are signals that the user has not come to, or answers that were not sent."""
        has_unread = self._inbox is not None and self._inbox.has_arrived
        return self.acting > 0 or bool(self.core._events) or bool(self.core._answers) or has_unread

    # What the shell does

    def changed(self) -> None:
        if self._inbox is not None and self.core.next_deadline() <= self.now:
            self._inbox.bell.ring()

    async def _main(self) -> None:
        while not await self._subscribe():
            await self.sleep(1.0)
        while await self._query(only_the_first=True) or not self.core.next_deadline() > -math.inf:
            await self.sleep(0 if self.is_up else 0.05)
        self.book.responder_hears_all(self)
        while not self.is_leaving:
            event = self.core.next_event()
            if event is not None:
                self.tell("* %s", event)
            if isinstance(event, SignalReceived):
                self.book.signal_received(self, event.signal)
                if self.plan.acts_inline:
                    await self._act(event.signal)
                else:
                    self.start(self._act(event.signal))
            elif event is not None:
                self.book.responder_told(self, event)
            elif not await self._query():
                await self._receive()
        await self._leave()

    async def _subscribe(self) -> bool:
        try:
            self._inbox = await self.server.subscribe(self, "inbox", self.channels)
        except Unreachable:
            return False
        self.tell("subscribed")
        self.core.subscribed(self.now)
        self.bell.ring()
        return True

    async def _query(self, *, only_the_first: bool = False) -> bool:
        if not self.is_up:
            return False
        request = self.core.next_query(self.now)
        if request is None or (only_the_first and isinstance(request, CatchUp)):
            return False
        try:
            if self._asks is None or not self._asks.is_open:
                self._asks = await self.server.connect(self, "asking")
            reply = await perform(self._asks, self.server.commands, request)
        except RequestRefused as refused:
            self.core.request_refused(request, refused.refusal.kind, refused.refusal.text, self.now)
        except Unreachable:
            self.is_well("asking")
            self.tell("no reply to %s", request)
            self.lost()
            return False
        else:
            self.tell("%s -> %s", request, reply)
            self.core.reply_received(request, reply, self.now)
        return True

    async def _receive(self) -> None:
        if self._inbox is None:
            backoff = Backoff(self.world)
            while not self.is_leaving and not await self._subscribe():
                await self.sleep(backoff.next())
            if self._inbox is None:
                return
        due = self.core.next_deadline()
        # Whoever only listens is looked after by then.
        self.bell.ring()
        until = math.inf if due == math.inf else max(self.world.now + (0 if self.is_up else 0.05), self.moment(due))
        try:
            arrived = await self._inbox.receive(until)
        except Unreachable:
            self.tell("inbox lost")
            self._inbox = None
            return
        for data in arrived:
            self.tell("< %s", data)
            self.core.message_received(data, self.now)
        if not arrived:
            self._check_for_rest()
        if self.core.next_upkeep() <= self.now:
            self.bell.ring()

    def _check_for_rest(self) -> None:
        """What is due does not stay so, once it was done."""
        due = self.core.next_deadline()
        if due <= self.now and self.is_up and self.core.next_query(self.now) is None:
            raise Violation(f"{self.name} is in a busy loop: nothing is to be done, and still due")

    # What the user does

    async def _act(self, signal: Signal) -> None:
        act = self._choose(signal)
        if signal.event == SHUTDOWN:
            return
        self.acting += 1
        ends_at = self.world.now + act.duration
        while ends_at - self.world.now > act.reports_every:
            await self.sleep(act.reports_every)
            self.core.respond_to(signal, None, "working", state="working", now=self.now, sent=self.wall)
            self.bell.ring()
        await self.sleep(max(0.0, ends_at - self.world.now))
        self.acting -= 1
        if not act.answers or self.is_leaving:
            return
        self.book.answered(self, signal, act.ras)
        self.tell("> answers %s of %s with %s", signal.event, signal.publisher_id, act.ras)
        if act.by_name:
            self.core.respond(signal.publisher_id, signal.event, act.ras, act.message, now=self.now, sent=self.wall)
        else:
            self.core.respond_to(signal, act.ras, act.message, now=self.now, sent=self.wall)
        self.bell.ring()

    def _choose(self, signal: Signal) -> Act:
        rng = self.world.rng
        act = Act(duration=rng.expovariate(10.0))
        if signal.event == INITIALIZATION:
            return replace(act, ras=rng.choice([None, 1]))
        if self.scene.is_calm:
            return act
        acts = {
            60: act,
            15: replace(act, duration=min(15.0, rng.expovariate(1 / self.plan.slowness))),
            10: replace(act, ras=rng.choice([0, 2]), message="it did not work"),
            5: replace(act, duration=rng.uniform(2.0, 15.0), reports_every=rng.choice([0.5, 2.0, math.inf])),
            # Who is waited for without end has to answer.
            6: replace(act, answers=signal.wait == math.inf),
            # By name, the newest signal of that event is answered. Who acts on one at a time has had no newer one.
            4: replace(act, by_name=self.plan.acts_inline),
        }
        return rng.choices(list(acts.values()), list(acts))[0]

    def leave(self) -> None:
        """Have it close in good order."""
        self.tell("LEAVES")
        self.left_at = self.world.now
        self.is_leaving = True
        if self._inbox is not None:
            self._inbox.bell.ring()

    async def _leave(self) -> None:
        self.core.leave(now=self.now, sent=self.wall)
        self.bell.ring()
        until = self.world.now + 2.0
        while self.world.now < until and not (self.is_up and self.is_idle()):
            await self.sleep(0.05)
        await self.stop()
        self.is_finished = True
        self.kill("CLOSED")
