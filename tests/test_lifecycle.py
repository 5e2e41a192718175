"""From construction to close: what is used meanwhile, and that nothing is left."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

import state_signals
import state_signals.asyncio
from state_signals import Closed, ServerRefused, ServerUnreachable, SignalExporter, SignalResponder
from state_signals.server import EmbeddedServer
from tests.conftest import wait_until
from tests.parties import Parties, Wire, eventually, in_thread

CYCLES = 30


def run_script(script: str, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def connections(url: str) -> int:
    """The clients of a server, but for the one that asks."""
    with redis.Redis.from_url(url) as client:
        own = client.client_id()
        return sum(int(each["id"]) != own for each in client.client_list())


def own_threads() -> int:
    return sum(thread.name.startswith("state-signals") for thread in threading.enumerate())


@pytest.fixture
def nobody_there() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def one_cycle(parties: Parties) -> None:
    exporter = parties.unconnected("SignalExporter", "fio")
    responder = parties.unconnected("SignalResponder", responder_name="pcp")
    if parties.shell == "sync":
        running = asyncio.create_task(in_thread(responder.run))
        await in_thread(exporter.initialize_and_wait, 1, ["start"])
        assert (await in_thread(exporter.publish_signal, "start")).ok
        await in_thread(exporter.close)
        await running
        await in_thread(responder.close)
    else:
        await responder.connect()
        running = asyncio.create_task(responder.run())
        await exporter.initialize_and_wait(1, ["start"])
        assert (await exporter.publish_signal("start")).ok
        await exporter.close()
        await running
        await responder.close()


async def test_nothing_is_left_after_close(parties: Parties, wire: Wire, url: str) -> None:
    process = psutil.Process()

    def used() -> tuple[int, int]:
        gc.collect()
        return own_threads(), process.num_fds()

    await one_cycle(parties)
    wire.stored()
    before, clients = used(), 0 if url.startswith("memory") else connections(url)
    for _ in range(CYCLES):
        await one_cycle(parties)
    await eventually(lambda: used() == before, f"{before} threads and descriptors (now {used()})")
    assert wire.leftovers() == []
    assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == set()
    if not url.startswith("memory"):
        await eventually(lambda: connections(url) == clients, "the number of connections")


async def test_the_keys_expire_if_an_exporter_just_vanishes(redis_url: str) -> None:
    script = """
import os, sys, state_signals
exporter = state_signals.SignalExporter("fio", url=sys.argv[1], publisher_id="fio-1", retention=500)
exporter.initialize(["start"])
os._exit(0)
"""
    assert run_script(script, redis_url).returncode == 0
    with redis.Redis.from_url(redis_url) as client:
        mine = {key.decode().rpartition(":")[2]: client.ttl(key) for key in client.keys("state-signals:{fio-1}:*")}
        # The claim ends with its presence: then somebody else may have the name.
        assert 0 < mine.pop("owner") <= 15
        assert set(mine) == {"record", "responses", "signals"}
        assert all(490 < lifetime <= 500 for lifetime in mine.values())
        assert client.ttl("state-signals:exporters") > 0


@pytest.mark.parametrize("when", ["constructed", "initialized", "listening"])
def test_a_program_that_just_ends_ends(redis_url: str, when: str) -> None:
    script = """
import sys, threading, state_signals
exporter = state_signals.SignalExporter("fio", url=sys.argv[1])
responder = state_signals.SignalResponder(url=sys.argv[1])
if sys.argv[2] != "constructed":
    exporter.initialize(["start"])
if sys.argv[2] == "listening":
    threading.Thread(target=lambda: list(responder.listen()), daemon=True).start()
"""
    done = run_script(script, redis_url, when)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_asyncio_program_that_just_ends_ends(redis_url: str) -> None:
    script = """
import asyncio, sys
from state_signals.asyncio import SignalExporter, SignalResponder
async def main():
    responder = SignalResponder(url=sys.argv[1])
    await responder.connect()
    running = asyncio.create_task(responder.run())
    exporter = SignalExporter("fio", url=sys.argv[1])
    assert await exporter.initialize_and_wait(1, ["start"]) == 0
asyncio.run(main())
"""
    done = run_script(script, redis_url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


CPU_OF_IDLE = {
    "sync": """
import sys, threading, time, state_signals
responder = state_signals.SignalResponder(url=sys.argv[1])
threading.Thread(target=responder.run, daemon=True).start()
exporter = state_signals.SignalExporter("fio", url=sys.argv[1])
assert exporter.initialize_and_wait(1, ["start"]) == 0
print("ready", flush=True)
sys.stdin.read()
""",
    "asyncio": """
import asyncio, sys
from state_signals.asyncio import SignalExporter, SignalResponder
async def main():
    responder = SignalResponder(url=sys.argv[1])
    await responder.connect()
    running = asyncio.create_task(responder.run())
    async with SignalExporter("fio", url=sys.argv[1]) as exporter:
        assert await exporter.initialize_and_wait(1, ["start"]) == 0
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    await running
    await responder.close()
