"""A server in memory, and cores on it: what the core asks for is done at once, and nothing is done by itself."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from typing import Any

from state_signals.codec import ENVELOPE_KEY, encode_signal
from state_signals.messages import Envelope, Signal
from state_signals.protocol.events import ClaimHeld, RoundCompleted, SignalSent
from state_signals.protocol.exporter import ExporterProtocol
from state_signals.protocol.responder import ResponderProtocol
from state_signals.requests import CatchUp, Publish, ShowPresence
from state_signals.results import PublishResult
from state_signals.transport.base import Batch
from state_signals.transport.commands import Commands
from state_signals.transport.keys import Keys
from state_signals.transport.keyspace import Keyspace

__all__ = [
    "EPOCH",
    "KEYS",
    "Exporter",
    "Responder",
    "Server",
    "answer",
    "envelopes",
    "events",
    "events_of",
    "every_event",
    "identifier",
    "initialized",
    "publish",
    "result",
    "sent",
    "signal",
    "subscribe",
]

EPOCH = 1_700_000_000.0
"""What the server's clock shows at 0 of ours."""

KEYS = Keys()


def identifier(number: int) -> str:
    """The identifier of a signal."""
    return f"{number:032x}"


def signal(seq: int, event: str = "start", publisher_id: str = "fio-1", tag: str = "nightly", **facts: Any) -> bytes:
    """A signal with an envelope as it is broadcast; unless other facts are given, its number tells all."""
    defaults: dict[str, Any] = {"id": identifier(seq), "sent": float(seq), "reply": KEYS.reply(publisher_id)}
    envelope = Envelope(**(defaults | {"seq": seq} | facts))
    return encode_signal(Signal(publisher_id, "fio", event, "node1", tag=tag), envelope)


def every_event(core: ExporterProtocol | ResponderProtocol) -> list[Any]:
    """What a core has to tell."""
    return list(iter(core.next_event, None))


def events(core: ExporterProtocol | ResponderProtocol) -> list[Any]:
    """What a core has to tell, but for what each exporter and each signal brings about."""
    return [event for event in every_event(core) if not isinstance(event, ClaimHeld | SignalSent)]


def events_of(core: ExporterProtocol | ResponderProtocol, kind: type) -> list[Any]:
    """What a core has to tell of one kind. The rest is gone, then."""
    return [event for event in every_event(core) if isinstance(event, kind)]


