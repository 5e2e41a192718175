"""`state-signals demo`, for real: processes, a server, a workload."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from state_signals.cli.app import COMMANDS
from state_signals.demo.report import NEXT

COLLECTORS = {"cpu", "memory", "disk", "network", "tracer", "flaky"}

# The same demo, but it does not work as long.
SHORT = """
import sys
from dataclasses import replace
from state_signals.demo import scenario
scenario.DEMO = replace(scenario.DEMO, work_seconds=0.5, timeout={timeout})
from state_signals.cli import main
sys.exit(main())
"""


class Demo:
    """A demo that runs in a process of its own, and every process that was seen with it."""

    def __init__(self, directory: str, *arguments: str, short: bool = True, timeout: float = 20) -> None:
        program = ["-c", SHORT.format(timeout=timeout)] if short else ["-m", "state_signals.cli"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STATE_SIGNALS")}
        self.process = subprocess.Popen(
            [sys.executable, *program, "demo", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**environment, "TMPDIR": directory, "PYTHONIOENCODING": "utf-8", "COLUMNS": "80"},
        )
        self.seen: set[psutil.Process] = set()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()

    def _look(self) -> None:
        while self.process.poll() is None:
            try:
                self.seen.update(psutil.Process(self.process.pid).children(recursive=True))
            except psutil.Error:
                return
            time.sleep(0.05)

    def collector(self, name: str) -> psutil.Process:
        """The process of a collector, once it is there."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for process in set(self.seen):
                try:
                    command = process.cmdline()
                except psutil.Error:
                    continue
                if "state_signals.demo.collector" in command and name in command:
                    return process
            time.sleep(0.02)
        raise AssertionError(f"no collector {name}")

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self) -> tuple[int, str, str]:
        """Wait for its end. Return exit code, output, errors."""
        out, err = self.process.communicate(timeout=60)
        self._watch.join()
        return self.process.returncode, out, err


@pytest.fixture
def directory() -> Iterator[str]:
    """A folder for temporary files, in which nothing may be left."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as made:
        yield made
        assert list(Path(made).iterdir()) == []


def assert_gone(demo: Demo) -> None:
    assert len(demo.seen) >= 7
    _, alive = psutil.wait_procs(demo.seen, timeout=3)
    assert alive == []


def rounds(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_all_goes_as_expected(directory):
    began = time.monotonic()
    demo = Demo(directory, short=False)
    code, out, err = demo.end()
    assert (code, err) == (0, "")
    assert time.monotonic() - began < 30
    assert "\x1b" not in out
    assert out.count("tracer     succeeded   0.8") == 3
    assert len(re.findall(r"^  flaky +failed ", out, re.MULTILINE)) == 1
    assert "All as expected: 6 signals, 36 answers, 35 succeeded, 1 failed on purpose" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80
    assert_gone(demo)


def test_json_on_a_given_server_leaves_that_as_it_was(directory, redis_url):
    with redis.Redis.from_url(redis_url) as client:
        overheard = client.pubsub()
        overheard.subscribe("event-signal-pubsub")
        client.set("mine", 1)
        demo = Demo(directory, "--json", "--url", redis_url)
        code, out, err = demo.end()
        assert (code, err) == (0, "")
        assert client.keys() == [b"mine"]
        assert [message["type"] for message in iter(overheard.get_message, None) if message] == ["subscribe"]
        overheard.close()
        client.delete("mine")
    told = rounds(out)
    assert [(line["event"], line["sample"]) for line in told] == [
        (event, sample) for sample in range(3) for event in ("benchmark-start", "benchmark-stop")
    ]
    for line in told:
        responders = line["responders"]
        assert set(responders) == COLLECTORS
        failed = {name for name, report in responders.items() if report["outcome"] != "succeeded"}
        assert failed == ({"flaky"} if (line["event"], line["sample"]) == ("benchmark-stop", 1) else set())
        assert line["as_expected"] is True
        if line["event"] == "benchmark-stop":
            assert responders["tracer"]["took"] >= 0.8
            assert line["elapsed"] >= 0.8
            assert responders["cpu"]["message"].startswith("cpu: mean ")
    assert "made to fail" in told[3]["responders"]["flaky"]["message"]
    assert_gone(demo)


def test_a_killed_collector_is_named(directory):
    demo = Demo(directory, "--json", timeout=4)
    first = json.loads(demo.line())
    assert first["as_expected"] is True
    demo.collector("memory").kill()
    code, out, err = demo.end()
    assert code == 3
    stop = rounds(out)[0]
    assert stop["responders"]["memory"]["outcome"] in ("missing", "lost")
    assert {name for name, report in stop["responders"].items() if report["outcome"] == "succeeded"} == (
        COLLECTORS - {"memory"}
    )
    assert "benchmark-stop of sample 0: memory: " in err
    assert "was killed by SIGKILL" in err
    assert len(err.splitlines()) == 2
    assert_gone(demo)


def test_a_killed_collector_is_named_for_people_too(directory):
    demo = Demo(directory, timeout=4)
    while "benchmark-start" not in demo.line():
        pass
    demo.collector("disk").kill()
    code, out, _ = demo.end()
    assert code == 3
    text = " ".join(out.split())
    assert "5 of 6 succeeded in " in text
    assert "Not as expected: 2 things were different from the plan" in text
    assert "benchmark-stop of sample 0: disk: " in text
    assert "? no answer" in out
    assert_gone(demo)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_demo_leaves_nothing(directory, number):
    demo = Demo(directory, "--json")
    demo.line()
    time.sleep(0.2)
    demo.process.send_signal(number)
    # Cleaning up takes longer than this takes, and must not be cut short by it.
    demo.process.send_signal(number)
    code, _, err = demo.end()
    assert code == 128 + number
    assert err == "state-signals: interrupted; all that was started has been ended\n"
    assert_gone(demo)


def test_a_killed_demo_leaves_no_process(directory, redis_url):
    demo = Demo(directory, "--json", "--url", redis_url)
    demo.line()
    demo.collector("flaky")
    demo.process.kill()
    demo.end()
    _, alive = psutil.wait_procs(demo.seen, timeout=10)
    assert alive == []


def test_a_reader_that_goes_away(directory):
    demo = Demo(directory)
    while "benchmark-start" not in demo.line():
        pass
    assert demo.process.stdout is not None
    demo.process.stdout.close()
    demo.process.wait(60)
    assert demo.process.stderr is not None
    assert (demo.process.returncode, demo.process.stderr.read()) == (0, "")
    demo.process.stderr.close()
    demo._watch.join()
    assert_gone(demo)


def test_a_server_that_is_not_there(directory):
    demo = Demo(directory, "--url", "redis://user:secret@127.0.0.1:1")
    code, out, err = demo.end()
    assert code == 4
    assert "127.0.0.1:1" in err
    assert "secret" not in out + err


@pytest.mark.parametrize("url", ["memory://x", "nonsense", "redis://x:y"])
def test_a_url_that_cannot_be_one(directory, url):
    code, _, err = Demo(directory, "--url", url).end()
    assert code == 2
    assert "url" in err


def test_without_psutil_it_says_what_to_install(directory):
    program = "import sys; sys.modules['psutil'] = None\nfrom state_signals.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "demo"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "pip install 'state-signals[demo]'" in done.stderr


def test_what_to_try_next_exists():
    for command, _ in NEXT:
        program, name, *_ = command.split()
        assert program == "state-signals"
        assert name in COMMANDS
