from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from measurements import START, Truth, altered, measure
from monitor.domain import Arm, Channel, Judgement, Metric, SampleSet, Signature, Verdict
from monitor.errors import ConfigurationError, SampleFileError
from monitor.judge.policy import JudgingPolicy
from monitor.judge.verdict import judge

NOISE = 0.0076  # between sessions, as published for this class of GPU
LATER = START + timedelta(days=3)
GOOD = Truth(noise=NOISE)


def against_good(candidate: SampleSet, **kwargs: Any) -> Judgement:
    return judge(measure(GOOD, blocks=6), candidate, **kwargs)


def released(seed: int = 3, **changes: Any) -> SampleSet:
    return measure(replace(GOOD, version="2.0", **changes), blocks=4, start=LATER, seed=seed)


def row(judgement: Judgement, metric: Metric, workload: str = "all") -> Any:
    return next(e for e in judgement.effects if e.metric is metric and e.workload == workload)


def test_a_quiet_release_is_unchanged_and_has_no_signature() -> None:
    found = against_good(released())

    assert (found.verdict, found.signature, found.confirmed) == (Verdict.UNCHANGED, None, None)
    assert row(found, Metric.ACCEPTANCE_LENGTH).channel is Channel.EXACT
    assert row(found, Metric.ACCEPTANCE_LENGTH).change_percent == 0
    assert found.undecided == ()


@pytest.mark.parametrize(
    ("changes", "signature"),
    [
        ({"accepted_share": 0.5}, Signature.ACCEPTANCE_DROP),
        ({"step_time_s": 0.0265}, Signature.STEP_SLOWER),
        ({"accepted_share": 0.5, "step_time_s": 0.0265}, Signature.MIXED),
        ({"accepted_share": 0.9, "step_time_s": 0.035}, Signature.MIXED),
        ({"baseline_rate": 47.0}, Signature.BASELINE_SLOWER),
        ({"baseline_rate": 47.0, "step_time_s": 0.0266}, Signature.ENGINE_SLOWER),
        ({"ttft_mtp_s": 0.13}, Signature.PREFILL_COST),
        ({"drafts": False}, Signature.SPECULATION_OFF),
        ({"accepted_share": 0.001}, Signature.DRAFTER_DEAD),
        ({"draft_length": 2}, Signature.CONFIGURATION_DRIFT),
    ],
)
def test_each_loss_is_found_and_named(changes: dict[str, Any], signature: Signature) -> None:
    found = against_good(released(**changes))

    assert (found.verdict, found.signature) == (Verdict.REGRESSED, signature)


def test_a_faster_baseline_is_no_loss_although_the_speedup_falls() -> None:
    found = against_good(released(baseline_rate=54.0))

    assert (found.verdict, found.signature) == (Verdict.IMPROVED, Signature.BASELINE_FASTER)
    assert row(found, Metric.SPEEDUP).change_percent < -4
    assert not row(found, Metric.SPEEDUP).gates
    assert all(e.verdict is not Verdict.REGRESSED for e in found.effects)


def test_a_copy_with_a_faster_baseline_is_called_so_even_where_times_are_noisy() -> None:
    """A copy shares every session's noise with its original, so five percent stand out."""
    noisy = Truth(noise=0.10, header={"judging": {"noise_floor": "measured", "server_rate_tolerance": 0.1}})
    original = measure(noisy)

    found = judge(original, altered(original, Arm.BASELINE, decode_s=lambda s: s.decode_s / 1.05))

    assert (found.verdict, found.signature) == (Verdict.IMPROVED, Signature.BASELINE_FASTER)
    assert row(found, Metric.BASELINE_RATE).change_percent == pytest.approx(5.0)


def test_counts_that_are_missing_in_the_mtp_arm_mean_that_speculation_is_off() -> None:
    original = measure(GOOD)
    gone = {"drafted": None, "accepted": None, "steps": None, "accepted_per_position": None}

    found = judge(original, altered(original, Arm.MTP, **gone))

    assert (found.verdict, found.signature) == (Verdict.REGRESSED, Signature.SPECULATION_OFF)


def test_an_exact_change_below_the_floor_is_no_alarm() -> None:
    long = replace(GOOD, tokens=512)
    found = judge(
        measure(long, blocks=6), measure(replace(long, accepted_share=0.76), blocks=6, start=LATER, seed=3)
    )

    assert row(found, Metric.ACCEPTANCE_LENGTH).change_percent == pytest.approx(0.6, abs=0.1)
    assert found.verdict is Verdict.UNCHANGED
    assert "below the floor" in row(found, Metric.ACCEPTANCE_LENGTH).note


