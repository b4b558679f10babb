"""When a cell of a sweep is slower than the best, as good, or not told apart; and which one is used."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from measurements import Truth, measure
from monitor.domain import Arm, Cell, CellResult, SampleSet, Standing, Worth
from monitor.judge.policy import JudgingPolicy
from monitor.judge.statistics import Estimate
from monitor.judge.sweep import Measured, choose, results, weigh

POLICY = JudgingPolicy(blocks_min=2, blocks_max=8)
NOISE = 0.0076


def arm(samples: SampleSet, wanted: Arm) -> SampleSet:
    return replace(
        samples,
        sessions=tuple(session for session in samples.sessions if session.arm is wanted),
        samples=tuple(sample for sample in samples.samples if sample.arm is wanted),
    )


def cell_of(name: str, step_time_s: float, *, blocks: int, seed: int = 1, noise: float = NOISE) -> SampleSet:
    truth = Truth(step_time_s=step_time_s, noise=noise, prompts=2)
    chance = random.Random(f"{name}-{seed}")  # noqa: S311
    return arm(measure(truth, blocks=blocks, seed=chance.randrange(10**6)), Arm.MTP)


def cells(blocks: int, **times: float) -> dict[str, SampleSet]:
    return {name: cell_of(name, time, blocks=blocks) for name, time in times.items()}


def test_a_cell_that_is_clearly_slower_is_called_so_early_and_the_best_is_decided() -> None:
    found = weigh(cells(3, n1=0.030, n2=0.025, n3=0.035), POLICY, blocks=3)

    assert found.best == "n2"
    assert found.standings == {"n1": Standing.SLOWER, "n2": Standing.BEST, "n3": Standing.SLOWER}
    assert found.decided


def test_cells_that_are_equal_end_as_alike_when_enough_was_measured() -> None:
    few = weigh(cells(2, n2=0.025, n3=0.025), POLICY, blocks=2)
    assert not few.decided

    many = weigh(cells(8, n2=0.025, n3=0.025, n4=0.035), POLICY, blocks=8)
    assert sorted(many.standings.values()) == [Standing.ALIKE, Standing.BEST, Standing.SLOWER]


def test_without_noise_the_floor_alone_decides() -> None:
    found = weigh(
        {
            name: cell_of(name, time, blocks=2, noise=0)
            for name, time in {"a": 0.025, "b": 0.0254, "c": 0.0256}.items()
        },
        POLICY,
        blocks=2,
    )
    assert found.standings == {"a": Standing.BEST, "b": Standing.ALIKE, "c": Standing.SLOWER}


def test_a_dropped_cell_stays_slower_and_is_never_the_best() -> None:
    measured = cells(4, n1=0.020, n2=0.025)
    found = weigh(measured, POLICY, blocks=4, dropped={"n1": Estimate(-0.2, 0.01, 3.0)})

    assert (found.best, found.standings["n1"]) == ("n2", Standing.SLOWER)


def test_of_equal_cells_one_is_rarely_called_slower() -> None:
    """A hundred sweeps of three equal cells, each looked at after every block."""
    wrong = 0
    for seed in range(100):
        measured = {name: cell_of(name, 0.025, blocks=6, seed=seed) for name in ("n1", "n2", "n3")}
        looks = (weigh(_first(measured, blocks), POLICY, blocks=blocks) for blocks in range(2, 7))
        wrong += any(Standing.SLOWER in look.standings.values() for look in looks)
    assert wrong <= 10


def _first(measured: dict[str, SampleSet], blocks: int) -> dict[str, SampleSet]:
    def cut(samples: SampleSet) -> SampleSet:
        kept = tuple(session for session in samples.sessions if session.block < blocks)
        numbers = {session.session for session in kept}
        return replace(
            samples,
            sessions=kept,
            samples=tuple(sample for sample in samples.samples if sample.session in numbers),
        )

    return {name: cut(samples) for name, samples in measured.items()}


def test_without_any_session_nothing_is_best() -> None:
    assert weigh({}, POLICY, blocks=2).best is None


# ---------------------------------------------------------------------------------------------
# What is told


def test_each_cell_is_told_with_its_speedup_over_the_one_baseline() -> None:
    baseline = arm(measure(Truth(noise=NOISE, prompts=2), blocks=4), Arm.BASELINE)
    # Numbers of sessions are unique over the cells of a sweep.
    measured = {
        name: _moved(samples, 100 * place)
        for place, (name, samples) in enumerate(cells(4, n1=0.025, n2=0.09).items(), 1)
    }
    weighed = weigh(measured, POLICY, blocks=4)
    named = {name: Cell(name, place, {}, name, name) for place, name in enumerate(["n1", "n2", "n3"], 1)}
    told = results(Measured(named, measured, baseline, {"n3": "does not start"}), weighed, POLICY)

    assert [one.standing for one in told] == [Standing.BEST, Standing.SLOWER, Standing.FAILED]
    assert [one.worth for one in told] == [Worth.PAYS, Worth.COSTS, Worth.UNKNOWN]
    assert told[0].speedup is not None
    assert told[0].speedup_low is not None
    assert told[0].speedup_low < told[0].speedup
    assert told[1].change_high is not None
    assert told[1].change_high < -50
    assert told[2].reason == "does not start"


def _moved(samples: SampleSet, by: int) -> SampleSet:
    return replace(
        samples,
        sessions=tuple(replace(one, session=one.session + by) for one in samples.sessions),
        samples=tuple(replace(one, session=one.session + by) for one in samples.samples),
    )


def result(name: str, length: int, standing: Standing, **options: Any) -> CellResult:
    nothing: dict[str, Any] = dict.fromkeys(
        ("mtp_rate", "speedup", "speedup_low", "speedup_high", "acceptance_rate", "acceptance_length")
    )
    nothing |= dict.fromkeys(("step_time_s", "change_percent", "change_low", "change_high"))
    return CellResult(
        Cell(name, length, options, name, name), standing, sessions=2, worth=Worth.PAYS, **nothing
    )


@pytest.mark.parametrize(
    ("current", "chosen"),
    [(4, "n4"), (3, "n2"), (6, "n2")],
    ids=[
        "what the check uses is kept when it is as good",
        "else what drafts least",
        "a slower one is not kept",
    ],
)
def test_among_equal_cells_nothing_is_changed_without_need(current: int, chosen: str) -> None:
    told = (
        result("n2", 2, Standing.ALIKE),
        result("n3", 3, Standing.OPEN),
        result("n4", 4, Standing.ALIKE),
        result("n5", 5, Standing.BEST),
        result("n6", 6, Standing.SLOWER),
    )
    found = choose(told, current)
    assert found is not None
    assert found.name == chosen


def test_when_no_cell_serves_nothing_is_chosen() -> None:
    assert choose((result("n1", 1, Standing.FAILED),), 3) is None
