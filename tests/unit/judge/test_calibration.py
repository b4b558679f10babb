"""What is known of a check's noise keeps few sessions, which may agree by luck, from raising an alarm."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from measurements import START, Truth, altered, measure
from monitor.domain import Arm, Channel, Judgement, Metric, SampleSet, Signature, Verdict
from monitor.judge import statistics
from monitor.judge.calibration import priors
from monitor.judge.policy import JudgingPolicy
from monitor.judge.statistics import Prior
from monitor.judge.verdict import judge

LATER = START + timedelta(days=1)
SHARED = {"noise_floor": "measured", "server_rate_tolerance": 0.1}
KNOWN = SHARED | {"session_noise": 0.10}


def row(judgement: Judgement, metric: Metric) -> Any:
    return next(e for e in judgement.effects if e.metric is metric and e.workload == "all")


def pair(judging: dict[str, Any], **changes: Any) -> tuple[SampleSet, SampleSet]:
    """Return two sessions an arm of both releases, agreeing to a tenth of a percent within a release."""
    lucky = Truth(noise=0.001, header={"judging": judging})
    return measure(lucky, blocks=2), measure(replace(lucky, **changes), blocks=2, start=LATER, seed=2)


def test_sessions_that_agree_by_luck_raise_no_alarm_where_the_noise_is_known() -> None:
    """Six percent between releases is nothing on a machine whose sessions differ by ten."""
    naive = judge(*pair(SHARED, step_time_s=0.0265))
    known = judge(*pair(KNOWN, step_time_s=0.0265))

    assert row(naive, Metric.STEP_TIME).verdict is Verdict.REGRESSED
    assert known.verdict is not Verdict.REGRESSED
    assert row(known, Metric.STEP_TIME).degrees_of_freedom == pytest.approx(22)


def test_known_noise_leaves_counts_exact_at_their_own_floor() -> None:
    found = judge(*pair(KNOWN, accepted_share=0.65))

    acceptance = row(found, Metric.ACCEPTANCE_LENGTH)
    assert (found.verdict, found.signature) == (Verdict.REGRESSED, Signature.ACCEPTANCE_DROP)
    assert (acceptance.channel, acceptance.floor, acceptance.mde) == (Channel.EXACT, 0.02, 0.0)


def test_a_large_loss_is_still_found_where_the_noise_is_known() -> None:
    found = judge(*pair(KNOWN, step_time_s=0.040))

    assert (found.verdict, found.signature) == (Verdict.REGRESSED, Signature.STEP_SLOWER)


def test_the_floor_of_times_is_what_few_sessions_can_resolve_and_at_most_a_quarter() -> None:
    found = judge(*pair(KNOWN))

    assert row(found, Metric.STEP_TIME).floor == 0.25
    more = Truth(noise=0.10, header={"judging": KNOWN})
    found = judge(measure(more, blocks=12), measure(more, blocks=12, start=LATER, seed=2))
    assert 0.08 < row(found, Metric.STEP_TIME).floor < 0.18


def test_a_copy_shares_its_originals_noise_so_the_known_noise_says_nothing_of_it() -> None:
    original = pair(KNOWN)[0]

    found = judge(original, altered(original, Arm.BASELINE, decode_s=lambda s: s.decode_s / 1.05))

    assert (found.verdict, found.signature) == (Verdict.IMPROVED, Signature.BASELINE_FASTER)


def test_a_calibration_in_the_header_goes_before_what_the_policy_states() -> None:
    record = {"noise": {"step_time": {"session_sd": 0.01, "session_df": 8}, "ttft_mtp": {"session_sd": "?"}}}
    header = replace(measure(Truth()).header, calibration=record)

    found = priors((header,), JudgingPolicy(session_noise=0.10))

    assert found[Metric.STEP_TIME].session_sd == 0.01
    assert found[Metric.STEP_TIME].degrees_of_freedom == 8
    assert found[Metric.TTFT_MTP].session_sd == 0.10
    assert found[Metric.SPEEDUP].session_sd == pytest.approx(0.10 * math.sqrt(2))
    assert priors((header,), JudgingPolicy()).keys() == {Metric.STEP_TIME}


def test_pooling_weighs_by_degrees_of_freedom() -> None:
    assert statistics.moderated(0.04, 2, Prior(0.3, 8)) == (pytest.approx((8 * 0.09 + 2 * 0.04) / 10), 10)


def test_sessions_that_contradict_the_calibration_speak_alone() -> None:
    """Pooling would shrink a scatter that is really there, as on a host that became busy."""
    assert statistics.moderated(0.09, 2, Prior(0.1, 20)) == (0.09, 2)
    assert statistics.moderated(0.03, 2, Prior(0.1, 20))[1] == 22
    assert statistics.moderated(0.03, 2, Prior(0.1, 20, doubt_level=0.8)) == (0.03, 2)


def test_a_single_session_can_be_judged_where_the_noise_is_known() -> None:
    known = Truth(header={"judging": KNOWN})

    found = judge(
        measure(known, blocks=1), measure(replace(known, step_time_s=0.05), blocks=1, start=LATER, seed=2)
    )

    assert (found.verdict, found.signature) == (Verdict.REGRESSED, Signature.STEP_SLOWER)
