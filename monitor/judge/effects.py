"""How much each metric moved between two releases, with interval, floor and the row's own verdict."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from monitor.domain import Channel, Effect, Look, Metric, Verdict
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
BUSY = "the host was busy with other work"
"""Note on a row whose times are those of a disturbed host."""
SETTLED = "unchanged in the screening sessions"


@dataclass(frozen=True)
class Row:
    """One metric of both releases, overall or for one workload, before anything is decided about it."""

    metric: Metric
    workload: str
    estimate: Estimate | None
    reference: float | None
    candidate: float | None
    exact: bool
    gates: bool
    sessions: tuple[tuple[float, ...], tuple[float, ...]]
    """One value a session, (reference's, candidate's), as the estimate compares them."""

    @property
    def is_noisy_gate(self) -> bool:
        """Say whether chance could make this row raise an alarm."""
        return self.gates and self.estimate is not None and self.estimate.standard_error > 0


def lay_out(comparison: Comparison) -> tuple[Row, ...]:
    """Return every row that a release has a value for: per metric the overall one, then each workload's."""
    rows = []
    for metric in ORDER:
        names = [OVERALL, *(workloads(comparison.prompts) if metric not in SESSION_VALUES else ())]
        rows += [row for name in names if (row := _row(comparison, metric, name)) is not None]
    return tuple(rows)


def _row(comparison: Comparison, metric: Metric, workload: str) -> Row | None:
    prompts = within(comparison.prompts, workload)
    sides = (comparison.reference, comparison.candidate)
    old, new = (comparison.level_of(table, metric, prompts) for table in sides)
    if old is None and new is None:
        return None
    exact = metric in counts.COUNTED and counts.is_exact(*sides, prompts)
    groups = [tuple(comparison.values(table, metric, prompts).values()) for table in sides]
    return Row(
        metric=metric,
        workload=workload,
        estimate=comparison.estimate(metric, prompts),
        reference=old,
        candidate=new,
        exact=exact,
        gates=_gates(comparison, metric, workload, exact=exact),
        sessions=(groups[0], groups[1]),
    )


def effects(
    comparison: Comparison,
    rows: Iterable[Row],
    look: Look,
    suspected: Collection[tuple[Metric, str]] | None = None,
) -> tuple[Effect, ...]:
    """Decide every row at a look.

    Args:
        comparison: whose rows these are.
        rows: as `lay_out` gives them.
        look: how sure to be.
        suspected: (metric, workload) of the rows that a confirmation is about. The others were not picked by
            earlier sessions and must be as sure as both together. None when nothing was picked.

    """
    rows = tuple(rows)
    noisy = sum(row.is_noisy_gate for row in rows)
    # An alarm on one look must be as rare as one for which screening and confirming both have to err.
    both = comparison.policy.error_regressed * comparison.policy.error_confirm
    strict = max(look.level_regressed, 1 - both / max(1, noisy))
    decided = []
    for row in rows:
        picked = suspected is None or (row.metric, row.workload) in suspected
        level = look.level_regressed if picked else strict
        decided.append(_effect(comparison, row, look, level))
    return tuple(_without_blame(row, decided) for row in decided)


