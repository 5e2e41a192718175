"""The command line as processes of its own, and what happens on the server meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from state_signals import Signal, SignalResponder
from state_signals.cli import app
from tests.conftest import wait_until

STATE_SIGNALS = [sys.executable, "-m", "state_signals.cli"]

_MARK = "STATE_SIGNALS_TEST"


class Program:
    """A running command line, whose output goes to files."""

    def __init__(self, argv: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        name = uuid.uuid4().hex
        self._out, self._err = folder / f"{name}.out", folder / f"{name}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=folder,
                env=environment,
                # No terminal: what a signal reaches must not depend on where the tests are started.
                start_new_session=True,
            )

    @property
    def out(self) -> str:
        return self._out.read_bytes().decode(errors="surrogateescape")

    @property
    def err(self) -> str:
        return self._err.read_bytes().decode(errors="surrogateescape")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{self.process.args!r} does not end: {self.out!r} {self.err!r}")

    def says(self, text: str) -> None:
        wait_until(
            lambda: text in self.err + self.out or self.process.poll() is not None, timeout=20, what=f"{text!r} is said"
        )
        assert text in self.err + self.out


Start = Callable[..., Program]


@pytest.fixture
def start(redis_url: str, tmp_path: Path) -> Iterator[Start]:
    """Starts `state-signals` with some arguments; afterwards, nothing that came of it may be running."""
    mark = uuid.uuid4().hex
    started: list[Program] = []

    def start(*arguments: str, argv: list[str] | None = None, **more: str) -> Program:
        environment = {**os.environ, "STATE_SIGNALS_URL": redis_url, _MARK: mark, **more}
        environment.pop("NO_COLOR", None)
        started.append(Program(argv or [*STATE_SIGNALS, *arguments], tmp_path, environment))
        return started[-1]

    yield start
    left = _marked(mark)
    for process in left:
        process.kill()
    for program in started:
        program.process.wait()
    assert not [process.pid for process in left]


def _marked(mark: str) -> list[psutil.Process]:
    """The processes that have a mark in their environment, and are no zombies."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(_MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def kill(program: Program) -> None:
    """End a program as a crash of its host would, with all that it has started."""
    children = psutil.Process(program.process.pid).children(recursive=True)
    program.process.kill()
    for child in children:
        child.kill()


class Recorder:
    """Every signal that is broadcast, as version 1 sees it."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)
        # redis-py's annotations end here.
        client: Any = self._client
        self._subscription = client.pubsub(ignore_subscribe_messages=True)
        self._subscription.subscribe("event-signal-pubsub")
        # The confirmation: from here on nothing is missed.
        self._subscription.get_message(timeout=5)
        self.signals: list[dict[str, Any]] = []

    def events(self) -> list[str]:
        """The events so far, but for repeated initializations."""
        while (message := self._subscription.get_message(timeout=0.001)) is not None:
            self.signals.append(json.loads(message["data"]))
        found = [signal["event"] for signal in self.signals]
        return [event for place, event in enumerate(found) if event != "initialization" or place == 0]

    def hears(self, event: str) -> None:
        wait_until(lambda: event in self.events(), timeout=20, what=f"{event} is announced")

    def close(self) -> None:
        self._subscription.close()
        self._client.close()


@pytest.fixture
def printed_by(
    redis_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """What a command prints, asked in this process: data, and nothing else."""
    monkeypatch.setenv("STATE_SIGNALS_URL", redis_url)

    def ask(*arguments: str) -> str:
        capsys.readouterr()
        assert app.run(arguments) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return ask


@pytest.fixture
def recorder(redis_url: str) -> Iterator[Recorder]:
    """Records what is announced during a test."""
    made = Recorder(redis_url)
    yield made
    made.close()


Answers = Mapping[str, tuple[int, str | None] | None]

Respond = Callable[..., SignalResponder]


@pytest.fixture
def responder(redis_url: str) -> Iterator[Respond]:
    """Makes responders that answer as told; None: never."""
    made: list[SignalResponder] = []
    threads: list[threading.Thread] = []

    def serve(responder: SignalResponder, answers: Answers) -> None:
        for signal_ in responder.listen():
            answer = answers.get(signal_.event, (1, None))
            if answer is not None and signal_.event != "shutdown":
                responder.srespond(signal_, *answer)

    def make(name: str, answers: Answers | None = None) -> SignalResponder:
        responder = SignalResponder(responder_id=name, url=redis_url)
        made.append(responder)
        threads.append(threading.Thread(target=serve, args=(responder, answers or {}), daemon=True))
        threads[-1].start()
        return responder

    yield make
    for responder in made:
        responder.close()
    for thread in threads:
        thread.join(10)


def signal_of(event: str = "benchmark-start", **fields: Any) -> Signal:
    return Signal(**{"publisher_id": "fio-1", "process_name": "fio", "event": event, "runner_host": "host-a", **fields})
