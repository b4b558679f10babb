"""How much each metric moved between two releases, with interval, floor and the row's own verdict."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean

from monitor.domain import Arm, Channel, Effect, Metric, Session, Verdict
from monitor.judge import counts, statistics
from monitor.judge.metrics import (
    OVERALL,
    PromptKey,
    Table,
    session_means,
    weighted_mean,
    within,
    workloads,
)
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
"""Note on a row that was never suspected and that a confirmation's few sessions leave open."""
_RESIDUE = 1e-12
"""Sums of logarithms in another order differ by less; no real change does."""


@dataclass(frozen=True)
class Comparison:
    """Two releases laid side by side on the prompts that both answered in every session."""

    reference: Table
    candidate: Table
    prompts: frozenset[PromptKey]
    policy: JudgingPolicy
    level: float
    """One-sided level at which a change is called."""
    alternating: bool
    """The releases took turns within each block, so blocks are compared, not whole groups."""

    def effects(self) -> tuple[Effect, ...]:
        """Return every row: per metric the overall one, then one for each workload."""
        rows = []
        for metric in ORDER:
            names = [OVERALL, *(workloads(self.prompts) if metric not in _SESSION_VALUES else ())]
            rows += [row for name in names if (row := self.effect(metric, name)) is not None]
        return tuple(_without_blame(row, rows) for row in rows)

    def effect(self, metric: Metric, workload: str) -> Effect | None:
        """Return one row; None when neither release has the metric."""
        prompts = within(self.prompts, workload)
        estimate = self.estimate(metric, prompts)
        old, new = (self._level_of(table, metric, prompts) for table in (self.reference, self.candidate))
        if old is None and new is None:
            return None
        exact = metric in counts.COUNTED and counts.is_exact(self.reference, self.candidate, prompts)
        gates = self._gates(metric, workload, exact=exact)
        floor = self._floor(metric, estimate)
        if estimate is None:
            return _unmeasured(metric, workload, gates=gates, floor=floor, reference=old, candidate=new)
        verdict, note = _row_verdict(estimate, metric, floor, self.policy, self.level, exact=exact)
        linear = metric is Metric.ACCEPTANCE_RATE
        groups = [
            list(self.values(table, metric, prompts).values()) for table in (self.reference, self.candidate)
        ]
        outliers = not exact and metric is not Metric.SPEEDUP and statistics.has_outliers(*groups)
        margin = estimate.margin(self.policy.level_unchanged)
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
            mde=0.0 if exact else self._detectable(estimate, floor),
            degrees_of_freedom=None if exact else estimate.degrees_of_freedom,
            outliers=outliers,
            hodges_lehmann_percent=100 * math.expm1(statistics.hodges_lehmann(*groups)) if outliers else None,
            verdict=verdict,
            note=note,
        )

    # --- estimates ---------------------------------------------------------------------------

    def estimate(self, metric: Metric, prompts: frozenset[PromptKey]) -> Estimate | None:
        """Return candidate − reference of the metric's mean log (of the share itself for acceptance)."""
        if metric is Metric.SPEEDUP:
            return self._speedup(prompts)
        if not prompts and metric not in _SESSION_VALUES:
            return None
        old, new = (self.values(table, metric, prompts) for table in (self.reference, self.candidate))
        if not old or not new:
            return None
        if metric in counts.COUNTED:
            return self._counted(metric, prompts, old, new)
        estimate = self._contrast(old, new)
        return estimate.widened(*self._text(prompts)) if metric is Metric.MTP_RATE else estimate

    def values(self, table: Table, metric: Metric, prompts: frozenset[PromptKey]) -> dict[int, float]:
        """Return session number → the session's one value of a metric."""
        if metric is Metric.SPEEDUP:
            return {}
        if metric in _SESSION_VALUES:
            found = {s.session: _SESSION_VALUES[metric](s, table) for s in table.of(Arm.MTP)}
            return {number: math.log(value) for number, value in found.items() if value}
        if metric is Metric.ACCEPTANCE_RATE:
            return _acceptance_means(table, prompts)
        return session_means(table, metric, prompts)

    def _counted(
        self, metric: Metric, prompts: frozenset[PromptKey], old: dict[int, float], new: dict[int, float]
    ) -> Estimate:
        estimate = self._contrast(old, new)
        repeat = all(counts.counts_repeat(table, prompts) for table in (self.reference, self.candidate))
        if repeat:  # the same counts in every session: only another text could move them
            difference = estimate.difference if abs(estimate.difference) > _RESIDUE else 0.0
            estimate = Estimate(difference, 0.0, 0.0)
        variance, df = counts.text_variance(self.reference, self.candidate, metric, prompts)
        return estimate.widened(variance, df)

    def _text(self, prompts: frozenset[PromptKey]) -> tuple[float, float]:
        return counts.text_variance(self.reference, self.candidate, Metric.ACCEPTANCE_LENGTH, prompts)

    def _speedup(self, prompts: frozenset[PromptKey]) -> Estimate | None:
        """Compare mtp rate over baseline rate; both arms of a block are a pair, so drift falls out."""
        mtp, base = (self.estimate(metric, prompts) for metric in (Metric.MTP_RATE, Metric.BASELINE_RATE))
        if mtp is None or base is None:
            return None
        ratios = [block_speedups(table, prompts) for table in (self.reference, self.candidate)]
        if not ratios[0] or not ratios[1]:
            return None
        if self.alternating:
            common = sorted(ratios[0].keys() & ratios[1].keys())
            paired = statistics.mean_of([ratios[1][block] - ratios[0][block] for block in common])
            # Few blocks say little about spread; the arms' own sessions say more.
            spread = math.hypot(mtp.standard_error, base.standard_error)
            if len(common) < _FEW_BLOCKS:
                paired = Estimate(
                    paired.difference, spread, min(mtp.degrees_of_freedom, base.degrees_of_freedom)
                )
        else:
            paired = statistics.unpaired(list(ratios[0].values()), list(ratios[1].values()))
        # The three factors sum to this difference exactly, whatever the blocks hold.
        exact = Estimate(mtp.difference - base.difference, paired.standard_error, paired.degrees_of_freedom)
        return exact.widened(*self._text(prompts))

    def _contrast(self, old: Mapping[int, float], new: Mapping[int, float]) -> Estimate:
        if not self.alternating:
            return statistics.unpaired(list(old.values()), list(new.values()))
        by_block = [
            _by_block(table, values) for table, values in ((self.reference, old), (self.candidate, new))
        ]
        common = sorted(by_block[0].keys() & by_block[1].keys())
        if not common:
            return statistics.unpaired(list(old.values()), list(new.values()))
        return statistics.blocked([(by_block[0][block], by_block[1][block]) for block in common])

    # --- limits ------------------------------------------------------------------------------

    def _gates(self, metric: Metric, workload: str, *, exact: bool) -> bool:
        if metric in TIMED_GATES:
            return workload == OVERALL
        if metric is Metric.ACCEPTANCE_LENGTH:
            return exact or workload == OVERALL
        # Another number of drafted tokens changes the rate for reasons that are no loss.
        if metric is Metric.ACCEPTANCE_RATE:
            return (exact or workload == OVERALL) and self.drafts_alike()
        return False

    def drafts_alike(self) -> bool:
        """Say whether both releases draft equally many tokens a step, within the policy's tolerance."""
        old, new = (
            counts.drafted_per_step(table, self.prompts) for table in (self.reference, self.candidate)
        )
        if not old or not new:
            return False
        return abs(new / old - 1) <= self.policy.drafted_per_step_tolerance

    def _floor(self, metric: Metric, estimate: Estimate | None) -> float:
        floor = self.policy.floor(metric)
        measured = self.policy.noise_floor == "measured" and metric not in counts.COUNTED
        if not measured or estimate is None or estimate.standard_error == 0:
            return floor
        resolvable = statistics.quantile_margin(
            estimate.degrees_of_freedom, self.policy.level_unchanged, self.policy.power
        )
        if not math.isfinite(resolvable):
            return floor
        return max(floor, min(resolvable * estimate.standard_error, self.policy.measured_floor_max))

    def _detectable(self, estimate: Estimate, floor: float) -> float | None:
        if estimate.standard_error == 0:
            return self.policy.inner_fraction * floor
        quantiles = statistics.quantile_margin(estimate.degrees_of_freedom, self.level, self.policy.power)
        if not math.isfinite(quantiles):
            return None
        return self.policy.inner_fraction * floor + quantiles * estimate.standard_error

    def _level_of(self, table: Table, metric: Metric, prompts: frozenset[PromptKey]) -> float | None:
        if metric is Metric.SPEEDUP:
            ratios = block_speedups(table, prompts)
            return math.exp(fmean(ratios.values())) if ratios else None
        values = self.values(table, metric, prompts)
        if not values:
            return None
        mean = fmean(values.values())
        return mean if metric is Metric.ACCEPTANCE_RATE else math.exp(mean)


