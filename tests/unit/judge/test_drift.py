"""Slow drift: what small steps sum to, without what a release was blamed for and without what noise makes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache

import numpy as np
import pytest

from measurements import START, Truth, measure
from monitor.domain import Guard, Judgement, Metric, Verdict
from monitor.judge import drift
from monitor.judge.policy import JudgingPolicy
from monitor.judge.verdict import judge

POLICY = JudgingPolicy()
NOISE = np.random.default_rng(5).normal(0, 0.003, 200)


@cache
def sound() -> Judgement:
    return judge(measure(Truth(), seed=1), measure(Truth(), start=START + timedelta(days=1), seed=2))


def history(steps: Sequence[float], metric: Metric = Metric.STEP_TIME) -> list[Judgement]:
    """Return judgements of releases whose metric moved by these logs, one after another."""
    field, level, found = drift.FIELDS[metric], 0.0, []
    for place, step in enumerate((0.0, *steps)):
        level += step
        overall = sound().candidate_summary[0]
        value = getattr(overall, field) * math.exp(level + NOISE[place])
        header = replace(sound().candidate, version=f"1.{place}")
        summary = (replace(overall, **{field: value}), *sound().candidate_summary[1:])
        found.append(replace(sound(), verdict=Verdict.UNCHANGED, candidate=header, candidate_summary=summary))
    return found


def blamed(judged: Judgement, metric: Metric, verdict: Verdict = Verdict.REGRESSED) -> Judgement:
    rows = tuple(
        replace(row, verdict=Verdict.REGRESSED) if (row.metric, row.workload) == (metric, "all") else row
        for row in judged.effects
    )
    return replace(judged, effects=rows, verdict=verdict)


@pytest.mark.parametrize(
    ("metric", "sign"),
    [(Metric.STEP_TIME, 1), (Metric.ACCEPTANCE_LENGTH, -1), (Metric.BASELINE_RATE, -1)],
)
def test_ten_small_steps_for_the_worse_are_drift_of_that_metric(metric: Metric, sign: int) -> None:
    (creep,) = drift.crept(history([sign * 0.006] * 10, metric), POLICY)
    assert creep.metric is metric
    assert creep.versions[0] == "1.0"
    assert math.isclose(creep.changes[-1], sign * 0.06, abs_tol=0.01)
    assert drift.crept(history([-sign * 0.006] * 10, metric), POLICY) == []


def test_noise_and_a_single_spike_are_no_drift() -> None:
    assert drift.crept(history([0.0] * 100), POLICY) == []
    assert drift.crept(history([0.0] * 10 + [0.05, -0.05] + [0.0] * 10), POLICY) == []


def test_what_was_won_back_is_no_drift() -> None:
    assert drift.crept(history([0.006] * 6 + [-0.036] + [0.0] * 5), POLICY) == []


def test_releases_that_were_found_regressed_are_left_out_of_the_series() -> None:
    judged = history([0.0] * 3 + [0.05] + [0.0] * 5)
    for place in range(4, 9):
        judged[place] = blamed(judged[place], Metric.STEP_TIME)
    assert drift.crept(judged, POLICY) == []
    assert drift.crept(history([0.0] * 3 + [0.05] + [0.0] * 5), POLICY) != []


def test_a_step_that_a_release_was_suspected_of_is_explained() -> None:
    judged = history([0.0] * 3 + [0.05] + [0.0] * 5)
    judged[4] = blamed(judged[4], Metric.STEP_TIME, Verdict.INCONCLUSIVE)
    assert drift.crept(judged, POLICY) == []


def test_an_untrusted_or_disturbed_run_is_no_part_of_the_series() -> None:
    judged = history([0.006] * 10)
    busy = Guard("busy host", tripped=True, detail="", outcome=Verdict.INCONCLUSIVE)
    judged[5] = replace(judged[5], guards=(busy,))
    judged[6] = replace(judged[6], verdict=Verdict.INVALID)
    creep = drift.creep_of(judged, Metric.STEP_TIME, POLICY)
    assert creep is not None
    assert not {"1.5", "1.6"} & set(creep.versions)


def test_a_release_is_behind_only_in_what_has_crept_and_only_where_it_passes() -> None:
    judged = history([0.006] * 10)
    creeps = drift.crept(judged, POLICY)
    behind = blamed(judged[-1], Metric.STEP_TIME)
    assert drift.is_behind(judged[-1], behind, creeps) == creeps
    assert drift.is_behind(judged[-1], blamed(judged[-1], Metric.BASELINE_RATE), creeps) == []
    assert drift.is_behind(behind, behind, creeps) == []


def test_the_sentence_says_how_much_since_when_and_that_no_release_did_it() -> None:
    judged = history([0.006] * 4 + [0.012] + [0.006] * 5)
    (creep,) = drift.crept(judged, POLICY)
    row = next(row for row in judged[-1].effects if row.metric is Metric.STEP_TIME and row.workload == "all")
    against = blamed(judged[-1], Metric.STEP_TIME)
    rows = tuple(replace(r, change_percent=6.4) if r.metric is row.metric else r for r in against.effects)
    told = drift.sentence(creep, replace(against, effects=rows))
    assert told.startswith(
        "Slow drift: a step with MTP takes 6.4 % longer than in 1.0, 10 releases ago. No release did it alone"
    )
    assert "%, came with 1." in told
