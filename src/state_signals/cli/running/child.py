"""The command that `run` wraps: it shares our standard streams, and is told what we are told."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress

from state_signals.cli import output
from state_signals.cli.exit_codes import CANNOT_EXECUTE, by_signal
from state_signals.cli.running.programs import CommandNotFound

__all__ = ["Child"]

_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
"""What a terminal sends to all of its foreground group when somebody presses a key."""

_ENDING = (signal.SIGTERM, signal.SIGHUP)
"""What nobody sends who does not want it to end."""


class Child:
    """One run of a command; its standard streams are ours.

    On a terminal, the command stays in our process group: it may read from the terminal, and Ctrl-C reaches it from
    there, so that it must not get it from us a second time. Without a terminal it gets a group of its own, and a signal
    that reaches only us is passed on to all of that group: a shell script and what it has started end together.

    Args:
        argv: the command.
        program: path of what is executed.
        environment: the command's environment.
        grace: seconds from SIGTERM or SIGHUP to SIGKILL; None: for ever. Ctrl-C does not count: a command may go on
            after that, as interactive ones do.
    """

    def __init__(
        self, argv: Sequence[str], program: str, environment: Mapping[str, str], grace: float | None = None
    ) -> None:
        self._argv = argv
        self._program = program
        self._environment = environment
        self._grace = grace
        self._killing: asyncio.TimerHandle | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._has_own_group = not _has_terminal()
        self._received: list[int] = []

    async def run(self) -> int:
        """Run the command to its end. Return its exit code, as shells count it. If that is cancelled, it is ended.

        Raises:
            CommandNotFound: if the system cannot execute it after all.
        """
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                executable=self._program,
                env=self._environment,
                process_group=0 if self._has_own_group else None,
            )
        except OSError as error:
            raise CommandNotFound(f"cannot run {self._argv[0]!r}: {error.strerror or error}", CANNOT_EXECUTE) from error
        for number in self._received:
            # By us in any case: when the terminal told its group, the command may not have been there.
            self._pass_on(number, can_be_told=False)
        try:
            status = await self._process.wait()
        except asyncio.CancelledError:
            self._pass_on(signal.SIGTERM)
            await self._process.wait()
            raise
        finally:
            if self._killing is not None:
                self._killing.cancel()
            if self._process.returncode is None:
                self._send(signal.SIGKILL)
        return status if status >= 0 else by_signal(-status)

    def told(self, number: int) -> None:
        """Pass a signal on; a Ctrl-C after another signal kills."""
        is_enough = number == signal.SIGINT and bool(self._received)
        self._received.append(number)
        if self._process is not None:
            self._pass_on(signal.SIGKILL if is_enough else number)

    def inform(self, number: int) -> None:
        """Pass on a signal that ends nobody who knows it, as SIGUSR1 does."""
        self._send(number)

    def _pass_on(self, number: int, *, can_be_told: bool = True) -> None:
        if can_be_told and number in _FROM_TERMINAL and not self._has_own_group and _is_in_foreground():
            # The terminal has sent it to the whole group, the command included.
            return
        if number in _ENDING and self._grace is not None and self._killing is None:
            self._killing = asyncio.get_running_loop().call_later(self._grace, self._kill)
        self._send(number)

    def _kill(self) -> None:
        output.note(f"the command did not end within {self._grace:g} s, so it is killed")
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        with suppress(ProcessLookupError, PermissionError):
            if self._has_own_group:
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal, whatever its standard streams are."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _is_in_foreground() -> bool:
    """Whether the terminal's Ctrl-C reaches our process group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
