"""Two releases laid side by side: how much each metric moved, and how surely that is known."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import fmean

from monitor.domain import Arm, Metric, Session
from monitor.judge import counts, statistics
from monitor.judge.metrics import CELL_VALUES, PromptKey, Table, session_means, weighted_mean
from monitor.judge.policy import JudgingPolicy
from monitor.judge.statistics import Estimate, Prior

_RESIDUE = 1e-12
"""Sums of logarithms in another order differ by less; no real change does."""
_FEW_BLOCKS = 3


class Design(StrEnum):
    """How the sessions of the two releases lie in time, which decides what their noise is."""

    SEPARATE = "separate"
    """One release after the other: whole groups of sessions are compared."""
    ALTERNATING = "alternating"
    """In turns within each block: blocks are compared, so that a drift falls out."""
    COPY = "copy"
    """The same sessions twice, as in a changed copy of a sample file: nothing but the change differs."""


@dataclass(frozen=True)
class Comparison:
    """Two releases laid side by side on the prompts that both answered in every session."""

    reference: Table
    candidate: Table
    prompts: frozenset[PromptKey]
    policy: JudgingPolicy
    design: Design
    priors: Mapping[Metric, Prior] = field(default_factory=dict)
    """What calibration knows about the noise of each metric between sessions."""

    def estimate(self, metric: Metric, prompts: frozenset[PromptKey]) -> Estimate | None:
        """Return candidate − reference of the metric's mean log (of the share itself for acceptance)."""
        if metric is Metric.SPEEDUP:
            return self._speedup(prompts)
        if not prompts and metric not in SESSION_VALUES:
            return None
        old, new = (self.values(table, metric, prompts) for table in (self.reference, self.candidate))
        if not old or not new:
            return None
        if metric in counts.COUNTED:
            return self._counted(metric, prompts, old, new)
        estimate = self._contrast(old, new, self._prior(metric))
        return estimate.widened(*self._text(prompts)) if metric is Metric.MTP_RATE else estimate

    def values(self, table: Table, metric: Metric, prompts: frozenset[PromptKey]) -> dict[int, float]:
        """Return session number → the session's one value of a metric."""
        if metric is Metric.SPEEDUP:
            return {}
        if metric in SESSION_VALUES:
            found = {s.session: SESSION_VALUES[metric](s, table) for s in table.of(Arm.MTP)}
            return {number: math.log(value) for number, value in found.items() if value}
        if metric is Metric.ACCEPTANCE_RATE:
            return _acceptance_means(table, prompts)
        return session_means(table, metric, prompts)

    def _counted(
        self, metric: Metric, prompts: frozenset[PromptKey], old: dict[int, float], new: dict[int, float]
    ) -> Estimate:
        estimate = self._contrast(old, new, None)
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
        if self.design is not Design.SEPARATE:
            common = sorted(ratios[0].keys() & ratios[1].keys())
            paired = statistics.mean_of([ratios[1][block] - ratios[0][block] for block in common])
            # Few blocks say little about spread; the arms' own sessions say more.
            spread = math.hypot(mtp.standard_error, base.standard_error)
            if len(common) < _FEW_BLOCKS:
                paired = Estimate(
                    paired.difference, spread, min(mtp.degrees_of_freedom, base.degrees_of_freedom)
                )
        else:
            paired = statistics.unpaired(
                list(ratios[0].values()), list(ratios[1].values()), self._prior(Metric.SPEEDUP)
            )
        # The three factors sum to this difference exactly, whatever the blocks hold.
        exact = Estimate(mtp.difference - base.difference, paired.standard_error, paired.degrees_of_freedom)
        return exact.widened(*self._text(prompts))

    def _contrast(self, old: Mapping[int, float], new: Mapping[int, float], prior: Prior | None) -> Estimate:
        if self.design is Design.SEPARATE:
            return statistics.unpaired(list(old.values()), list(new.values()), prior)
        by_block = [
            _by_block(table, values) for table, values in ((self.reference, old), (self.candidate, new))
        ]
        common = sorted(by_block[0].keys() & by_block[1].keys())
        if not common:
            return statistics.unpaired(list(old.values()), list(new.values()), prior)
        return statistics.blocked([(by_block[0][block], by_block[1][block]) for block in common], prior)

    def _prior(self, metric: Metric) -> Prior | None:
        """Return the metric's calibrated noise; a copy shares every session's noise with its original."""
        return None if self.design is Design.COPY else self.priors.get(metric)

    # --- levels ------------------------------------------------------------------------------

    def level_of(self, table: Table, metric: Metric, prompts: frozenset[PromptKey]) -> float | None:
        """Return a release's value of a metric in its own unit; None when it was not measured."""
        if metric is Metric.SPEEDUP:
            ratios = block_speedups(table, prompts)
            return math.exp(fmean(ratios.values())) if ratios else None
        values = self.values(table, metric, prompts)
        if not values:
            return None
        mean = fmean(values.values())
        return mean if metric is Metric.ACCEPTANCE_RATE else math.exp(mean)

    def is_disturbed(self, metric: Metric) -> bool:
        """Say whether a metric rests on times of an arm during which other work took the host.

        A copy was disturbed exactly as its original was, so nothing but the change differs.
        """
        if metric in counts.COUNTED or self.design is Design.COPY:
            return False
        busy = self.reference.busy_arms | self.candidate.busy_arms
        if metric is Metric.SPEEDUP:
            return bool(busy)
        return (CELL_VALUES[metric][0] if metric in CELL_VALUES else Arm.MTP) in busy

    def drafts_alike(self) -> bool:
        """Say whether both releases draft equally many tokens a step, within the policy's tolerance."""
        old, new = (
            counts.drafted_per_step(table, self.prompts) for table in (self.reference, self.candidate)
        )
        if not old or not new:
            return False
        return abs(new / old - 1) <= self.policy.drafted_per_step_tolerance


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


def design_of(reference: Table, candidate: Table) -> Design:
    """Tell how the two releases were measured, by the times their sessions started.

    A release measured after the other shares no stretch of time with it. A copy of a file shares all of it.
    """
    spans = []
    for table in (reference, candidate):
        blocks: dict[int, list[float]] = defaultdict(list)
        for session in table.sessions:
            if session.started_at is None:
                return Design.SEPARATE
            blocks[session.block].append(session.started_at.timestamp())
        spans.append(blocks)
    if spans[0] == spans[1]:
        return Design.COPY
    common = spans[0].keys() & spans[1].keys()
    overlap = all(
        min(spans[0][block]) <= max(spans[1][block]) and min(spans[1][block]) <= max(spans[0][block])
        for block in common
    )
    return Design.ALTERNATING if common and overlap else Design.SEPARATE


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


SESSION_VALUES: dict[Metric, Callable[[Session, Table], float | None]] = {
    Metric.STARTUP: lambda session, _: session.startup_s,
    Metric.GPU_MEMORY: lambda session, _: session.gpu_memory_bytes,
    Metric.ENERGY: _energy,
}
"""Metrics of a whole session, read from the mtp arm."""
