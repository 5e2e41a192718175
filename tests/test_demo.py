"""The demo's parts: expectations against results, the timeline's layout, meters, processes and interruptions."""

from __future__ import annotations

import io
import os
import re
import signal
import time
from collections.abc import Callable, Iterable

import psutil
import pytest
from rich.console import Console

from state_signals import Outcome, PublishResult, Report
from state_signals.cli.output import escaped
from state_signals.demo.interruption import Interrupted, Interruption
from state_signals.demo.live import JsonLines, Live, duration
from state_signals.demo.meters import METERS, Meter, Sampler, measured
from state_signals.demo.processes import Children
from state_signals.demo.report import NEXT, print_report
from state_signals.demo.scenario import DEMO, STOP, Account, Deviation, Participant, Round, Scenario
from state_signals.demo.timeline import ASCII, UNICODE, Characters, lay_out
from state_signals.demo.workload import Work, work

SMALL = Scenario(
    participants=(
        Participant(name="good", role=""),
        Participant(name="slow", role="", delay=0.8),
        Participant(name="bad", role="", fails_at=1),
    ),
    samples=2,
)

FAILURE = "OSError: sample 1 cannot be saved (made to fail, for show)"


def report(outcome: Outcome = Outcome.SUCCEEDED, message: str | None = None, elapsed: float | None = 0.01) -> Report:
    ras = {Outcome.SUCCEEDED: 1, Outcome.FAILED: 0}.get(outcome)
    return Report(outcome=outcome, ras=ras, message=message, elapsed=elapsed, took=elapsed)


def silent(outcome: Outcome) -> Report:
    return Report(outcome=outcome)


def played(change: Callable[[str, int, dict[str, Report]], object] = lambda *_: None) -> Account:
    """What SMALL comes to if all goes well, but for what is changed in the reports of a round."""
    account = Account()
    for number, (event, sample) in enumerate(SMALL.plan()):
        reports = {"good": report(message="good: mean 1.0 %, peak 2.0 %, 3 readings")}
        reports["slow"] = report(elapsed=0.81 if event == STOP else 0.01)
        fails = (event, sample) == (STOP, 1)
        reports["bad"] = report(Outcome.FAILED, FAILURE) if fails else report()
        change(event, sample, reports)
        elapsed = max((each.elapsed or 6.0 for each in reports.values()), default=0.0)
        result = PublishResult(ok=not fails, reports=reports, elapsed=elapsed)
        account.rounds.append(Round(event=event, sample=sample, published=number * 2.0, result=result))
    return account


def verdict(account: Account) -> tuple[int, list[str]]:
    deviations = SMALL.deviations(account)
    return SMALL.exit_code(deviations), [str(deviation) for deviation in deviations]


class TestExpectations:
    def test_what_is_planned_is_no_deviation(self):
        assert verdict(played()) == (0, [])

    def test_a_failure_that_was_not_planned(self):
        def change(event: str, sample: int, reports: dict[str, Report]) -> None:
            if (event, sample) == (STOP, 0):
                reports["good"] = report(Outcome.FAILED, "disk full")

        assert verdict(played(change)) == (
            1,
            ["benchmark-stop of sample 0: good: failed (disk full), expected was succeeded"],
        )

    def test_a_planned_failure_that_did_not_happen(self):
        def change(event: str, sample: int, reports: dict[str, Report]) -> None:
            reports["bad"] = report()

        assert verdict(played(change)) == (1, ["benchmark-stop of sample 1: bad: succeeded, expected was failed"])

    def test_another_failure_than_the_planned_one(self):
        def change(event: str, sample: int, reports: dict[str, Report]) -> None:
            if (event, sample) == (STOP, 1):
                reports["bad"] = report(Outcome.FAILED, "ImportError")

        code, (text,) = verdict(played(change))
        assert code == 1
        assert "failed (ImportError), which is not the failure that it was made for" in text

    def test_a_slow_one_that_was_quick(self):
        def change(event: str, sample: int, reports: dict[str, Report]) -> None:
            if (event, sample) == (STOP, 0):
                reports["slow"] = report(elapsed=0.1)

        code, (text,) = verdict(played(change))
        assert code == 1
        assert text == "benchmark-stop of sample 0: slow: answered after 0.100 s, expected were 0.8 s and more"

    @pytest.mark.parametrize("outcome", [Outcome.MISSING, Outcome.LOST, Outcome.LEFT])
    def test_whoever_is_gone_is_told_once(self, outcome: Outcome):
        def change(event: str, sample: int, reports: dict[str, Report]) -> None:
            if (event, sample) == (STOP, 0):
                reports["good"] = silent(outcome)
            elif sample == 1:
                del reports["good"]

        assert verdict(played(change)) == (
            3,
            [f"benchmark-stop of sample 0: good: {outcome}, expected was succeeded"],
        )

    def test_whoever_took_no_part_at_all(self):
        def change(event: str, sample: int, reports: dict[str, Report]) -> None:
            del reports["slow"]

        assert verdict(played(change)) == (3, ["benchmark-start of sample 0: slow: took no part"])

    def test_strangers_may_take_part_but_not_fail(self):
        def change(event: str, sample: int, reports: dict[str, Report]) -> None:
            reports["stranger"] = report(Outcome.FAILED) if (event, sample) == (STOP, 1) else report()

        assert verdict(played(change)) == (
            1,
            ["benchmark-stop of sample 1: stranger: is none of ours, and failed"],
        )

    def test_a_run_that_ended_too_early(self):
        account = played()
        del account.rounds[2:]
        account.incidents.append(Deviation(responder_id="good", text="process 7 was killed by SIGKILL"))
        assert verdict(account) == (
            1,
            ["benchmark-start of sample 1: was not published", "good: process 7 was killed by SIGKILL"],
        )

    def test_the_demo_has_what_it_promises(self):
        assert len(DEMO.participants) == 6
        assert set(DEMO.names()) == set(METERS)
        assert [p.name for p in DEMO.participants if p.delay] == ["tracer"]
        assert [p.name for p in DEMO.participants if p.fails_at is not None] == ["flaky"]
        assert len(list(DEMO.plan())) == 2 * DEMO.samples == 6


