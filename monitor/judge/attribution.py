"""Why the speedup changed: three signed contributions that sum to its change.

speedup = acceptance length × baseline step time / mtp step time holds for every prompt, and for the means of
logs with equal weights. So Δlog speedup = Δlog AL − Δlog t_step + Δlog t_base, where t_base is one over the
baseline's decode rate.
"""

from __future__ import annotations

from monitor.domain import Attribution, Metric, Share
from monitor.judge.comparison import Comparison
from monitor.judge.metrics import OVERALL, within, workloads
from monitor.judge.statistics import Estimate

_TOO_SMALL = 0.005
"""Below half a percent of change, shares of it are quotients of noise."""


def by_workload(comparison: Comparison) -> tuple[Attribution, ...]:
    """Return the contributions within each workload, in alphabetical order."""
    found = (attribute(comparison, name) for name in workloads(comparison.prompts))
    return tuple(one for one in found if one is not None)


def attribute(comparison: Comparison, workload: str = OVERALL) -> Attribution | None:
    """Return the contributions over a workload's prompts; None when an arm or the counts are missing."""
    prompts = within(comparison.prompts, workload)
    length, step, rate = (
        comparison.estimate(metric, prompts)
        for metric in (Metric.ACCEPTANCE_LENGTH, Metric.STEP_TIME, Metric.BASELINE_RATE)
    )
    if length is None or step is None or rate is None:
        return None
    # A baseline that became faster took something from the speedup; a slower step did too.
    parts = (length, _reversed(step), _reversed(rate))
    total = sum(part.difference for part in parts)
    level = comparison.policy.level_shown
    shares = [_share(part, total, level) for part in parts]
    return Attribution(
        acceptance_length=shares[0],
        step_time=shares[1],
        baseline=shares[2],
        speedup_change_log=total,
        workload=workload,
    )


def _reversed(estimate: Estimate) -> Estimate:
    return Estimate(-estimate.difference, estimate.standard_error, estimate.degrees_of_freedom)


def _share(part: Estimate, total: float, level: float) -> Share:
    margin = part.margin(level)
    return Share(
        change_log=part.difference,
        ci_low=part.difference - margin,
        ci_high=part.difference + margin,
        share=part.difference / total if abs(total) >= _TOO_SMALL else None,
    )
