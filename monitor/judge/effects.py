"""How much each metric moved between two releases, with interval, floor and the row's own verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from monitor.domain import Channel, Effect, Metric, Verdict
from monitor.judge import counts, statistics
from monitor.judge.comparison import SESSION_VALUES, Comparison
from monitor.judge.metrics import OVERALL, within, workloads
from monitor.judge.policy import JudgingPolicy
from monitor.judge.statistics import Estimate

TIMED_GATES = (Metric.STEP_TIME, Metric.BASELINE_RATE, Metric.TTFT_BASELINE, Metric.TTFT_MTP)
ORDER = (
    Metric.ACCEPTANCE_LENGTH,
    Metric.ACCEPTANCE_RATE,
    Metric.STEP_TIME,
    Metric.BASELINE_RATE,
    Metric.TTFT_BASELINE,
    Metric.TTFT_MTP,
    Metric.SPEEDUP,
    Metric.MTP_RATE,
    Metric.STARTUP,
    Metric.GPU_MEMORY,
    Metric.ENERGY,
)
UNITS = {
    Metric.STEP_TIME: "s",
    Metric.ACCEPTANCE_LENGTH: "tokens/step",
    Metric.ACCEPTANCE_RATE: "share",
    Metric.BASELINE_RATE: "tokens/s",
    Metric.MTP_RATE: "tokens/s",
    Metric.TTFT_BASELINE: "s",
    Metric.TTFT_MTP: "s",
    Metric.SPEEDUP: "×",
    Metric.STARTUP: "s",
    Metric.GPU_MEMORY: "B",
    Metric.ENERGY: "J/token",
}
LESS_IS_BETTER = frozenset(
    {
        Metric.STEP_TIME,
        Metric.TTFT_BASELINE,
        Metric.TTFT_MTP,
        Metric.STARTUP,
        Metric.GPU_MEMORY,
        Metric.ENERGY,
    }
)
SETTLED = "unchanged in the screening sessions"


def effects(comparison: Comparison, level: float) -> tuple[Effect, ...]:
    """Return every row: per metric the overall one, then one for each workload.

    `level` is the one-sided confidence level at which a change is called.
    """
    rows = []
    for metric in ORDER:
        names = [OVERALL, *(workloads(comparison.prompts) if metric not in SESSION_VALUES else ())]
        rows += [row for name in names if (row := effect(comparison, metric, name, level)) is not None]
    return tuple(_without_blame(row, rows) for row in rows)


def effect(comparison: Comparison, metric: Metric, workload: str, level: float) -> Effect | None:
    """Return one row; None when neither release has the metric."""
    prompts = within(comparison.prompts, workload)
    sides = (comparison.reference, comparison.candidate)
    estimate = comparison.estimate(metric, prompts)
    old, new = (comparison.level_of(table, metric, prompts) for table in sides)
    if old is None and new is None:
        return None
    exact = metric in counts.COUNTED and counts.is_exact(*sides, prompts)
    gates = _gates(comparison, metric, workload, exact=exact)
    floor = _floor(comparison.policy, metric, estimate)
    if estimate is None:
        return _unmeasured(metric, workload, gates=gates, floor=floor, reference=old, candidate=new)
    verdict, note = _row_verdict(estimate, metric, floor, comparison.policy, level, exact=exact)
    if verdict is not Verdict.INCONCLUSIVE and comparison.is_disturbed(metric):
        verdict, note = Verdict.INCONCLUSIVE, "the host was busy with other work"
    linear = metric is Metric.ACCEPTANCE_RATE
    groups = [list(comparison.values(table, metric, prompts).values()) for table in sides]
    outliers = not exact and metric is not Metric.SPEEDUP and statistics.has_outliers(*groups)
    margin = estimate.margin(comparison.policy.level_unchanged)
    return Effect(
        metric=metric,
        workload=workload,
        channel=Channel.EXACT if exact else Channel.TIMED,
        gates=gates,
        reference=old,
        candidate=new,
        unit=UNITS[metric],
        change_log=_change_log(old, new) if linear else estimate.difference,
        change_percent=_percent(estimate.difference, old, linear=linear),
        ci_low=_percent(estimate.difference - margin, old, linear=linear),
        ci_high=_percent(estimate.difference + margin, old, linear=linear),
        p_value=None if exact else estimate.p_value(),
        floor=floor,
        mde=0.0 if exact else _detectable(comparison.policy, estimate, floor, level),
        degrees_of_freedom=None if exact else estimate.degrees_of_freedom,
        outliers=outliers,
        hodges_lehmann_percent=100 * math.expm1(statistics.hodges_lehmann(*groups)) if outliers else None,
        verdict=verdict,
        note=note,
    )


# --- limits --------------------------------------------------------------------------------------


def _gates(comparison: Comparison, metric: Metric, workload: str, *, exact: bool) -> bool:
    if metric in TIMED_GATES:
        return workload == OVERALL
    if metric is Metric.ACCEPTANCE_LENGTH:
        return exact or workload == OVERALL
    # Another number of drafted tokens changes the rate for reasons that are no loss.
    if metric is Metric.ACCEPTANCE_RATE:
        return (exact or workload == OVERALL) and comparison.drafts_alike()
    return False


def _floor(policy: JudgingPolicy, metric: Metric, estimate: Estimate | None) -> float:
    floor = policy.floor(metric)
    measured = policy.noise_floor == "measured" and metric not in counts.COUNTED
    if not measured or estimate is None or estimate.standard_error == 0:
        return floor
    resolvable = statistics.quantile_margin(estimate.degrees_of_freedom, policy.level_unchanged, policy.power)
    if not math.isfinite(resolvable):
        return floor
    return max(floor, min(resolvable * estimate.standard_error, policy.measured_floor_max))


def _detectable(policy: JudgingPolicy, estimate: Estimate, floor: float, level: float) -> float | None:
    if estimate.standard_error == 0:
        return policy.inner_fraction * floor
    quantiles = statistics.quantile_margin(estimate.degrees_of_freedom, level, policy.power)
    if not math.isfinite(quantiles):
        return None
    return policy.inner_fraction * floor + quantiles * estimate.standard_error


def _row_verdict(
    estimate: Estimate, metric: Metric, floor: float, policy: JudgingPolicy, level: float, *, exact: bool
) -> tuple[Verdict, str]:
    """Apply the two limits: beyond the inner one at `level`, or inside ±floor with the whole interval."""
    worse = estimate.difference if metric in LESS_IS_BETTER else -estimate.difference
    bound = estimate.margin(level)
    # Without any spread there is nothing to be sure against: the floor alone decides.
    limit = floor if estimate.standard_error == 0 else policy.inner_fraction * floor
    if abs(worse) - bound > limit:
        return (Verdict.REGRESSED if worse > 0 else Verdict.IMPROVED), ""
    if abs(worse) + estimate.margin(policy.level_unchanged) <= floor:
        return Verdict.UNCHANGED, "changed, below the floor" if exact and worse else ""
    return Verdict.INCONCLUSIVE, "" if math.isfinite(bound) else "one session says nothing about noise"


def _without_blame(row: Effect, rows: Iterable[Effect]) -> Effect:
    """Keep a speedup from being called worse that fell while mtp itself did not: the baseline gained."""
    if row.metric is not Metric.SPEEDUP or row.verdict is not Verdict.REGRESSED:
        return row
    mtp = next(r for r in rows if r.metric is Metric.MTP_RATE and r.workload == row.workload)
    if mtp.verdict is Verdict.REGRESSED:
        return row
    return replace(row, verdict=Verdict.UNCHANGED, note="lower only because the baseline is faster: no loss")


def _unmeasured(
    metric: Metric,
    workload: str,
    *,
    gates: bool,
    floor: float,
    reference: float | None,
    candidate: float | None,
) -> Effect:
    missing = "reference" if reference is None else "candidate"
    return Effect(
        metric=metric,
        workload=workload,
        channel=Channel.TIMED,
        gates=gates,
        reference=reference,
        candidate=candidate,
        unit=UNITS[metric],
        change_log=None,
        change_percent=None,
        ci_low=None,
        ci_high=None,
        p_value=None,
        floor=floor,
        mde=None,
        degrees_of_freedom=None,
        outliers=False,
        hodges_lehmann_percent=None,
        verdict=Verdict.INCONCLUSIVE,
        note=f"not measured in the {missing}",
    )


def _change_log(old: float | None, new: float | None) -> float | None:
    return math.log(new / old) if old and new else None


def _percent(difference: float, reference: float | None, *, linear: bool) -> float | None:
    """Return a difference as a percentage; None when it is not finite."""
    if not math.isfinite(difference) or difference > _OVERFLOW or (linear and not reference):
        return None
    return 100 * difference / reference if linear and reference else 100 * math.expm1(difference)


_OVERFLOW = 700.0
"""exp of more is no float any longer."""