class TestTimeline:
    @pytest.mark.parametrize("width", [20, 71, 80, 111, 120])
    @pytest.mark.parametrize("characters", [UNICODE, ASCII])
    def test_every_row_has_the_width(self, width: int, characters: Characters):
        rows = lay_out(played().rounds, SMALL.names(), width, characters)
        assert [row.label for row in rows] == ["signals", "good", "slow", "bad", "", "seconds"]
        assert {len(row.text) for row in rows} == {width}

    def test_at_80_columns(self):
        assert text_of(played().rounds, 80, ASCII) == [
            "signals >---- sample 0 -----]                    >----- sample 1 -----]",
            "good    |-------------------|                    |--------------------|",
            "slow    |-------------------########|            |--------------------########|",
            "bad     |-------------------|                    |--------------------x",
            "        +---------+---------+----------+---------+----------+---------+---------",
            "seconds 0         1         2          3         4          5         6",
        ]

    def test_at_120_columns(self):
        signals, good, slow, bad, *_ = text_of(played().rounds, 120, UNICODE)
        span, pause = "─" * 31, " " * 32
        sample = "─" * 10 + " sample {} " + "─" * 11
        assert signals == f"signals ▶{sample.format(0)}■{pause}▶{sample.format(1)}■"
        assert good == f"good    ▏{span}▏{pause}▏{span}▏"
        assert slow == f"slow    ▏{span}█████████████▎{pause[13:]}▏{span}█████████████▎"
        assert bad == f"bad     ▏{span}▏{pause}▏{span}✗"

    def test_who_acts_at_once_does_so_right_below_the_signal(self):
        for width in range(40, 130):
            signals, good, *_ = lay_out(played().rounds, SMALL.names(), width)
            columns = [at for at, character in enumerate(signals.text) if character in "▶■"]
            assert [at for at, character in enumerate(good.text) if character in "▏▎"] == columns

    def test_a_bar_is_as_long_as_the_action(self):
        seconds = played().rounds[-1].published + 0.81
        for width in (71, 111):
            row = lay_out(played().rounds, SMALL.names(), width)[2].text
            expected = 2 * 0.81 * (width - 1) / seconds
            assert abs(row.count("█") - expected) <= 2

    def test_failure_and_silence_are_told_apart_from_success(self):
        def change(event: str, sample: int, reports: dict[str, Report]) -> None:
            if (event, sample) == (STOP, 1):
                reports["good"] = silent(Outcome.LOST)

        _, good, _, bad, *_ = lay_out(played(change).rounds, SMALL.names(), 71)
        assert good.text.count("?") > 10
        assert {style for character, style in good.cells if character == "?"} == {"yellow"}
        assert bad.text.count("✗") == 1
        assert [style for character, style in bad.cells if character == "✗"] == ["bold red"]

    def test_the_axis_counts_seconds(self):
        *_, line, numbers = lay_out(played().rounds, SMALL.names(), 71)
        ticks = [at for at, character in enumerate(line.text) if character == "┴"]
        assert numbers.text.split() == ["0", "1", "2", "3", "4", "5", "6"]
        assert [numbers.text[at] for at in ticks] == numbers.text.split()

    def test_version_1_responders_and_strangers_are_shown(self):
        def change(event: str, sample: int, reports: dict[str, Report]) -> None:
            reports["old"] = Report(outcome=Outcome.SUCCEEDED, ras=1, elapsed=0.5)

        rows = lay_out(played(change).rounds, SMALL.names(), 71)
        assert [row.label for row in rows][1:5] == ["good", "slow", "bad", "old"]
        assert "█" in rows[4].text

    def test_a_single_round_and_none(self):
        assert lay_out([], ["good"], 80) == []
        assert len(lay_out(played().rounds[:1], SMALL.names(), 80)) == 6


