"""What `doctor` measures and tries, without disturbing anybody: nothing of it is stored, or reaches those at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

from state_signals.cli.examining import checks
from state_signals.cli.examining.arrival import Findings, Place
from state_signals.cli.examining.asking import Asked, refusals
from state_signals.cli.examining.findings import Finding, Verdict
from state_signals.cli.examining.privileges import Attempt, Role, attempts
from state_signals.transport.base import Refusal
from state_signals.transport.keys import Keys

__all__ = ["Trials"]

_PINGS = 50

_READINGS = 5

_PUBLICATIONS = 20

_LONGEST = 3.0
"""Seconds after which a series of measurements is long enough."""


class Trials:
    """What is tried at one server.

    Args:
        place: where it is.
        asked: a connection to it.
        at: from a key to a connection to the server that has it.
        namespace: the namespace.
        seconds: how long each step may take.
        name: of an exporter and a responder that do not exist.
    """

    def __init__(
        self, place: Place, asked: Asked, at: Callable[[str], Asked], namespace: str | None, seconds: float, name: str
    ) -> None:
        self._place = place
        self._asked = asked
        self._at = at
        self._namespace = namespace
        self._seconds = seconds
        self._name = name
        self._keys = Keys(namespace)

    def measured(self) -> Findings:
        """Measure the way to the server, and compare clocks."""
        # Errors come back as fast as anything else.
        self._asked.timed(("PING",))
        yield checks.round_trip(_repeated(_PINGS, lambda: _took(self._asked.timed(("PING",)))))
        readings = []
        for _ in range(_READINGS):
            # The wall clock's distance from the monotonic one, which the time in between is measured by.
            offset = time.time() - time.perf_counter()
            now, before, after = self._asked.timed(("TIME",))
            if isinstance(now, Refusal):
                yield checks.unasked("clock", "the server's clock", now.text, "+time")
                return
            readings.append((before + offset, int(now[0]) + int(now[1]) / 1e6, after + offset))
        yield checks.clock(readings)

    def permitted(self, wanted: Collection[Role], user: str | None) -> Findings:
        """Try what each role needs. Without wishes, one role that is allowed will do."""
        missing: dict[Role, list[Attempt]] = {}
        for role in wanted or (Role.EXPORTER, Role.RESPONDER, Role.OBSERVER):
            try:
                missing[role] = refusals(self._dial, attempts(role, self._namespace, self._name))
            except NotImplementedError as error:
                remedy = "It is a proxy, perhaps: connect to the server itself."
                yield Finding("permissions", Verdict.UNKNOWN, f"permissions cannot be tried: {error}", remedy)
                return
        is_any = not all(missing.values())
        for role, refused in missing.items():
            is_wanted = role in wanted or not is_any
            yield checks.permissions(role, refused, is_wanted=is_wanted, user=user, namespace=self._namespace)

    def worked(self) -> Findings:
        """Try to write to a stream that is not there, and to publish to nobody but ourselves."""
        key = self._keys.reply(self._name)
        (reply,) = self._at(key).ask(("XADD", key, "NOMKSTREAM", "*", "r", ""))
        if isinstance(reply, Refusal) and reply.kind == "NOPERM":
            yield checks.unasked("writing", "whether the server takes writes", reply.text, f"+xadd ~{key}")
        elif isinstance(reply, Refusal):
            yield checks.writing(reply.kind, reply.text)
        else:
            yield checks.writing(None)
        yield self._published()

    def _published(self) -> Finding:
        channel = self._keys.redeliveries(self._name)
        pattern = self._keys.redeliveries("*")
        listening = self._dial()
        try:
            refusal = listening.subscribe(channel)
            if refusal is None:
                (reply,) = self._asked.ask(("PUBLISH", channel, ""))
                refusal = reply if isinstance(reply, Refusal) else None
            if refusal is not None:
                what = "how long it takes to publish"
                return checks.unasked("publishing", what, refusal.text, f"+publish +subscribe &{pattern}")
            listening.published()
            return checks.publishing(_repeated(_PUBLICATIONS, lambda: self._publish(channel, listening)))
        finally:
            listening.close()

    def _publish(self, channel: str, listening: Asked) -> float:
        before = time.perf_counter()
        self._asked.ask(("PUBLISH", channel, ""))
        listening.published()
        return time.perf_counter() - before

    def _dial(self) -> Asked:
        return self._place.dial(self._seconds)


def _took(timed: tuple[Any, float, float]) -> float:
    _, before, after = timed
    return after - before


def _repeated(count: int, measure: Callable[[], float]) -> list[float]:
    """Measure some times, or as often as there is time for."""
    until = time.perf_counter() + _LONGEST
    found = [measure()]
    while len(found) < count and time.perf_counter() < until:
        found.append(measure())
    return found