_FEW_BLOCKS = 3


def block_speedups(table: Table, prompts: frozenset[PromptKey]) -> dict[int, float]:
    """Return block → log of mtp rate over baseline rate, for the blocks that have both arms."""
    if not prompts:
        return {}
    arms = [
        _by_block(table, session_means(table, metric, prompts))
        for metric in (Metric.MTP_RATE, Metric.BASELINE_RATE)
    ]
    return {
        block: fmean(arms[0][block]) - fmean(arms[1][block])
        for block in sorted(arms[0].keys() & arms[1].keys())
    }


def taken_in_turns(reference: Table, candidate: Table) -> bool:
    """Say whether the two releases were measured in alternation, by the times their sessions started.

    A release measured after the other shares no stretch of time with it. A copy of a file shares all of it.
    """
    spans = []
    for table in (reference, candidate):
        blocks: dict[int, list[float]] = defaultdict(list)
        for session in table.sessions:
            if session.started_at is None:
                return False
            blocks[session.block].append(session.started_at.timestamp())
        spans.append({block: (min(times), max(times)) for block, times in blocks.items()})
    common = spans[0].keys() & spans[1].keys()
    return bool(common) and all(
        spans[0][block][0] <= spans[1][block][1] and spans[1][block][0] <= spans[0][block][1]
        for block in common
    )


