from __future__ import annotations

import math
from datetime import timedelta

import pytest

from monitor.views import numbers


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (numbers.times(1.637), "1.64×"),
        (numbers.times(12.44), "12.4×"),
        (numbers.percent(0.7931), "79.3 %"),
        (numbers.percent(-0.0), "0.0 %"),
        (numbers.limit(0.02), "2 %"),
        (numbers.limit(0.125), "12.5 %"),
        (numbers.change(-3.21), "−3.2 %"),
        (numbers.change(0.04), "0.0 %"),
        (numbers.change(-0.04), "0.0 %"),
        (numbers.change(312.4), "+312 %"),
        (numbers.points(-29.84), "−29.8 points"),
        (numbers.interval(-5.02, -1.4), "(−5.0 to −1.4)"),
        (numbers.times_interval(1.581, 1.702), "1.58 to 1.70×"),
        (numbers.rate(39.73), "39.7 tok/s"),
        (numbers.rate(207.4), "207 tok/s"),
        (numbers.seconds(0.0124), "12.4 ms"),
        (numbers.seconds(0.00084), "840 µs"),
        (numbers.seconds(1.243), "1.24 s"),
        (numbers.size(16 * 2**30), "16.0 GiB"),
        (numbers.count(1058), "1,058"),
        (numbers.duration(timedelta(seconds=200)), "3 min 20 s"),
        (numbers.duration(timedelta(hours=2, minutes=5)), "2 h 5 min"),
    ],
)
def test_figures_have_sensible_digits_and_a_unit(shown: str, expected: str) -> None:
    assert shown == expected


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_no_number_reads_not_measured(value: float | None) -> None:
    for shown in (
        numbers.times,
        numbers.percent,
        numbers.change,
        numbers.points,
        numbers.rate,
        numbers.seconds,
    ):
        assert shown(value) == "not measured"
    assert numbers.interval(value, 1.0) == ""


def test_a_median_leaves_out_what_is_unknown() -> None:
    assert numbers.median([3.0, None, 1.0, 2.0]) == 2.0
    assert numbers.median([4.0, 1.0, math.nan]) == 2.5
    assert numbers.median([None]) is None
