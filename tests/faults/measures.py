"""How long it takes to recover: what the tests measure, for the table in `docs/reliability.md` (`make faults`)."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

__all__ = ["measured"]


def measured(seconds: float, what: str = "recovered") -> None:
    """Keep how long something took in the test that runs; in the file that `STATE_SIGNALS_MEASURES` names, if it does.

    Args:
        seconds: how long.
        what: what took so long.
    """
    logging.getLogger("tests.faults").info("%s within %.3f s", what, seconds)
    file = os.environ.get("STATE_SIGNALS_MEASURES")
    if file is not None:
        test = os.environ["PYTEST_CURRENT_TEST"].partition(" ")[0]
        with Path(file).open("a", encoding="utf-8") as out:
            out.write(json.dumps({"test": test, "what": what, "seconds": seconds}) + "\n")


def main(file: str) -> None:
    """Print a table of what the tests have measured."""
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for line in Path(file).read_text(encoding="utf-8").splitlines():
        facts = json.loads(line)
        found[facts["test"].rpartition("/")[2].partition("[")[0], facts["what"]].append(facts["seconds"])
    print("| test | what | median s | longest s | times |\n|---|---|---|---|---|")
    for (test, what), times in sorted(found.items()):
        print(f"| `{test}` | {what} | {median(times):.3f} | {max(times):.3f} | {len(times)} |")


if __name__ == "__main__":
    main(sys.argv[1])