def text_of(rounds: list[Round], width: int, characters: Characters) -> list[str]:
    rows = lay_out(rounds, SMALL.names(), width - 8, characters)
    return [f"{row.label:<8}{row.text}".rstrip() for row in rows]


def printed(width: int, account: Account, *, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace")
    console = Console(file=file, width=width, markup=False, highlight=False)
    print_report(console, SMALL, account, SMALL.deviations(account), escaped)
    file.flush()
    return raw.getvalue().decode(encoding)


class TestReport:
    @pytest.mark.parametrize("width", [80, 120])
    def test_fits_and_tells_all(self, width: int):
        text = printed(width, played())
        assert max(len(line) for line in text.splitlines()) <= width
        assert "1.0 % (2.0 %)" in text
        assert "sample 1 cannot be saved" in text
        assert "All as expected: 4 signals, 12 answers, 11 succeeded, 1 failed on purpose" in " ".join(text.split())
        for command, _ in NEXT:
            assert command in text

    def test_deviations_are_named(self):
        def change(event: str, sample: int, reports: dict[str, Report]) -> None:
            if (event, sample) == (STOP, 1):
                reports["good"] = silent(Outcome.MISSING)

        text = printed(120, played(change))
        assert "benchmark-stop of sample 1: good: missing, expected was succeeded" in text
        assert "Not as expected: 1 thing was different" in text
        assert "? no answer" in text
        assert "All as expected" not in text

    def test_nothing_from_the_network_reaches_the_terminal_as_it_is(self):
        def change(event: str, sample: int, reports: dict[str, Report]) -> None:
            reports["\x1b[2Jevil"] = report(Outcome.FAILED, "\x1b]0;title\x07 [bold]x[/bold] \u202e")

        text = printed(120, played(change))
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "\\x1b[2Jevil" in text
        assert "[bold]x[/bold]" in text

    def test_without_unicode(self):
        assert printed(80, played(), encoding="ascii").isascii()
        assert "\\u" not in printed(80, played(), encoding="ascii")

    def test_without_rounds(self):
        account = Account(incidents=[Deviation(responder_id="bad", text="has not subscribed", is_absence=True)])
        text = printed(80, account)
        assert "bad: has not subscribed" in text
        assert "no answer" in text

    def test_durations(self):
        assert [duration(value) for value in (None, 0.0004, 0.0123, 0.8049, 12.0)] == [
            "",
            "0.4 ms",
            "12.3 ms",
            "0.80 s",
            "12.00 s",
        ]


class TestLive:
    def test_what_comes_from_the_network_is_escaped(self):
        file = io.StringIO()
        console = Console(file=file, width=120, force_terminal=True, markup=False, highlight=False)
        name = "\x07evil"
        reports = {name: report(Outcome.FAILED, "x")}
        with Live(console, escaped) as live:
            live.publishing(STOP, 0, {name})
            live.answered(name, reports[name])
            result = PublishResult(ok=False, reports=reports, elapsed=0.5)
            live.round_ended(Round(event=STOP, sample=0, published=1.0, result=result))
        assert "\x07" not in file.getvalue()
        text = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", file.getvalue())
        assert "0 of 1 succeeded in 0.50 s; \\x07evil failed" in text
        assert "waiting for \\x07evil" in text

    def test_json_has_each_outcome_and_each_deviation(self):
        written: list[dict[str, object]] = []
        observer = JsonLines(SMALL, written.append)
        for this in played().rounds:
            observer.round_ended(this)
        assert [line["as_expected"] for line in written] == [True] * 4
        last = written[-1]
        assert (last["event"], last["sample"], last["ok"], last["code"]) == (STOP, 1, False, 1)
        assert last["responders"]["bad"] == {  # type: ignore[index]
            "outcome": "failed",
            "ras": 0,
            "message": FAILURE,
            "elapsed": 0.01,
            "took": 0.01,
        }


class TestMeters:
    @pytest.mark.parametrize("name", METERS)
    def test_what_a_collector_says_is_understood(self, name: str):
        sampler = Sampler(name, METERS[name])
        sampler.start()
        time.sleep(0.35)
        message = sampler.stop()
        assert message.startswith(f"{name}: ")
        assert measured(message) or message == f"{name}: nothing measured"

    def test_counters_count_per_second(self):
        values = iter(range(0, 10_000, 100))
        sampler = Sampler("x", Meter(lambda: float(next(values)), lambda value: f"{value:.0f}", is_counter=True))
        sampler.start()
        time.sleep(0.35)
        found = measured(sampler.stop())
        assert found is not None
        assert 500 < float(found[0]) <= 1001

    def test_a_machine_that_does_not_tell(self):
        sampler = Sampler("x", Meter(lambda: None, str))
        sampler.start()
        time.sleep(0.15)
        assert sampler.stop() == "x: nothing measured"
        assert measured("x: nothing measured") is None
        assert measured(None) is None


class TestWorkload:
    def test_does_what_it_says(self):
        done = work(0.01, seed=1)
        assert done.blocks == 8
        assert done.hashed == 8 * 256 * 1024
        assert 0 < done.written < done.hashed
        assert done + done == Work(16, 2 * done.hashed, 2 * done.written)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"blocks": 1}', "nonsense"])
    def test_other_reports_are_refused(self, text: str):
        with pytest.raises(ValueError, match=r"."):
            Work.from_json(text)


