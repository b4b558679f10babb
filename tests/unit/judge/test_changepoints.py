"""Levels of a series: found where they are, and nowhere else."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from measurements import START, Truth, measure
from monitor.domain import Verdict
from monitor.judge import changepoints
from monitor.judge.changepoints import change_points, has_crept, unexplained
from monitor.judge.verdict import judge


def series(*levels: tuple[int, float], noise: float = 0.01, seed: int = 1) -> np.ndarray:
    flat = np.concatenate([np.full(count, level) for count, level in levels])
    return flat + noise * np.random.default_rng(seed).standard_normal(len(flat))


def test_a_step_is_found_where_it_is() -> None:
    (found,) = change_points(series((30, 0.0), (30, 0.05)))

    assert abs(found.index - 30) <= 1
    assert found.change == pytest.approx(0.05, abs=0.01)
    assert found.p_value < 1e-6


def test_at_most_one_quiet_series_in_twenty_has_a_change() -> None:
    found = [change_points(series((60, 0.0), seed=seed)) for seed in range(200)]

    assert sum(map(bool, found)) <= 10


def test_a_slow_slide_that_no_step_shows_is_found_as_levels() -> None:
    slide = np.linspace(0, 0.10, 40) + series((40, 0.0))

    found = change_points(slide, floor=0.02)

    assert found
    assert all(point.change > 0 for point in found)


def test_a_single_spike_is_no_change() -> None:
    values = series((40, 0.0))
    values[20] += 0.5

    assert change_points(values) == []


def test_steps_below_the_floor_are_merged_away() -> None:
    values = series((30, 0.0), (30, 0.015), noise=0.002)

    assert len(change_points(values)) == 1
    assert change_points(values, floor=0.02) == []


@pytest.mark.parametrize("values", [[], [1.0] * 5, [1.0] * 50])
def test_too_short_or_constant_series_have_no_change(values: list[float]) -> None:
    assert change_points(values) == []


@pytest.mark.parametrize("seed", range(8))
def test_pruning_leaves_the_best_segmentation(seed: int) -> None:
    """Compared with every possible segmentation of a short series."""
    chance = np.random.default_rng(seed)
    values = np.repeat(chance.normal(0, 1, 4), 4) + 0.3 * chance.standard_normal(16)
    penalty = 0.8

    def cost(edges: tuple[int, ...]) -> float:
        parts = [values[a:b] for a, b in itertools.pairwise(edges)]
        return sum(((p - p.mean()) ** 2).sum() for p in parts) + penalty * (len(parts) - 1)

    least = changepoints.MIN_SEGMENT
    possible = [
        (0, *inner, 16)
        for count in range(5)
        for inner in itertools.combinations(range(least, 16), count)
        if all(b - a >= least for a, b in itertools.pairwise((0, *inner, 16)))
    ]

    assert changepoints._segments(values, penalty) == list(min(possible, key=cost))


def test_a_change_near_a_blamed_release_is_explained() -> None:
    points = change_points(series((30, 0.0), (30, 0.05), (30, 0.0)))
    rise, fall = points

    assert unexplained(points, [31], less_is_better=True) == []
    assert unexplained(points, [10], less_is_better=True) == [rise]
    assert unexplained(points, [], less_is_better=False) == [fall]


def test_small_steps_that_pass_one_by_one_show_against_the_first_good_run() -> None:
    """Each release is 0.9 % slower than the one before: none is called, and three are a loss."""
    quiet = Truth(noise=0.001)
    steps = [
        measure(
            replace(quiet, step_time_s=0.025 * 1.009**place),
            blocks=6,
            start=START + timedelta(days=place),
            seed=place,
        )
        for place in range(4)
    ]

    last, first = judge(steps[2], steps[3]), judge(steps[0], steps[3])

    assert (last.verdict, first.verdict) != (Verdict.REGRESSED, Verdict.REGRESSED)
    assert has_crept(last, first)
    assert not has_crept(first, first)
