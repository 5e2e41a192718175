"""What is written: pictures, pages, traces and tables that what reads them takes."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import itertools
import json
import re
import struct
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from state_signals.cli.output import escaped
from state_signals.timeline import html, table, trace
from state_signals.timeline.look import LOOKS
from state_signals.timeline.picture.page import render
from state_signals.timeline.picture.pen import Free, Room, fitted, width
from state_signals.timeline.text import lines_of
from state_signals.timeline.view import Selection, Status, View, view_of
from tests.timeline import runs

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(params=list(runs.ALL))
def view(request: pytest.FixtureRequest) -> View:
    return view_of(runs.ALL[request.param](), escaped)


def texts_of(svg: bytes) -> list[str]:
    return ["".join(element.itertext()).strip() for element in ET.fromstring(svg).iter(f"{SVG}text")]


def png_size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])


def test_every_run_can_be_drawn(view: View) -> None:
    svg = render(view, "svg")
    assert ET.fromstring(svg).tag == f"{SVG}svg"
    assert b"<image" not in svg
    wide, high = png_size(render(view, "png"))
    assert wide == 1320
    assert 200 < high < 2000


def test_text_stays_text_in_an_svg_and_is_no_formula() -> None:
    texts = texts_of(render(view_of(runs.hostile(), escaped), "svg"))
    assert "$\\frac{a}{b}$ & <b>" in texts
    assert any("\\x1b[2J\\x07 \\u202e gnp.exe \\x00" in text for text in texts)
    assert any(text.startswith("aaaa") and "…" in text and len(text) < 50 for text in texts)


def test_the_picture_tells_what_should_be_known() -> None:
    texts = texts_of(render(view_of(runs.eight(), escaped), "svg"))
    for expected in (
        "uperf · tag nightly · on bench-head",
        "18.0 s · 8 rounds · 8 responders · 3 lost, 1 failed, 1 late, 59 succeeded · ended",
        "iteration 3",
        "server-1/tcpdump",
        "54.5 ms · failed",
        "+1.27 s",
        "client-1/perf: failed iteration-stop 1 at 6.21 s: OSError: [Errno 28] No space left on device",
        "iteration-stop 2",
        "working",
    ):
        assert expected in texts
    assert any(text.startswith("Began 2025-11-24 16:00:00 UTC by the server's clock. What took less") for text in texts)


def test_labels_of_single_events_do_not_overlap() -> None:
    # As many as there is no room for: those that are shown stand apart.
    made = [runs.round_of(place, f"checkpoint-{place}", runs.BEGAN + place / 10, []) for place in range(1, 200)]
    svg = render(view_of(runs.run_of(made, []), escaped), "svg")
    found = []
    for element in ET.fromstring(svg).iter(f"{SVG}text"):
        text = "".join(element.itertext()).strip()
        place = re.search(r"translate\(([\d.]+) ([\d.]+)\)|x=\"([\d.]+)\"", ET.tostring(element).decode())
        if text.startswith("checkpoint") and "rotate" not in element.get("transform", "") and place:
            start = float(place[1] or place[3]) / 72
            found.append((start, start + width(text, 7)))
    found.sort()
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(found))


def test_the_same_run_gives_the_same_bytes() -> None:
    view = view_of(runs.eight(), escaped)
    assert render(view, "svg") == render(view, "svg")


def test_a_page_for_each_of_200_responders_is_higher_but_not_endless() -> None:
    view = view_of(runs.many(200, 2), escaped)
    _, few = png_size(render(view, "png"))
    _, all_of_them = png_size(render(view, "png", most_lanes=None))
    assert few < 2000 < all_of_them <= 60 * 120
    labels = texts_of(render(view, "svg", most_lanes=None))
    assert all(f"node-{number:03d}/collector" in labels for number in range(200))


def test_what_matplotlib_is_set_to_does_not_matter() -> None:
    view = view_of(runs.hostile(), escaped)
    expected = render(view, "svg")
    with mpl.rc_context({"text.parse_math": True, "svg.fonttype": "path", "figure.facecolor": "red"}):
        assert render(view, "svg") == expected
        assert mpl.rcParams["svg.fonttype"] == "path"


def test_a_text_is_cut_to_its_room() -> None:
    assert fitted("short", 3, 8) == "short"
    cut = fitted("a text that is much too long for an inch", 1, 8)
    assert cut.endswith("…")
    assert width(cut, 8) <= 1 < width(cut[:-1] + "long…", 8)
    assert fitted("text", 0.01, 8) == ""


def test_room_is_given_once() -> None:
    free = Free(10)
    free.take(2, 4)
    assert free.is_free(4, 5)
    assert not free.is_free(3, 5)
    assert not free.is_free(9, 11)
    assert (free.room_after(0), free.room_after(3), free.room_after(5)) == (2, 0, 5)
    room = Room()
    assert room.take(0, 0, 1, 1)
    assert not room.take(0.5, 0.5, 2, 2)
    assert room.take(1, 0, 2, 1)


# The page


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, _: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data


def page_of(view: View) -> tuple[_Page, dict[str, Any]]:
    page = _Page()
    page.feed(html.render(view).decode())
    data = json.loads(page.scripts[0])
    assert isinstance(data, dict)
    return page, data


def test_a_page_loads_nothing_and_holds_everything(view: View) -> None:
    page, data = page_of(view)
    assert len(page.scripts) == 2
    assert [tag for tag, _ in page.tags if tag in ("img", "link", "iframe", "object")] == []
    assert [attrs for _, attrs in page.tags if "src" in attrs or "href" in attrs] == []
    assert len(data["actions"]) == sum(len(this.actions) for this in view.rounds)
    assert sorted(data["responders"]) == sorted(view.members)


def test_only_our_own_script_may_run() -> None:
    page, _ = page_of(view_of(runs.eight(), escaped))
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy


def test_nothing_in_a_name_ends_a_script_or_looks_like_a_place_to_fill() -> None:
    run = runs.hostile()
    run.process_name = "{{script}} {{data}}"
    data = html.render(view_of(run, lambda text: text))
    page = _Page()
    page.feed(data.decode())
    found = json.loads(page.scripts[0])
    assert "</script><img src=x onerror=alert(1)>" in found["responders"]
    assert found["exporter"] == "{{script}} {{data}}"
    assert page.scripts[0].isascii()
    assert [tag for tag, _ in page.tags if tag == "img"] == []


# The trace


def test_trace_events_have_what_the_format_requires(view: View) -> None:
    document = json.loads(trace.render(view))
    events = document["traceEvents"]
    assert document["displayTimeUnit"] in ("ms", "ns")
    for event in events:
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert isinstance(event["ts"], int | float)
        assert event["ts"] >= 0
        assert event["ph"] in ("X", "i", "M")
        if event["ph"] == "X":
            assert event["dur"] >= 0
        elif event["ph"] == "i":
            assert event["s"] == "t"
        else:
            key = "sort_index" if event["name"].endswith("sort_index") else "name"
            assert event["name"] in ("process_name", "process_sort_index", "thread_name", "thread_sort_index")
            assert key in event["args"]
    moments = [event["ts"] for event in events if event["ph"] != "M"]
    assert moments == sorted(moments)
    named = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    assert {(event["pid"], event["tid"]) for event in events if event["ph"] != "M"} <= named


def test_spans_of_one_thread_of_a_trace_never_overlap(view: View) -> None:
    ends: dict[tuple[int, int], float] = {}
    for event in trace.events_of(view):
        if event["ph"] == "X":
            thread = event["pid"], event["tid"]
            assert event["ts"] >= ends.get(thread, 0.0) - 0.001
            ends[thread] = event["ts"] + event["dur"]


def test_a_trace_tells_all_of_a_run() -> None:
    view = view_of(runs.eight(), escaped)
    events = trace.events_of(view)
    by_category = [event["cat"].split(",")[0] for event in events if event["ph"] != "M"]
    assert {kind: by_category.count(kind) for kind in set(by_category)} == {
        "phase": 4,
        "round": 8,
        "action": 64,
        "progress": 8,
    }
    failed = next(event for event in events if event["name"] == "iteration-stop 1: failed")
    assert failed["args"]["message"] == "OSError: [Errno 28] No space left on device"
    # To the microsecond.
    action = next(each for each in view.rounds[3].actions if each.responder_id == "client-1/perf")
    assert failed["ts"] == pytest.approx(action.start * 1e6, abs=1.0)
    assert failed["ts"] + failed["dur"] == pytest.approx(action.end * 1e6, abs=1.0)
    names = [event["args"]["name"] for event in events if event["name"] == "thread_name" and event["pid"] == 2]
    assert sorted(set(names)) == sorted(view.members)


def test_an_answer_into_the_next_round_goes_to_a_second_thread_of_the_same_name() -> None:
    late = runs.action("a", runs.BEGAN + 1, 3.0, is_late=True)
    rounds = [
        runs.round_of(1, "one", runs.BEGAN + 1, [late], ended_at=runs.BEGAN + 2),
        runs.round_of(2, "two", runs.BEGAN + 2, [runs.action("a", runs.BEGAN + 2, 0.5)]),
    ]
    events = trace.events_of(view_of(runs.run_of(rounds, ["a"]), escaped))
    threads = [event["tid"] for event in events if event["name"] == "thread_name" and event["args"]["name"] == "a"]
    assert len(threads) == 2


# The table


def rows_of(view: View) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.render(view).decode(), newline="")))


def test_a_table_has_a_row_for_each_round_and_responder() -> None:
    view = view_of(runs.eight(), escaped)
    rows = rows_of(view)
    assert len(rows) == 64
    assert tuple(rows[0]) == table.COLUMNS
    failed = next(row for row in rows if row["outcome"] == "failed")
    assert failed["responder_id"] == "client-1/perf"
    assert failed["message"] == "OSError: [Errno 28] No space left on device"
    assert (failed["event"], failed["sample_no"], failed["ras"], failed["round_ok"]) == (
        "iteration-stop",
        "1",
        "0",
        "false",
    )
    assert float(failed["answered_at"]) == pytest.approx(view.began_at + float(failed["answered_seconds"]), abs=1e-5)
    assert float(failed["response_seconds"]) == pytest.approx(
        float(failed["answered_seconds"]) - float(failed["published_seconds"]), abs=1e-5
    )
    late = next(row for row in rows if row["is_late"] == "true")
    assert (late["responder_id"], late["outcome"]) == ("client-1/iostat", "missing")
    assert {row["responder_id"] for row in rows if row["is_straggler"] == "true"} >= {"server-1/tcpdump"}


def test_a_table_takes_any_text_and_begins_no_formula() -> None:
    rows = rows_of(view_of(runs.hostile(), escaped))
    assert len(rows) == 9
    assert [row for row in rows if any(cell.startswith(("=", "+", "-", "@")) for cell in row.values())] == []
    names = [row["responder_id"] for row in rows]
    assert '\'=HYPERLINK("http://x")' in names
    assert "$\\frac{a}{b}$ & <b>" in names
    assert "" in names


def test_lines_of_a_table_end_as_the_standard_says() -> None:
    data = table.render(view_of(runs.hostile(), escaped))
    assert data.count(b"\r\n") == data.count(b"\n") == 10


# Characters


def as_text(view: View, **options: Any) -> list[str]:
    return ["".join(segment.text for segment in line) for line in lines_of(view, **{"width": 100, **options})]


@pytest.mark.parametrize("width", [40, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(view: View, width: int) -> None:
    lines = as_text(view, width=width)
    assert max(map(len, lines)) <= max(width, 80)
    assert all(line.isprintable() for line in lines)


def test_text_shows_bars_troubles_and_notes() -> None:
    text = "\n".join(as_text(view_of(runs.eight(), escaped)))
    assert re.search("├─* iteration 3 ─*┤", text)
    assert re.search(r"client-1/perf .*✗.* 54\.5 ms, failed", text)
    assert re.search(r"server-1/iostat .*╌■.* 35\.2 ms, 3 lost", text)
    assert re.search(r"server-1/tcpdump .*███", text)
    assert "- client-1/perf: failed iteration-stop 1 at 6.21 s" in text


def test_text_can_be_plain() -> None:
    text = "\n".join(as_text(view_of(runs.eight(), escaped), is_plain=True))
    assert text.isascii()
    assert re.search(r"client-1/perf .*x.* failed", text)


def test_wide_characters_do_not_shift_the_lanes() -> None:
    run = runs.run_of(
        [runs.round_of(1, "go", runs.BEGAN + 1, [runs.action(name, runs.BEGAN + 1) for name in ("abcd", "名前")])],
        ["abcd", "名前"],
    )
    lines = as_text(view_of(run, escaped))
    narrow = next(line for line in lines if "abcd" in line)
    wide = next(line for line in lines if "名前" in line)
    assert re.split("[▌█]", narrow)[0].index("abcd") == 3
    assert len(re.split("[▌█]", narrow)[0]) == len(re.split("[▌█]", wide)[0]) + 2


def test_a_part_of_a_run_is_drawn_as_such() -> None:
    view = view_of(runs.eight(), escaped, Selection(events=frozenset({"iteration-stop"}), since=5.0, until=11.0))
    text = "\n".join(as_text(view))
    assert "2 of 8 rounds" in text
    texts = texts_of(render(view, "svg"))
    assert "iteration-stop 1" in texts
    assert "iteration-stop 0" not in texts


# What is written about it

PAGE = (Path(__file__).parent.parent.parent / "docs" / "timeline.md").read_text(encoding="utf-8")


def test_the_columns_of_the_table_are_written_down() -> None:
    columns = next(part for part in PAGE.split("\n\n") if part.startswith("`publisher_id`, "))
    assert tuple(re.findall(r"`(\w+)`", columns)) == table.COLUMNS


def test_the_statuses_and_their_signs_are_written_down() -> None:
    assert re.findall(r"^\| `(\w+)` \| (\S) \|", PAGE, re.MULTILINE) == [
        (str(status), LOOKS[status].sign) for status in Status
    ]