class Server:
    """What a server does.

    Attributes:
        now: our time, as the server will have it.
        refuses: by kind of request: the kind of refusal and its text.
        lets_broadcast: whether a signal without a journal is taken even where others are refused.
        broadcast: all signals that were broadcast.
        redelivered: all signals that one responder got again.
        responses: all responses on the version 1 channel.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.refuses: dict[type, tuple[str, str]] = {}
        self.lets_broadcast = False
        self.broadcast: list[bytes] = []
        self.redelivered: list[tuple[str, bytes]] = []
        self.responses: list[bytes] = []
        self.keyspace = Keyspace(lambda: EPOCH + self.now)
        self._commands = Commands(KEYS, 86_400.0)
        self.keyspace.subscribe(KEYS.signals, self.broadcast.append)
        self.keyspace.subscribe(KEYS.responses, self.responses.append)
        for name in ("a", "b"):
            again: Callable[[bytes], object] = lambda data, name=name: self.redelivered.append((name, data))  # type: ignore[misc]  # noqa: E731
            self.keyspace.subscribe(KEYS.redeliveries(name), again)

    def carry_out(self, request: Any) -> Any:
        """Do what a request asks for, and return the reply."""
        steps = self._commands.steps(request)
        try:
            batch = next(steps)
            while True:
                batch = steps.send(self.keyspace.execute(batch))
        except StopIteration as end:
            return end.value

    def serve(self, core: Any, ask: Callable[..., Any], now: float, **options: Any) -> list[Any]:
        """Do everything that a core asks for, and return what that was."""
        self.now = max(self.now, now)
        done: list[Any] = []
        while (request := ask(now, **options)) is not None:
            done.append(request)
            assert len(done) < 500, f"there is no end to it: {done[-3:]}"
            is_let = self.lets_broadcast and isinstance(request, Publish) and not request.is_journaled
            if type(request) in self.refuses and not is_let:
                core.request_refused(request, *self.refuses[type(request)], now)
            else:
                core.reply_received(request, self.carry_out(request), now)
        return done

    def loses_everything(self) -> None:
        """Come back empty."""
        self.keyspace.flush()

    # What it holds

    def journal(self, publisher_id: str = "fio-1") -> list[bytes]:
        """The signals of an exporter."""
        return list(self.carry_out(CatchUp(publisher_id, 0, 100_000)).signals)

    def write(self, *entries: bytes, publisher_id: str = "fio-1") -> None:
        """Add signals to a journal, as their exporter would do, but broadcast nothing."""
        for data in entries:
            seq = json.loads(data)["metadata"][ENVELOPE_KEY]["seq"]
            self._do(KEYS.journal(publisher_id), "XADD", f"{seq}-0", "s", data)

    def forget_journal(self, publisher_id: str = "fio-1") -> None:
        """Lose the signals of an exporter."""
        self._do(KEYS.journal(publisher_id), "DEL")

    def trim_journal(self, length: int, publisher_id: str = "fio-1") -> None:
        """Lose the oldest signals of an exporter."""
        kept = self.journal(publisher_id)[-length:]
        self.forget_journal(publisher_id)
        self.write(*kept, publisher_id=publisher_id)

    def record(self, publisher_id: str = "fio-1") -> dict[bytes, bytes]:
        """What is kept of an exporter beside its journal."""
        return self._hash(KEYS.record(publisher_id))

    def set_record(self, publisher_id: str = "fio-1", **fields: bytes) -> None:
        """Keep something of an exporter, whoever says so."""
        for name, value in fields.items():
            self._do(KEYS.record(publisher_id), "HSET", name, value)

    def roster(self, publisher_id: str = "fio-1") -> dict[bytes, bytes]:
        """Whom an exporter has on its roster."""
        return self._hash(KEYS.roster(publisher_id))

    def set_roster(self, publisher_id: str = "fio-1", **fields: bytes) -> None:
        """Keep somebody on a roster."""
        for name, value in fields.items():
            self._do(KEYS.roster(publisher_id), "HSET", name, value)

    def owner(self, publisher_id: str = "fio-1") -> bytes | None:
        """Whose an identifier is."""
        found: bytes | None = self._do(KEYS.owner(publisher_id), "GET")
        return found

    def set_owner(self, owner: bytes, ttl: float, publisher_id: str = "fio-1") -> None:
        """Make an identifier somebody's, as long as that proves to live."""
        self._do(KEYS.owner(publisher_id), "SET", owner, "PX", int(ttl * 1000))

    def alive(self, *responder_ids: str) -> None:
        """Have responders prove that they live."""
        self.carry_out(ShowPresence(responder_ids))

    def exporter_alive(self, publisher_id: str, at: float) -> None:
        """Have an exporter have proved that it lives, at that time."""
        self._do(KEYS.exporters, "ZADD", EPOCH + at, publisher_id)

    def _do(self, key: str, command: str, *arguments: Any) -> Any:
        (reply,) = self.keyspace.execute(Batch(key, ((command, key, *arguments),)))
        return reply

    def _hash(self, key: str) -> dict[bytes, bytes]:
        found = self._do(key, "HGETALL")
        return dict(zip(found[::2], found[1::2], strict=True))


