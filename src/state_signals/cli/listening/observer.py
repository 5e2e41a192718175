"""What `listen` does: it reads along, and leaves no trace.

Signals and version 1 answers are broadcast. The answers of version 2 lie in a stream that belongs to their exporter;
they are read there without being consumed, from the first signal on that was seen of that exporter.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

from state_signals.asyncio import SignalResponder
from state_signals.cli import output
from state_signals.cli.exit_codes import ExitCode, by_signal
from state_signals.cli.listening import messages
from state_signals.cli.listening.streams import ResponseStreams
from state_signals.cli.options import Server
from state_signals.cli.session import Interrupted, Interrupts, connected, log_to_stderr, until_first
from state_signals.codec import WireResponse, decode_response
from state_signals.exceptions import MalformedMessage, ServerUnreachable, TransportError
from state_signals.messages import SHUTDOWN, Signal
from state_signals.outages import Backoff
from state_signals.transport.base import AsyncInbox, AsyncTransport
from state_signals.transport.connect import async_transport

__all__ = ["Observer", "Selection", "observe"]

_REMEMBERED = 10_000
"""Signals whose answers are known to be selected, or not, by the signal's tag; and answers whose signal is awaited."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is printed.

    Attributes:
        tag: the only tag; None: all.
        publisher_id: the only exporter; None: all.
        events: the only events; empty: all.
    """

    tag: str | None
    publisher_id: str | None
    events: frozenset[str]

    def takes(self, publisher_id: str, event: str) -> bool:
        """Whether an exporter and an event are selected."""
        return self.publisher_id in (None, publisher_id) and (not self.events or event in self.events)


def observe(observer: Observer) -> int:
    """Print what is selected, to the end. Return the exit code.

    Raises:
        InvalidArgument, InvalidType: for a server that cannot be.
        TransportError: without a connection at the beginning; one that is lost later is made again.
    """
    log_to_stderr()
    return asyncio.run(observer.run())


class Observer:
    """Prints what is said on a server.

    Args:
        server: where to listen.
        selection: what to print.
        responses: print answers, too.
        count: end after so many lines; None: never.
        as_json: print JSON.
    """

    def __init__(
        self, server: Server, selection: Selection, *, responses: bool, count: int | None, as_json: bool
    ) -> None:
        self._server = server
        self._selection = selection
        self._with_responses = responses
        self._left = count
        self._as_json = as_json
        self._has_tag: OrderedDict[object, bool] = OrderedDict()
        # Answers take another way than their signal, and may be faster.
        self._undecided: deque[WireResponse] = deque(maxlen=_REMEMBERED)
        self._ended = asyncio.Event()

    async def run(self) -> int:
        """Print until the end. Return the exit code."""
        with Interrupts() as interrupts:
            try:
                await interrupts.cancelling(self._observe())
            except Interrupted:
                return by_signal(interrupts.first or 0)
        return ExitCode.OK

    async def _observe(self) -> None:
        url, namespace = self._server.url, self._server.namespace
        # One attempt to connect at a time: connected() repeats them.
        responder = SignalResponder(
            responder_name="listen", conn_timeout=1, url=url, namespace=namespace, replay="none", presence_ttl=None
        )
        bystander = async_transport(url=url, host="", port=0, namespace=namespace)
        streams = ResponseStreams(bystander, self._response) if self._with_responses else None
        try:
            await connected(responder.connect, self._server)
            if streams is None:
                works = [self._print_signals(responder, None)]
            else:
                inbox = await _heard(bystander)
                works = [
                    self._print_signals(responder, streams),
                    self._print_version_1_responses(bystander, inbox),
                    streams.run(),
                ]
            output.note("listening")
            await self._until_ended(*works)
        finally:
            await responder.close()
            await bystander.close()

    async def _until_ended(self, *works: Any) -> None:
        """Do some work until one of it fails, enough was printed, or nobody reads it any more."""
        _call_when_unread(self._ended.set)
        await until_first(*works, self._ended.wait())

    async def _print_signals(self, responder: SignalResponder, streams: ResponseStreams | None) -> None:
        async for signal in responder.listen():
            if streams is not None and signal.event == SHUTDOWN:
                # What was answered before it is printed before it.
                await streams.finish(signal.publisher_id)
            self._signal(signal)
            if streams is not None and self._selection.publisher_id in (None, signal.publisher_id):
                streams.follow(signal)

    async def _print_version_1_responses(self, transport: AsyncTransport, inbox: AsyncInbox) -> None:
        while True:
            try:
                await self._print_from(inbox)
            except ServerUnreachable:
                # The signals' connection is lost as well, most likely, and there is told of it.
                pass
            finally:
                await inbox.close()
            inbox = await _heard_again(transport)

    async def _print_from(self, inbox: AsyncInbox) -> None:
        while True:
            for data in await inbox.receive():
                try:
                    response = decode_response(data)
                except MalformedMessage:
                    continue
                self._response(response)

    def _signal(self, signal: Signal) -> None:
        is_tagged = self._selection.tag in (None, signal.tag)
        if is_tagged and self._selection.takes(signal.publisher_id, signal.event):
            received = time.time()
            if self._as_json:
                self._print(output.json_line(messages.signal_object(signal, received)))
            else:
                self._print(messages.signal_line(signal, received))
        if self._selection.tag is None:
            return
        self._has_tag[signal.id or (signal.publisher_id, signal.event)] = is_tagged
        if len(self._has_tag) > _REMEMBERED:
            self._has_tag.popitem(last=False)
        for _ in range(len(self._undecided)):
            self._response(self._undecided.popleft())

    def _response(self, response: WireResponse) -> None:
        if not self._selection.takes(response.publisher_id, response.event):
            return
        if self._selection.tag is not None:
            is_tagged = self._has_tag.get(response.signal_id or (response.publisher_id, response.event))
            if is_tagged is None:
                self._undecided.append(response)
            if not is_tagged:
                return
        received = time.time()
        if self._as_json:
            self._print(output.json_line(messages.response_object(response, received)))
        else:
            self._print(messages.response_line(response, received))

    def _print(self, line: str) -> None:
        if self._ended.is_set():
            return
        try:
            output.print_line(line)
        except BrokenPipeError:
            output.discard_stdout()
            self._ended.set()
            return
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self._ended.set()


async def _heard(transport: AsyncTransport) -> AsyncInbox:
    """Subscribe to the version 1 channel of responses."""
    return await transport.subscribe([transport.keys.responses])


async def _heard_again(transport: AsyncTransport) -> AsyncInbox:
    """Subscribe to it again, whenever that works."""
    backoff = Backoff()
    while True:
        try:
            return await _heard(transport)
        except TransportError:
            await asyncio.sleep(backoff.next())


def _call_when_unread(act: Any) -> None:
    """Call something once nobody reads standard output any more, if that is a pipe; else writing to it will tell."""
    try:
        descriptor = sys.stdout.fileno()
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return
        loop = asyncio.get_running_loop()

        def unread() -> None:
            loop.remove_reader(descriptor)
            act()

        # A pipe's writing end becomes readable when its reading end is closed.
        loop.add_reader(descriptor, unread)
    except (OSError, ValueError):
        return
