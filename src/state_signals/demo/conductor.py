"""The run: starts everybody, publishes the signals around the workload, and records what came of it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Collection, Sequence
from contextlib import ExitStack, closing, suppress

from state_signals import Report, SignalExporter, TransportError
from state_signals.demo.interruption import Interruption
from state_signals.demo.processes import Child, Children
from state_signals.demo.scenario import START, STOP, Account, Deviation, Participant, Round, Scenario
from state_signals.demo.workload import Work
from state_signals.server import EmbeddedServer
from state_signals.transport.base import Batch
from state_signals.transport.connect import redacted, transport

__all__ = ["Observer", "perform"]

_WORK_GRACE = 20.0
"""Seconds that the workload may take longer than it was told to, on a slow disk."""

_PRESENCE = 3.0
"""Seconds after which a collector without a sign of life is lost."""

_CLEANUP = 2.0
"""Seconds that the server may take to clean up."""

_RETENTION = 120.0
"""Seconds after which the server forgets a demo that could not clean up."""


class Observer:
    """Is told what happens while it happens; this one does not listen."""

    def server_found(self, url: str, namespace: str | None, *, is_ours: bool) -> None:
        """There is a server, started for this run or given; its URL comes without the password."""

    def started(self, participants: Sequence[Participant]) -> None:
        """The collectors' processes were started."""

    def subscribed(self, present: Collection[str], absent: Collection[str], seconds: float) -> None:
        """The collectors have subscribed, or the time is up and some are absent."""

    def publishing(self, event: str, sample: int, names: Collection[str]) -> None:
        """A signal goes out, and these are waited for."""

    def answered(self, responder_id: str, report: Report) -> None:
        """The outcome of one responder is known."""

    def round_ended(self, this: Round) -> None:
        """Everybody's outcome is known."""

    def working(self, sample: int, processes: int) -> None:
        """The workload begins."""

    def worked(self, sample: int, began: float, work: Work) -> None:
        """The workload has ended, which began so many seconds after the first signal."""


def perform(scenario: Scenario, observer: Observer, *, url: str | None = None, namespace: str | None = None) -> Account:
    """Play a scenario.

    Whatever happens, nothing is left of it: no process, no file, no key on the server.

    Args:
        scenario: what is to happen.
        observer: is told what happens.
        url: the server; None: start one for this run.
        namespace: scope on that server; None: a new one of its own if the server is not.

    Returns:
        What happened.

    Raises:
        EmbeddedServerError: if no server was given and none can be started.
        TransportError: if the server cannot be used.
        Interrupted: upon Ctrl-C, SIGTERM and SIGHUP.
    """
    given = namespace
    with Interruption() as interruption, ExitStack() as stack:
        try:
            if url is None:
                with interruption.held_back():
                    address = stack.enter_context(EmbeddedServer()).url
            else:
                address, namespace = url, namespace or f"demo-{uuid.uuid4().hex[:12]}"
            observer.server_found(redacted(address), namespace, is_ours=url is None)
            with interruption.held_back():
                children = stack.enter_context(Children())
                exporter = SignalExporter(
                    "state-signals-demo",
                    url=address,
                    namespace=namespace,
                    conn_timeout=3,
                    presence_ttl=_PRESENCE,
                    retention=_RETENTION,
                )
                stack.callback(_forget, exporter.pub_id, address, namespace, is_all_ours=namespace != given)
                stack.enter_context(exporter)
            return _Run(scenario, observer, interruption, children, exporter).play(address, namespace)
        finally:
            interruption.hold_back_for_good()


def _forget(publisher_id: str, url: str, namespace: str | None, *, is_all_ours: bool) -> None:
    """Delete what an exporter keeps on the server for whoever looks back: nobody will.

    Args:
        publisher_id: whose.
        url: the server.
        namespace: scope on it.
        is_all_ours: nobody else uses the namespace.
    """
    with closing(transport(url=url, host="", port=0, namespace=namespace)) as server:
        keys = server.keys
        names = [
            each(publisher_id) for each in (keys.journal, keys.reply, keys.rounds, keys.roster, keys.record, keys.owner)
        ]
        # In a Cluster, these are in three places.
        places = [names, [keys.exporters], [keys.presence]] if is_all_ours else [names]
        # Without the server or the permission, it expires by itself.
        with suppress(TransportError):
            for place in places:
                server.execute(Batch(place[0], (("DEL", *place),)), _CLEANUP)


