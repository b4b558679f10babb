"""The score: the share of scored prompts answered right, in each arm and between arms and releases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from measurements import START, Truth, altered, measure
from monitor.domain import Arm, Judgement, SampleSet, Signature, Verdict
from monitor.judge.score import change, wilson
from monitor.judge.verdict import judge

GOOD = Truth(prompts=20, workloads=("math",))
TWO_SIDED_95 = 0.975


def scored(baseline: int, mtp: int, *, of: int = 20, later: bool = False) -> SampleSet:
    """Return a release that answers so many of its first prompts right in each arm."""
    made = measure(replace(GOOD, prompts=of), start=START + timedelta(days=later), seed=1 + later)
    for arm, right in ((Arm.BASELINE, baseline), (Arm.MTP, mtp)):
        made = altered(made, arm, correct=lambda s, right=right: int(s.prompt.split("-")[1]) < right)
    return made


def points(found: Judgement) -> tuple[float, float, float]:
    assert found.lossless.score is not None
    moved = found.lossless.score.between_arms
    return moved.change, moved.low, moved.high


def test_wilsons_interval_is_the_published_one() -> None:
    """81 of 263: Newcombe (1998), Two-sided confidence intervals for the single proportion, table I."""
    assert wilson(81 / 263, 263, TWO_SIDED_95) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0.0, 20, TWO_SIDED_95) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_the_paired_interval_is_the_published_one() -> None:
    """1, 1, 7 and 12 of 21: Fagerland, Lydersen and Laake (2014), the square-and-add interval of Newcombe."""
    pairs = [(1.0, 1.0)] + [(0.0, 1.0)] * 1 + [(1.0, 0.0)] * 7 + [(0.0, 0.0)] * 12

    moved = change(pairs, TWO_SIDED_95)

    assert (moved.change, moved.low, moved.high) == pytest.approx((-0.286, -0.507, -0.026), abs=5e-4)


def test_pairs_that_agree_more_than_chance_make_the_interval_narrower() -> None:
    together = change([(1.0, 1.0)] * 30 + [(0.0, 0.0)] * 30, TWO_SIDED_95)
    apart = change([(1.0, 0.0)] * 30 + [(0.0, 1.0)] * 30, TWO_SIDED_95)

    assert together.high - together.low < 0.5 * (apart.high - apart.low)


def test_scored_prompts_are_the_fourth_tier_with_shares_and_intervals() -> None:
    found = judge(None, scored(18, 17)).lossless

    assert (found.tier, found.verdict) == (4, Verdict.UNCHANGED)
    assert found.score is not None
    assert (found.score.prompts, found.score.baseline.share, found.score.mtp.share) == (20, 0.9, 0.85)
    assert found.score.mtp.low < 0.85 < found.score.mtp.high
    assert found.score.between_releases is None


def test_without_scored_prompts_there_is_no_score() -> None:
    found = judge(None, measure(GOOD)).lossless

    assert (found.tier, found.score) == (2, None)


def test_a_loss_of_score_beyond_doubt_is_a_changed_output() -> None:
    found = judge(None, scored(18, 8))

    assert (found.verdict, found.signature) == (Verdict.REGRESSED, Signature.OUTPUT_CHANGED)
    assert "fewer of the 20 scored prompts right than the baseline: -50 points" in found.headline
    assert points(found)[2] < -0.02


def test_a_loss_whose_interval_reaches_the_limit_is_none() -> None:
    found = judge(None, scored(18, 15))

    assert found.verdict is Verdict.UNCHANGED
    assert points(found)[0] == pytest.approx(-0.15)
    assert points(found)[2] > -0.02


def test_the_interval_must_lie_beyond_the_limit_of_the_policy() -> None:
    lost = scored(18, 8)
    patient = replace(lost, header=replace(lost.header, judging={"score_limit": 0.5}))

    assert judge(None, patient).verdict is Verdict.UNCHANGED


def test_a_gain_is_no_loss() -> None:
    assert judge(None, scored(8, 18)).verdict is Verdict.UNCHANGED


def test_a_few_prompts_say_nothing_of_a_share() -> None:
    assert judge(None, scored(9, 0, of=9)).verdict is Verdict.UNCHANGED
    assert judge(None, scored(10, 0, of=10)).verdict is Verdict.REGRESSED


def test_both_arms_that_lose_together_are_found_between_the_releases() -> None:
    found = judge(scored(18, 18), scored(8, 8, later=True))

    assert (found.verdict, found.signature) == (Verdict.REGRESSED, Signature.OUTPUT_CHANGED)
    assert "reference release's" in found.headline
    assert found.lossless.score is not None
    assert found.lossless.score.between_arms.change == 0
    assert found.lossless.score.between_releases is not None
    assert found.lossless.score.between_releases.change == pytest.approx(-0.5)


def test_releases_are_only_compared_on_the_same_scored_prompts() -> None:
    found = judge(scored(18, 18), scored(18, 18, of=25, later=True)).lossless

    assert found.score is not None
    assert (found.score.prompts, found.score.between_releases) == (25, None)


def test_sessions_that_repeat_each_other_are_no_more_prompts() -> None:
    few = judge(None, scored(18, 15)).lossless.score
    repeated = measure(GOOD, blocks=12)
    for arm, right in ((Arm.BASELINE, 18), (Arm.MTP, 15)):
        repeated = altered(repeated, arm, correct=lambda s, right=right: int(s.prompt.split("-")[1]) < right)

    assert few is not None
    assert judge(None, repeated).lossless.score == few
