"""What every command does with help, typing errors, servers that are not there, and Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from state_signals.cli import app
from tests.cli.conftest import Program
from tests.conftest import wait_until

NETWORKED: dict[str, list[str]] = {
    "run": ["fio", "--", "true"],
    "respond": ["--on", "start=true"],
    "init": ["fio", "--events", "start"],
    "publish": ["fio-1", "start"],
    "shutdown": ["fio-1"],
    "abort": ["fio-1"],
    "listen": [],
    "ps": [],
    "history": [],
    "timeline": ["fio-1"],
    "watch": ["--once"],
    "doctor": [],
    "bench": [],
}
"""Those that need a server, and the arguments that they need besides."""

NOBODY = ["--url", "redis://user:secret@127.0.0.1:1"]


def options(command: str) -> list[str]:
    """The long options of a command."""
    found = app._main_command().get_command(None, command)
    return [name for each in found.params for name in each.opts if name.startswith("--")]


def called(command: str, extra: list[str]) -> list[str]:
    """A call of a command with more options than it needs."""
    needed = NETWORKED[command]
    split = needed.index("--") if "--" in needed else len(needed)
    return [command, *needed[:split], *extra, *needed[split:]]


def test_all_that_need_a_server_are_looked_at() -> None:
    assert set(app.COMMANDS) - set(NETWORKED) == {"demo", "server", "acl", "completion"}


@pytest.mark.parametrize("command", app.COMMANDS)
def test_help_explains_every_option_and_gives_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([command, "--help"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    for option in options(command):
        assert option in said.out
    assert f"state-signals {command}" in said.out.split("Usage:")[1].split("\n", 1)[1], "there is no example"
    assert not set("{}") & set(said.out.split("\n\n")[0])
    found = app._main_command().get_command(None, command)
    silent = [each.opts for each in found.params if each.opts[0].startswith("-") and not each.help]
    assert not silent


def test_what_several_commands_take_is_explained_alike() -> None:
    texts: dict[str, set[str]] = {}
    for command in ("run", "init", "publish"):
        for each in app._main_command().get_command(None, command).params:
            texts.setdefault(each.opts[0], set()).add(each.help)
    # What is waited for, and what is printed, differs.
    assert {name for name, found in texts.items() if len(found) > 1} == {"--json", "--keep-going", "--timeout"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["history", "\udcff"], "error: PUBLISHER_ID is not valid Unicode text"),
        (["watch", "--once", "\udcff"], "error: PUBLISHER_ID is not valid Unicode text"),
        (["timeline", "x" * 2000], "error: PUBLISHER_ID has 2000 characters"),
        (["completion", "tcsh"], "'SHELL': 'tcsh' is not one of"),
        (["run", "--help"], "Usage: state-signals run [OPTIONS] NAME -- CMD..."),
        (["respond", "--help"], "Usage: state-signals respond [OPTIONS]\n"),
        (["timeline", "--help"], "Usage: state-signals timeline [OPTIONS] [PUBLISHER_ID]\n"),
        (["init", "--help"], "  --subscribe-timeout, --timeout SECONDS"),
    ],
)
def test_what_is_to_be_given_has_one_name(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app.run(arguments)
    said = capsys.readouterr()
    assert message in said.out + said.err


@pytest.mark.parametrize("command", app.COMMANDS)
def test_an_option_with_a_typing_error_is_guessed(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for option in options(command):
        # Two letters that have changed places; those of a short word make another one.
        typed = option[:3] + option[4] + option[3] + option[5:] if len(option) > 5 else option[:-1] + "xx"
        if typed == option:
            continue
        assert app.run([command, typed]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert typed in said.err
        assert f"state-signals {command} --help" in said.err
        if len(option) > 6:
            assert option in said.err.replace(typed, ""), f"nobody guesses that {typed} is {option}"


@pytest.mark.parametrize("command", NETWORKED)
def test_a_server_that_is_not_there(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(called(command, [*NOBODY, "--connect-timeout", "0.5"])) == 4
    said = capsys.readouterr()
    told = said.err + said.out
    assert "127.0.0.1:1" in told
    assert "refused" in told
    assert "secret" not in told
    assert "Traceback" not in told


# `doctor` does not wait for a server: that it is not there is what it tells.
@pytest.mark.parametrize("command", sorted(NETWORKED.keys() - {"doctor"}))
def test_ctrl_c_while_the_server_is_not_there(command: str, start: Callable[..., Program]) -> None:
    program = start(*called(command, [*NOBODY, "--connect-timeout", "-1"]))
    wait_until(lambda: "refused" in program.err or "Trying on" in program.err, timeout=30.0)
    program.send(signal.SIGINT)
    assert program.wait() == 130
    assert "Traceback" not in program.err


@pytest.mark.parametrize("command", NETWORKED)
@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--url", "http://127.0.0.1"], "http"),
        (["--url", "bench-head:6379"], "--url must be redis://"),
        (["--url", "redis://127.0.0.1:port"], "port"),
        (["--namespace", "no spaces"], "namespace"),
        (["--namespace", "\udcff"], "namespace"),
        (["--connect-timeout", "-3"], "--connect-timeout"),
        (["--connect-timeout", "soon"], "--connect-timeout"),
    ],
)
def test_what_cannot_be_a_server_is_refused_at_once(
    command: str, arguments: list[str], what: str, capsys: pytest.CaptureFixture[Any]
) -> None:
    assert app.run(called(command, arguments)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert what in said.err
    assert "Traceback" not in said.err