class Exporter(ExporterProtocol):
    """An exporter and its server. Its signals have the identifiers 1, 2, ..., or begin with another number.

    Attributes:
        server: the server.
    """

    def __init__(
        self, server: Server | None = None, *, publisher_id: str = "fio-1", first: int = 1, **options: Any
    ) -> None:
        ids = itertools.count(first)
        defaults: dict[str, Any] = {"owner": b"us", "new_id": lambda: identifier(next(ids))}
        super().__init__(publisher_id, "fio", "node1", **(defaults | options))
        self.server = server or Server()
        self._read = len(self.server.broadcast)

    def work(self, now: float = 0.0, *, is_urgent: bool = False) -> list[Any]:
        """Have everything done that is to be done, and return the requests."""
        done = self.server.serve(self, self.next_request, now, is_urgent=is_urgent)
        return done if is_urgent else done + self.server.serve(self, self.next_aside, now)

    def said(self, now: float = 0.0) -> list[bytes]:
        """What it broadcasts, and was not returned yet."""
        self.work(now)
        read, self._read = self._read, len(self.server.broadcast)
        return self.server.broadcast[read:]

    def reconnects(self, now: float) -> None:
        """Lose the connection, and have it back."""
        self.connection_lost()
        self.connection_restored(now)


class Responder(ResponderProtocol):
    """A responder and its server.

    Attributes:
        server: the server.
    """

    def __init__(self, server: Server | None = None, *, responder_id: str = "a", **options: Any) -> None:
        super().__init__(responder_id, reply_of=KEYS.reply, **options)
        self.server = server or Server()

    def work(self, now: float = 0.0, *, is_urgent: bool = False) -> list[Any]:
        """Have everything sent that is to be sent, and return the requests. It looks after silent exporters, too."""
        done = self.server.serve(self, self.next_request, now, is_urgent=is_urgent)
        if not is_urgent:
            self.server.serve(self, self.next_aside, now)
        return done

    @property
    def due(self) -> float:
        """When it has something to say; looks aside."""
        return -math.inf if self._answers else min(self._beat_at, self._answers.next_release())

    def query(self, now: float = 0.0) -> list[Any]:
        """Have everything asked that is to be asked, and return the requests."""
        return self.server.serve(self, self.next_query, now)

    def comes(self, now: float = 0.0) -> None:
        """Subscribe, and find out who is there."""
        self.subscribed(now)
        self.query(now)

    def heard(self, now: float = 0.0) -> list[int | str]:
        """What its user gets: positions, or events of version 1 signals."""
        self.query(now)
        told = (event.signal for event in events(self) if hasattr(event, "signal"))
        return [each.event if each.seq is None else each.seq for each in told]


def initialized(*subs: str, **options: Any) -> Exporter:
    """An exporter whose roster is open, with these responders on it; what it said and told is taken away."""
    core = Exporter(**options)
    core.initialize(["start", "stop"], now=0.0, sent=0.0)
    core.subs = set(subs)
    core.said()
    every_event(core)
    return core


def publish(core: Exporter, event: Any = "start", now: float = 0.0, **options: Any) -> str:
    """Have a signal published, and taken by the server. Return its identifier."""
    signal_id = core.publish(event, now=now, sent=1000.0, **options)
    core.work(now)
    return signal_id


def answer(
    core: ExporterProtocol, responder_id: str, signal_id: str | None, ras: object = 1, now: float = 1.0, **fields: Any
) -> None:
    """Have a responder say something, by default to `start` from `fio-1`."""
    message = {"responder_id": responder_id, "publisher_id": "fio-1", "event": "start", "ras": ras} | fields
    if signal_id is not None:
        message |= {"signal_id": signal_id, "sent": 1000.0, "took": 0.5}
    core.message_received(json.dumps({key: value for key, value in message.items() if value is not None}), now)


def subscribe(core: ExporterProtocol, responder_id: str, signal_id: str | None = None, **fields: Any) -> None:
    """Have a responder answer an initialization."""
    answer(core, responder_id, signal_id, None, event="initialization", **fields)


def result(core: ExporterProtocol) -> PublishResult:
    """The result of the one round that has ended."""
    [completed] = events_of(core, RoundCompleted)
    ended: PublishResult = completed.result
    return ended


def sent(core: Exporter, now: float = 0.0) -> list[dict[str, Any]]:
    """What it broadcasts, as objects."""
    return [json.loads(data) for data in core.said(now)]


def envelopes(core: Exporter, now: float = 0.0) -> list[dict[str, Any]]:
    """The envelopes of what it broadcasts."""
    return [each["metadata"][ENVELOPE_KEY] for each in sent(core, now)]
