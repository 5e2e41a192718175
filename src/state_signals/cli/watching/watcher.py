"""What `watch` does: it keeps the screen as the server is, at most ten times a second, and reacts to keys."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import sys
import time
from contextlib import suppress

from state_signals.cli import output
from state_signals.cli.exit_codes import ExitCode, by_signal
from state_signals.cli.looking.finding import resolved
from state_signals.cli.options import Server
from state_signals.cli.session import Interrupted, Interrupts, connected, until_first
from state_signals.cli.watching.cells import plain
from state_signals.cli.watching.feed import Feed
from state_signals.cli.watching.log import Log
from state_signals.cli.watching.screen import Scene, frame, page_of
from state_signals.cli.watching.terminal import Terminal, glyphs_of
from state_signals.cli.watching.view import View, in_order
from state_signals.transport.urls import redacted

__all__ = ["watch_live", "watch_once"]

_SHORTEST_FRAME = 0.1
"""Seconds between two drawings of what has happened; keys are reacted to at once."""

_REST = 5
"""How many times as long as a drawing takes the next one is waited for."""

_LONGEST_FRAME = 1.0
"""Seconds after which ages are drawn anew though nothing has happened."""


def watch_live(server: Server, publisher_id: str | None) -> int:
    """Show the server on the terminal until somebody quits. Return the exit code.

    Args:
        server: the server.
        publisher_id: the exporter whose run to begin with, or how its name begins; None: the newest.

    Raises:
        InvalidArgument: if there is no such exporter.
        TransportError: without a connection at the beginning; one that is lost later is made again.
    """
    # What the library warns of would be written over the screen, which says it by itself.
    logger = logging.getLogger("state_signals")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return asyncio.run(_interruptible(_Watcher(server).run(publisher_id)))


def watch_once(server: Server, publisher_id: str | None) -> int:
    """Print the screen once. Return the exit code. Arguments and errors as for `watch_live`."""
    return asyncio.run(_interruptible(_Watcher(server).print_once(publisher_id)))


async def _interruptible(work: object) -> int:
    with Interrupts() as interrupts:
        try:
            return await interrupts.cancelling(work)  # type: ignore[arg-type]
        except Interrupted:
            return by_signal(interrupts.first or 0)


class _Watcher:
    """One server, watched.

    Args:
        server: which.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._title = redacted(server.url) + (f" namespace {server.namespace}" if server.namespace else "")
        self._view = View()
        self._log = Log()
        self._changed = asyncio.Event()
        self._over = asyncio.Event()
        self._is_gone = False
        self._feed = Feed(server, self._changed.set)
        self._terminal: Terminal | None = None

    async def run(self, publisher_id: str | None) -> int:
        """Show it until somebody quits. Return the exit code."""
        try:
            await self._begin(publisher_id)
            with Terminal(self._pressed, self._draw, self._gone) as terminal:
                self._terminal = terminal
                await until_first(self._feed.run(), self._draw_on(), self._over.wait())
        finally:
            self._terminal = None
            await self._feed.close()
        return by_signal(signal.SIGHUP) if self._is_gone else ExitCode.OK

    async def print_once(self, publisher_id: str | None) -> int:
        """Print it once."""
        try:
            await self._begin(publisher_id)
            await self._feed.open(self._view.chosen)
            scene = self._scene()
        finally:
            await self._feed.close()
        columns, rows = shutil.get_terminal_size()
        glyphs = glyphs_of(sys.stdout.encoding)
        lines = [
            plain(line).rstrip() for line in frame(scene, self._view, columns, rows, glyphs, has_footer=False).lines
        ]
        output.print_line("\n".join(lines).rstrip())
        return ExitCode.OK

    async def _begin(self, publisher_id: str | None) -> None:
        """Connect, learn what runs there are, and choose the one to begin with."""
        await connected(self._feed.connect, self._server)
        name = None if publisher_id is None else await resolved(self._feed.reader, publisher_id, self._server)
        await self._feed.load(name)
        runs = in_order(self._feed.runs)
        if name is not None:
            self._view.chosen = max(listed.key for listed in runs if listed.key[0] == name)
            self._view.is_pinned = True
        self._view.settle(runs)

    async def _draw_on(self) -> None:
        while True:
            began = time.monotonic()
            self._draw()
            # Of tens of thousands of responders, drawing must leave time for reading keys.
            await asyncio.sleep(max(_SHORTEST_FRAME, _REST * (time.monotonic() - began)))
            with suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST_FRAME - _SHORTEST_FRAME):
                    await self._changed.wait()

    def _draw(self) -> None:
        if self._terminal is None:
            return
        self._changed.clear()
        columns, rows = self._terminal.size
        drawn = frame(self._scene(), self._view, columns, rows, self._terminal.glyphs)
        self._view.limit(drawn.furthest)
        self._terminal.show(drawn)

    def _scene(self) -> Scene:
        runs = in_order(self._feed.runs)
        self._view.settle(runs)
        self._feed.wanted = self._view.chosen
        return Scene(server=self._title, runs=runs, now=self._feed.now, trouble=self._feed.trouble, log=self._log)

    def _pressed(self, key: str) -> None:
        if self._terminal is None:
            return
        self._view.press(key, in_order(self._feed.runs), page_of(self._terminal.size[1]))
        if self._view.is_over:
            self._over.set()
        else:
            self._draw()

    def _gone(self) -> None:
        self._is_gone = True
        self._over.set()
