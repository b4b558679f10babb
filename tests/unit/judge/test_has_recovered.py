"""A loss is over when what was lost is back, decided, whatever else a noisy machine leaves open."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from measurements import START, Truth, measure
from monitor.domain import Judgement, Metric, SampleSet, Verdict
from monitor.judge.recovery import has_recovered
from monitor.judge.verdict import judge

LATER = START + timedelta(days=1)
EXACT = {"judging": {"lossless_exact": True}}
GOOD = Truth(header=EXACT)
NOISY = replace(GOOD, noise=0.2)


def judged(candidate: Truth, reference: Truth = GOOD) -> Judgement:
    def sessions(truth: Truth, seed: int) -> SampleSet:
        return measure(truth, start=START if seed == 1 else LATER, seed=seed)

    return judge(sessions(reference, 1), sessions(candidate, 2))


@pytest.mark.parametrize(
    "loss",
    [
        replace(GOOD, accepted_share=0.4),
        replace(GOOD, drafts=False),
        replace(GOOD, mtp_text="b"),
    ],
)
def test_counts_and_tokens_that_are_back_end_a_loss_of_them_though_times_stay_open(loss: Truth) -> None:
    lost, now = judged(loss), judged(NOISY)
    assert lost.verdict is Verdict.REGRESSED
    assert now.verdict is Verdict.INCONCLUSIVE
    assert has_recovered(lost, now)


def test_a_slower_step_is_not_over_while_step_time_is_open() -> None:
    lost, now = judged(replace(GOOD, step_time_s=0.05)), judged(NOISY)
    assert now.verdict is Verdict.INCONCLUSIVE
    assert not has_recovered(lost, now)
    assert has_recovered(lost, judged(GOOD))


def test_nothing_is_over_while_something_is_worse() -> None:
    lost = judged(replace(GOOD, accepted_share=0.4))
    assert not has_recovered(lost, judged(replace(GOOD, step_time_s=0.05)))
    assert not has_recovered(lost, lost)


def test_an_undecided_release_after_a_loss_without_rows_proves_nothing() -> None:
    lost = judged(replace(GOOD, accepted_share=0.4))
    unexplained = replace(lost, effects=tuple(e for e in lost.effects if e.metric is Metric.STARTUP))
    assert not has_recovered(unexplained, judged(NOISY))
