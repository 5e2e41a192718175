"""`state-signals timeline`: runs on a real server, and runs in files, drawn."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from state_signals import SignalExporter
from state_signals.cli import app
from state_signals.cli.output import json_line
from state_signals.runs.objects import run_object
from tests.cli.conftest import STATE_SIGNALS, Program, Respond, Start
from tests.cli.terminal import Terminal
from tests.timeline import runs

EVENTS = ["load-start", "load-stop"]

HOSTILE = "\x1b[2J\x07$\\frac{a}{b}$ </script>\u202e"


@pytest.fixture
def exporter(redis_url: str, responder: Respond) -> Iterator[SignalExporter]:
    """An exporter whose run was: two samples, of which one failed for one of two responders."""
    responder("good", {})
    responder("bad", {"load-stop": (0, f"no space {HOSTILE}")})
    with SignalExporter("uperf", url=redis_url, runner_host="host-a") as made:
        made.initialize_and_wait(2, EVENTS, tag=HOSTILE, timeout=20)
        for event in EVENTS:
            made.publish_signal(event, 7, timeout=20)
        made.shutdown()
        yield made


@pytest.fixture
def eight(tmp_path: Path) -> str:
    """A file with a run, as `history --json` prints it."""
    file = tmp_path / "eight.json"
    file.write_text(json_line(run_object(runs.eight(), 1)) + "\n")
    return str(file)


def ended(program: Program, code: int = 0) -> Program:
    assert program.wait() == code, program.err
    assert "Traceback" not in program.err
    return program


def error_of(program: Program, code: int = 2) -> str:
    err = ended(program, code).err
    assert program.out == ""
    assert err.count("\n") == 1
    return err


def test_a_run_is_drawn_in_characters(start: Start, exporter: SignalExporter) -> None:
    out = ended(start("timeline", exporter.pub_id, PYTHONIOENCODING="utf-8")).out
    lines = out.splitlines()
    assert lines[0].startswith("uperf · tag \\x1b[2J\\x07$\\frac{a}{b}$ </script>\\u202e · on host-a")
    assert "2 rounds · 2 responders · 1 failed, 3 succeeded · ended" in lines[1]
    assert next(line for line in lines if line.lstrip().startswith("bad")).rstrip().endswith("failed")
    assert any(line.startswith("- bad: failed load-stop 7 at ") and "no space \\x1b" in line for line in lines)
    assert out.replace("\n", "").isprintable()


def test_characters_are_plain_where_others_cannot_be_shown(start: Start, exporter: SignalExporter) -> None:
    out = ended(start("timeline", exporter.pub_id, PYTHONIOENCODING="ascii", PYTHONUTF8="0")).out
    assert out.isascii()
    assert next(line for line in out.splitlines() if line.lstrip().startswith("bad")).rstrip().endswith("failed")
    assert "[" in out


@pytest.mark.parametrize(
    ("name", "begin"),
    [
        ("run.svg", b"<?xml"),
        ("run.png", b"\x89PNG"),
        ("RUN.HTML", b"<!DOCTYPE html>"),
        ("run.trace.json", b'{"displayTimeUnit":"ms"'),
        ("run.trace", b'{"displayTimeUnit":"ms"'),
        ("run.json", b'{"publisher_id": "uperf-'),
        ("run.csv", b"publisher_id,"),
        ("run.txt", b"uperf "),
    ],
)
def test_the_suffix_says_what_to_write(
    start: Start, exporter: SignalExporter, tmp_path: Path, name: str, begin: bytes
) -> None:
    # The beginning of its id is enough.
    program = ended(start("timeline", "uperf", "-o", name))
    assert program.out == ""
    assert f"{name}: " in program.err
    assert (tmp_path / name).read_bytes().startswith(begin)


def test_a_format_goes_to_standard_output_without_a_file(start: Start, exporter: SignalExporter) -> None:
    rows = list(csv.DictReader(io.StringIO(ended(start("timeline", "uperf", "--format", "csv")).out, newline="")))
    assert [(row["event"], row["responder_id"], row["outcome"]) for row in rows if row["responder_id"] == "bad"] == [
        ("load-start", "bad", "succeeded"),
        ("load-stop", "bad", "failed"),
    ]
    assert ended(start("timeline", "uperf", "--format", "svg", "-o", "-")).out.startswith("<?xml")


def test_what_is_told_as_json_can_be_drawn_elsewhere(start: Start, exporter: SignalExporter, tmp_path: Path) -> None:
    told = ended(start("timeline", "uperf", "--json")).out
    assert json.loads(told) == json.loads(ended(start("history", "uperf", "--json")).out)
    (tmp_path / "run.json").write_text(told)
    nowhere = {"STATE_SIGNALS_URL": "redis://127.0.0.1:1"}
    here = json.loads(ended(start("timeline", "uperf", "--format", "trace")).out)
    there = json.loads(ended(start("timeline", "--from", "run.json", "--format", "trace", **nowhere)).out)
    # Moments are told to the microsecond.
    assert [event["name"] for event in there["traceEvents"]] == [event["name"] for event in here["traceEvents"]]
    assert [event["ts"] for event in there["traceEvents"]] == pytest.approx(
        [event["ts"] for event in here["traceEvents"]], abs=2.0
    )


def test_of_several_runs_the_newest_is_drawn_or_the_one_that_is_asked_for(start: Start, redis_url: str) -> None:
    with SignalExporter("uperf", url=redis_url) as exporter:
        for event in EVENTS:
            exporter.initialize([event])
            exporter.publish_signal(event, wait=False)
            exporter.shutdown()

        def event_of(*options: str) -> Any:
            told = json.loads(ended(start("timeline", exporter.pub_id, "--json", *options)).out)
            return told["run"], [this["event"] for this in told["rounds"]]

        assert event_of() == (2, ["load-stop"])
        assert event_of("--run", "1") == (1, ["load-start"])
        assert "there is no --run 3" in error_of(start("timeline", exporter.pub_id, "--run", "3"))


def test_a_part_of_a_run_is_drawn(start: Start, eight: str) -> None:
    told = json.loads(ended(start("timeline", "--from", eight, "--event", "iteration-stop", "--json")).out)
    assert [this["event"] for this in told["rounds"]] == ["iteration-stop"] * 4
    told = json.loads(ended(start("timeline", "--from", eight, "--from-time", "6", "--to-time", "9", "--json")).out)
    assert [(this["event"], this["sample_no"]) for this in told["rounds"]] == [
        ("iteration-stop", 1),
        ("iteration-start", 2),
    ]


def test_many_share_lanes_unless_all_are_asked_for(start: Start, tmp_path: Path) -> None:
    (tmp_path / "many.json").write_text(json_line(run_object(runs.many(60, 2))))
    few = ended(start("timeline", "--from", "many.json")).out
    every = ended(start("timeline", "--from", "many.json", "--all")).out
    assert "others, " in few
    assert all(f"node-{number:03d}/collector" in every for number in range(60))


def test_a_run_comes_through_a_pipe(start: Start, eight: str, tmp_path: Path) -> None:
    pipe = start(argv=["sh", "-c", f'"$@" < {eight}', "sh", *STATE_SIGNALS, "timeline", "--from", "-"])
    assert "client-1/perf" in ended(pipe).out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "give the PUBLISHER_ID of a run"),
        (["uperf", "-o", "run.pdf"], "the suffix of run.pdf does not say what to write"),
        (["uperf", "-o", "nowhere/run.svg"], "there is no folder"),
        (["uperf", "--format", "pdf"], "'pdf' is not one of"),
        (["uperf", "--json", "--format", "svg"], "choose one of --json and --format svg"),
        (["uperf", "--from-time", "-1"], "--from-time takes seconds"),
        (["uperf", "--to-time", "nan"], "--to-time takes seconds"),
        (["uperf", "--from-time", "2", "--to-time", "2"], "is not before"),
        (["uperf", "--run", "x"], "--run"),
        (["uperf", "--outptu", "x"], "--outptu"),
        (["--from", "absent.json"], "cannot read absent.json: No such file"),
        (["--from", "."], "cannot read .: Is a directory"),
        (["uperf", "--url", "http://x"], "http"),
        (["x" * 2000], "PUBLISHER_ID"),
    ],
)
def test_what_cannot_be_is_refused_before_a_server_is_asked(start: Start, arguments: list[str], reason: str) -> None:
    assert reason in error_of(start("timeline", *arguments, STATE_SIGNALS_URL="redis://127.0.0.1:1"))


def test_an_unknown_exporter_is_an_error_with_a_hint(start: Start, exporter: SignalExporter) -> None:
    assert f"did you mean {exporter.pub_id}" in error_of(start("timeline", "perf"))
    assert "is known at" in error_of(start("timeline", "uperf", "--namespace", "elsewhere"))


def test_an_event_that_is_not_there_is_an_error_with_those_that_are(start: Start, eight: str) -> None:
    err = error_of(start("timeline", "--from", eight, "--event", "\x1b[2Jx"))
    assert "no round of '\\x1b[2Jx'" in err
    assert "iteration-start, iteration-stop" in err


def test_a_file_of_several_exporters_needs_a_choice(start: Start, eight: str, tmp_path: Path) -> None:
    other = runs.single()
    other.publisher_id = "fio-1"
    with Path(eight).open("a") as file:
        file.write(json_line(run_object(other, 1)))
    assert "runs of 2 exporters" in error_of(start("timeline", "--from", eight))
    assert "no run of 'x'" in error_of(start("timeline", "x", "--from", eight))
    told = json.loads(ended(start("timeline", "fio", "--from", eight, "--json")).out)
    assert told["publisher_id"] == "fio-1"


def test_a_file_that_is_no_run_is_an_error_with_its_place(start: Start, tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text('{"publisher_id": "\x1b[2J"}\n')
    assert "line 1 of odd.json is no run: " in error_of(start("timeline", "--from", "odd.json"))


def test_without_a_server_it_ends_with_4(start: Start) -> None:
    err = error_of(start("timeline", "uperf", "--connect-timeout", "0.1", STATE_SIGNALS_URL="redis://127.0.0.1:1"), 4)
    assert "127.0.0.1:1" in err


def test_without_matplotlib_the_extra_is_named_and_the_rest_works(
    eight: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    svg = tmp_path / "run.svg"
    assert app.run(["timeline", "--from", eight, "-o", str(svg)]) == 2
    assert "pip install 'state-signals[plot]'" in capsys.readouterr().err
    assert not svg.exists()
    assert app.run(["timeline", "--from", eight, "-o", str(tmp_path / "run.html")]) == 0


def test_a_file_that_cannot_be_written_is_an_error(start: Start, eight: str, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    assert "cannot write folder.csv: Is a directory" in error_of(start("timeline", "--from", eight, "-o", "folder.csv"))


def test_arguments_that_are_no_unicode_are_refused_or_taken_as_they_are(
    start: Start, eight: str, tmp_path: Path
) -> None:
    assert "PUBLISHER_ID" in error_of(start(argv=[*STATE_SIGNALS, "timeline", os.fsdecode(b"\xff\xfe")]))
    ended(start("timeline", "--from", eight, "-o", os.fsdecode(b"\xff.csv")))
    assert (tmp_path / os.fsdecode(b"\xff.csv")).exists()


def test_when_its_reader_leaves_it_ends_silently(start: Start, eight: str) -> None:
    for format_ in ("text", "html"):
        command = '"$@"; echo "status $?" >&2'
        arguments = [*STATE_SIGNALS, "timeline", "--from", eight, "--format", format_]
        pipeline = ended(start(argv=["sh", "-c", f"{{ {command}; }} | head -c 1", "sh", *arguments]))
        assert pipeline.err == "status 0\n"
        assert len(pipeline.out) == 1


def test_ctrl_c_ends_it(start: Start) -> None:
    program = start("timeline", "uperf", "--connect-timeout", "-1", STATE_SIGNALS_URL="redis://127.0.0.1:1")
    program.says("Trying on")
    program.send(signal.SIGINT)
    assert program.wait() == 130
    assert "Traceback" not in program.err


def test_help_imports_none_of_what_draws() -> None:
    script = (
        "import sys; from state_signals.cli import app; app.run(['timeline', '--help']);"
        "sys.exit(bool({'asyncio', 'redis', 'rich', 'matplotlib', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0
    assert b"state-signals timeline uperf -o report.svg" in done.stdout


def test_on_a_terminal_it_is_coloured_and_as_wide_as_that(eight: str) -> None:
    command = [*STATE_SIGNALS, "timeline", "--from", eight]
    with Terminal(command, {"PYTHONIOENCODING": "utf-8"}, 30, 72) as terminal:
        assert terminal.wait() == 0
        row = next(place for place, line in enumerate(terminal.screen) if "client-1/perf" in line)
        assert terminal.emulator.buffer[row][terminal.screen[row].index("✗")].fg == "red"
        assert terminal.is_sane
    with Terminal(command, {"NO_COLOR": "1"}, 30, 72) as terminal:
        assert terminal.wait() == 0
        assert "client-1/perf" in terminal.text
        assert b"\x1b[31m" not in terminal.raw


def test_a_png_is_kept_from_a_terminal(eight: str) -> None:
    with Terminal([*STATE_SIGNALS, "timeline", "--from", eight, "--format", "png"]) as terminal:
        assert terminal.wait() == 2
        assert "a PNG is not for a terminal; give -o FILE" in terminal.text
        assert terminal.is_sane
