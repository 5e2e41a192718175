"""What `shutdown` and `abort` do: they end a run, in good order or for a reason."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from contextlib import suppress

from state_signals.asyncio.link import perform
from state_signals.cli import output
from state_signals.cli.exit_codes import ExitCode
from state_signals.cli.options import Server
from state_signals.cli.stepping.lookup import Found, Stage, look, owner_name
from state_signals.cli.stepping.steps import StepFailed, check_open, perform_step, resumed
from state_signals.codec import decode_signal, encode_response
from state_signals.exceptions import MalformedMessage, PublisherIdInUse, RunAborted, ServerUnreachable
from state_signals.identity import fate
from state_signals.messages import SHUTDOWN, Receipt, Response
from state_signals.outages import Backoff
from state_signals.requests import Answer
from state_signals.transport.base import AsyncInbox, AsyncTransport
from state_signals.transport.commands import Commands, RequestRefused

__all__ = ["abort_run", "shut_down"]

_LOOK_EVERY = 1.0
"""Seconds between two looks whether the process that is to abort its run is still there."""


def shut_down(publisher_id: str, tag: str | None, timeout: float | None, server: Server) -> int:
    """Do what `shutdown` does. Return the exit code.

    Args:
        publisher_id: the exporter.
        tag: tag of the announcement; None: that of the initialization.
        timeout: seconds to wait for another process to leave it; None: for ever.
        server: where it is.

    Raises:
        StateSignalsError: for what the command line as a whole tells of.
    """

    async def step(transport: AsyncTransport) -> int:
        found = await look(transport, publisher_id)
        if found.stage is Stage.ENDED:
            output.note(f"{publisher_id} has shut down already")
            return ExitCode.OK
        async with resumed(transport, server, found, timeout) as exporter:
            await exporter.shutdown(tag if tag is not None else _tag(found))
        return ExitCode.OK

    return perform_step(step, server)


def abort_run(publisher_id: str, reason: str | None, timeout: float | None, server: Server) -> int:
    """Do what `abort` does. Return the exit code.

    Args:
        publisher_id: the exporter.
        reason: why; None: who wants it, and where.
        timeout: seconds that the exporter's process has to confirm it; None: for ever.
        server: where it is.

    Raises:
        StateSignalsError: for what the command line as a whole tells of.
    """
    why = reason if reason is not None else f"by {_somebody()}"

    async def step(transport: AsyncTransport) -> int:
        return await _Abortion(transport, server, publisher_id, why, timeout).run()

    return perform_step(step, server)


class _Abortion:
    """One attempt to have a run aborted: by its own process, or instead of that if there is none."""

    def __init__(
        self, transport: AsyncTransport, server: Server, publisher_id: str, reason: str, timeout: float | None
    ) -> None:
        self._transport = transport
        self._server = server
        self._name = publisher_id
        self._reason = reason
        self._timeout = timeout
        self._until = float("inf") if timeout is None else time.monotonic() + timeout
        self._asked: str | None = None

    async def run(self) -> int:
        """Do it. Return the exit code."""
        found = await look(self._transport, self._name)
        if found.stage is Stage.ABORTED:
            output.note(f"{self._name} was aborted already: {found.aborted}")
        elif found.stage is Stage.ENDED:
            output.note(f"{self._name} has shut down already")
        else:
            await check_open(self._transport, self._server, found)
            await self._end(found)
        return ExitCode.OK

    async def _end(self, found: Found) -> None:
        """Have an open run aborted, and say what has become of it."""
        while found.stage not in (Stage.ABORTED, Stage.ENDED):
            if _is_left(found):
                await self._abort_instead(found)
                found = await look(self._transport, self._name)
            else:
                found = await self._ask_and_wait()
        if found.stage is Stage.ENDED:
            output.note(f"{self._name} has shut down meanwhile")
        else:
            output.note(f"{self._name} is aborted: {found.aborted}")

    async def _abort_instead(self, found: Found) -> None:
        """Go on with an exporter that nobody has, and abort its run."""
        try:
            async with resumed(self._transport, self._server, found, self._timeout) as exporter:
                await exporter.abort(self._reason)
        except (RunAborted, PublisherIdInUse):
            # Somebody else was faster.
            return
        except StepFailed:
            if (await look(self._transport, self._name)).stage not in (Stage.ABORTED, Stage.ENDED):
                raise

    async def _ask_and_wait(self) -> Found:
        """Ask the exporter's process to abort. Return what is known once it has, or is gone."""
        backoff = Backoff()
        while True:
            try:
                inbox = await self._transport.subscribe([self._transport.keys.signals])
                try:
                    # Whatever comes from here on is heard; what came before is in the journal.
                    return await self._until_over(inbox)
                finally:
                    await inbox.close()
            except ServerUnreachable:
                if time.monotonic() > self._until:
                    raise
                # The server may have lost what it was told.
                self._asked = None
                await asyncio.sleep(backoff.next())
                with suppress(ServerUnreachable):
                    await self._transport.connect()

    async def _until_over(self, inbox: AsyncInbox) -> Found:
        while True:
            found = await look(self._transport, self._name)
            if found.stage in (Stage.ENDED, Stage.ABORTED) or (found.stage is Stage.OPEN and _is_left(found)):
                return found
            # Else a server that has lost its data does not know the exporter, until that puts them back.
            if found.stage is Stage.OPEN:
                await self._ask(found)
            left = self._until - time.monotonic()
            if left <= 0:
                raise self._no_reaction(found)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, _LOOK_EVERY)):
                    await self._heard(inbox)

    def _no_reaction(self, found: Found) -> StepFailed:
        if found.stage is Stage.OPEN:
            who = f"{owner_name(found.owner)}, which has it,"
            text = f"did not within {self._timeout:g} s; it may be stopped, or out of touch with the server"
        else:
            who, text = "the server", f"has lost its data; nobody has put them back within {self._timeout:g} s"
        return StepFailed(f"{self._name} was asked to abort, and {who} {text}", ExitCode.MISSING)

    async def _ask(self, found: Found) -> None:
        """Ask the process that has the exporter to abort, once for each run."""
        announcement = None if found.record is None else found.record.announcement
        if announcement is None or announcement == self._asked:
            return
        who = f"state-signals-abort-{platform.node()}-{os.getpid()}"
        data = encode_response(
            Response(who, self._name, SHUTDOWN, message=self._reason),
            Receipt(signal_id=announcement, sent=time.time(), took=0.0, state="abort"),
        )
        commands = Commands(self._transport.keys, found.settings.retention)
        try:
            await perform(self._transport, commands, Answer(data, self._transport.keys.reply(self._name)))
        except RequestRefused as refused:
            raise StepFailed(
                f"the server does not let us ask {self._name} to abort: {refused}", ExitCode.NO_CONNECTION
            ) from None
        self._asked = announcement

    async def _heard(self, inbox: AsyncInbox) -> None:
        """Wait until the exporter has shut down."""
        while True:
            for data in await inbox.receive():
                with suppress(MalformedMessage):
                    signal = decode_signal(data)
                    if signal.publisher_id == self._name and signal.event == SHUTDOWN:
                        return


def _is_left(found: Found) -> bool:
    """Whether no living process has the exporter. One that is out of sight counts as alive until its claim expires."""
    return found.owner is None or fate(found.owner) is False


def _tag(found: Found) -> str | None:
    return None if found.record is None else found.record.tag


def _somebody() -> str:
    user = os.environ.get("USER") or os.environ.get("LOGNAME") or "somebody"
    name = "".join(char for char in user if char.isprintable())[:80]
    return f"{name} on {platform.node()}"