asyncio.run(main())
""",
}


def test_idle_costs_nothing(redis_url: str, shell: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CPU_OF_IDLE[shell], redis_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as idle:
        assert idle.stdin
        assert idle.stdout
        assert idle.stdout.readline() == "ready\n"
        process = psutil.Process(idle.pid)
        # It is idle once it sleeps, and has not been woken for a moment.
        calm = [time.monotonic(), process.num_ctx_switches().voluntary]

        def is_calm() -> bool:
            if process.num_ctx_switches().voluntary != calm[1]:
                calm[:] = [time.monotonic(), process.num_ctx_switches().voluntary]
            return time.monotonic() - calm[0] > 0.3

        wait_until(is_calm, timeout=30)
        began, cpu = time.monotonic(), sum(process.cpu_times()[:2])
        switches = process.num_ctx_switches().voluntary
        # The only way to see that nothing happens is to look for a while.
        wait_until(lambda: time.monotonic() - began > 3)
        elapsed = time.monotonic() - began
        assert (sum(process.cpu_times()[:2]) - cpu) / elapsed < 0.010
        # The main thread alone, which waits for standard input or for the loop.
        assert (process.num_ctx_switches().voluntary - switches) / elapsed <= 1
        idle.stdin.close()
        assert idle.wait(20) == 0


def test_a_fork_is_told_to_make_its_own(redis_url: str) -> None:
    script = """
import os, sys, threading, state_signals
url = sys.argv[1]
responder = state_signals.SignalResponder(url=url)
running = threading.Thread(target=responder.run)
running.start()
exporter = state_signals.SignalExporter("fio", url=url)
assert exporter.initialize_and_wait(1, ["start"]) == 0
child = os.fork()
if child == 0:
    status = 1
    try:
        for use in (lambda: exporter.publish_signal("start"), lambda: next(responder.listen()), exporter.shutdown):
            try:
                use()
            except state_signals.Closed as error:
                assert "fork" in str(error)
            else:
                os._exit(2)
        exporter.close()
        responder.close()
        status = 0
    finally:
        os._exit(status)
assert os.waitpid(child, 0)[1] == 0
assert exporter.publish_signal("start", timeout=10).ok
exporter.close()
running.join()
responder.close()
"""
    done = run_script(script, redis_url)
    assert (done.returncode, done.stderr) == (0, "")


async def test_what_is_closed_says_so(parties: Parties) -> None:
    exporter, responder = await parties.exporter(), await parties.responder()
    for party in (exporter, responder):
        await party.close()
        await party.close()
    with pytest.raises(Closed, match="closed"):
        await exporter.publish_signal("start")
    with pytest.raises(Closed, match="closed"):
        await responder.respond("fio", "start", 1)


async def test_initializing_twice_leaks_nothing_and_works(parties: Parties) -> None:
    await parties.running()
    exporter = await parties.exporter()
    assert await exporter.initialize_and_wait(1, ["start"]) == 0
    threads = own_threads()
    await exporter.initialize(["stop"])
    assert own_threads() == threads
    assert exporter.legal_events == ["stop"]
    assert (await exporter.publish_signal("stop", timeout=20)).ok
    assert exporter.init_listener.is_alive()
    await exporter.shutdown()
    assert not exporter.init_listener.is_alive()
    await exporter.initialize(["start"])
    assert exporter.init_listener.is_alive()


async def test_shutdown_before_initialize_works(parties: Parties, wire: Wire) -> None:
    exporter = await parties.exporter()
    await exporter.shutdown()
    assert [b'"event":"shutdown"' in signal for signal in wire.signals()] == [True]


async def test_close_announces_the_shutdown_once(parties: Parties, wire: Wire) -> None:
    exporter = await parties.exporter()
    await exporter.initialize(["start"])
    await exporter.shutdown()
    await exporter.close()
    assert sum(b'"event":"shutdown"' in signal for signal in wire.signals()) == 1


async def test_close_ends_a_round_that_somebody_waits_for(parties: Parties) -> None:
    exporter = await parties.exporter()
    await exporter.initialize(["start"], expected_resps=["nobody"])
    waiting = parties.task(exporter.publish_signal("start", timeout=None))
    await eventually(lambda: exporter._core._responses.has_open_rounds, "the round")
    await exporter.close()
    result = await asyncio.wait_for(waiting, 20)
    assert not result.ok
    assert result.pending == {"nobody"}


# Logging


@pytest.fixture
def package_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("state_signals")
    children = [logging.getLogger(f"state_signals.{kind}") for kind in ("exporter", "responder")]
    before = logger.handlers[:], logger.propagate, [child.level for child in children]
    logger.handlers = []
    yield logger
    logger.handlers, logger.propagate = before[0], before[1]
    for child, level in zip(children, before[2], strict=True):
        child.setLevel(level)


def test_a_library_attaches_no_handler(package_logger: logging.Logger) -> None:
    with SignalExporter("fio", url="memory://log"), SignalResponder(url="memory://log"):
        assert not package_logger.handlers
        assert not logging.getLogger("state_signals.exporter").handlers


def test_with_a_log_level_each_line_is_printed_once(redis_url: str) -> None:
    script = """
