"""A series, arranged for a chart and a table: one point a run, with the reference it was judged by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from monitor.domain import Effect, Epoch, Judgement, Metric, RunState, Verdict
from monitor.judge.metrics import OVERALL
from monitor.planted.names import is_planted
from monitor.store.queries.runs import Run
from monitor.views import numbers

_SUMMARY_FIELDS: dict[Metric, str] = {
    Metric.SPEEDUP: "speedup",
    Metric.ACCEPTANCE_RATE: "acceptance_rate",
    Metric.ACCEPTANCE_LENGTH: "acceptance_length",
    Metric.STEP_TIME: "step_time_s",
    Metric.MTP_RATE: "mtp_rate",
    Metric.BASELINE_RATE: "baseline_rate",
    Metric.TTFT_MTP: "ttft_mtp_s",
    Metric.TTFT_BASELINE: "ttft_baseline_s",
}
"""Metrics a series can be drawn of, in the order they are offered, and their field in a summary."""

CHOICES = tuple(_SUMMARY_FIELDS)
_HUNDRED = 100


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """One run of a series. Values are in seconds, tokens per second, fractions and ratios."""

    run_id: int
    version: str
    planted: bool
    state: RunState
    verdict: Verdict | None
    """None until the run is judged; `failed` and `invalid` also where it never was."""
    first: bool
    """There was nothing to compare it with."""
    headline: str
    value: float | None
    low: float | None
    """Of the interval: of the speedup itself, of other metrics that of their change from the reference."""
    high: float | None
    change_percent: float | None
    reference_run_id: int | None
    reference_value: float | None
    epoch: int | None
    """Number of the epoch it was measured in."""
    measured_at: datetime | None
    drift: int | None = None
    """Number of the incident of slow drift that was noticed with this run."""


def series_points(
    runs: Iterable[Run],
    judgements: Mapping[int, Judgement],
    epochs: Iterable[Epoch],
    metric: Metric,
    workload: str = OVERALL,
    *,
    drifts: Mapping[int, int] | None = None,
) -> list[SeriesPoint]:
    """Return a point for each run, in the order given; one without a value is still listed.

    `drifts` holds run → the incident of slow drift that was noticed with it.

    Raises:
        KeyError: for a metric that is not in `CHOICES`.

    """
    number_of = {epoch.id: epoch.number for epoch in epochs}
    return [
        replace(
            _point(run, judgements.get(run.id), number_of.get(run.epoch_id or 0), metric, workload),
            drift=(drifts or {}).get(run.id),
        )
        for run in runs
    ]


def workloads_of(judgements: Iterable[Judgement]) -> list[str]:
    """Return the workloads that were ever judged, the overall row first."""
    found = {summary.workload for judged in judgements for summary in judged.candidate_summary}
    return [OVERALL, *sorted(found - {OVERALL})]


def _point(
    run: Run, judged: Judgement | None, epoch: int | None, metric: Metric, workload: str
) -> SeriesPoint:
    field = _SUMMARY_FIELDS[metric]
    # Of an invalid run no figure is believed, so none is drawn.
    believed = judged if judged is not None and judged.verdict is not Verdict.INVALID else None
    effect = _effect(believed, metric, workload)
    value = _summary_value(believed, "candidate_summary", field, workload)
    before = _summary_value(believed, "reference_summary", field, workload)
    low, high = _interval(believed, effect, metric, before, workload)
    return SeriesPoint(
        run_id=run.id,
        version=run.version,
        planted=is_planted(run.version),
        state=run.state,
        verdict=verdict_of(run, judged),
        first=judged is not None and judged.reference is None,
        headline=judged.headline if judged is not None else run.reason,
        value=value,
        low=low,
        high=high,
        change_percent=_finite(effect.change_percent) if effect is not None else None,
        reference_run_id=run.reference_run_id,
        reference_value=before,
        epoch=epoch,
        measured_at=run.finished_at,
    )


def verdict_of(run: Run, judged: Judgement | None) -> Verdict | None:
    """Return what is said of a run: its verdict, or that it failed or is invalid without having one."""
    if run.state is RunState.FAILED:
        return Verdict.FAILED
    if run.state is RunState.INVALID:
        return Verdict.INVALID
    return judged.verdict if judged is not None and run.state is RunState.DONE else None


def _summary_value(judged: Judgement | None, side: str, field: str, workload: str) -> float | None:
    if judged is None:
        return None
    summary = next((one for one in getattr(judged, side) if one.workload == workload), None)
    return None if summary is None else _finite(getattr(summary, field))


def _effect(judged: Judgement | None, metric: Metric, workload: str) -> Effect | None:
    effects: Sequence[Effect] = judged.effects if judged is not None else ()
    return next((one for one in effects if (one.metric, one.workload) == (metric, workload)), None)


def _interval(
    judged: Judgement | None, effect: Effect | None, metric: Metric, before: float | None, workload: str
) -> tuple[float | None, float | None]:
    if metric is Metric.SPEEDUP:
        return (
            _summary_value(judged, "candidate_summary", "speedup_low", workload),
            _summary_value(judged, "candidate_summary", "speedup_high", workload),
        )
    if effect is None or before is None:
        return None, None
    low, high = _finite(effect.ci_low), _finite(effect.ci_high)
    if low is None or high is None:
        return None, None
    return before * (1 + low / _HUNDRED), before * (1 + high / _HUNDRED)


def _finite(value: float | None) -> float | None:
    return value if numbers.known(value) else None
