"""Whether the simulator can be trusted: it finds bugs that are planted, and what it finds can be seen again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulation.planted import BUGS
from tests.simulation.run import main, simulate

_MOST_WORLDS = 150
"""Worlds in which a bug has to show."""


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    cores: dict[str, Any] = dict(BUGS[bug])
    seed = next((seed for seed in range(_MOST_WORLDS) if simulate(seed, **cores).failure), None)
    assert seed is not None, f"{_MOST_WORLDS} worlds went by, and nobody noticed a core that {bug}"
    assert not simulate(seed).failure, "it is the planted bug that was found"


def test_the_same_seed_makes_the_same_world() -> None:
    first, second = simulate(4, is_traced=True), simulate(4, is_traced=True)
    assert first.trace == second.trace
    assert first.counts == second.counts
    assert first.counts["signals"] > 0


def test_looking_does_not_change_what_happens() -> None:
    assert simulate(4).counts == simulate(4, is_traced=True).counts


def test_a_failure_is_told_with_how_to_see_it_again() -> None:
    bug: dict[str, Any] = dict(BUGS["forgets a duplicate"])
    outcome = next(found for seed in range(_MOST_WORLDS) if (found := simulate(seed, **bug)).failure)
    assert f"--seed {outcome.seed} --trace" in outcome.report
    again = simulate(outcome.seed, is_traced=True, **bug)
    assert again.failure == outcome.failure
    assert again.trace


def test_the_command_line_runs_worlds_and_tells_how_many_failed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "4", "--first", "10", "--processes", "1"]) == 0
    assert "4 worlds" in capsys.readouterr().out
    assert main(["--seed", "10", "--trace"]) == 0
    printed = capsys.readouterr().out
    assert "all is well" in printed
    assert "Publish(" in printed