def _by_block(table: Table, values: Mapping[int, float]) -> dict[int, list[float]]:
    grouped: dict[int, list[float]] = defaultdict(list)
    for session in table.sessions:
        if session.session in values:
            grouped[session.block].append(values[session.session])
    return grouped


def _acceptance_means(table: Table, prompts: frozenset[PromptKey]) -> dict[int, float]:
    value = counts.COUNTED[Metric.ACCEPTANCE_RATE]
    means = {}
    for session in table.of(Arm.MTP):
        cells = table.cells[session.session]
        known = {key: rate for key in prompts if (rate := value(cells[key])) is not None}
        if known:
            means[session.session] = weighted_mean(known)
    return means


def _energy(session: Session, table: Table) -> float | None:
    tokens = sum(cell.n for cell in table.cells[session.session].values())
    return session.energy_j / tokens if session.energy_j and tokens else None


_SESSION_VALUES: dict[Metric, Callable[[Session, Table], float | None]] = {
    Metric.STARTUP: lambda session, _: session.startup_s,
    Metric.GPU_MEMORY: lambda session, _: session.gpu_memory_bytes,
    Metric.ENERGY: _energy,
}
"""Metrics of a whole session, read from the mtp arm."""


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


def _without_blame(row: Effect, rows: list[Effect]) -> Effect:
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
