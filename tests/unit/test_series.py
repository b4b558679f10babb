"""A series as points and as drawings: intervals, references, epochs, and gaps that stay gaps."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import factories
from factory_values import NOW
from monitor.domain import Epoch, Judgement, Metric, RunState, Verdict
from monitor.store.queries.runs import Run
from monitor.views import numbers
from monitor.views.series import SeriesPoint, series_points, workloads_of
from monitor.views.series_chart import SPARK_WIDTH, series_chart, spark
from standins import messages


def run(number: int = 1, **other: Any) -> Run:
    known = {"reference_run_id": None, "epoch_id": 7, "artifact_id": number}
    return messages.run(number, f"0.2.{number}", **known | other)


def epoch(number: int, identity: int) -> Epoch:
    return Epoch(identity, "m", "xllamacpp", "d", number, {}, None, "", "monitor", NOW)


def judgement(kind: Any) -> Judgement:
    found = kind().judgement
    assert found is not None
    return replace(found)


def point(number: int, value: float | None = 1.5, **other: Any) -> SeriesPoint:
    known: dict[str, Any] = {
        "run_id": number,
        "version": f"0.2.{number}",
        "planted": False,
        "state": RunState.DONE,
        "verdict": Verdict.UNCHANGED,
        "first": False,
        "headline": "",
        "value": value,
        "low": None,
        "high": None,
        "change_percent": None,
        "reference_run_id": None,
        "reference_value": None,
        "epoch": 1,
        "measured_at": NOW,
    }
    return SeriesPoint(**known | other)


# ---------------------------------------------------------------------------------------------
# Points


def test_the_interval_of_a_time_is_that_of_its_change_laid_on_the_reference() -> None:
    judged = judgement(factories.unchanged)
    [found] = series_points([run()], {1: judged}, [], Metric.STEP_TIME)
    effect = next(e for e in judged.effects if (e.metric, e.workload) == (Metric.STEP_TIME, "all"))
    assert effect.ci_low is not None
    assert effect.ci_high is not None
    before = judged.reference_summary[0].step_time_s
    assert before is not None
    assert found.reference_value == before
    assert found.low == pytest.approx(before * (1 + effect.ci_low / 100))
    assert found.high == pytest.approx(before * (1 + effect.ci_high / 100))
    assert found.low < found.high
    assert found.value == judged.candidate_summary[0].step_time_s


def test_a_speedup_has_an_interval_of_its_own_also_without_a_reference() -> None:
    judged = judgement(factories.first)
    [found] = series_points([run()], {1: judged}, [epoch(3, 7)], Metric.SPEEDUP)
    summary = judged.candidate_summary[0]
    assert (found.value, found.low, found.high) == (
        summary.speedup,
        summary.speedup_low,
        summary.speedup_high,
    )
    assert found.low is not None
    assert (found.first, found.epoch, found.reference_value) == (True, 3, None)


def test_a_workload_has_a_series_of_its_own() -> None:
    judged = judgement(factories.planted)
    assert workloads_of([judged]) == ["all", "chat", "code", "prose"]
    [found] = series_points([run()], {1: judged}, [], Metric.ACCEPTANCE_RATE, "code")
    summary = next(one for one in judged.candidate_summary if one.workload == "code")
    assert found.value == summary.acceptance_rate
    assert found.low == found.high  # decided by counting
    [none] = series_points([run()], {1: judged}, [], Metric.ACCEPTANCE_RATE, "nothing")
    assert none.value is None


def test_no_figure_of_an_invalid_run_is_believed() -> None:
    judged = judgement(factories.invalid)
    [found] = series_points([run(state=RunState.INVALID)], {1: judged}, [], Metric.SPEEDUP)
    assert (found.verdict, found.value, found.low) == (Verdict.INVALID, None, None)


def test_a_run_without_a_judgement_is_listed_with_what_is_known() -> None:
    runs = [run(1, state=RunState.FAILED, reason="does not start"), run(2, state=RunState.MEASURING)]
    failed, working = series_points(runs, {}, [], Metric.SPEEDUP)
    assert (failed.verdict, failed.headline, failed.value) == (Verdict.FAILED, "does not start", None)
    assert (working.verdict, working.epoch) == (None, None)


def test_what_is_no_series_is_refused() -> None:
    with pytest.raises(KeyError):
        series_points([run()], {}, [], Metric.STARTUP)


# ---------------------------------------------------------------------------------------------
# Drawings


def test_a_chart_has_a_mark_a_verdict_and_a_cross_for_a_gap() -> None:
    verdicts = (Verdict.UNCHANGED, Verdict.REGRESSED, Verdict.IMPROVED, Verdict.INCONCLUSIVE)
    points = [point(n, 1.5 + n / 10, verdict=verdict) for n, verdict in enumerate(verdicts)]
    points += [point(8, None, verdict=Verdict.FAILED), point(9, None, verdict=None)]
    drawn = str(series_chart("c", points, Metric.SPEEDUP, title="t"))
    assert len(re.findall(r"<path[^>]*dot v-regressed", drawn)) == 1
    assert len(re.findall(r"<path[^>]*dot v-improved", drawn)) == 1
    assert len(re.findall(r"<circle[^>]*dot v-unchanged", drawn)) == 1
    assert len(re.findall(r"<circle[^>]*dot hollow v-inconclusive", drawn)) == 1
    assert drawn.count("span v-failed") == 1
    assert "0.2.9" not in drawn  # it has not ended
    assert "5 runs, from 1.50× to 1.80×. The last: 0.2.3: 1.80×, inconclusive." in drawn


def test_one_wild_interval_does_not_squash_the_rest() -> None:
    points = [point(1, 1.5, low=1.49, high=1.51), point(2, 1.6, low=0.1, high=900.0)]
    drawn = str(series_chart("c", points, Metric.SPEEDUP, title="t"))
    heights = [float(y) for y in re.findall(r'<circle[^>]*cy="([\d.]+)"', drawn)]
    assert abs(heights[0] - heights[1]) > 40
    # The quiet interval ends in two bars, the wild one in none: both its ends lie outside.
    assert drawn.count('class="span v-unchanged"') == 1 + 2 + 1


def test_a_line_marks_where_an_epoch_begins() -> None:
    two = str(series_chart("c", [point(1), point(2, epoch=2), point(3, epoch=2)], Metric.SPEEDUP, title="t"))
    assert (two.count('class="link"'), two.count("epoch 2")) == (1, 1)
    one = str(series_chart("c", [point(1), point(2)], Metric.SPEEDUP, title="t"))
    assert 'class="link"' not in one
    assert "epoch" not in one


def test_a_chart_grows_with_its_runs_and_needs_a_value() -> None:
    def width(count: int) -> float:
        drawn = str(series_chart("c", [point(n) for n in range(count)], Metric.SPEEDUP, title="t"))
        found = re.search(r'width="([\d.]+)"', drawn)
        assert found
        return float(found[1])

    assert width(3) == width(10) == 1000
    assert width(60) > 2000
    assert series_chart("c", [point(1, None, verdict=Verdict.FAILED)], Metric.SPEEDUP, title="t") is None


def test_a_version_from_outside_stays_text() -> None:
    drawn = str(
        series_chart("c", [point(1, version="<script>alert(1)</script>")], Metric.SPEEDUP, title="<b>")
    )
    assert "<script" not in drawn
    assert "<b>" not in drawn
    assert "style=" not in drawn


def test_a_spark_needs_two_values_and_shows_the_last_and_the_bad_ones() -> None:
    assert spark("s", [point(1), point(2, None)], Metric.SPEEDUP, title="t") is None
    points = [point(n, 1.5 + n / 100, reference_value=1.5) for n in range(40)]
    points[30] = replace(points[30], verdict=Verdict.REGRESSED)
    drawn = str(spark("s", points, Metric.SPEEDUP, title="t"))
    assert len(re.findall(r"[\d.]+,[\d.]+", drawn)) == 24
    assert drawn.count("dot v-regressed") == 1
    assert drawn.count("dot v-unchanged") == 1
    assert 'class="level ref"' in drawn
    assert f'width="{SPARK_WIDTH}"' in drawn


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 min ago"),
        (3599, "60 min ago"),
        (3600, "1 h ago"),
        (47 * 3600, "47 h ago"),
        (48 * 3600, "2 days ago"),
        (-90, "in 2 min"),
        (-5 * 86400, "in 5 days"),
    ],
)
def test_how_long_ago_is_said_in_the_largest_unit(seconds: int, words: str) -> None:
    assert numbers.ago(NOW - timedelta(seconds=seconds), NOW) == words
    assert numbers.ago(None, NOW) == "never"
