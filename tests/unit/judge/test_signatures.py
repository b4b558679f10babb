"""What the parts of a loss look like, each by its own evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from measurements import START, Truth, altered, measure
from monitor.domain import Arm, Metric, Sample, SampleSet, Signature, Verdict
from monitor.judge.verdict import judge

GOOD = Truth(noise=0.005)
LATER = START + timedelta(days=1)
LONG = replace(GOOD, prompts=8, workloads=("code",))


def slower_with_every_answer(share: float) -> Callable[[Sample], float]:
    return lambda sample: sample.decode_s * (1 + share * int(sample.prompt.split("-")[1]))


def test_steps_that_become_slower_with_every_request_are_called_decay() -> None:
    worn = altered(
        measure(LONG, start=LATER, seed=2),
        Arm.MTP,
        decode_s=slower_with_every_answer(0.02),
        server_decode_tps=None,
    )

    found = judge(measure(LONG), worn)

    assert (found.verdict, found.signature) == (Verdict.REGRESSED, Signature.DECAY)


def test_steps_that_are_slower_from_the_first_request_on_do_not_decay() -> None:
    found = judge(measure(LONG), measure(replace(LONG, step_time_s=0.027), start=LATER, seed=2))

    assert (found.verdict, found.signature) == (Verdict.REGRESSED, Signature.STEP_SLOWER)


def test_a_first_token_that_is_late_in_both_arms_is_no_cost_of_mtp() -> None:
    late = replace(GOOD, ttft_s=0.13, ttft_mtp_s=0.13)

    found = judge(measure(GOOD), measure(late, start=LATER, seed=2))

    assert (found.verdict, found.signature) == (Verdict.REGRESSED, Signature.ENGINE_SLOWER)


def test_a_slower_step_that_yields_so_much_more_that_the_rate_rose_is_no_loss() -> None:
    paid = replace(GOOD, accepted_share=0.95, step_time_s=0.0262)
    overpaid = replace(GOOD, accepted_share=0.95, step_time_s=0.035)

    gain = judge(measure(GOOD), measure(paid, start=LATER, seed=2))
    loss = judge(measure(GOOD), measure(overpaid, start=LATER, seed=2))

    assert gain.verdict is Verdict.IMPROVED
    assert (loss.verdict, loss.signature) == (Verdict.REGRESSED, Signature.MIXED)


# --- attribution and places ----------------------------------------------------------------------


def test_a_loss_on_one_workload_is_attributed_there() -> None:
    worse = measure(replace(GOOD, accepted_share=0.5), start=LATER, seed=2)
    kept = measure(GOOD, start=LATER, seed=2)
    mixed = [s for s in worse.samples if s.workload == "prose"]
    mixed += [s for s in kept.samples if s.workload == "code"]

    found = judge(measure(GOOD), SampleSet(worse.header, worse.sessions, tuple(mixed)))

    parts = {one.workload: one for one in found.by_workload}
    assert list(parts) == ["code", "prose"]
    assert parts["code"].acceptance_length.change_log == 0
    assert parts["prose"].acceptance_length.change_log < -0.2
    for one in parts.values():
        total = one.acceptance_length.change_log + one.step_time.change_log + one.baseline.change_log
        row = next(e for e in found.effects if e.metric is Metric.SPEEDUP and e.workload == one.workload)
        assert total == pytest.approx(row.change_log)


def test_a_place_that_accepts_less_than_the_one_before_shows_by_its_condition() -> None:
    placed = altered(
        measure(GOOD),
        Arm.MTP,
        accepted_per_position=lambda s: (s.steps, s.steps // 2, s.accepted - s.steps - s.steps // 2),
    )

    summary = judge(None, placed).candidate_summary[0]

    assert summary.accepted_per_position is not None
    first, second, third = summary.accepted_per_position
    assert summary.conditional_acceptance == pytest.approx((first, second / first, third / second))
    assert replace(summary, accepted_per_position=(0.0, 0.0)).conditional_acceptance == (0.0, None)
    assert replace(summary, accepted_per_position=None).conditional_acceptance is None
