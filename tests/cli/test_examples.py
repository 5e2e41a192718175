"""The examples, run as they are; and what becomes of them when collectors fail, die or never come."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import wait_until

BENCHMARK = Path(__file__).parents[2] / "examples" / "benchmark.sh"

DEADLINE = 60.0


class Example:
    """A script under way, and what it leaves."""

    def __init__(self, results: Path, **environment: str) -> None:
        self.results = results
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STATE_SIGNALS_")}
        self.process = subprocess.Popen(
            [str(BENCHMARK), str(results)],
            env=inherited | {"PATH": path} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._seen: list[psutil.Process] = []

    def family(self) -> list[psutil.Process]:
        """Everything that it has started, and that has started."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        self._seen += found
        return found

    def end(self) -> tuple[int, str]:
        said, _ = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, said

    def clean_up(self) -> None:
        for process in self._seen:
            if process.is_running():
                process.kill()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def benchmark(tmp_path: Path) -> Iterator[Callable[..., Example]]:
    made: list[Example] = []

    def make(**environment: str) -> Example:
        made.append(Example(tmp_path / "results", **environment))
        return made[-1]

    yield make
    for example in made:
        example.clean_up()


def test_a_whole_benchmark(benchmark: Callable[..., Example]) -> None:
    example = benchmark(COLLECTOR="vmstat -n 1 2> /dev/null || while cat /proc/loadavg; do sleep 1; done")
    code, said = example.end()
    assert code == 0, said
    assert "2 responders subscribed: host-a, host-b" in said
    for host in ("host-a", "host-b"):
        for sample in (0, 1):
            # Its output is cut by phase: each sample has its own.
            assert (example.results / host / f"sample-{sample}.log").read_text().strip()
    for sample in (0, 1):
        assert (example.results / f"workload-{sample}.log").read_text().strip()
    history = (example.results / "history.txt").read_text()
    assert history.count("2 succeeded") == 4
    assert "ended" in history


def test_a_collector_that_fails(benchmark: Callable[..., Example]) -> None:
    code, said = benchmark(COLLECTOR="echo no disk >&2; exit 3").end()
    assert code == 1, said
    assert "no disk" in said
    assert "abort" in said


def test_a_collector_that_is_killed(benchmark: Callable[..., Example]) -> None:
    example = benchmark(
        WORKLOAD='touch "$RESULTS/begun"; until [[ -e "$RESULTS/killed" ]]; do sleep 0.05; done',
        COLLECTOR="while cat /proc/loadavg; do sleep 1; done",
        PRESENCE="1.5",
    )
    wait_until(lambda: (example.results / "begun").exists(), timeout=DEADLINE)
    family = example.family()
    (victim,) = (each for each in family if "respond" in each.cmdline() and "host-b" in each.cmdline())
    victim.kill()
    (example.results / "killed").touch()
    code, said = example.end()
    assert code == 3, said
    lost = next(line for line in said.splitlines() if "host-b" in line and "lost" in line)
    assert lost
    assert any("host-a" in line and "succeeded" in line for line in said.splitlines())


def test_a_collector_that_never_comes(benchmark: Callable[..., Example]) -> None:
    code, said = benchmark(ABSENT="host-c", SUBSCRIBE_TIMEOUT="2").end()
    assert code == 3, said
    assert "'host-c'" in said


def test_a_workload_that_fails(benchmark: Callable[..., Example]) -> None:
    example = benchmark(WORKLOAD="exit 42")
    code, said = example.end()
    assert code == 42, said
    assert "the script ended with exit code 42" in said + (example.results / "host-a" / "respond.log").read_text()
