"""What is known of a check's noise keeps few sessions, which may agree by luck, from raising an alarm."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from measurements import START, Truth, altered, measure
from monitor.domain import Arm, Channel, Judgement, Metric, SampleSet, Signature, Verdict
from monitor.errors import SampleFileError
from monitor.judge import statistics
from monitor.judge.calibration import Calibration, calibrate
from monitor.judge.noise import priors
from monitor.judge.policy import JudgingPolicy
from monitor.judge.statistics import Prior
from monitor.judge.verdict import judge

POLICY = JudgingPolicy()
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


# --- the record ----------------------------------------------------------------------------------


def repeated(count: int, *, day: float = 0.0, **changes: Any) -> list[SampleSet]:
    """Return measurements of one release; every second day is slower by `day`."""
    truth = Truth(**({"noise": 0.01} | changes))
    days = [1 + day * (place % 2) for place in range(count)]
    return [
        measure(
            replace(truth, baseline_rate=50 / slower, step_time_s=0.025 * slower),
            blocks=5,
            start=START + timedelta(days=place),
            seed=100 + place,
        )
        for place, slower in enumerate(days)
    ]


def test_repeated_measurements_give_noise_determinism_and_the_alarms_they_would_have_raised() -> None:
    found = calibrate(repeated(21), POLICY)

    step = found.noise[Metric.STEP_TIME]
    assert step.session_sd == pytest.approx(0.01, rel=0.2)
    assert step.session_df == 84
    assert step.within_sd < 1e-6
    assert step.day_sd < 0.005
    assert 0.01 < step.detectable < 0.03
    assert found.counts_repeat
    assert found.tokens_repeat
    assert (found.judged, found.alarms) == (20, 0)
    assert found.alarm_rate_below == pytest.approx(0.139, abs=0.001)
    assert not found.alternate


def test_days_that_differ_make_old_and_new_take_turns() -> None:
    found = calibrate(repeated(6, day=0.03), POLICY)

    assert found.noise[Metric.STEP_TIME].day_sd == pytest.approx(0.016, rel=0.4)
    assert found.noise[Metric.STEP_TIME].session_sd == pytest.approx(0.01, rel=0.4)
    assert found.alternate


def test_samples_scatter_within_a_session_beyond_what_prompt_and_session_explain() -> None:
    chance = random.Random(5)  # noqa: S311
    noisy = [
        altered(m, Arm.MTP, decode_s=lambda s: s.decode_s * math.exp(chance.gauss(0, 0.02)))
        for m in repeated(3)
    ]

    assert calibrate(noisy, POLICY).noise[Metric.STEP_TIME].within_sd == pytest.approx(0.02, rel=0.2)


def test_counts_that_change_between_measurements_are_told() -> None:
    first, second = repeated(2)
    other = altered(second, Arm.MTP, accepted=lambda s: s.accepted - 1, tokens_sha256=lambda s: s.prompt)

    found = calibrate([first, other], POLICY)

    assert not found.counts_repeat
    assert not found.tokens_repeat


def test_a_record_is_plain_json_and_comes_back_equal() -> None:
    found = calibrate(repeated(3), POLICY)

    assert Calibration.read(json.loads(json.dumps(found.document()))) == found
    with pytest.raises(SampleFileError, match="calibrate"):
        Calibration.read({"noise": {}})


def test_judging_reads_the_record_of_its_own_check_and_host_only() -> None:
    record = calibrate(repeated(3), POLICY).document()
    own = replace(repeated(2)[0].header, calibration=record)

    assert priors((own,), POLICY)[Metric.STEP_TIME].degrees_of_freedom == 12
    assert priors((replace(own, host="another"),), POLICY) == {}
    assert priors((replace(own, check_digest="f" * 64),), POLICY) == {}


@pytest.mark.parametrize("measurements", [repeated(1), [*repeated(1), *repeated(1, version="2.0")]])
def test_what_is_not_the_same_artifact_again_calibrates_nothing(measurements: list[SampleSet]) -> None:
    with pytest.raises(SampleFileError, match="two measurements"):
        calibrate(measurements, POLICY)
