"""Above one stream a session is judged by its totals, whether the engine counts by answer or for all."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from measurements import START, Truth, altered, measure
from monitor.domain import Arm, Metric, SampleSet, Signature, Verdict
from monitor.judge.calibration import calibrate
from monitor.judge.policy import JudgingPolicy
from monitor.judge.verdict import judge

Seen = Callable[[SampleSet], SampleSet]
LATER = START + timedelta(days=1)
FOUR = Truth(noise=0.003, header={"concurrency": 4})
WORSE = replace(FOUR, version="2.0", accepted_share=0.6)
SLOWER = replace(FOUR, version="2.0", step_time_s=0.0265)


def counted_for_all(samples: SampleSet) -> SampleSet:
    """Return the samples of an engine that counts for all streams together, as vLLM does."""
    told = {}
    for session in samples.sessions:
        own = [s for s in samples.samples if s.session == session.session and s.drafted is not None]
        if own:
            told[session.session] = {
                "counter.drafted": sum(s.drafted or 0 for s in own),
                "counter.accepted": sum(s.accepted or 0 for s in own),
            }
    sessions = tuple(replace(session, effective=told.get(session.session)) for session in samples.sessions)
    without = altered(samples, Arm.MTP, drafted=None, accepted=None, steps=None)
    return SampleSet(samples.header, sessions, without.samples)


def of_its_own_text(samples: SampleSet) -> SampleSet:
    """Return samples whose texts differ from session to session, as batches make them."""
    return SampleSet(
        samples.header,
        samples.sessions,
        tuple(replace(s, tokens_sha256=f"{s.tokens_sha256}{s.session}") for s in samples.samples),
    )


@pytest.fixture(params=[counted_for_all, of_its_own_text, lambda samples: samples])
def seen(request: pytest.FixtureRequest) -> Seen:
    """Return how an engine tells its counts and texts."""
    found: Seen = request.param
    return found


def test_a_quiet_release_is_unchanged_and_has_both_arms(seen: Seen) -> None:
    found = judge(seen(measure(FOUR, blocks=6)), seen(measure(FOUR, start=LATER, seed=2)))
    assert found.verdict is Verdict.UNCHANGED
    assert found.signature is None
    (overall,) = found.candidate_summary
    # 127 tokens in 39 steps a prompt.
    assert overall.acceptance_length == pytest.approx(127 / 39)
    assert {row.workload for row in found.effects} == {"all"}
    assert found.by_workload == ()


def test_fewer_accepted_drafts_are_an_acceptance_drop_with_its_attribution(seen: Seen) -> None:
    found = judge(seen(measure(FOUR, blocks=6)), seen(measure(WORSE, start=LATER, seed=2)))
    assert found.verdict is Verdict.REGRESSED
    assert found.signature is Signature.ACCEPTANCE_DROP
    parts = found.attribution
    assert parts is not None
    summed = parts.acceptance_length.change_log + parts.step_time.change_log + parts.baseline.change_log
    assert math.isclose(summed, parts.speedup_change_log, abs_tol=1e-12)
    assert parts.acceptance_length.share == pytest.approx(1, abs=0.05)


def test_a_slower_step_is_told_from_acceptance(seen: Seen) -> None:
    found = judge(seen(measure(FOUR, blocks=6)), seen(measure(SLOWER, start=LATER, seed=2)))
    assert found.signature is Signature.STEP_SLOWER


def test_a_first_measurement_counts_for_all_streams_too(seen: Seen) -> None:
    found = judge(None, seen(measure(FOUR)))
    assert found.verdict is Verdict.UNCHANGED
    assert found.candidate_summary[0].acceptance_rate == pytest.approx(88 / 117, abs=0.001)


def test_speculation_that_is_off_is_seen_above_one_stream() -> None:
    off = counted_for_all(measure(replace(FOUR, version="2.0", drafts=False), start=LATER, seed=2))
    found = judge(counted_for_all(measure(FOUR, blocks=6)), off)
    assert (found.verdict, found.signature) == (Verdict.REGRESSED, Signature.SPECULATION_OFF)


def test_a_tier_within_another_compares_times_but_no_counts_that_cover_more() -> None:
    full, quick = counted_for_all(measure(FOUR, blocks=6)), counted_for_all(measure(FOUR, start=LATER))
    fewer = SampleSet(quick.header, quick.sessions, tuple(s for s in quick.samples if s.prompt != "code-3"))
    rows = {row.metric: row for row in judge(full, fewer).effects}
    assert rows[Metric.MTP_RATE].change_log is not None
    lengths = rows.get(Metric.ACCEPTANCE_LENGTH)
    assert lengths is None or lengths.change_log is None


def test_noise_is_that_of_totals_and_counts_that_differ_do_not_repeat() -> None:
    days = [measure(FOUR, start=START + timedelta(days=day), seed=day) for day in (1, 2, 3)]
    policy = JudgingPolicy()
    found = calibrate([counted_for_all(day) for day in days], policy)
    assert found.counts_repeat
    assert 0.001 < found.noise[Metric.STEP_TIME].session_sd < 0.006
