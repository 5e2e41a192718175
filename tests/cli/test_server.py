"""`state-signals server`, as a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
import redis

COMMAND = [sys.executable, "-m", "state_signals.cli", "server"]

Started = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def started() -> Iterator[Started]:
    """Starts the command and returns it; whatever a test leaves running is an error."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
        )
        running.append(process)
        return process

    yield start
    for process in running:
        has_ended = process.poll() is not None
        process.kill()
        process.communicate()
        assert has_ended


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str], *numbers: signal.Signals) -> tuple[str, str]:
    """Send signals at once, wait for the end, and return what else was printed."""
    others = psutil.Process(process.pid).children(recursive=True)
    for number in numbers:
        process.send_signal(number)
    printed = process.communicate(timeout=10)
    assert not any(other.is_running() for other in others)
    return printed


@pytest.mark.parametrize(
    "numbers",
    [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGINT, signal.SIGINT, signal.SIGTERM)],
    ids=["SIGTERM", "Ctrl-C", "impatient"],
)
def test_prints_its_url_and_ends_well_when_told(numbers: tuple[signal.Signals, ...], started: Started) -> None:
    process = started("--port", "0")
    url = first_line(process)
    with redis.Redis.from_url(url) as client:
        assert client.ping()
    out, err = end(process, *numbers)
    assert process.returncode == 0
    assert out == ""
    assert f"export STATE_SIGNALS_URL={url}\n" in err
    assert "Traceback" not in err


def test_json(started: Started) -> None:
    process = started("--port", "0", "--json")
    facts = json.loads(first_line(process))
    assert list(facts) == ["url", "pid", "version", "executable"]
    assert psutil.Process(facts["pid"]).is_running()
    assert Path(facts["executable"]).is_file()
    assert re.fullmatch(r"\d+\.\d+\.\d+", facts["version"])
    with redis.Redis.from_url(facts["url"]) as client:
        assert client.info("server")["process_id"] == facts["pid"]
    end(process, signal.SIGTERM)


def test_unix_socket_and_data_that_stays(started: Started) -> None:
    with TemporaryDirectory(prefix="t-", dir="/tmp") as directory:
        path = f"{directory}/socket"
        for found in (None, b"value"):
            process = started("--socket", path, "--data", f"{directory}/data")
            assert first_line(process) == f"unix://{path}"
            with redis.Redis(unix_socket_path=path) as client:
                assert client.get("key") == found
                client.set("key", "value")
            end(process, signal.SIGTERM)
            assert not Path(path).exists()


def test_taken_port(started: Started) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        process = started("--port", str(other.getsockname()[1]))
        out, err = process.communicate(timeout=10)
    assert process.returncode == 4
    assert out == ""
    assert "Address already in use" in err
    assert "--port 0" in err
    assert "Traceback" not in err


def test_says_why_when_the_server_dies(started: Started) -> None:
    process = started("--port", "0", "--json")
    os.kill(json.loads(first_line(process))["pid"], signal.SIGKILL)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 4
    assert err.splitlines()[2].startswith("state-signals: error: the server ")
    assert "has ended. Its log ends with:" in err
    assert all(line.startswith("state-signals: ") for line in err.splitlines()[2:])
    assert "ready to accept connections" in err.lower()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "0", "--socket", "/tmp/s"], "either --port or --socket"),
        (["--port", "65536"], "65535"),
        (["--socket", "/tmp/" + "s" * 100], "105 bytes long"),
    ],
)
def test_usage(arguments: list[str], words: str, started: Started) -> None:
    process = started(*arguments)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 2
    assert out == ""
    assert words in err


def test_help_has_examples(started: Started) -> None:
    process = started("--help")
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "state-signals server --port 0 --json" in out
