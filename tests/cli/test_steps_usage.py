"""What the steps refuse before anything is sent, their help, and what they read of what others may have written."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from state_signals.cli import app
from state_signals.cli.stepping.lookup import Found, RunSettings, Stage, close_to, owner_name

STEPS = ["init", "publish", "shutdown", "abort"]

NOBODY = ["--url", "redis://127.0.0.1:1", "--connect-timeout", "0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["init", "fio"], "Missing option '--events'"),
        (["init", "--events", "a"], "Missing argument 'NAME'"),
        (["init", "fio", "--events", ""], "--events takes events with commas between them"),
        (["init", "fio", "--events", "a,,b"], "--events takes events with commas between them"),
        (["init", "fio", "--events", "a,shutdown"], "the event 'shutdown' is reserved"),
        (["init", "fio", "--events", "a", "--wait", "-1"], "Invalid value for '--wait'"),
        (["init", "fio", "--events", "a", "--presence", "0"], "--presence must be from 0.1"),
        (["init", "fio", "--events", "a", "--retention", "0"], "--retention must be positive"),
        (["init", "fio", "--events", "a", "--timeout", "-3"], "--subscribe-timeout must not be negative"),
        (
            ["init", "fio", "--events", "a", "--id", "x\x1b[2J"],
            "--id must be printable text and not empty, not 'x\\x1b[2J'",
        ),
        (["init", "fi\udce9o", "--events", "a"], "NAME is not valid Unicode text"),
        (["init", "fio", "--evnts", "a"], "(try 'state-signals init --help')"),
        (["publish"], "Missing argument 'ID'"),
        (["publish", "x"], "Missing argument 'EVENT'"),
        (["publish", "x", "\udce9"], "EVENT is not valid Unicode text"),
        (["publish", "\udce9", "a"], "ID is not valid Unicode text"),
        (["publish", "", "a"], "ID must be printable text and not empty"),
        (["publish", "x", "a", "--tag", "\udce9"], "--tag is not valid Unicode text"),
        (["publish", "x", "a", "--metadata", "{"], "--metadata is not JSON"),
        (["publish", "x", "a", "--metadata", "[]"], "--metadata must be a JSON object"),
        (["publish", "x", "a", "--min-success", "most"], "--min-success takes a count or a share"),
        (["publish", "x", "a", "--min-success", "101%"], "--min-success takes a count or a share"),
        (["publish", "x", "a", "--stall-timeout", "-2"], "--stall-timeout must not be negative"),
        (["publish", "x", "a", "--smaple", "1"], "(try 'state-signals publish --help')"),
        (["shutdown", "x", "--timeout", "soon"], "Invalid value for '--timeout'"),
        (["abort", "x", "--reason", "\udce9"], "--reason is not valid Unicode text"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sent(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run([*arguments, *NOBODY]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert said.err.count("\n") == 1
    assert "\x1b" not in said.err


@pytest.mark.parametrize(
    "command", [["init", "fio", "--events", "a"], ["publish", "x", "a"], ["shutdown", "x"], ["abort", "x"]]
)
def test_without_a_server_the_exit_code_is_4(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([*command, *NOBODY]) == 4
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("state-signals: error: cannot connect to the server at redis://127.0.0.1:1/0: ")


@pytest.mark.parametrize("command", STEPS)
def test_help_has_examples_and_exit_codes_and_is_quick(command: str) -> None:
    program = (
        "import sys; from state_signals.cli.app import run; run(sys.argv[1:]);"
        "print([name for name in ('redis', 'asyncio', 'msgspec', 'rich') if name in sys.modules], file=sys.stderr)"
    )
    argv = [sys.executable, "-c", program, command, "--help"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert len(re.findall(rf"^    .*state-signals {command} ", done.stdout, re.MULTILINE)) >= 3
    shown = " ".join(done.stdout.split())
    assert "4 no connection" in shown
    assert "5 " in shown


def test_what_is_known_of_an_exporter_whoever_wrote_it() -> None:
    assert Found("x").stage is Stage.UNKNOWN
    assert Found("x", owner=b"?").stage is Stage.CREATED
    for data in (b"", b"{}", b"[]", b'{"wait": 1, "presence": "x", "retention": 1}', b"\xff", b"[" * 9999):
        assert RunSettings.decode(data, None) == RunSettings()
    settings = RunSettings(wait=0, presence=None, retention=60.0)
    assert RunSettings.decode(settings.encode(), None) == settings
    assert owner_name(b'{"pid": 7, "host": "h"}') == "process 7 on h"
    for owner in (None, b"", b"[]", b"\xff", b'{"pid": "x", "host": 1}'):
        assert owner_name(owner) == "another process"


def test_which_exporter_may_be_meant() -> None:
    live = ["uperf-1", "fio-0d0f7a3e", "fio-11111111", "train"]
    assert close_to("fio-0d0f7a3f", live)[0] == "fio-0d0f7a3e"
    assert close_to("fio", live) == ["fio-0d0f7a3e", "fio-11111111"]
    assert close_to("1111", live) == ["fio-11111111"]
    assert close_to("zzz", live) == []