class _Run:
    """One run, once there is a server."""

    def __init__(
        self,
        scenario: Scenario,
        observer: Observer,
        interruption: Interruption,
        children: Children,
        exporter: SignalExporter,
    ) -> None:
        self._scenario = scenario
        self._observer = observer
        self._interruption = interruption
        self._children = children
        self._exporter = exporter
        self._account = Account()
        self._origin: float | None = None

    def play(self, url: str, namespace: str | None) -> Account:
        collectors = [self._start_collector(each, url, namespace) for each in self._scenario.participants]
        self._observer.started(self._scenario.participants)
        if self._everybody_subscribes():
            for sample in range(self._scenario.samples):
                self._publish(START, sample)
                self._work(sample)
                self._publish(STOP, sample)
        self._exporter.shutdown()
        self._children.wait(collectors, timeout=3.0)
        for child in collectors:
            self._check_end(child)
        return self._account

    def _start_collector(self, participant: Participant, url: str, namespace: str | None) -> Child:
        arguments = [participant.name, "--ends-with-stdin", f"--publisher-id={self._exporter.pub_id}"]
        if namespace is not None:
            arguments.append(f"--namespace={namespace}")
        if participant.delay:
            arguments.append(f"--delay={participant.delay}")
        if participant.fails_at is not None:
            arguments.append(f"--fail-at={participant.fails_at}")
        with self._interruption.held_back():
            return self._children.start(
                participant.name, "state_signals.demo.collector", arguments, env={"STATE_SIGNALS_URL": url}
            )

    def _everybody_subscribes(self) -> bool:
        began = time.monotonic()
        names = self._scenario.names()
        # The collectors are still starting: what is announced before they listen is announced to them again.
        self._exporter.initialize_and_wait(
            len(names), [START, STOP], expected_resps=names, timeout=self._scenario.patience, periodic=True
        )
        absent = self._exporter.absent
        self._observer.subscribed(self._exporter.subs - absent, absent, time.monotonic() - began)
        self._account.incidents += [
            Deviation(
                responder_id=name, text=f"has not subscribed within {self._scenario.patience:g} s", is_absence=True
            )
            for name in sorted(absent)
        ]
        return not absent

    def _publish(self, event: str, sample: int) -> None:
        self._observer.publishing(event, sample, self._exporter.subs)
        now = time.monotonic()
        self._origin = now if self._origin is None else self._origin
        result = self._exporter.publish_signal(
            event, sample, tag="demo", timeout=self._scenario.timeout, on_outcome=self._observer.answered
        )
        this = Round(event=event, sample=sample, published=now - self._origin, result=result)
        self._account.rounds.append(this)
        # Whoever is gone is not waited for again.
        self._exporter.subs -= {*result.missing, *result.lost, *result.left}
        self._observer.round_ended(this)

    def _work(self, sample: int) -> None:
        processes = min(4, max(2, (os.cpu_count() or 1) - 1))
        self._observer.working(sample, processes)
        began = time.monotonic()
        workers: list[Child] = []
        for number in range(processes):
            arguments = [str(self._scenario.work_seconds), str(sample * processes + number)]
            with self._interruption.held_back():
                workers.append(self._children.start(f"worker {number}", "state_signals.demo.workload", arguments))
        deadline = began + self._scenario.work_seconds + _WORK_GRACE
        done = sum((self._result_of(worker, sample, deadline) for worker in workers), Work())
        self._observer.worked(sample, 0.0 if self._origin is None else began - self._origin, done)

    def _result_of(self, worker: Child, sample: int, deadline: float) -> Work:
        try:
            printed, _ = worker.process.communicate(timeout=max(0.1, deadline - time.monotonic()))
            return Work.from_json(printed)
        except (subprocess.TimeoutExpired, ValueError):
            self._note(f"workload of sample {sample}: {worker.name} {_fate(worker)}")
            return Work()

    def _check_end(self, child: Child) -> None:
        if child.process.poll() != 0:
            self._note(_fate(child), responder_id=child.name)

    def _note(self, text: str, responder_id: str | None = None) -> None:
        self._account.incidents.append(Deviation(responder_id=responder_id, text=text))


def _fate(child: Child) -> str:
    """Tell how a process has ended, or that it has not."""
    code = child.process.poll()
    if code is None:
        fate = "has not ended"
    elif code < 0:
        fate = f"was killed by {signal.Signals(-code).name}"
    else:
        fate = f"ended with exit code {code}"
    words = child.last_words()
    return f"process {child.process.pid} {fate}" + (f": {words}" if words else "")