import sys, state_signals
parties = [state_signals.SignalExporter(f"fio-{i}", url=sys.argv[1], log_level="INFO") for i in range(3)]
parties += [state_signals.SignalResponder(url=sys.argv[1], log_level="INFO")]
parties[0].publish_signal("start")
"""
    done = run_script(script, redis_url)
    assert done.stderr.count("nobody is waited for") == 1
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_log_level_is_refused() -> None:
    with pytest.raises(state_signals.InvalidArgument, match="log_level"):
        SignalExporter("fio", url="memory://log", log_level="LOUD")


# The server


async def connect(shell: str, **options: Any) -> None:
    if shell == "sync":
        (await in_thread(SignalExporter, "fio", **options)).close()
    else:
        async with state_signals.asyncio.SignalExporter("fio", **options):
            pass


async def test_without_a_server_the_error_says_where_why_and_what_to_try(shell: str, nobody_there: int) -> None:
    with pytest.raises(ServerUnreachable) as caught:
        await connect(shell, redis_host="127.0.0.1", redis_port=nobody_there, conn_timeout=1)
    assert isinstance(caught.value, redis.ConnectionError)
    assert isinstance(caught.value, ConnectionError)
    for part in (f"127.0.0.1:{nobody_there}", "refused", "state-signals server"):
        assert part in str(caught.value)
    assert str(caught.value) in repr(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


async def test_conn_timeout_counts_attempts(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "sync" if shell == "sync" else "asyncio"
    monkeypatch.setattr(f"state_signals.{module}.session.RETRY_INTERVAL", 0.01)
    attempts = 0
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            nonlocal attempts
            with suppress(OSError):
                while True:
                    listening.accept()[0].close()
                    attempts += 1

        thread = threading.Thread(target=hang_up)
        thread.start()
        try:
            with pytest.raises(ServerUnreachable):
                await connect(shell, redis_host="127.0.0.1", redis_port=listening.getsockname()[1], conn_timeout=3)
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
    assert attempts == 3


async def test_it_can_wait_for_the_server_to_come(shell: str, nobody_there: int) -> None:
    connecting = asyncio.create_task(connect(shell, url=f"redis://127.0.0.1:{nobody_there}", conn_timeout=-1))
    with EmbeddedServer(port=nobody_there):
        await asyncio.wait_for(connecting, 20)


async def test_a_wrong_password_is_refused_at_once_and_not_shown(shell: str) -> None:
    with EmbeddedServer(arguments=("--requirepass", "correct horse")) as guarded:
        port = guarded.port
        with pytest.raises(ServerRefused) as caught:
            await connect(shell, url=f"redis://:battery-staple@127.0.0.1:{port}", conn_timeout=None)
        assert "battery-staple" not in str(caught.value)
        assert f"127.0.0.1:{port}" in str(caught.value)
        with pytest.raises(ServerRefused, match="password"):
            await connect(shell, url=f"redis://127.0.0.1:{port}", conn_timeout=None)
        right = f"redis://:correct%20horse@127.0.0.1:{port}"
        if shell == "sync":
            with SignalExporter("fio", url=right) as exporter:
                exporter.initialize(["start"])
        else:
            async with state_signals.asyncio.SignalExporter("fio", url=right) as also:
                await also.initialize(["start"])


async def test_a_unix_socket_is_a_server_too(shell: str, tmp_path: Path) -> None:
    with EmbeddedServer(socket_path=tmp_path / "s") as server:
        parties = Parties(shell, server.url)
        await parties.running()
        exporter = await parties.exporter()
        assert await exporter.initialize_and_wait(1, ["start"]) == 0
        assert (await exporter.publish_signal("start", timeout=20)).ok
        await parties.close()


async def test_a_user_with_the_least_rights_can_do_it(shell: str, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as admin:
        admin.execute_command(
            "ACL SETUSER bench on >pass resetkeys resetchannels ~state-signals:* &event-signal-* "
            "-@all +publish +subscribe +unsubscribe +xadd +xread +xtrim +pexpire +del +ping +client|setinfo"
        )
        try:
            parties = Parties(shell, redis_url.replace("://", "://bench:pass@"))
            await parties.running()
            exporter = await parties.exporter()
            assert "pass" not in exporter._transport.address
            assert await exporter.initialize_and_wait(1, ["start"]) == 0
            assert (await exporter.publish_signal("start", timeout=20)).ok
            await parties.close()
        finally:
            admin.acl_deluser("bench")


async def test_rediss_urls_begin_with_a_tls_handshake(shell: str) -> None:
    # The embedded servers come without TLS: what can be shown here is that nothing is said in the clear.
    said = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            with listening.accept()[0] as connection:
                said.append(connection.recv(1))

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(ServerUnreachable, match="rediss://127"):
            await connect(shell, url=f"rediss://:secret@127.0.0.1:{listening.getsockname()[1]}", conn_timeout=1)
        thread.join()
    tls_handshake = b"\x16"
    assert said == [tls_handshake]


def test_the_environment_is_left_alone() -> None:
    before = dict(os.environ)
    with SignalExporter("fio", url="memory://env"):
        assert dict(os.environ) == before