def test_a_loss_on_one_workload_alone_is_found_by_counting() -> None:
    whole, worse = measure(GOOD, blocks=4), released(accepted_share=0.5)
    prose = [s for s in worse.samples if s.workload == "prose"]
    rest = [s for s in released().samples if s.workload != "prose"]

    found = judge(whole, SampleSet(worse.header, worse.sessions, (*rest, *prose)))

    assert found.verdict is Verdict.REGRESSED
    assert row(found, Metric.ACCEPTANCE_LENGTH, "code").verdict is Verdict.UNCHANGED
    assert row(found, Metric.ACCEPTANCE_LENGTH, "prose").verdict is Verdict.REGRESSED


def test_noise_of_a_shared_machine_raises_no_alarm_and_leaves_counts_decided() -> None:
    policy = {"judging": {"noise_floor": "measured"}}
    verdicts = []
    for seed in range(40):
        noisy = Truth(noise=0.10, header=policy)
        found = judge(measure(noisy, seed=seed), measure(noisy, start=LATER, seed=1000 + seed))
        verdicts.append(found.verdict)
        assert row(found, Metric.ACCEPTANCE_LENGTH).verdict is Verdict.UNCHANGED

    # Screening alone suspects about one quiet release in 300 at this noise; confirmation is for those.
    assert verdicts.count(Verdict.REGRESSED) <= 1
    assert Verdict.UNCHANGED in verdicts
    assert Verdict.INCONCLUSIVE in verdicts


def test_one_session_an_arm_says_nothing_about_times() -> None:
    found = judge(measure(GOOD, blocks=1), measure(replace(GOOD, step_time_s=0.05), blocks=1, start=LATER))

    assert row(found, Metric.STEP_TIME).verdict is Verdict.INCONCLUSIVE
    assert found.verdict is Verdict.INCONCLUSIVE


def test_acceptance_that_falls_with_every_request_is_called_decay() -> None:
    def share(place: int) -> float:
        return 0.75 - 0.06 * place

    whole = replace(GOOD, prompts=8, workloads=("code",))
    candidate = measure(replace(whole, version="2.0"), blocks=4, start=LATER, seed=3)
    worn = {
        f"code-{place}": measure(replace(whole, accepted_share=share(place)), blocks=1).samples[8 + place]
        for place in range(8)
    }

    found = judge(
        measure(whole, blocks=4),
        altered(
            candidate,
            Arm.MTP,
            **{
                name: (lambda s, name=name: getattr(worn[s.prompt], name))
                for name in ("drafted", "accepted", "steps", "decode_s", "server_decode_tps")
            },
        ),
    )

    assert (found.verdict, found.signature) == (Verdict.REGRESSED, Signature.DECAY)


# --- attribution ---------------------------------------------------------------------------------


def test_the_three_contributions_sum_to_the_change_of_the_speedup() -> None:
    found = against_good(released(accepted_share=0.6, step_time_s=0.027, baseline_rate=48.0))

    parts = found.attribution
    assert parts is not None
    shares = (parts.acceptance_length, parts.step_time, parts.baseline)
    assert sum(part.change_log for part in shares) == pytest.approx(row(found, Metric.SPEEDUP).change_log)
    assert sum(part.share or 0 for part in shares) == pytest.approx(1.0)
    assert parts.acceptance_length.change_log < parts.step_time.change_log < 0 < parts.baseline.change_log


def test_a_loss_of_acceptance_is_not_blamed_on_step_time() -> None:
    found = against_good(released(accepted_share=0.4))

    parts = found.attribution
    assert parts is not None
    assert parts.acceptance_length.share is not None
    assert parts.acceptance_length.share > 0.9
    assert parts.step_time.ci_low < 0 < parts.step_time.ci_high


# --- confirmation --------------------------------------------------------------------------------


def alternated(old: Truth, new: Truth) -> tuple[SampleSet, SampleSet]:
    """Return three blocks of each release whose sessions lie between one another."""
    later = LATER + timedelta(hours=1)
    return (
        measure(old, blocks=3, per_block=2, start=later, seed=71),
        measure(new, blocks=3, per_block=2, start=later + timedelta(seconds=20), seed=72),
    )