def interrupt(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)
    # The handler runs between two instructions of Python; nothing guarantees which two.
    time.sleep(0.01)


class TestInterruption:
    def test_is_raised_at_once(self):
        with Interruption(), pytest.raises(Interrupted) as caught:
            interrupt(signal.SIGTERM)
        assert caught.value.exit_code == 143

    def test_is_held_back_while_something_starts(self):
        reached = []

        def play() -> None:
            with Interruption() as interruption:
                with interruption.held_back():
                    interrupt(signal.SIGINT, signal.SIGTERM)
                    reached.append("end")
                reached.append("too far")

        with pytest.raises(Interrupted) as caught:
            play()
        assert reached == ["end"]
        assert caught.value.exit_code in (130, 143)

    def test_cleaning_up_is_not_interrupted_by_a_second_one(self):
        reached = []

        def play() -> None:
            with Interruption():
                try:
                    interrupt(signal.SIGINT)
                finally:
                    interrupt(signal.SIGTERM)
                    reached.append("cleaned up")

        with pytest.raises(Interrupted) as caught:
            play()
        assert reached == ["cleaned up"]
        assert caught.value.exit_code == 130

    def test_what_comes_during_the_last_cleaning_up_is_raised_after_it(self):
        reached = []

        def play() -> None:
            with Interruption() as interruption:
                interruption.hold_back_for_good()
                interrupt(signal.SIGTERM)
                reached.append("cleaned up")

        with pytest.raises(Interrupted):
            play()
        assert reached == ["cleaned up"]

    def test_what_is_ignored_stays_ignored(self):
        previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            with Interruption():
                interrupt(signal.SIGHUP)
        finally:
            signal.signal(signal.SIGHUP, previous)

    def test_the_handlers_are_put_back(self):
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [signal.getsignal(number) for number in numbers]
        with Interruption():
            assert [signal.getsignal(number) for number in numbers] != before
        assert [signal.getsignal(number) for number in numbers] == before


class TestChildren:
    def test_none_is_left_not_even_a_stubborn_one(self, tmp_path, monkeypatch):
        stubborn = (
            "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(1, flush=True)\ntime.sleep(60)"
        )
        pids = start_modules(tmp_path, monkeypatch, {"stubborn": stubborn, "docile": "import time; time.sleep(60)"})
        assert not any(psutil.pid_exists(pid) for pid in pids)

    def test_last_words(self, tmp_path, monkeypatch):
        (tmp_path / "talker.py").write_text("import sys; sys.exit('first\\nlast\\n')")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        with Children() as children:
            child = children.start("talker", "talker", [])
            children.wait([child], 10)
            assert child.last_words() == "last"
            assert child.process.returncode == 1


def start_modules(tmp_path, monkeypatch, modules: dict[str, str]) -> Iterable[int]:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Children() as children:
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(source)
        started = [children.start(name, name, []) for name in modules]
        assert started[0].process.stdout is not None
        assert started[0].process.stdout.readline() == "1\n"
    return [child.process.pid for child in started]
