"""Looking often does not make an alarm likelier than was allowed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from scipy import special

from measurements import START, Truth, measure
from monitor.domain import SampleSet, Verdict
from monitor.judge import looks
from monitor.judge.looks import Step, spent_levels
from monitor.judge.policy import JudgingPolicy
from monitor.judge.verdict import judge

POLICY = JudgingPolicy()
LATER = START + timedelta(days=1)
GOOD = Truth(noise=0.0076)


def test_the_levels_are_those_of_the_literature() -> None:
    """Error .025, one-sided, spent linearly over five equal steps, as Kim and DeMets (1987) do."""
    limits = special.ndtri(spent_levels(0.025, (1.0, 2.0, 3.0, 4.0, 5.0)))

    assert limits == pytest.approx([2.576, 2.490, 2.411, 2.342, 2.284], abs=0.01)


@pytest.mark.parametrize("information", [(1.0, 2.0, 3.0), (1.5, 2.0, 2.4, 2.7, 3.0, 3.6, 4.0)])
def test_all_looks_together_err_as_often_as_was_allowed(information: tuple[float, ...]) -> None:
    steps = np.diff(information, prepend=0.0)
    noise = np.random.default_rng(1).standard_normal((400_000, len(steps)))
    scores = np.cumsum(np.sqrt(steps) * noise, axis=1) / np.sqrt(information)

    called = (scores > special.ndtri(spent_levels(0.05, information))).any(axis=1)

    assert called.mean() == pytest.approx(0.05, abs=0.0015)


def test_the_error_is_divided_by_what_gates() -> None:
    one, four = (looks.screening(POLICY, blocks=12, reference=6, gating=rows) for rows in (1, 4))

    assert four.level_regressed > one.level_regressed
    assert four.level_unchanged == one.level_unchanged
    single = replace(POLICY, blocks_min=4, blocks_max=4)
    assert looks.screening(single, blocks=4, reference=6, gating=5).level_regressed == pytest.approx(0.96)


def test_looks_are_counted_by_blocks_and_end_at_the_cap() -> None:
    first, beyond = (looks.screening(POLICY, blocks=n, reference=6, gating=4) for n in (1, 40))

    assert (first.number, first.of, first.blocks) == (1, 11, 1)
    assert (beyond.number, beyond.of) == (11, 11)
    assert looks.step(first, decided=False) is Step.GO_ON
    assert looks.step(first, decided=True) is Step.STOP
    assert looks.step(beyond, decided=False) is Step.STOP


def first_blocks(samples: SampleSet, count: int) -> SampleSet:
    kept = {s.session for s in samples.sessions if s.block < count}
    sessions = tuple(s for s in samples.sessions if s.session in kept)
    return SampleSet(samples.header, sessions, tuple(s for s in samples.samples if s.session in kept))


def test_a_judgement_tells_its_look_and_an_early_one_must_be_surer() -> None:
    reference, candidate = measure(GOOD, blocks=6), measure(GOOD, blocks=12, start=LATER, seed=2)
    seen = [judge(reference, first_blocks(candidate, count)).look for count in (2, 12)]

    assert [(look.number, look.of, look.blocks) for look in seen if look] == [(1, 11, 2), (11, 11, 12)]
    assert [look.gating for look in seen if look] == [4, 4]
    assert seen[0] is not None
    assert seen[1] is not None
    alone = replace(POLICY, blocks_min=2, blocks_max=2)
    assert seen[0].level_regressed > looks.screening(alone, blocks=2, reference=6, gating=4).level_regressed


def test_a_confirmation_may_err_more_since_it_is_asked_one_question() -> None:
    slow = replace(GOOD, version="2.0", step_time_s=0.0265)
    later = LATER + timedelta(hours=1)
    confirm = (
        measure(GOOD, blocks=3, per_block=2, start=later, seed=71),
        measure(slow, blocks=3, per_block=2, start=later + timedelta(seconds=20), seed=72),
    )

    found = judge(measure(GOOD, blocks=6), measure(slow, start=LATER, seed=3), confirm=confirm)

    assert found.look is not None
    assert (found.look.number, found.look.of, found.look.gating) == (3, POLICY.confirm_blocks_max, 1)
    assert found.look.level_regressed < 0.97


def test_what_screening_did_not_suspect_is_not_confirmed_by_the_lenient_level() -> None:
    """A confirmation asks about the suspicion; any other row must be as sure as a first one."""
    later = LATER + timedelta(hours=1)
    old = measure(GOOD, blocks=3, per_block=2, start=later, seed=71)
    both = replace(GOOD, version="2.0", step_time_s=0.0265, baseline_rate=48.4)
    new = measure(both, blocks=3, per_block=2, start=later + timedelta(seconds=20), seed=72)
    screened = measure(replace(GOOD, version="2.0", step_time_s=0.0265), start=LATER, seed=3)

    found = judge(measure(GOOD, blocks=6), screened, confirm=(old, new))

    verdicts = {row.metric.value: row.verdict for row in found.effects if row.workload == "all"}
    assert verdicts["step_time"] is Verdict.REGRESSED
    assert verdicts["baseline_rate"] is not Verdict.REGRESSED
