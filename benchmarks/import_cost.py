"""What `import state_signals` costs over a bare interpreter, in milliseconds: the median of paired runs.

python benchmarks/import_cost.py [--runs N]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

STATEMENTS = {
    "import state_signals": "import state_signals",
    "and use SignalExporter": "import state_signals; state_signals.SignalExporter",
    "state-signals --help": "import sys; sys.argv = ['state-signals', '--help']\n"
    "from state_signals.cli import main\ntry: main()\nexcept SystemExit: pass",
}


def seconds(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=25)
    runs = parser.parse_args().runs
    for name, statement in STATEMENTS.items():
        extra = [(seconds(statement) - seconds("pass")) * 1000 for _ in range(runs)]
        print(f"{name:24} {statistics.median(extra):6.1f} ms over a bare interpreter")


if __name__ == "__main__":
    main()
