"""One face for the sync and the asyncio classes, so that what both promise is written down once.

The tests are coroutines. The asyncio classes are used as they are; the sync ones behind `_Threaded`, which runs each
call that may block in a thread of its own.
"""

from __future__ import annotations

import asyncio
import functools
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

import redis

import state_signals
import state_signals.asyncio
from state_signals import Signal
from state_signals.transport.base import Batch, Refusal
from state_signals.transport.connect import transport
from state_signals.transport.keys import Keys
from state_signals.transport.memory import MemoryTransport

__all__ = ["DEADLINE", "EVENTS", "Heard", "Parties", "Wire", "eventually", "in_thread"]

DEADLINE = 20.0
"""Seconds after which something that has to happen counts as not happening."""

EVENTS = ["start", "stop", "benchmark-start", "benchmark-stop"]

_BLOCKING = frozenset(
    (
        "initialize",
        "initialize_and_wait",
        "publish_signal",
        "shutdown",
        "abort",
        "detach",
        "close",
        "respond",
        "srespond",
        "working",
        "run",
    )
)


async def in_thread(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Await a blocking call, in a thread that nobody else waits for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def finish(setter: Callable[[Any], None], value: Any) -> None:
        if not future.done():
            setter(value)

    def call() -> None:
        try:
            outcome, setter = function(*args, **options), future.set_result
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            outcome, setter = error, future.set_exception
        loop.call_soon_threadsafe(finish, setter, outcome)

    threading.Thread(target=call, daemon=True, name=f"calls-{getattr(function, '__name__', function)}").start()
    return await future


async def eventually(condition: Callable[[], object], what: str = "the condition") -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about within {DEADLINE} seconds"
        await asyncio.sleep(0.002)


class _Threaded:
    """A sync exporter or responder with the methods of the asyncio one."""

    def __init__(self, subject: Any) -> None:
        object.__setattr__(self, "subject", subject)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.subject, name)
        return functools.partial(in_thread, value) if name in _BLOCKING else value

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.subject, name, value)

    async def listen(self) -> AsyncIterator[Signal]:
        signals = self.subject.listen()
        while (signal := await in_thread(next, signals, None)) is not None:
            yield signal

    @asynccontextmanager
    async def phase(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        manager = self.subject.phase(*args, **options)
        started = await in_thread(manager.__enter__)
        try:
            yield started
        except BaseException as error:
            if not await in_thread(manager.__exit__, type(error), error, error.__traceback__):
                raise
        else:
            await in_thread(manager.__exit__, None, None, None)

    async def __aenter__(self) -> _Threaded:
        await in_thread(self.subject.__enter__)
        return self

    async def __aexit__(self, *error: Any) -> None:
        await in_thread(self.subject.__exit__, *error)


class Heard:
    """What a responder's `listen()` yields, read in the background until it ends."""

    def __init__(self, responder: Any) -> None:
        self._signals: asyncio.Queue[Signal] = asyncio.Queue()
        self.ended = asyncio.create_task(self._read(responder))

    async def next(self, event: str | None = None) -> Signal:
        """Return the next signal, or the next one of an event."""
        async with asyncio.timeout(DEADLINE):
            while True:
                signal = await self._signals.get()
                if event in (None, signal.event):
                    return signal

    @property
    def is_empty(self) -> bool:
        return self._signals.empty()

    async def _read(self, responder: Any) -> None:
        async for signal in responder.listen():
            self._signals.put_nowait(signal)


class _Silent:
    """What a party that has died says at its end."""

    def __init__(self, subject: Any, *, is_async: bool) -> None:
        self._subject = subject
        self._is_async = is_async

    def leave(self) -> Any:
        return self._subject._link.stop()

    def say_nothing(self, *_: object, **__: object) -> Any:
        return asyncio.sleep(0) if self._is_async else None


class Parties:
    """Makes exporters and responders of one shell on one transport, and ends them."""

    def __init__(self, shell: str, url: str) -> None:
        self.shell = shell
        self.url = url
        self._module = state_signals if shell == "sync" else state_signals.asyncio
        self._made: list[Any] = []
        self._tasks: list[asyncio.Task[Any]] = []

    async def exporter(self, name: str = "fio", **options: Any) -> Any:
        """Return a connected exporter."""
        return await self._make("SignalExporter", name, **options)

    async def resumed(self, publisher_id: str, **options: Any) -> Any:
        """Return an exporter that goes on where another one ended."""
        if not {"url", "existing_redis_conn"} & options.keys():
            options["url"] = self.url
        resume = self._module.SignalExporter.resume
        if self.shell == "sync":
            self._made.append(_Threaded(await in_thread(resume, publisher_id, **options)))
        else:
            self._made.append(await resume(publisher_id, **options))
        return self._made[-1]

    async def responder(self, name: str = "pcp", **options: Any) -> Any:
        """Return a responder that is subscribed, but does nothing yet."""
        return await self._make("SignalResponder", responder_name=name, **options)

    async def listening(self, name: str = "pcp", **options: Any) -> tuple[Any, Heard]:
        """Return a responder and what it hears; it answers nothing by itself."""
        responder = await self.responder(name, **options)
        heard = Heard(responder)
        self._tasks.append(heard.ended)
        return responder, heard

    async def running(
        self, name: str = "pcp", on: dict[str | None, Callable[[Signal], Any]] | None = None, **options: Any
    ) -> Any:
        """Return a responder whose `run()` is under way, with functions by event (None: any other event)."""
        responder = await self.responder(name, **options)
        for event, function in (on or {}).items():
            responder.on(*(() if event is None else (event,)))(function)
        self.task(responder.run())
        return responder

    async def crew(
        self, *names: str, responders: dict[str, Any] | None = None, **options: Any
    ) -> tuple[Any, list[tuple[Any, Heard]]]:
        """Return an exporter, and the responders on its roster; they answer nothing by themselves from then on."""
        members = [await self.listening(name, responder_id=name, **(responders or {})) for name in names]
        exporter = await self.exporter(**options)
        waiting = self.task(exporter.initialize_and_wait(len(names), EVENTS, timeout=-1))
        for responder, heard in members:
            await responder.srespond(await heard.next("initialization"), ras=1)
        assert await waiting == 0
        return exporter, members

    async def crash(self, party: Any) -> None:
        """End a party as if its process had died: nobody is told, and on the server all stays as it is."""
        subject = getattr(party, "subject", party)
        silent = _Silent(subject, is_async=self.shell == "asyncio")
        if hasattr(subject, "listen"):
            subject._leave = silent.leave
        else:
            subject._shutdown = subject._release = silent.say_nothing
        await party.close()

    def unconnected(self, kind: str, *args: Any, **options: Any) -> Any:
        """Construct without connecting; what the sync classes do in a constructor, the asyncio ones do later."""
        if not {"url", "existing_redis_conn", "redis_host", "redis_port"} & options.keys():
            options["url"] = self.url
        return getattr(self._module, kind)(*args, **options)

    def task(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do something in the background; the end of the test waits for it."""
        self._tasks.append(asyncio.create_task(work))
        return self._tasks[-1]

    def forget(self, task: asyncio.Task[Any]) -> None:
        """Do not raise at the end of the test what a task has raised."""
        self._tasks.remove(task)

    async def close(self) -> None:
        for party in reversed(self._made):
            await party.close()
        if self._tasks:
            _, pending = await asyncio.wait(self._tasks, timeout=DEADLINE)
            assert not pending, f"still running after close(): {pending}"
        for task in self._tasks:
            if not task.cancelled():
                task.result()

    async def _make(self, kind: str, *args: Any, **options: Any) -> Any:
        if self.shell == "sync":
            party: Any = _Threaded(await in_thread(self.unconnected, kind, *args, **options))
        else:
            party = self.unconnected(kind, *args, **options)
            try:
                await party.connect()
            except BaseException:
                await party.close()
                raise
        self._made.append(party)
        return party


class Wire:
    """What is on the wire: a bystander that sees every byte, and may say anything."""

    def __init__(self, url: str, namespace: str | None = None) -> None:
        self.keys = Keys(namespace)
        self._memory = MemoryTransport(url.removeprefix("memory://"), self.keys) if url.startswith("memory") else None
        if self._memory:
            self._inboxes = [self._memory.subscribe([name]) for name in (self.keys.signals, self.keys.responses)]
        else:
            self.client = redis.Redis.from_url(url)
            self._pubsub = self.client.pubsub(ignore_subscribe_messages=True)
            self._mark = f"mark-{uuid.uuid4()}"
            self._pubsub.subscribe(self.keys.signals, self.keys.responses, self._mark)
            for _ in range(3):
                self._pubsub.get_message(timeout=DEADLINE)
        self._signals: list[bytes] = []
        self._responses: list[bytes] = []
        # It answers as the transport of the parties does, whatever the server is.
        self._transport = transport(url=url, host="", port=0, namespace=namespace)
        self._transport.connect()

    def signals(self) -> list[bytes]:
        """Everything that was published on the channel of signals so far."""
        self._catch_up()
        return self._signals

    def responses(self) -> list[bytes]:
        """Everything that was published on the version 1 channel of responses so far."""
        self._catch_up()
        return self._responses

    def say_signal(self, data: bytes) -> None:
        if self._memory:
            self._memory.execute(Batch("", (("PUBLISH", self.keys.signals, data),)))
        else:
            self.client.publish(self.keys.signals, data)

    def say_response(self, data: bytes) -> None:
        """Publish on the version 1 channel."""
        if self._memory:
            self._memory.execute(Batch("", (("PUBLISH", self.keys.responses, data),)))
        else:
            self.client.publish(self.keys.responses, data)

    def say_to_stream(self, publisher_id: str, data: bytes) -> None:
        """Append to the stream of responses to an exporter."""
        if self._memory:
            key = self.keys.reply(publisher_id)
            self._memory.execute(Batch(key, (("XADD", key, "NOMKSTREAM", "*", "r", data),)))
        else:
            self.client.xadd(self.keys.reply(publisher_id), {"r": data}, nomkstream=True)

    def stored(self) -> Iterable[str]:
        """The keys that are stored."""
        if self._memory:
            hub = self._memory._open_hub()
            return [key.decode() for key in hub._keyspace._data if hub._keyspace._live(key) is not None]
        names: Any = self.client.keys("*")
        return [name.decode() for name in names]

    def ask(self, *command: str | bytes | float) -> Any:
        """Carry out a command, and return the reply undecoded."""
        (reply,) = self._transport.execute(Batch(str(command[1]) if command[1:] else "", (command,)))
        assert not isinstance(reply, Refusal), reply
        return reply

    def lifetime(self, key: str) -> float:
        """The seconds until a key expires."""
        left = self.ask("PTTL", key)
        assert left >= 0, f"{key} {'is not there' if left == -2 else 'never expires'}"
        return float(left) / 1000

    def leftovers(self) -> list[str]:
        """What is stored beyond what may outlive an exporter, which expires."""
        kept = (":signals", ":responses", ":rounds")
        return [key for key in self.stored() if not (key.endswith(kept) and self.lifetime(key) > 0)]

    def journal(self, publisher_id: str) -> list[dict[str, Any]]:
        """The signals in an exporter's journal."""
        return [json.loads(fields[1]) for _, fields in self.ask("XRANGE", self.keys.journal(publisher_id), "-", "+")]

    def roster(self, publisher_id: str) -> dict[str, Any]:
        """What the server keeps of an exporter's roster."""
        found = self.ask("HGETALL", self.keys.roster(publisher_id))
        return {name.decode(): json.loads(data) for name, data in zip(found[::2], found[1::2], strict=True)}

    def close(self) -> None:
        self._transport.close()
        if self._memory:
            for inbox in self._inboxes:
                inbox.close()
        else:
            self._pubsub.close()
            self.client.close()

    def _catch_up(self) -> None:
        if self._memory:
            for inbox, seen in zip(self._inboxes, (self._signals, self._responses), strict=True):
                seen += inbox.receive(0)
            return
        # What was published before this is before the answer to it.
        self.client.publish(self._mark, "")
        while (message := self._pubsub.get_message(timeout=DEADLINE))["channel"] != self._mark.encode():
            seen = self._signals if message["channel"] == self.keys.signals.encode() else self._responses
            seen.append(message["data"])
