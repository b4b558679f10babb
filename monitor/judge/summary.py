"""Plain figures of one release, for people: what each arm does, overall and for each workload."""

from __future__ import annotations

import math
from statistics import fmean

from monitor.domain import Arm, ArmSummary, Metric
from monitor.judge import statistics
from monitor.judge.comparison import block_speedups
from monitor.judge.counts import prompt_mean
from monitor.judge.metrics import OVERALL, PromptKey, Table, session_means, weighted_mean, within, workloads
from monitor.judge.statistics import Prior


def summarise(
    table: Table, prompts: frozenset[PromptKey], level: float, prior: Prior | None = None
) -> tuple[ArmSummary, ...]:
    """Return the overall figures, then each workload's.

    Args:
        table: the release's sessions.
        prompts: those that the figures cover.
        level: of the speedup's interval, one-sided.
        prior: what calibration knows about the speedup's noise from block to block.

    """
    names = (OVERALL, *workloads(prompts))
    return tuple(_one(table, within(prompts, name), name, level, prior) for name in names)


def _one(
    table: Table, prompts: frozenset[PromptKey], name: str, level: float, prior: Prior | None
) -> ArmSummary:
    ratios = list(block_speedups(table, prompts).values())
    speedup = statistics.mean_of(ratios, prior) if ratios else None
    margin = speedup.margin(level) if speedup and len(ratios) > 1 else None
    baseline_rate = _geometric(table, Metric.BASELINE_RATE, prompts)
    return ArmSummary(
        workload=name,
        baseline_rate=baseline_rate,
        mtp_rate=_geometric(table, Metric.MTP_RATE, prompts),
        speedup=math.exp(speedup.difference) if speedup else None,
        speedup_low=math.exp(speedup.difference - margin) if speedup and margin is not None else None,
        speedup_high=math.exp(speedup.difference + margin) if speedup and margin is not None else None,
        acceptance_rate=_acceptance(table, prompts),
        acceptance_length=_geometric(table, Metric.ACCEPTANCE_LENGTH, prompts),
        step_time_s=_geometric(table, Metric.STEP_TIME, prompts),
        baseline_step_time_s=1 / baseline_rate if baseline_rate else None,
        ttft_baseline_s=_geometric(table, Metric.TTFT_BASELINE, prompts),
        ttft_mtp_s=_geometric(table, Metric.TTFT_MTP, prompts),
        accepted_per_position=_per_position(table, prompts),
        baseline_sessions=len(table.of(Arm.BASELINE)),
        mtp_sessions=len(table.of(Arm.MTP)),
    )


def _geometric(table: Table, metric: Metric, prompts: frozenset[PromptKey]) -> float | None:
    means = session_means(table, metric, prompts) if prompts else {}
    return math.exp(fmean(means.values())) if means else None


def _acceptance(table: Table, prompts: frozenset[PromptKey]) -> float | None:
    if not table.of(Arm.MTP):
        return None
    rates = {
        key: rate for key in prompts if (rate := prompt_mean(table, Metric.ACCEPTANCE_RATE, key)) is not None
    }
    return weighted_mean(rates) if rates else None


def _per_position(table: Table, prompts: frozenset[PromptKey]) -> tuple[float, ...] | None:
    """Return, for each drafted place, the share of decode steps that accepted the token there."""
    cells = [table.cells[s.session][key] for s in table.of(Arm.MTP) for key in prompts]
    steps = sum(cell.steps for cell in cells)
    if not steps or any(cell.accepted_per_position is None for cell in cells):
        return None
    width = max((len(cell.accepted_per_position or ()) for cell in cells), default=0)
    sums = [0] * width
    for cell in cells:
        for place, accepted in enumerate(cell.accepted_per_position or ()):
            sums[place] += accepted
    return tuple(total / steps for total in sums)