def _effect(comparison: Comparison, row: Row, look: Look, level: float) -> Effect:
    policy, metric, estimate, exact, old = (
        comparison.policy,
        row.metric,
        row.estimate,
        row.exact,
        row.reference,
    )
    floor = floor_of(policy, metric, estimate)
    if estimate is None:
        return _unmeasured(row, floor)
    verdict, note = _row_verdict(row, estimate, floor, policy, (level, look.level_unchanged))
    if verdict is not Verdict.INCONCLUSIVE and comparison.is_disturbed(metric):
        verdict, note = Verdict.INCONCLUSIVE, BUSY
    linear = metric is Metric.ACCEPTANCE_RATE
    outliers = not exact and metric is not Metric.SPEEDUP and statistics.has_outliers(*row.sessions)
    margin = estimate.margin(policy.level_shown)
    return Effect(
        metric=metric,
        workload=row.workload,
        channel=Channel.EXACT if exact else Channel.TIMED,
        gates=row.gates,
        reference=old,
        candidate=row.candidate,
        unit=UNITS[metric],
        change_log=_change_log(old, row.candidate) if linear else estimate.difference,
        change_percent=_percent(estimate.difference, old, linear=linear),
        ci_low=_percent(estimate.difference - margin, old, linear=linear),
        ci_high=_percent(estimate.difference + margin, old, linear=linear),
        p_value=None if exact else estimate.p_value(),
        floor=floor,
        mde=0.0 if exact else _detectable(policy, estimate, floor, level),
        degrees_of_freedom=None if exact else estimate.degrees_of_freedom,
        outliers=outliers,
        hodges_lehmann_percent=100 * math.expm1(statistics.hodges_lehmann(*row.sessions))
        if outliers
        else None,
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


def floor_of(policy: JudgingPolicy, metric: Metric, estimate: Estimate | None) -> float:
    """Return the smallest change that counts: the policy's, or what the sessions at hand can resolve."""
    floor = policy.floor(metric)
    measured = policy.noise_floor == "measured" and metric not in counts.COUNTED
    if not measured or estimate is None or estimate.standard_error == 0:
        return floor
    resolvable = statistics.quantile_margin(estimate.degrees_of_freedom, policy.level_shown, policy.power)
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
    row: Row, estimate: Estimate, floor: float, policy: JudgingPolicy, levels: tuple[float, float]
) -> tuple[Verdict, str]:
    """Apply the two limits: beyond the inner one at the first level, or inside ±floor at the second."""
    worse = estimate.difference if row.metric in LESS_IS_BETTER else -estimate.difference
    bound = estimate.margin(levels[0])
    # Without any spread there is nothing to be sure against: the floor alone decides.
    limit = floor if estimate.standard_error == 0 else policy.inner_fraction * floor
    if abs(worse) - bound > limit:
        return (Verdict.REGRESSED if worse > 0 else Verdict.IMPROVED), ""
    if abs(worse) + estimate.margin(levels[1]) <= floor:
        return Verdict.UNCHANGED, "changed, below the floor" if row.exact and worse else ""
    return Verdict.INCONCLUSIVE, "" if math.isfinite(bound) else "one session says nothing about noise"


def _without_blame(row: Effect, rows: Iterable[Effect]) -> Effect:
    """Keep a row from being called worse whose fall is the price of a gain.

    A speedup that fell while mtp itself did not: the baseline gained. A step that takes longer because it
    yields more tokens, by so much that the rate rose for certain.
    """
    if row.verdict is not Verdict.REGRESSED or row.metric not in (Metric.SPEEDUP, Metric.STEP_TIME):
        return row
    beside = {other.metric: other.verdict for other in rows if other.workload == row.workload}
    if row.metric is Metric.SPEEDUP and beside.get(Metric.MTP_RATE) is not Verdict.REGRESSED:
        note = "lower only because the baseline is faster: no loss"
    elif row.metric is Metric.STEP_TIME and all(
        beside.get(metric) is Verdict.IMPROVED for metric in (Metric.ACCEPTANCE_LENGTH, Metric.MTP_RATE)
    ):
        note = "slower, but each step yields so much more that the rate rose: no loss"
    else:
        return row
    return replace(row, verdict=Verdict.UNCHANGED, note=note)


def _unmeasured(row: Row, floor: float) -> Effect:
    missing = "reference" if row.reference is None else "candidate"
    return Effect(
        metric=row.metric,
        workload=row.workload,
        channel=Channel.TIMED,
        gates=row.gates,
        reference=row.reference,
        candidate=row.candidate,
        unit=UNITS[row.metric],
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