def test_a_loss_that_comes_back_in_alternation_is_confirmed_and_its_size_comes_from_there() -> None:
    slow = replace(GOOD, version="2.0", step_time_s=0.0275)

    found = against_good(released(step_time_s=0.0265), confirm=alternated(GOOD, slow))

    assert (found.verdict, found.signature, found.confirmed) == (
        Verdict.REGRESSED,
        Signature.STEP_SLOWER,
        True,
    )
    assert row(found, Metric.STEP_TIME).change_percent == pytest.approx(10, abs=2.5)
    assert found.sessions["confirm_candidate_mtp"] == 6


def test_a_suspicion_that_does_not_come_back_is_withdrawn() -> None:
    found = against_good(released(step_time_s=0.0265), confirm=alternated(GOOD, GOOD))

    assert found.verdict is Verdict.UNCHANGED
    assert found.confirmed is False


def test_when_the_old_release_moved_too_the_host_is_blamed() -> None:
    slow = replace(GOOD, step_time_s=0.0275)

    found = against_good(released(step_time_s=0.0275), confirm=alternated(slow, replace(slow, version="2.0")))

    assert (found.verdict, found.signature, found.confirmed) == (
        Verdict.INCONCLUSIVE,
        Signature.HOST_SHIFT,
        False,
    )


# --- first measurement, limits -------------------------------------------------------------------


def test_a_first_measurement_is_unchanged_and_says_that_it_is_the_first() -> None:
    found = judge(None, measure(GOOD))

    assert found.verdict is Verdict.UNCHANGED
    assert "First measurement" in found.headline
    assert found.candidate_summary[0].speedup == pytest.approx(2.6, rel=0.05)


@pytest.mark.parametrize("limit", [{"min_acceptance": 0.9}, {"min_speedup": 3.0}])
def test_a_limit_of_the_check_alarms_from_the_first_run(limit: dict[str, float]) -> None:
    found = judge(None, measure(replace(GOOD, header={"judging": limit})))

    assert found.verdict is Verdict.REGRESSED
    assert "expects" in found.headline


def test_an_mtp_arm_that_never_drafts_is_no_measurement() -> None:
    found = judge(None, measure(replace(GOOD, drafts=False)))

    assert (found.verdict, found.signature) == (Verdict.INVALID, Signature.SPECULATION_OFF)


# --- losslessness --------------------------------------------------------------------------------


def test_other_tokens_in_the_mtp_arm_are_an_error_where_equality_is_exact() -> None:
    exact = {"judging": {"lossless_exact": True}}
    candidate = measure(replace(GOOD, mtp_text="b", header=exact), start=LATER, seed=4)

    found = judge(measure(replace(GOOD, header=exact)), candidate)

    assert (found.verdict, found.signature) == (Verdict.REGRESSED, Signature.OUTPUT_CHANGED)
    assert (found.lossless.mtp_matches, found.lossless.mtp_pairs) == (0, 32)


def test_other_tokens_are_only_reported_where_the_engine_is_not_exact() -> None:
    found = against_good(released(mtp_text="b"))

    assert found.verdict is not Verdict.INVALID
    assert found.signature is None
    assert found.lossless.mtp_matches == 0


def test_diverged_text_widens_the_interval_of_acceptance() -> None:
    """Other text is one more draw for each prompt, so the same counts prove less."""
    equal, other = released(accepted_share=0.7), released(accepted_share=0.7)
    other = altered(other, Arm.MTP, tokens_sha256=lambda s: "x" + s.prompt)
    some = altered(
        other, Arm.MTP, accepted=lambda s: s.accepted + (3 if s.prompt.endswith("0") else 0), steps=None
    )

    exact = row(against_good(equal), Metric.ACCEPTANCE_LENGTH)
    diverged = row(against_good(some), Metric.ACCEPTANCE_LENGTH)

    assert exact.ci_low == exact.ci_high
    assert diverged.ci_low < diverged.change_percent < diverged.ci_high
    assert diverged.channel is Channel.TIMED


# --- what cannot be compared ---------------------------------------------------------------------


def test_samples_of_another_check_are_refused() -> None:
    with pytest.raises(SampleFileError, match="different checks"):
        judge(measure(GOOD), measure(replace(GOOD, header={"check_digest": "f" * 64})))


def test_an_unknown_limit_in_a_header_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="flor_rate"):
        judge(None, measure(replace(GOOD, header={"judging": {"flor_rate": 0.1}})))


def test_judging_twice_gives_the_same_judgement() -> None:
    assert against_good(released()) == against_good(released())


def test_a_policy_that_is_given_wins_over_the_header() -> None:
    found = against_good(released(step_time_s=0.0265), policy=JudgingPolicy(floor_rate=0.3))

    assert found.verdict is Verdict.UNCHANGED
