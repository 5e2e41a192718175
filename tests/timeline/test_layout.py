"""What is put where: phases, lanes, notes, words."""

from __future__ import annotations

import itertools
import random

import pytest

from state_signals.cli.output import escaped
from state_signals.results import Outcome
from state_signals.timeline.lanes import lanes_of
from state_signals.timeline.notes import notes_of, numbers_at
from state_signals.timeline.phases import phases_of, single_events
from state_signals.timeline.tracks import rows_of
from state_signals.timeline.view import Status, View, view_of
from state_signals.timeline.words import in_short, listed, middle, seconds, seconds_between, wall_time
from tests.timeline import runs
from tests.timeline.runs import BEGAN, action, round_of, run_of


def view_of_events(*events: tuple[str, float, int]) -> View:
    made = [
        round_of(place, event, BEGAN + at, [], sample_no=sample) for place, (event, at, sample) in enumerate(events, 1)
    ]
    return view_of(run_of(made, []), escaped)


def test_a_phase_is_what_lies_between_start_and_stop() -> None:
    found = phases_of(view_of_events(("load-start", 1, 3), ("load-stop", 4, 3)))
    assert [(each.name, each.short, each.start, each.end, each.is_closed, each.level) for each in found] == [
        ("load 3", "3", 1.0, 4.0, True, 0)
    ]


def test_phases_within_phases_are_in_rows_below() -> None:
    found = phases_of(
        view_of_events(
            ("a-start", 1, -1),
            ("b-start", 2, 0),
            ("b-stop", 3, 0),
            ("b-start", 4, 1),
            ("b-stop", 5, 1),
            ("a-stop", 6, -1),
        )
    )
    assert [(each.name, each.level) for each in found] == [("a", 0), ("b 0", 1), ("b 1", 1)]


def test_a_phase_that_does_not_stop_is_open() -> None:
    view = view_of_events(("a-start", 1, 0), ("a-start", 2, 1), ("a-stop", 3, 1), ("b-start", 4, 0))
    assert [(each.name, each.end, each.is_closed) for each in phases_of(view)] == [
        ("a 0", 2.0, False),
        ("a 1", 3.0, True),
        ("b 0", view.duration, False),
    ]


def test_other_events_are_single() -> None:
    view = view_of_events(("ready", 1, 0), ("a-start", 2, 0), ("a-stop", 3, 0), ("b-stop", 4, 0), ("-start", 5, 0))
    assert [this.event for this in single_events(view)] == ["ready", "b-stop", "-start"]
    assert [each.name for each in phases_of(view)] == ["a 0"]


def test_spans_of_one_row_never_overlap() -> None:
    chance = random.Random(4)
    spans = [(start := chance.uniform(0, 50), start + chance.uniform(0, 9)) for _ in range(300)]
    rows = rows_of(spans)
    by_row: dict[int, list[tuple[float, float]]] = {}
    for row, span in zip(rows, spans, strict=True):
        by_row.setdefault(row, []).append(span)
    for those in by_row.values():
        those.sort()
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(those))
    assert len(by_row) > 1


def test_the_troubled_come_first_and_then_the_slowest() -> None:
    lanes = lanes_of(view_of(runs.eight(), escaped))
    labels = [lane.label for lane in lanes]
    assert labels[:4] == ["server-1/iostat", "client-1/perf", "client-1/iostat", "server-1/tcpdump"]
    slowest = [lane.slowest or 0 for lane in lanes[3:]]
    assert slowest == sorted(slowest, reverse=True)
    assert [lane.troubles for lane in lanes[:4]] == ["3 lost", "failed", "late", ""]


@pytest.mark.parametrize("most", [2, 3, 8, 24, 100])
def test_many_responders_share_lanes_and_everybody_is_in_one(most: int) -> None:
    view = view_of(runs.many(), escaped)
    lanes = lanes_of(view, most)
    assert len(lanes) <= most
    assert sorted(name for lane in lanes for name in lane.members) == sorted(view.members)


def test_those_that_share_a_lane_behaved_alike_and_the_others_stand_out() -> None:
    view = view_of(runs.many(), escaped)
    lanes = lanes_of(view)
    for lane in lanes:
        statuses = {
            tuple(each.status for this in view.rounds for each in this.actions if each.responder_id == name)
            for name in lane.members
        }
        assert len(statuses) == 1
    alone = {lane.label for lane in lanes if len(lane.members) == 1}
    assert {"node-007/collector", "node-020/collector", "node-021/collector"} <= alone
    shared = [lane for lane in lanes if len(lane.members) > 1]
    assert [lane.label.split(",")[0] for lane in shared] == ["25 others", "163 others"]
    assert "ms" in shared[1].label


