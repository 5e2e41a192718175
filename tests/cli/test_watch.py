"""`state-signals watch` on a real terminal, a real server, and real runs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import psutil
import pytest
import redis

from state_signals import PublishResult, Signal, SignalExporter, SignalResponder
from state_signals.cli import app
from state_signals.cli.watching.panes import HELP
from state_signals.exceptions import Closed
from state_signals.server import EmbeddedServer
from tests.cli.conftest import STATE_SIGNALS, Start
from tests.cli.terminal import Terminal
from tests.cli.watching.scenes import HOSTILE
from tests.conftest import wait_until

WATCH = [*STATE_SIGNALS, "watch"]

QUICK = [f"collector-{number}" for number in range(1, 6)]
SLOW, FAILING, DYING = "slow", "failing", "dying"

DIES = """
import sys, time
from state_signals import SignalResponder
responder = SignalResponder(responder_id="dying", url=sys.argv[1], presence_ttl=1)
for signal in responder.listen():
    if signal.event == "initialization":
        responder.srespond(signal)
    else:
        print("acting", flush=True)
        time.sleep(60)
"""


class RealRun:
    """A run with eight responders: five are quick, one is slow and says so, one fails, and one can be killed."""

    def __init__(self, url: str) -> None:
        self.slow_ends = threading.Event()
        self._says = threading.Semaphore(0)
        self._threads = ThreadPoolExecutor(16)
        self.exporter = SignalExporter("fio", url=url, presence_ttl=1)
        acts = {**dict.fromkeys(QUICK, self._quick), SLOW: self._slow, FAILING: self._fail}
        self._responders = [SignalResponder(responder_id=name, url=url) for name in acts]
        for responder, act in zip(self._responders, acts.values(), strict=True):
            self._threads.submit(self._serve, responder, act)
        self.dying = subprocess.Popen([sys.executable, "-c", DIES, url], stdout=subprocess.PIPE, text=True)

    @property
    def publisher_id(self) -> str:
        return str(self.exporter.pub_id)

    def begin(self) -> None:
        result = self.exporter.initialize_and_wait(8, ["iteration-start", "iteration-stop"], tag="nightly", timeout=20)
        assert result == 0

    def publish(self, event: str, sample: int) -> Future[PublishResult]:
        return self._threads.submit(self.exporter.publish_signal, event, sample, timeout=60)

    def slow_works(self) -> None:
        """Let the slow one say something."""
        self._says.release()

    def kill(self) -> None:
        """Kill the one that is to die, once it acts."""
        assert self.dying.stdout is not None
        assert self.dying.stdout.readline() == "acting\n"
        self.dying.kill()

    def close(self) -> None:
        self.slow_ends.set()
        self._says.release(10)
        self.dying.kill()
        self.exporter.close()
        for responder in self._responders:
            responder.close()
        self._threads.shutdown()
        self.dying.communicate()

    def _serve(self, responder: SignalResponder, act: Callable[[SignalResponder, Signal], None]) -> None:
        with suppress(Closed):
            for heard in responder.listen():
                if heard.event == "initialization":
                    responder.srespond(heard)
                elif heard.event != "shutdown":
                    act(responder, heard)

    def _quick(self, responder: SignalResponder, heard: Signal) -> None:
        responder.srespond(heard, 1)

    def _fail(self, responder: SignalResponder, heard: Signal) -> None:
        responder.srespond(heard, 0, "No space left on device")

    def _slow(self, responder: SignalResponder, heard: Signal) -> None:
        number = 0
        while not self.slow_ends.is_set():
            self._says.acquire()
            number += 1
            responder.working(heard, f"flushing {number}")
        responder.srespond(heard, 1)


@pytest.fixture
def run(redis_url: str) -> Iterator[RealRun]:
    made = RealRun(redis_url)
    yield made
    made.close()


@pytest.fixture
def watch(redis_url: str) -> Iterator[Callable[..., Terminal]]:
    """Starts `watch` on a terminal."""
    started: list[Terminal] = []

    def start(*arguments: str, rows: int = 24, cols: int = 80, **env: str) -> Terminal:
        started.append(Terminal([*WATCH, *arguments], {"STATE_SIGNALS_URL": redis_url, **env}, rows, cols))
        return started[-1]

    yield start
    for terminal in started:
        terminal.close()


Watch = Callable[..., Terminal]


def roster(terminal: Terminal) -> dict[str, str]:
    """Return the outcomes on the screen, by responder_id and in their order."""
    names = [*QUICK, SLOW, FAILING, DYING]
    parts = (line.partition("│")[2].split() for line in terminal.screen)
    return {words[0]: words[1] for words in parts if len(words) > 1 and words[0] in names}


def test_a_real_run_with_eight_responders(watch: Watch, run: RealRun) -> None:
    terminal = watch()
    terminal.wait_for("There is no run yet.")
    assert terminal.is_alternate
    assert not terminal.is_cursor_visible
    keys = re.split(" +", "↑↓ jk run Tab pane / filter p problems l log ? help q quit")
    terminal.wait_for(lambda shown: shown.screen[-1].split() == keys)
    run.begin()
    terminal.wait_for("8 subscribed")
    terminal.wait_for(lambda shown: shown.screen[2].startswith("▸ fio-"))
    round_ = run.publish("iteration-start", 3)
    terminal.wait_for("1 failed · 2 pending · 5 succeeded")
    terminal.wait_for(lambda shown: list(roster(shown))[:3] == [FAILING, DYING, SLOW])
    terminal.wait_for("failing failed after")
    terminal.wait_for("No space left on device")
    run.slow_works()
    terminal.wait_for("flushing 1")
    terminal.wait_for(lambda shown: roster(shown).get(SLOW) == "working")
    run.slow_works()
    terminal.wait_for("flushing 2")
    run.kill()
    terminal.wait_for("1 lost · 1 failed · 1 working · 5 succeeded")
    urgent = [(DYING, "lost"), (FAILING, "failed"), (SLOW, "working")]
    terminal.wait_for(lambda shown: list(roster(shown).items())[:3] == urgent)
    terminal.wait_for("iteration-start sample 3 · open for")
    run.slow_ends.set()
    run.slow_works()
    terminal.wait_for("6 of 8 succeeded")
    assert round_.result(20).code == 2
    run.exporter.shutdown()
    terminal.wait_for(" ended")
    terminal.wait_for("shutdown")
    terminal.send("q")
    assert terminal.wait() == 0
    assert terminal.is_sane


def test_keys_and_sizes(watch: Watch, run: RealRun) -> None:
    run.begin()
    run.publish("iteration-start", 3)
    terminal = watch(run.publisher_id)
    terminal.wait_for("5 succeeded")
    terminal.send("p")
    terminal.wait_for(lambda shown: list(roster(shown)) and "collector-1 " not in shown.text.partition("  log")[0])
    terminal.send("p")
    terminal.wait_for("collector-1 ")
    terminal.send("/space")
    terminal.wait_for(lambda shown: list(roster(shown)) == [FAILING])
    terminal.wait_for("filter: space")
    terminal.send("\x1b")
    terminal.wait_for(lambda shown: len(roster(shown)) == 8)
    terminal.send("l")
    terminal.wait_for(lambda shown: not roster(shown))
    terminal.wait_for("initialization of fio")
    terminal.send("l?")
    terminal.wait_for("choose a run")
    terminal.wait_for(lambda shown: all(text in shown.text for _, text in HELP))
    terminal.send("?")
    terminal.wait_for(lambda shown: len(roster(shown)) == 8)
    terminal.resize(40, 132)
    terminal.wait_for(lambda shown: "q quit" in shown.screen[39] and "1 run" in shown.screen[0][120:])
    terminal.wait_for(lambda shown: len(roster(shown)) == 8)
    terminal.resize(10, 50)
    terminal.wait_for(lambda shown: "/ filter" in shown.screen[9] and "1 run" in shown.screen[0])
    terminal.resize(24, 80)
    terminal.wait_for(lambda shown: "q quit" in shown.screen[23] and len(roster(shown)) == 8)
    terminal.send("\x03")
    assert terminal.wait() == 130
    assert terminal.is_sane


def test_runs_are_chosen(watch: Watch, redis_url: str) -> None:
    with (
        SignalExporter("older", url=redis_url, publisher_id="older") as older,
        SignalExporter("newer", url=redis_url, publisher_id="newer") as newer,
    ):
        older.initialize(["tick"])
        newer.initialize(["tick"], tag="the newer one")
        terminal = watch()
        terminal.wait_for("▸ newer")
        terminal.wait_for("the newer one")
        terminal.send("\x1b[B")
        terminal.wait_for("▸ older")
        older.publish_signal("tick", wait=False)
        terminal.wait_for("tick")
        # What was chosen stays, whatever begins.
        with SignalExporter("third", url=redis_url, publisher_id="third") as third:
            third.initialize(["tick"])
            terminal.wait_for(lambda shown: re.search(r"third +live", shown.text))
            terminal.wait_for("▸ older")
            third.shutdown()
            terminal.wait_for(lambda shown: re.search(r"third +ended", shown.text))
        older.abort("disk full")
        terminal.wait_for("aborted")
        terminal.wait_for("disk full")
        terminal.send("q")
        assert terminal.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back(watch: Watch, number: signal.Signals) -> None:
    terminal = watch()
    terminal.wait_for("no run yet")
    terminal.kill(number)
    assert terminal.wait() == 128 + number
    assert terminal.is_sane


def test_ctrl_z_gives_the_terminal_back_for_a_while(watch: Watch) -> None:
    terminal = watch()
    terminal.wait_for("no run yet")
    terminal.send("\x1a")
    process = psutil.Process(terminal.pid)
    terminal.wait_for(lambda shown: process.status() == psutil.STATUS_STOPPED and not shown.is_alternate)
    assert terminal.is_sane
    terminal.kill(signal.SIGCONT)
    terminal.wait_for(lambda shown: shown.is_alternate and "no run yet" in shown.text)
    terminal.send("q")
    assert terminal.wait() == 0
    assert terminal.is_sane


def test_hostile_names_do_nothing_to_the_terminal(watch: Watch, redis_url: str) -> None:
    names = [name for name in HOSTILE if name != "\ud800"]
    terminal = watch()
    terminal.wait_for("no run yet")
    with redis.Redis.from_url(redis_url) as client:
        for place, name in enumerate(names):
            envelope = {"v": 2, "id": f"{place:032x}", "seq": 1, "sent": 1.79e9, "journal": False}
            facts = {"publisher_id": name, "process_name": name, "event": name, "runner_host": name, "tag": name}
            metadata = {"_state_signals": envelope}
            client.publish("event-signal-pubsub", json.dumps({**facts, "metadata": metadata}))
    for _ in names:
        terminal.send("j")
    terminal.wait_for(f"{len(names)} runs")
    terminal.wait_for(lambda shown: "│" in shown.screen[5])
    assert b"\x1b[31m" not in terminal.raw
    assert b"\x1b]" not in terminal.raw
    assert "\u202e" not in terminal.text
    terminal.send("q")
    assert terminal.wait() == 0


def test_without_colours(watch: Watch, run: RealRun) -> None:
    run.begin()
    run.publish("iteration-start", 3)
    terminal = watch(NO_COLOR="1")
    terminal.wait_for("1 failed")
    codes = set(re.findall(rb"\x1b\[([0-9;]*)m", terminal.raw))
    assert codes <= {b"0", b"1", b"2", b"4", b"7", b"7;1"}
    coloured = watch()
    coloured.wait_for("1 failed")
    assert b"\x1b[32m" in coloured.raw


def test_a_thousand_responders(watch: Watch, redis_url: str) -> None:
    with SignalExporter("fio", url=redis_url) as exporter, redis.Redis.from_url(redis_url) as client:
        exporter.initialize(["tick"])
        key = f"state-signals:{{{exporter.pub_id}}}:responses"
        journal = client.xrange(f"state-signals:{{{exporter.pub_id}}}:signals")
        announced = json.loads(journal[0][1][b"s"])["metadata"]["_state_signals"]["id"]
        terminal = watch()
        terminal.wait_for("nobody has subscribed")

        def answer(name: str, event: str, signal_id: str, ras: int | None) -> dict[bytes, bytes]:
            facts = {"responder_id": name, "publisher_id": exporter.pub_id, "event": event, "signal_id": signal_id}
            more = {} if ras is None else {"ras": ras}
            return {b"r": json.dumps({**facts, **more, "sent": 1.79e9, "took": 0.001}).encode()}

        names = [f"node-{number:04}" for number in range(1_000)]
        with client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.xadd(key, answer(name, "initialization", announced, None))
            pipe.execute()
        terminal.wait_for("1000 subscribed")
        wait_until(lambda: len(exporter.subs) == 1_000, timeout=20, what="the subscription")
        round_ = threading.Thread(target=exporter.publish_signal, args=("tick",), kwargs={"timeout": 60})
        round_.start()
        terminal.wait_for("1000 pending")
        wait_until(lambda: client.xlen(f"state-signals:{{{exporter.pub_id}}}:signals") == 2, what="the signal")
        tick = json.loads(client.xrevrange(f"state-signals:{{{exporter.pub_id}}}:signals", count=1)[0][1][b"s"])
        signal_id = tick["metadata"]["_state_signals"]["id"]
        with client.pipeline(transaction=False) as pipe:
            for name in names[:-3]:
                pipe.xadd(key, answer(name, "tick", signal_id, 1))
            pipe.xadd(key, answer(names[-3], "tick", signal_id, 0))
            pipe.execute()
        terminal.wait_for("1 failed · 2 pending · 997 succeeded")
        urgent = [["node-0997", "failed"], ["node-0998", "pending"], ["node-0999", "pending"]]
        terminal.wait_for(
            lambda shown: (
                [line.partition("│")[2].split()[:2] for line in shown.screen[5:8]] == urgent
                and re.search(r"… and 9\d\d succeeded", shown.text)
            )
        )
        with client.pipeline(transaction=False) as pipe:
            for name in names[-2:]:
                pipe.xadd(key, answer(name, "tick", signal_id, 1))
            pipe.execute()
        terminal.wait_for("999 succeeded")
        round_.join(20)
        terminal.send("q")
        assert terminal.wait() == 0


def test_a_run_of_version_1(watch: Watch, redis_url: str) -> None:
    def say(client: Any, event: str) -> None:
        facts = {"publisher_id": "old-1", "process_name": "old", "event": event, "runner_host": "h", "sample_no": 3}
        client.publish("event-signal-pubsub", json.dumps({**facts, "tag": "nightly"}))

    with redis.Redis.from_url(redis_url) as client:
        terminal = watch()
        terminal.wait_for("no run yet")
        say(client, "initialization")
        terminal.wait_for("old-1")
        say(client, "benchmark-start")
        terminal.wait_for("benchmark-start sample 3")
        answer = {"responder_id": "pcap", "publisher_id": "old-1", "event": "benchmark-start", "ras": 0}
        client.publish("event-signal-response", json.dumps({**answer, "message": "no such device"}))
        terminal.wait_for("pcap failed")
        terminal.wait_for("no such device")
        say(client, "shutdown")
        terminal.wait_for("ended")


def test_a_server_that_is_lost_and_comes_back() -> None:
    with EmbeddedServer() as server, SignalExporter("fio", url=server.url, publisher_id="fio") as exporter:
        exporter.initialize(["tick"], tag="before")
        with Terminal(WATCH, {"STATE_SIGNALS_URL": server.url}) as terminal:
            terminal.wait_for("▸ fio")
            server.kill()
            terminal.wait_for("connection lost, trying again")
            # What was known is still there, and keys work.
            terminal.wait_for("▸ fio")
            terminal.send("?")
            terminal.wait_for("choose a run")
            terminal.send("?")
            server.start()
            terminal.wait_for(lambda shown: "connection lost" not in shown.text)
            exporter.publish_signal("tick", wait=False)
            terminal.wait_for("tick")
            terminal.send("q")
            assert terminal.wait() == 0
            assert terminal.is_sane


def test_it_quits_while_the_server_is_away() -> None:
    with EmbeddedServer() as server, Terminal(WATCH, {"STATE_SIGNALS_URL": server.url}) as terminal:
        terminal.wait_for("no run yet")
        server.kill()
        terminal.wait_for("connection lost, trying again")
        terminal.send("q")
        assert terminal.wait() == 0
        assert terminal.is_sane


def test_watching_leaves_no_trace(watch: Watch, run: RealRun, redis_url: str) -> None:
    run.begin()
    with redis.Redis.from_url(redis_url) as client:
        before = set(client.keys("*"))
        terminal = watch()
        terminal.wait_for("8 subscribed")
        assert set(client.keys("*")) == before
        assert len(run.exporter.subs) == 8
        terminal.send("q")
        assert terminal.wait() == 0
        assert set(client.keys("*")) == before


def test_once(start: Start, run: RealRun, redis_url: str) -> None:
    run.begin()
    run.publish("iteration-start", 3)
    with redis.Redis.from_url(redis_url) as client:
        key = f"state-signals:{{{run.publisher_id}}}:responses"
        wait_until(lambda: client.xlen(key) >= 1 + 8 + 6, timeout=20, what="the answers")
    program = start("watch", "--once", run.publisher_id[:6])
    assert program.wait() == 0, program.err
    lines = program.out.splitlines()
    assert lines[0].startswith(" state-signals watch  redis://127.0.0.1:")
    assert all(len(line) <= 80 for line in lines)
    assert len(lines) <= 24
    assert "1 failed · 2 pending · 5 succeeded" in program.out
    assert "q quit" not in program.out
    assert program.out.replace("\n", "").isprintable()


def test_once_in_ascii_and_in_another_size(start: Start, run: RealRun) -> None:
    run.begin()
    program = start("watch", "--once", PYTHONIOENCODING="ascii", COLUMNS="120", LINES="30", PYTHONUTF8="0")
    assert program.wait() == 0, program.err
    assert program.out.isascii()
    assert len(program.out.splitlines()[0]) == 119
    assert "8 subscribed" in program.out


def test_no_terminal(start: Start) -> None:
    program = start("watch")
    assert program.wait() == 2
    assert program.out == ""
    assert "--once" in program.err
    assert "state-signals ps --json" in program.err
    assert program.err.count("\n") == 1


def test_a_terminal_that_can_only_append_lines(watch: Watch) -> None:
    terminal = watch(TERM="dumb")
    assert terminal.wait() == 2
    assert "this is none" in " ".join(terminal.text.split())


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "unix:///nowhere"])
def test_no_server(url: str, redis_url: str) -> None:
    with Terminal([*WATCH, "--connect-timeout", "0"], {"STATE_SIGNALS_URL": url}) as terminal:
        assert terminal.wait() == 4
        assert "error:" in terminal.text
        assert terminal.is_sane
        assert b"\x1b[?1049h" not in terminal.raw


def test_a_run_that_nobody_knows(watch: Watch, redis_url: str) -> None:
    with SignalExporter("fio", url=redis_url, publisher_id="fio-1") as exporter:
        exporter.initialize(["tick"])
        terminal = watch("foi-1")
        assert terminal.wait() == 2
        assert "did you mean fio-1?" in " ".join(terminal.text.split())
        assert terminal.is_sane


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["watch", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "state-signals watch --once" in shown
    assert "4 no connection" in shown


def test_help_imports_nothing_that_takes_time() -> None:
    program = (
        "import sys; from state_signals.cli.app import run; run(['watch', '--help']);"
        "print([name for name in ('redis', 'asyncio', 'msgspec', 'rich') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stderr == "[]\n"
