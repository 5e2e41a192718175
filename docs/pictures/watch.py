"""The screen of `watch` in the middle of a real run, as `docs/images/watch.svg`: `python -m docs.pictures.watch`."""

from __future__ import annotations

import asyncio
import io
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from docs.pictures.scene import COLLECTORS, Scene, scene
from state_signals import SignalExporter
from state_signals.cli.options import Server
from state_signals.cli.watching.cells import UNICODE
from state_signals.cli.watching.feed import Feed
from state_signals.cli.watching.roster import Standing, counted, roster_rows
from state_signals.cli.watching.screen import Frame, frame
from state_signals.cli.watching.screen import Scene as Known
from state_signals.cli.watching.terminal import painted_line
from state_signals.cli.watching.view import Pane, View, in_order

IMAGE = Path(__file__).parents[1] / "images" / "watch.svg"

_WIDTH, _HEIGHT = 100, 28
_PATIENCE = 30.0

# Fonts of somebody else's server: a picture must not ask for anything.
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)

MOMENT = {Standing.LOST: 1, Standing.WORKING: 1, Standing.SUCCEEDED: len(COLLECTORS) - 2}
"""How the collectors stand in the picture: one is lost, one works, and the others have succeeded."""


def leave_others(url: str) -> None:
    """Leave runs that are over, so that there are some to choose from."""
    for name, reason in (("fio", None), ("rollout", "host-7 is not to be reached")):
        # Nobody takes part in them.
        with SignalExporter(name, url=url, runner_host="bench-head") as exporter:
            exporter.initialize(["ready"])
            exporter.publish_signal("ready", wait=False)
            if reason is not None:
                exporter.abort(reason)


async def draw(run: Scene) -> Frame:
    """Watch a run until the moment of the picture, and return the screen."""
    feed = Feed(Server(run.url, None, 5.0), lambda: None)
    view = View(chosen=(run.publisher_id, 0), pane=Pane.ROSTER)
    try:
        await feed.connect()
        await feed.load()
        feed.wanted = view.chosen
        following = asyncio.create_task(feed.run())
        try:
            await _until(lambda: _is_the_moment(feed))
            known = Known(server="redis://bench-head:6379", runs=in_order(feed.runs), now=feed.now)
            return frame(known, view, _WIDTH, _HEIGHT, UNICODE)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    finally:
        await feed.close()


def _is_the_moment(feed: Feed) -> bool:
    run = next(listed.run for listed in feed.runs if listed.key == feed.wanted)
    return dict(counted(roster_rows(run, feed.now))) == MOMENT and run.rounds[-1].sample_no > 2


async def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the moment of the picture has not come")
        await asyncio.sleep(0.05)


def as_svg(drawn: Frame) -> str:
    """Return a screen as an SVG that needs nothing else."""
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True, color_system="standard")
    for line in drawn.lines:
        painted = painted_line(line, None, is_coloured=True)
        console.print(Text.from_ansi(painted), no_wrap=True, overflow="crop", soft_wrap=True)
    svg = console.export_svg(title="state-signals watch", unique_id="watch")
    return "\n".join(line.rstrip() for line in _FONTS.sub("", svg).splitlines()) + "\n"


def main() -> None:
    """Make the picture."""
    with scene(0.6) as run:
        leave_others(run.url)
        drawn = asyncio.run(draw(run))
        run.wait()
    IMAGE.parent.mkdir(exist_ok=True)
    IMAGE.write_text(as_svg(drawn))
    sys.stderr.write(f"{IMAGE}: {IMAGE.stat().st_size / 1024:.0f} KiB\n")


if __name__ == "__main__":
    main()
