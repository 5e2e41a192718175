"""`state-signals history`: what happened in runs."""

from __future__ import annotations

import copy
import csv
import functools
import json
import math
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from state_signals import SignalExporter
from state_signals.cli import app
from state_signals.cli.looking.moments import since
from state_signals.cli.looking.tables import Cell, Column, lines
from state_signals.exceptions import InvalidArgument
from tests.cli.conftest import STATE_SIGNALS, Respond, Start
from tests.cli.terminal import Terminal
from tests.conftest import wait_until

EVENTS = ["start", "stop"]

HOSTILE = "\x1b]0;owned\x07\u202e\nforged"

SCHEMA = json.loads((Path(__file__).parent.parent.parent / "docs" / "history.schema.json").read_text())

VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


Ask = Callable[..., str]

Objects = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def printed(printed_by: Ask) -> Ask:
    """What it prints."""
    return functools.partial(printed_by, "history")


@pytest.fixture
def objects(printed: Ask) -> Objects:
    """The objects that it prints, which are what the schema says."""

    def ask(*arguments: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in printed(*arguments, "--json").splitlines()]
        for each in found:
            VALIDATOR.validate(each)
        return found

    return ask


@pytest.fixture
def refused(redis_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Why it refuses to answer."""
    monkeypatch.setenv("STATE_SIGNALS_URL", redis_url)

    def ask(*arguments: str) -> str:
        capsys.readouterr()
        assert app.run(["history", *arguments]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        return err

    return ask


Make = Callable[..., SignalExporter]


@pytest.fixture
def make(redis_url: str) -> Iterator[Make]:
    made: list[SignalExporter] = []

    def make(publisher_id: str = "fio-1", name: str = "fio", **options: Any) -> SignalExporter:
        made.append(SignalExporter(name, url=redis_url, publisher_id=publisher_id, runner_host="host-a", **options))
        return made[-1]

    yield make
    for exporter in made:
        exporter.close()


def eventful(make: Make, responder: Respond, **options: Any) -> SignalExporter:
    """A run in which much has happened."""
    responder("good", {"start": (1, "fine")})
    responder("bad", {"start": (0, HOSTILE)})
    silent = responder("silent", {"start": None})
    exporter = make(**options)
    assert exporter.initialize_and_wait(3, EVENTS, tag="nightly", timeout=20) == 0
    exporter.publish_signal("start", 7, metadata={"k": [1, math.nan]}, timeout=0.3)
    silent.respond(exporter.pub_id, "start", 1)
    exporter.publish_signal("stop", tag="other", timeout=20)
    exporter.publish_signal("stop", wait=False)
    return exporter


def test_where_nothing_is_known_it_says_so(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ([], ["--json"], ["--tag", "x"], ["--since", "2h"]):
        assert app.run(["history", "--url", redis_url, *options]) == 0
        out, err = capsys.readouterr()
        assert out == ""
        assert "no run " in err
        assert "version 1" in err
    assert app.run(["history", "--url", redis_url, "--csv"]) == 0
    assert capsys.readouterr().out.startswith("publisher_id,run,")


def test_a_run_in_full(printed: Ask, make: Make, responder: Respond) -> None:
    exporter = eventful(make, responder)
    exporter.shutdown()
    out = printed("fio-1")
    assert all(line.isprintable() for line in out.splitlines())
    head, rounds, troubles = out.split("\n\n")
    assert head.startswith("run of fio-1: fio on host-a\ntag: nightly\nended; began ")
    assert "responders: 3 took part; 3 rounds" in head
    title, first, second, third = rounds.splitlines()
    assert title.split() == ["TIME", "#", "EVENT", "SAMPLE", "TAG", "ELAPSED", "OUTCOMES", "SLOWEST"]
    assert " start " in first
    assert " 7 " in first
    assert "1 missing, 1 failed, 1 succeeded" in first
    assert " other " in second
    assert "3 succeeded" in second
    assert "not awaited" in third
    _, *found = troubles.splitlines()
    assert [line.split()[:3] for line in found] == [["2", "start", "bad"], ["2", "start", "silent"]]
    assert "failed" in found[0]
    assert "missing" in found[1]
    assert "\\x1b]0;owned\\x07\\u202e\\nforged" in found[0]


def test_the_json_is_what_its_schema_says(objects: Objects, make: Make, responder: Respond) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    exporter = eventful(make, responder)
    (live,) = objects("fio-1")
    assert (live["state"], live["run"], live["legal_events"]) == ("live", 1, EVENTS)
    assert live["last_seen"] is not None
    exporter.shutdown()
    (run,) = objects("fio-1")
    assert objects() == [run]
    assert (run["state"], run["process_name"], run["runner_host"], run["tag"]) == ("ended", "fio", "host-a", "nightly")
    assert (run["is_whole"], run["aborted"]) == (True, None)
    assert list(run["members"]["good"]) == SCHEMA["$defs"]["member"]["required"]
    first, second, third = run["rounds"]
    assert (first["event"], first["sample_no"], first["metadata"], first["wait"]) == ("start", 7, {"k": [1, None]}, 0.3)
    assert (first["ok"], second["ok"], third["ok"]) == (False, True, None)
    assert first["counts"] == {"succeeded": 1, "failed": 1, "missing": 1, "lost": 0, "left": 0, "pending": 0}
    assert first["elapsed"] >= 0.3
    assert {name: action["outcome"] for name, action in first["actions"].items()} == {
        "good": "succeeded",
        "bad": "failed",
        "silent": "missing",
    }
    assert first["actions"]["bad"]["message"] == HOSTILE
    assert first["published_at"] <= first["actions"]["good"]["received_at"] <= first["actions"]["good"]["answered_at"]
    assert third["wait"] is None


def test_the_schema_would_notice(objects: Objects, make: Make, responder: Respond) -> None:
    eventful(make, responder)
    (run,) = objects("fio-1")
    spoiled: list[tuple[list[str | int], Any]] = [
        (["state"], "odd"),
        (["state"], None),
        (["rounds", 0, "wait"], -2),
        (["rounds", 0, "actions", "bad", "outcome"], "unknown"),
        (["members", "bad", "version"], 3),
        (["members", "bad"], {}),
    ]
    for path, value in spoiled:
        bad = copy.deepcopy(run)
        place: Any = bad
        for name in path[:-1]:
            place = place[name]
        assert place[path[-1]] != value
        place[path[-1]] = value
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(bad)


def test_waiting_for_ever_is_a_number(objects: Objects, make: Make, responder: Respond) -> None:
    responder("a")
    exporter = make()
    exporter.initialize_and_wait(1, EVENTS, timeout=20)
    exporter.publish_signal("start", timeout=-1)
    (run,) = objects("fio-1")
    assert run["rounds"][0]["wait"] == -1


def test_csv_has_a_line_for_each_round_and_responder(printed: Ask, make: Make, responder: Respond) -> None:
    exporter = eventful(make, responder)
    exporter.subs = set()
    exporter.publish_signal("stop", tag='a "quoted", tag', timeout=5)
    exporter.shutdown()
    out = printed("fio-1", "--csv")
    assert all(line.isprintable() for line in out.splitlines())
    found = list(csv.DictReader(out.splitlines()))
    assert {(row["seq"], row["responder_id"], row["outcome"]) for row in found[:3]} == {
        ("2", "good", "succeeded"),
        ("2", "bad", "failed"),
        ("2", "silent", "missing"),
    }
    assert {row["publisher_id"] for row in found} == {"fio-1"}
    assert {row["ok"] for row in found} == {"true", "false", ""}
    assert [row["message"] for row in found if row["outcome"] == "failed"] == ["\\x1b]0;owned\\x07\\u202e\\nforged"]
    assert any(row["tag"] == 'a "quoted", tag' for row in found)
    # The one who looks at a spreadsheet computes with numbers.
    assert all(float(row["published_at"]) > 1e9 for row in found)


def test_csv_begins_no_formula(printed: Ask, make: Make, responder: Respond) -> None:
    responder("=1+1", {"start": (0, "@SUM(A1)")})
    exporter = make()
    exporter.initialize_and_wait(1, EVENTS, timeout=20)
    exporter.publish_signal("start", tag="-2", timeout=20)
    (found,) = csv.DictReader(printed("fio-1", "--csv").splitlines())
    assert (found["responder_id"], found["message"], found["tag"]) == ("'=1+1", "'@SUM(A1)", "'-2")
    assert found["sample_no"] == "-1"


def test_several_runs_of_one_exporter(printed: Ask, objects: Objects, refused: Ask, make: Make) -> None:
    exporter = make()
    for number in range(3):
        exporter.initialize(EVENTS, tag=f"run {number}")
        exporter.shutdown()
    assert [run["tag"] for run in objects("fio-1")] == ["run 2"]
    assert [run["tag"] for run in objects("fio-1", "--run", "1")] == ["run 0"]
    assert [run["tag"] for run in objects("fio-1", "--run", "-2")] == ["run 1"]
    assert [(run["run"], run["tag"]) for run in objects("fio-1", "--run", "all")] == [
        (1, "run 0"),
        (2, "run 1"),
        (3, "run 2"),
    ]
    assert "run of fio-1 (run 2 of 3)" in printed("fio-1", "--run", "2")
    assert printed("fio-1", "--run", "all").count("run of fio-1") == 3
    error = refused("fio-1", "--run", "4")
    assert "no --run 4" in error
    assert "3 runs" in error
    for wrong in ("0", "x", "", "1.5"):
        assert "--run takes a number" in refused("fio-1", "--run", wrong)


def test_the_list_of_runs(printed: Ask, objects: Objects, make: Make, responder: Respond) -> None:
    eventful(make, responder, publisher_id="eventful").shutdown()
    aborted = make("aborted-1")
    aborted.initialize(EVENTS, tag=HOSTILE)
    aborted.abort("disk full")
    live = make("live-1")
    live.initialize(EVENTS)
    title, *found = printed().splitlines()
    assert title.split("  ")[0] == "BEGAN"
    assert ["live-1" in found[0], "aborted-1" in found[1], "eventful" in found[2]] == [True, True, True]
    assert "missing, 1 round" in found[2]
    assert " aborted " in found[1]
    assert "\\x1b]0;owned" in found[1]
    assert [run["publisher_id"] for run in objects("--limit", "2")] == ["live-1", "aborted-1"]
    assert [run["publisher_id"] for run in objects("--tag", "nightly")] == ["eventful"]
    assert len(objects("--since", "1h")) == 3
    assert app.run(["history", "--since", "2999-01-01"]) == 0


def test_of_a_process_that_has_run_more_than_once_the_newest_run_is_meant(
    printed: Ask, refused: Ask, make: Make
) -> None:
    names = [f"nightly-{uuid.uuid4()}" for _ in range(3)]
    for name in names:
        make(name).initialize(EVENTS)
    assert f"run of {names[-1]}" in printed("nightly")
    # Somebody has chosen that one.
    make("nightly-special").initialize(EVENTS)
    assert "4 publisher_ids" in refused("nightly")


def test_the_beginning_of_a_name_is_enough(printed: Ask, refused: Ask, make: Make) -> None:
    for name in ("fio-abc", "fio-abd", "uperf-1"):
        make(name).initialize(EVENTS)
    assert "run of uperf-1" in printed("up")
    assert "run of fio-abd" in printed("fio-abd")
    # As it was shortened on a terminal.
    assert "run of uperf-1" in printed("uperf…")
    error = refused("fio")
    assert "2 publisher_ids: fio-abd (the newest), fio-abc; give more" in error
    error = refused("fio-abx")
    assert "no run of 'fio-abx' is known" in error
    assert "did you mean fio-ab" in error
    assert "'state-signals history' lists" in refused("zzz\x1b[2J")
    assert "\\x1b[2J" in refused("zzz\x1b[2J")
    assert "no other one" in refused("fio-abc", "--namespace", "lab")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--json", "--csv"], "one of --json and --csv"),
        (["--run", "1"], "give its PUBLISHER_ID"),
        (["fio-1", "--limit", "3"], "--limit is about the list"),
        (["fio-1", "--tag", "x"], "--tag is about the list"),
        (["fio-1", "--since", "2h"], "--since is about the list"),
        (["--limit", "0"], "limit"),
        (["--limit", "x"], "limit"),
        (["--since", "soon"], "--since takes"),
        (["--limt", "3"], "--limit"),
        (["fio-1", "fio-2"], "unexpected extra argument"),
        (["--namespace", "a:b"], "namespace"),
        (["\udcff"], "Unicode"),
        (["--tag", "\udcff"], "Unicode"),
        ([""], "no run of ''"),
    ],
)
def test_what_cannot_be_asked_for(refused: Ask, arguments: list[str], said: str) -> None:
    assert said in refused(*arguments)


def test_on_a_terminal_it_fits(make: Make, responder: Respond, redis_url: str) -> None:
    name = "fio-" + "x" * 100
    eventful(make, responder, publisher_id=name).shutdown()
    for arguments in ([], ["fio"]):
        command = [*STATE_SIGNALS, "history", *arguments]
        with Terminal(command, {"STATE_SIGNALS_URL": redis_url}, rows=24, cols=80) as terminal:
            assert terminal.wait() == 0
            assert terminal.is_sane
            shown = terminal.lines
        if not arguments:
            assert len(shown) == 2
            assert shown[1].endswith("missing, 1 round")
            assert "fio-xxx" in shown[1]
        else:
            assert sum("missing" in line for line in shown) == 2
            assert name in "".join(shown)


def test_when_its_reader_leaves_it_ends_silently(start: Start, make: Make) -> None:
    for number in range(3):
        make(f"fio-{number}").initialize(EVENTS)
    command = '"$@"; echo "status $?" >&2'
    for options in ([], ["--json"], ["--csv"], ["fio-1"]):
        argv = ["sh", "-c", f"{{ {command}; }} | head -1", "sh", *STATE_SIGNALS, "history", *options]
        pipeline = start(argv=argv)
        assert pipeline.wait() == 0
        assert pipeline.out.count("\n") == 1
        assert pipeline.err == "status 0\n"


def test_what_is_written_down_appears_while_it_goes_on(objects: Objects, make: Make, responder: Respond) -> None:
    responder("a", {"start": None})
    exporter = make(presence_ttl=0.6)
    exporter.initialize_and_wait(1, EVENTS, timeout=20)
    exporter.publish_signal("start", timeout=0.1)
    # With the next proof of life.
    wait_until(lambda: objects("fio-1")[0]["rounds"][0]["counts"]["missing"] == 1, timeout=20)


# Units


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90s", 910.0),
        ("1.5m", 910.0),
        ("2h", 1000.0 - 7200),
        ("1d", 1000.0 - 86400),
        ("1w", 1000.0 - 604800),
        (" 5s ", 995.0),
        ("1970-01-01T00:10:00Z", 600.0),
        ("1970-01-01 01:10:00+01:00", 600.0),
    ],
)
def test_moments(text: str, moment: float) -> None:
    assert since(text, 1000.0) == moment


@pytest.mark.parametrize(
    "text", ["", "h", "2", "-2h", "2 h", "2026-13-01", "yesterday", "1" * 50 + "s", "٣h", "\x1b[2J"]
)
def test_no_moments(text: str) -> None:
    with pytest.raises(InvalidArgument, match="--since takes"):
        since(text, 1000.0)


def test_tables() -> None:
    columns = [Column("NAME", least=6), Column("N", is_number=True), Column("EMPTY"), Column("MORE", least=4, rank=1)]
    rows = [
        [Cell("日本語のなまえ"), Cell("1"), Cell(""), Cell("more of it")],
        [Cell("\x1b"), Cell("22"), Cell(""), Cell("x")],
    ]
    assert lines(columns, rows, None) == [
        "NAME             N  MORE",
        "日本語のなまえ   1  more of it",
        "\\x1b            22  x",
    ]
    cut = lines(columns, rows, 20)
    assert [len(line) <= 20 for line in cut] == [True] * 3
    assert "MORE" in cut[0]
    narrow = lines(columns, rows, 12)
    assert "MORE" not in narrow[0]
    assert lines(columns, rows, 1)[0].startswith("NAME")
    assert lines(columns, [], 80) == ["NAME  N  EMPTY  MORE"]
