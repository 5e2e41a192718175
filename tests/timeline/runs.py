"""Runs that never were, for pictures of them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from state_signals.results import Outcome
from state_signals.runs.model import Action, Member, Progress, Round, Run, RunState

BEGAN = 1_764_000_000.0

HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    "$\\frac{a}{b}$ & <b>",
    "\x1b[2J\x07 \u202e gnp.exe \x00",
    '=HYPERLINK("http://x")',
    "a" * 500,
    "名前 🚀 \u2028 \ud800",
    '"quoted", with; commas\r\n and lines',
]


def action(name: str, published: float, response: float | None = 0.01, **fields: Any) -> Action:
    """What a responder did that answered after so many seconds; None: it did not."""
    if response is None:
        return Action(responder_id=name, **{"outcome": Outcome.MISSING, **fields})
    return Action(
        responder_id=name,
        **{
            "outcome": Outcome.SUCCEEDED,
            "ras": 1,
            "received_at": published + min(0.001, response / 10),
            "answered_at": published + response,
            "took": response * 0.9,
            **fields,
        },
    )


def round_of(
    seq: int, event: str, published: float, actions: list[Action], *, wait: float | None = 20.0, **fields: Any
) -> Round:
    """A round that ended with the last answer, or with its deadline."""
    answers = [done.answered_at for done in actions if done.answered_at is not None and not done.is_late]
    ended = max([published, *answers])
    if any(done.outcome is Outcome.MISSING for done in actions):
        ended = published + (wait or 0.0)
    return Round(
        **{
            "signal_id": f"{seq:032x}",
            "seq": seq,
            "event": event,
            "published_at": published,
            "wait": wait,
            "ended_at": ended if wait is not None else None,
            "elapsed": ended - published if wait is not None else None,
            "ok": all(done.outcome is Outcome.SUCCEEDED for done in actions),
            "actions": {done.responder_id: done for done in actions},
            **fields,
        }
    )


def run_of(rounds: list[Round], names: list[str], **fields: Any) -> Run:
    """A run of some rounds."""
    end = max([BEGAN + 1.0, *((this.ended_at or this.published_at) + 0.5 for this in rounds)])
    members: Mapping[str, Member] = {
        name: Member(responder_id=name, subscribed_at=BEGAN + 0.1, left_at=end, last_seen=end, ttl=15.0)
        for name in names
    }
    return Run(
        **{
            "publisher_id": "uperf-4f6f2c7e-1f5c-4b8f-9df1-6b8e8f3f7a11",
            "process_name": "uperf",
            "runner_host": "bench-head",
            "tag": "nightly",
            "state": RunState.ENDED,
            "began_at": BEGAN,
            "ended_at": end,
            "rounds": rounds,
            "members": dict(members),
            **fields,
        }
    )


def eight() -> Run:
    """Eight responders: one is slow, one fails, one dies, one misses a deadline and answers late."""
    names = [f"{host}/{tool}" for host in ("client-1", "server-1") for tool in ("mpstat", "iostat", "perf", "tcpdump")]
    chance, now = random.Random(1), BEGAN + 0.4
    rounds: list[Round] = []
    for sample in range(4):
        for event in ("iteration-start", "iteration-stop"):
            done = []
            for name in names:
                one = action(name, now, chance.uniform(0.004, 0.06))
                if name == "server-1/tcpdump" and event == "iteration-stop":
                    one = action(name, now, 1.2 + 0.1 * sample)
                    one.progress = [Progress(now + 0.3, "30 %"), Progress(now + 0.7, "70 %")]
                if name == "client-1/perf" and (event, sample) == ("iteration-stop", 1):
                    one.outcome, one.ras, one.message = Outcome.FAILED, 0, "OSError: [Errno 28] No space left on device"
                if name == "server-1/iostat" and (sample, event) >= (2, "iteration-stop"):
                    one = action(name, now, None, outcome=Outcome.LOST)
                if name == "client-1/iostat" and (event, sample) == ("iteration-start", 3):
                    one = action(name, now, 2.6, outcome=Outcome.MISSING, is_late=True)
                done.append(one)
            rounds.append(round_of(len(rounds) + 1, event, now, done, wait=2.0, sample_no=sample, tag="nightly"))
            now = (rounds[-1].ended_at or now) + (2.0 if event == "iteration-start" else 0.5)
    run = run_of(rounds, names)
    run.members["server-1/iostat"].left_at = None
    run.members["server-1/iostat"].last_seen = BEGAN + 9.0
    return run


def many(responders: int = 200, samples: int = 10, gap: float = 3.0) -> Run:
    """Many responders: some fail, some are lost, one is slow now and then."""
    names = [f"node-{number:03d}/collector" for number in range(responders)]
    chance, now = random.Random(2), BEGAN + 1.0
    rounds: list[Round] = []
    for sample in range(samples):
        for event in ("iteration-start", "iteration-stop"):
            done = [action(name, now, chance.lognormvariate(-6, 0.5)) for name in names]
            if event == "iteration-stop":
                done[7] = action(names[7], now, 0.8)
                if sample == samples // 2:
                    done[20].outcome, done[20].ras, done[20].message = Outcome.FAILED, 0, "disk full"
                    done[21].outcome, done[21].ras, done[21].message = Outcome.FAILED, 0, "disk full"
            if sample >= samples // 2:
                for place in range(100, min(responders, 130)):
                    done[place] = action(names[place], now, None, outcome=Outcome.LOST)
            rounds.append(round_of(len(rounds) + 1, event, now, done, sample_no=sample))
            now = (rounds[-1].ended_at or now) + gap
    return run_of(rounds, names)


def hour() -> Run:
    """Four responders that act in milliseconds, over an hour; and signals that nobody waits for."""
    names = ["mpstat", "iostat", "perf", "tcpdump"]
    chance, now = random.Random(3), BEGAN + 2.0
    rounds: list[Round] = []
    for sample in range(6):
        for event in ("warmup-done", "iteration-start", "iteration-stop"):
            wait = None if event == "warmup-done" else 20.0
            done = [action(name, now, chance.uniform(0.001, 0.02)) for name in names]
            rounds.append(round_of(len(rounds) + 1, event, now, done, sample_no=sample, wait=wait))
            now += 550.0 if event == "iteration-start" else 25.0
    return run_of(rounds, names)


def single() -> Run:
    """One responder, which does one thing."""
    return run_of([round_of(1, "go", BEGAN + 0.2, [action("only", BEGAN + 0.2, 0.003)])], ["only"])


def empty(names: list[str] | None = None) -> Run:
    """A run without signals."""
    return run_of([], names or [], tag="No tag specified")


def hostile() -> Run:
    """A run whose every text wants to break something."""
    done = [action(name, BEGAN + 1, 0.01, message=HOSTILE[0]) for name in HOSTILE]
    for one in done[:4]:
        one.outcome, one.ras = Outcome.FAILED, 0
    done[4].progress = [Progress(BEGAN + 1.005, HOSTILE[2])]
    rounds = [
        round_of(1, f"{HOSTILE[1]}-start", BEGAN + 1, done, tag=HOSTILE[2], metadata={"k": HOSTILE[0]}),
        round_of(2, HOSTILE[0], BEGAN + 2, [], tag=HOSTILE[5]),
        round_of(3, f"{HOSTILE[1]}-stop", BEGAN + 3, [action(HOSTILE[3], BEGAN + 3)], sample_no=7),
    ]
    return run_of(
        rounds,
        HOSTILE,
        process_name=HOSTILE[1],
        runner_host=HOSTILE[2],
        tag=HOSTILE[5],
        publisher_id=HOSTILE[0],
        state=RunState.ABORTED,
        aborted=HOSTILE[6],
    )


ALL = {"eight": eight, "many": many, "hour": hour, "single": single, "empty": empty, "hostile": hostile}
