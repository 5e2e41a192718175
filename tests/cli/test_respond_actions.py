"""One run of a shell command for a signal, and what it answers."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from state_signals.cli.responding.actions import Action, Shell
from state_signals.cli.responding.endings import Answer, Ending, combined
from state_signals.cli.responding.environment import environment_for
from state_signals.cli.responding.tee import LastLine, Sink
from tests.cli.conftest import signal_of
from tests.cli.test_respond import assert_gone

SHELL = Shell("/bin/sh", 20.0, Sink(1), Sink(2))


async def answer(command: str, *, timeout: float | None = 20, shell: Shell = SHELL, **fields: Any) -> Answer:
    return (await Action(shell, command, signal_of(**fields), timeout).run()).answer()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("true", Answer(1, None)),
        ("echo one; echo two; echo; echo '  '", Answer(1, "two")),
        ("printf 'no newline'", Answer(1, "no newline")),
        ("echo chatter >&2", Answer(1, "chatter")),
        ("echo result; echo chatter >&2", Answer(1, "result")),
        ("exit 3", Answer(0, "exit status 3")),
        ("echo output; exit 3", Answer(0, "output")),
        ("echo output; echo why >&2; exit 3", Answer(0, "why")),
        ("no-such-tool-of-mine 2>/dev/null", Answer(0, "exit status 127")),
        ("kill -KILL $$", Answer(0, "killed by SIGKILL")),
        ("printf '10%%\\r50%%\\r100%%\\n'", Answer(1, "100%")),
        ("printf 'caf\\351 \\377\\n'", Answer(1, "caf\ufffd \ufffd")),
        ("cat", Answer(1, None)),
    ],
)
async def test_the_exit_status_is_the_answer_and_the_last_line_the_message(command: str, expected: Answer) -> None:
    assert await answer(command) == expected


async def test_a_long_line_is_cut_and_much_output_takes_no_memory() -> None:
    assert await answer("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo") == Answer(1, "x" * 1000)


def test_the_last_line_is_found_however_the_output_is_cut() -> None:
    output = "first\n\nlä\u1f600st\r\n \n".encode()
    for size in range(1, len(output) + 1):
        last = LastLine()
        for begin in range(0, len(output), size):
            last.feed(output[begin : begin + size])
        assert last.text == "lä\u1f600st"


async def test_what_a_command_leaves_running_does_not_hold_up_its_answer(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # It holds the command's output open until somebody writes into the pipe.
    action = Action(SHELL, f"cat {fifo} & echo started", signal_of(), 20)
    assert (await action.run()).answer() == Answer(1, "started")
    assert not any(pipe.ended.done() for pipe in action._pipes)
    fifo.write_text("")
    await asyncio.wait_for(asyncio.gather(*(pipe.ended for pipe in action._pipes)), 20)


async def test_a_command_that_takes_too_long_is_ended_with_what_it_started(tmp_path: Path) -> None:
    command = f"sleep 60 & echo $! > {tmp_path}/pid; wait"
    assert await answer(command, timeout=0.2) == Answer(0, "timed out after 0.2 s")
    assert_gone(int((tmp_path / "pid").read_text()))


async def test_a_command_that_ignores_sigterm_is_killed() -> None:
    shell = Shell("/bin/sh", 0.1, Sink(1), Sink(2))
    command = "trap '' TERM; while :; do sleep 0.02; done"
    assert await answer(command, timeout=0.1, shell=shell) == Answer(0, "timed out after 0.1 s")


async def test_a_command_that_is_halted_is_ended() -> None:
    ending = await Action(SHELL, "kill -STOP $$", signal_of(), 0.2).run()
    assert (ending.by, ending.was_killed) == ("limit", False)


async def test_what_it_leaves_running_is_ended_if_nothing_may_be_left(tmp_path: Path) -> None:
    action = Action(SHELL, f"sleep 60 & echo $! > {tmp_path}/pid", signal_of(), None, leaves_nothing=True)
    assert (await action.run()).by == "itself"
    assert_gone(int((tmp_path / "pid").read_text()))


async def test_many_run_side_by_side() -> None:
    answers = await asyncio.gather(*(answer(f"echo {number}; exit {number % 2}") for number in range(40)))
    assert answers == [Answer(1 - number % 2, str(number)) for number in range(40)]


async def test_who_does_not_read_holds_up_the_command_and_not_us() -> None:
    reading, writing = os.pipe()
    shell = Shell("/bin/sh", 20.0, Sink(writing), Sink(2))
    noisy = [
        asyncio.create_task(answer("head -c 300000 /dev/zero; echo; echo end", shell=shell, timeout=None))
        for _ in range(2)
    ]
    # The pipe is full soon; others go on.
    assert await answer("echo quiet") == Answer(1, "quiet")
    assert not any(task.done() for task in noisy)
    taken = 0
    while taken < 2 * (300_000 + len("\nend\n")):
        taken += len(await asyncio.to_thread(os.read, reading, 65_536))
    assert await asyncio.gather(*noisy) == [Answer(1, "end")] * 2
    os.close(reading)
    # Nobody is there any more.
    assert await answer("echo unread", shell=shell) == Answer(1, "unread")
    os.close(writing)


# What the end of a collector answers


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (Ending(by="request", status=-15, stdout="out", stderr="err"), Answer(1, "out")),
        (Ending(by="request", status=143, stderr="err"), Answer(1, "err")),
        (Ending(by="request", status=0), Answer(1, None)),
        (Ending(by="request", status=2, stderr="full"), Answer(0, "was told to end, exit status 2: full")),
        (Ending(by="request", status=-9, was_killed=True), Answer(0, "did not end upon SIGTERM and was killed")),
        (Ending(by="request", status=-9), Answer(0, "was told to end, killed by SIGKILL")),
        (Ending(by="itself", status=0, stdout="done"), Answer(1, "done")),
        (Ending(by="itself", status=3, stdout="out"), Answer(0, "ended by itself, exit status 3: out")),
        (Ending(by="itself", status=-11), Answer(0, "ended by itself, killed by SIGSEGV")),
        (Ending(by="limit", status=-15, limit=5.0), Answer(0, "was ended after 5 s, its time limit")),
        (Ending(by="error", stderr="no room"), Answer(0, "cannot run the command: no room")),
    ],
)
def test_a_collector_succeeds_if_it_ends_when_told_to(ending: Ending, expected: Answer) -> None:
    assert ending.answer_to_stop() == expected


def test_a_collector_that_has_ended_has_not_started() -> None:
    assert Ending(by="itself", stdout="x").answer_to_start() == Answer(0, "ended at once, exit status 0: x")
    assert Ending(by="request", status=-15).answer_to_start() == Answer(0, "the responder was ended")
    assert Ending(by="error", stderr="why").answer_to_start() == Answer(0, "cannot run the command: why")


def test_several_answers_are_one() -> None:
    assert combined([]) == Answer(1, None)
    assert combined([Answer(1, "a"), Answer(1, None), Answer(1, "b")]) == Answer(1, "a; b")
    assert combined([Answer(1, "a"), Answer(0, "bad"), Answer(7, "worse")]) == Answer(0, "bad; worse")
    assert combined([Answer(0, "caf\udce9")]) == Answer(0, "caf?")
    assert combined([Answer(1, "x" * 1000), Answer(1, "y")]) == Answer(1, "x" * 1000)


async def test_the_facts_of_the_signal_are_in_the_environment() -> None:
    command = "env | grep ^SIGNAL_ | sort | tr '\\n' ';'"
    found = await answer(command, tag="t", sample_no=4, metadata={"k": ["ä", None]})
    assert found.message == (
        "SIGNAL_ABORTED=;SIGNAL_EVENT=benchmark-start;SIGNAL_ID=;"
        'SIGNAL_METADATA={"k": ["\\u00e4", null]};SIGNAL_PROCESS_NAME=fio;SIGNAL_PUBLISHER_ID=fio-1;'
        "SIGNAL_REDELIVERED=;SIGNAL_RUNNER_HOST=host-a;SIGNAL_SAMPLE=4;SIGNAL_TAG=t;"
    )


@pytest.mark.parametrize(
    "hostile",
    [
        "$(touch pwned)",
        "`touch pwned`",
        '"; touch pwned; "',
        "'; touch pwned; '",
        "a\ntouch pwned",
        "\x1b[2J",
        "${IFS}",
        "-n",
    ],
)
async def test_the_wire_never_decides_what_runs(hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = 'printf "%s" "$SIGNAL_TAG$SIGNAL_PUBLISHER_ID" > got; printf "%s" "$SIGNAL_METADATA" > metadata'
    found = await answer(command, tag=hostile, publisher_id=hostile, process_name=hostile, metadata={hostile: hostile})
    assert found == Answer(1, None)
    files = {path.name: path.read_text() for path in tmp_path.iterdir()}  # noqa: ASYNC240 - nobody else is waiting
    assert files.pop("got") == hostile * 2
    assert json.loads(files.pop("metadata")) == {hostile: hostile}
    assert not files


def test_what_an_environment_cannot_hold_is_escaped() -> None:
    environment = environment_for(signal_of(tag="a\0b", publisher_id="ä", metadata={"\0": "\0\ud800"}))
    assert environment[b"SIGNAL_TAG"] == b"a\\x00b"
    assert environment[b"SIGNAL_PUBLISHER_ID"] == "ä".encode()
    assert json.loads(environment[b"SIGNAL_METADATA"]) == {"\0": "\0\ud800"}


async def test_more_than_an_environment_holds_is_a_failure_that_says_so() -> None:
    found = await answer("true", metadata={"k": "x" * 500_000})
    assert found.ras == 0
    assert found.message is not None
    assert found.message.startswith("cannot run the command: ")