def test_each_responder_has_a_lane_if_asked_for() -> None:
    assert len(lanes_of(view_of(runs.many(), escaped), None)) == 200


def test_who_never_came_has_a_lane() -> None:
    run = runs.single()
    run.members["absent"] = run.members.pop("only").__class__(responder_id="absent", is_expected=True)
    lanes = {lane.label: lane.troubles for lane in lanes_of(view_of(run, escaped))}
    assert lanes == {"only": "", "absent": "never came"}


def test_notes_tell_what_went_wrong_by_time_and_point_at_it() -> None:
    notes, unsaid = notes_of(view_of(runs.eight(), escaped))
    assert unsaid == 0
    assert [note.number for note in notes] == [1, 2, 3, 4]
    assert notes[0].text == (
        "client-1/perf: failed iteration-stop 1 at 6.21 s: OSError: [Errno 28] No space left on device"
    )
    assert notes[1].text == "server-1/iostat: lost in iteration-stop 2 at 10.1 s and 2 more rounds"
    assert notes[2].text == "client-1/iostat: answered too late to iteration-start 3 at 12.0 s"
    assert notes[3].text.startswith("server-1/tcpdump: slowest by far, iteration-stop 3 took 1.4")
    assert numbers_at(notes)["client-1/perf", 3] == [1]


def test_the_same_trouble_of_several_is_one_note() -> None:
    notes, _ = notes_of(view_of(runs.many(), escaped))
    assert [note.text.split(":")[0] for note in notes] == [
        "node-100/collector, node-101/collector and 28 others",
        "node-020/collector and node-021/collector",
        "node-007/collector",
    ]


def test_of_too_many_notes_the_worst_stay_and_the_rest_is_counted() -> None:
    done = [
        action(f"r{place}", BEGAN + 1, outcome=Outcome.FAILED, ras=0, message=f"error {place}") for place in range(30)
    ]
    done.append(action("gone", BEGAN + 1, None, outcome=Outcome.LOST))
    notes, unsaid = notes_of(view_of(run_of([round_of(1, "go", BEGAN + 1, done)], []), escaped), most=5)
    assert (len(notes), unsaid) == (5, 26)
    assert any(note.text.startswith("gone: lost") for note in notes)


def test_trouble_is_what_should_stand_out() -> None:
    assert [str(status) for status in Status if not status.is_trouble] == ["pending", "unknown", "succeeded"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 µs"),
        (0.00082, "820 µs"),
        (0.00099951, "1.00 ms"),
        (0.0123, "12.3 ms"),
        (0.9996, "1.00 s"),
        (99.96, "1 min 40 s"),
        (119.6, "2 min 00 s"),
        (3599.6, "1 h 00 min"),
        (7384, "2 h 03 min"),
    ],
)
def test_durations_are_written_as_people_do(value: float, text: str) -> None:
    assert seconds(value) == text


def test_ranges_name_the_unit_once() -> None:
    assert seconds_between(0.0008, 0.0021) == "800 µs-2.10 ms"
    assert seconds_between(0.0012, 0.0021) == "1.20-2.10 ms"
    assert seconds_between(0.0012, 0.0012) == "1.20 ms"


def test_names_are_cut_in_their_middle_and_texts_at_their_end() -> None:
    assert middle("node-1234567890-collector", 11) == "node-…ector"
    assert middle("short", 11) == "short"
    assert in_short("a long message", 7) == "a long…"
    assert len(middle("x" * 5000, 28)) == 28


def test_lists_of_names_are_short() -> None:
    assert listed([]) == "nobody"
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c", "d"]) == "a, b, c and d"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 others"


def test_moments_that_no_calendar_holds_are_numbers() -> None:
    assert wall_time(0) == "1970-01-01 00:00:00 UTC"
    assert wall_time(1e18) == "1e+18 s since 1970"


def test_who_is_waited_for_now_is_told() -> None:
    done = [action("a", BEGAN + 1, 0.1), action("b", BEGAN + 1, None, outcome=None)]
    run = run_of([round_of(1, "go", BEGAN + 1, done, ended_at=None)], ["a", "b"], ended_at=None, last_seen=BEGAN + 6)
    notes, _ = notes_of(view_of(run, escaped))
    assert [note.text for note in notes] == ["b: has not answered go for 5.00 s"]
