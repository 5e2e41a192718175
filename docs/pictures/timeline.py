"""Draws `docs/images/timeline.svg` and `.png`, and the page, from a real run: `python -m docs.pictures.timeline`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from docs.pictures.scene import scene

IMAGES = Path(__file__).parent.parent / "images"


def main() -> None:
    """Let a run go by, and draw it with the command that everybody has."""
    IMAGES.mkdir(exist_ok=True)
    with scene() as run:
        run.wait()
        program = [sys.executable, "-m", "state_signals.cli", "timeline", run.publisher_id, "--url", run.url]
        for name in sys.argv[1:] or [str(IMAGES / "timeline.svg")]:
            subprocess.run([*program, "-o", name], check=True)
        subprocess.run(program, check=True)


if __name__ == "__main__":
    main()
