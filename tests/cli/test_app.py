"""The program as a whole: help, version, exit codes of what it cannot do."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import state_signals
from state_signals.cli import app
from tests.cli.conftest import STATE_SIGNALS

MINE = ["run", "respond", "listen"]

NOBODY = ["--url", "redis://user:secret@127.0.0.1:1", "--connect-timeout", "0"]


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["--version"]) == 0
    assert capsys.readouterr().out == f"state-signals {state_signals.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_every_command_and_every_exit_code(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(arguments) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name, summary in app.COMMANDS.items():
        assert f"{name} {summary}" in shown
    assert "0 fine, 1 a responder failed, 2 usage, 3 a responder was missing or lost, 4 no connection" in shown


@pytest.mark.parametrize("command", MINE)
def test_each_command_has_examples_and_its_exit_codes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.count(f"\n    state-signals {command} ") >= 3
    assert "4 no connection" in " ".join(shown.split())
    assert "STATE_SIGNALS_URL" in shown
    for form in ("redis://", "rediss://", "unix://", "redis+sentinel://", "redis+cluster://"):
        assert form in shown


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in MINE)])
def test_asking_for_help_imports_nothing_that_takes_time(arguments: list[str]) -> None:
    program = (
        "import sys; from state_signals.cli.app import run; run(sys.argv[1:]);"
        "print([name for name in ('redis', 'asyncio', 'msgspec', 'rich') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rum"], "no such command: rum; did you mean run? (try 'state-signals --help')"),
        (["\x1b[31m"], "no such command: \\x1b[31m"),
        (["--nonsense"], "--nonsense"),
        (["listen", "--nonsense"], "(try 'state-signals listen --help')"),
        (["listen", "--count", "many"], "Invalid value for '--count'"),
        (["run"], "Missing argument 'NAME'"),
        (["run", "fio"], "Missing argument 'CMD'"),
        (["run", "fio", "ls", "-la"], "CMD and its options come after --; try 'state-signals run --help'"),
        (["respond", "--on"], "(try 'state-signals respond --help')"),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("state-signals: error: ")
    assert message in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("command", [["run", "fio"], ["respond"], ["listen"]])
def test_without_a_server_the_exit_code_is_4(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([*command, *NOBODY, *(["--", "true"] if command[0] == "run" else [])]) == 4
    said = capsys.readouterr().err
    assert said.startswith("state-signals: error: cannot connect to the server at redis://user@127.0.0.1:1/0: ")
    assert said.count("\n") == 1
    assert "secret" not in said


@pytest.mark.parametrize("command", [["run", "fio"], ["respond"], ["listen", "--responses"]])
@pytest.mark.parametrize(
    "url", ["redis+sentinel://127.0.0.1:1,127.0.0.1:2/main", "redis+cluster://127.0.0.1:1,[::1]:2"]
)
def test_several_hosts_may_be_named(command: list[str], url: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = [*command, "--url", url, "--connect-timeout", "0", *(["--", "true"] if command[0] == "run" else [])]
    assert app.run(given) == 4
    said = capsys.readouterr().err
    assert said.startswith("state-signals: error: cannot connect to the server at ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("command", [["run", "fio"], ["respond"], ["listen"]])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--url", "http://user:secret@host"], "--url must be redis://"),
        (["--url", "redis://user:sec/ret@host:1"], "percent-encoded"),
        (["--url", "redis+sentinel://u:secret@host:1,host:2"], ".../SERVICE"),
        (["--url", "redis+cluster://u:secret@host:1,host:x"], "a port must be a number"),
        (["--url", "redis+cluster://u:sec?ret@host:1"], "percent-encoded"),
        (["--url", "redis://host/secret"], "database must be"),
        (["--url", "memory://bus"], "memory:// lives within one process"),
        (["--namespace", "a:b"], "namespace must be"),
        (["--connect-timeout", "-3"], "--connect-timeout must not be negative"),
        (["--tag", b"caf\xe9".decode(errors="surrogateescape")], "--tag is not valid Unicode text: 'caf\\udce9'"),
        (["--tag", "x" * 2000], "--tag has 2000 characters; the limit is 1024"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sent(
    command: list[str], options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run([*command, *NOBODY, *options, *(["--", "true"] if command[0] == "run" else [])]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("state-signals: error: ")
    assert said.count("\n") == 1
    assert "sec" not in said.replace("seconds", "").replace("host/secret", "")


def test_a_non_utf_8_argument_of_the_system_is_a_usage_error() -> None:
    argv = [*(os.fsencode(part) for part in STATE_SIGNALS), b"listen", b"--tag", b"caf\xe9"]
    done = subprocess.run(argv, capture_output=True, check=False)
    assert done.returncode == 2
    assert done.stderr == b"state-signals: error: --tag is not valid Unicode text: 'caf\\udce9'\n"


def test_it_is_told_why_there_is_no_connection_yet(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["listen", "--url", "redis://127.0.0.1:1", "--connect-timeout", "1.8"]) == 4
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("state-signals: cannot connect to the server at redis://127.0.0.1:1/0: ")
    assert first.endswith("Trying on, for 1.8 s.")
    assert last.startswith("state-signals: error: cannot connect to the server at redis://127.0.0.1:1/0: ")


def test_what_is_no_redis_server_is_called_so(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)
        answering = threading.Thread(target=answer, args=(listening,), daemon=True)
        answering.start()
        assert app.run(["listen", "--url", f"redis://127.0.0.1:{listening.getsockname()[1]}"]) == 4
        answering.join(20)
    assert "What answers there does not speak Redis: check host and port." in capsys.readouterr().err


def test_options_can_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_SIGNALS_URL", "redis://127.0.0.1:2")
    monkeypatch.setenv("STATE_SIGNALS_NAMESPACE", "")
    assert app.run(["listen", "--connect-timeout", "0"]) == 4
    assert "redis://127.0.0.1:2/0" in capsys.readouterr().err
    monkeypatch.setenv("STATE_SIGNALS_NAMESPACE", "a:b")
    assert app.run(["listen"]) == 2


def test_a_defect_is_no_failed_responder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(_: str) -> None:
        raise ZeroDivisionError("\x1b[31m")

    monkeypatch.setattr("state_signals.cli.run.find_program", broken)
    assert app.run(["run", "fio", "--", "true"]) == 5
    said = capsys.readouterr().err
    assert "ZeroDivisionError" in said
    assert "\x1b" not in said
    assert said.endswith("state-signals: error: this is a defect; please report it with the lines above\n")


def test_what_commands_do_knows_nothing_of_the_commands() -> None:
    home = Path(app.__file__).parent
    wrong = [
        f"{file.relative_to(home)}: {line}"
        for file in home.glob("*/*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if (found := re.match(r"\s*from state_signals\.cli\.(\w+) import", line)) and found[1] in app.COMMANDS
    ]
    assert not wrong
