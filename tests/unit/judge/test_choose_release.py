"""Which release is advised: an older one only where the judge calls it faster, ties to the newest good."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from measurements import START, Truth, measure
from monitor.domain import Exclusion, MeasuredRelease, Metric, Worth
from monitor.judge.advice import choose, is_faster, serving_metric, worth_of

FLOOR = 0.01


def release(version: str, rate: float | None = 100.0, exclusion: Exclusion | None = None) -> MeasuredRelease:
    return MeasuredRelease(
        version=version,
        sha256=version,
        run_id=int(version),
        baseline_rate=60.0,
        mtp_rate=rate,
        speedup=None,
        speedup_low=None,
        speedup_high=None,
        exclusion=exclusion,
    )


def resolves(by: float) -> object:
    """Return a judge that tells rates apart that differ by more than `by`."""
    return lambda slow, fast: fast.mtp_rate > slow.mtp_rate * (1 + by)


def never(slow: MeasuredRelease, fast: MeasuredRelease) -> bool:
    return False


def test_the_newest_good_release_is_run_although_an_older_mean_is_higher() -> None:
    choice = choose([release("1", 130), release("2", 100), release("3", 110)], never, floor=FLOOR)

    assert choice.to_run == choice.last_good == choice.fastest == release("3", 110)


def test_an_older_release_is_the_fastest_where_the_judge_says_so() -> None:
    choice = choose([release("1", 130), release("2", 100), release("3", 110)], resolves(0.05), floor=FLOOR)

    assert choice.fastest == choice.to_run == release("1", 130)
    assert choice.last_good == release("3", 110)


def test_of_releases_that_cannot_be_told_apart_the_newest_is_the_fastest() -> None:
    measured = [release("1", 131), release("2", 129), release("3", 120), release("4", 100)]

    assert choose(measured, resolves(0.05), floor=FLOOR).fastest == release("2", 129)


def test_nothing_is_asked_about_means_closer_than_what_counts() -> None:
    def refuses(slow: MeasuredRelease, fast: MeasuredRelease) -> bool:
        raise AssertionError("asked")

    assert choose([release("1", 100.5), release("2")], refuses, floor=FLOOR).fastest == release("2")


@pytest.mark.parametrize("exclusion", list(Exclusion))
def test_an_excluded_release_is_neither_good_nor_fastest_and_is_listed(exclusion: Exclusion) -> None:
    out = release("3", 500, exclusion)
    choice = choose([release("1"), release("2"), out], resolves(0.0), floor=FLOOR)

    assert (choice.last_good, choice.fastest) == (release("2"), release("2"))
    assert choice.excluded == (out,)


def test_without_a_good_release_nothing_is_advised() -> None:
    bad = [release("1", exclusion=Exclusion.REGRESSED), release("2", exclusion=Exclusion.FAILED)]
    choice = choose(bad, resolves(0.0))

    assert (choice.to_run, choice.last_good) == (None, None)
    assert [one.version for one in choice.excluded] == ["2", "1"]


def test_a_release_without_a_rate_is_never_called_faster() -> None:
    assert choose([release("1", None), release("2")], resolves(0.0)).fastest == release("2")


@pytest.mark.parametrize(
    ("low", "high", "worth"),
    [
        (1.5, 1.7, Worth.PAYS),
        (1.001, 1.2, Worth.PAYS),
        (0.99, 1.01, Worth.NO_DIFFERENCE),
        (0.7, 0.9, Worth.COSTS),
        (0.9, 1.1, Worth.UNKNOWN),
        (None, None, Worth.UNKNOWN),
    ],
)
def test_mtp_pays_where_the_whole_interval_of_the_speedup_says_so(
    low: float | None, high: float | None, worth: Worth
) -> None:
    assert worth_of(low, high, 0.02) is worth


def test_where_mtp_does_not_pay_releases_are_compared_without_it() -> None:
    assert serving_metric(Worth.COSTS) is Metric.BASELINE_RATE
    assert serving_metric(Worth.PAYS) is serving_metric(Worth.UNKNOWN) is Metric.MTP_RATE


# ---------------------------------------------------------------------------------------------
# The judge's word

QUIET = Truth(noise=0.0076, prompts=2)


def test_a_release_with_shorter_steps_is_faster() -> None:
    fast = measure(replace(QUIET, step_time_s=0.0235, version="2"), blocks=6, start=START, seed=5)
    slow = measure(QUIET, blocks=6, start=START + timedelta(days=3))

    assert is_faster(slow, fast, Metric.MTP_RATE, claims=5)
    assert not is_faster(fast, slow, Metric.MTP_RATE, claims=5)
    assert not is_faster(slow, fast, Metric.BASELINE_RATE, claims=5)


def test_noise_alone_makes_no_release_faster() -> None:
    """Each of twenty equal releases against the one before it, at the noise published for a GPU."""
    series = [
        measure(QUIET, blocks=6, start=START + timedelta(days=day), seed=100 + day) for day in range(21)
    ]

    assert not any(is_faster(old, new, Metric.MTP_RATE, claims=20) for old, new in pairwise(series))
    assert not any(is_faster(new, old, Metric.MTP_RATE, claims=20) for old, new in pairwise(series))
