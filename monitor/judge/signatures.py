"""Which pattern of effects has which name; `docs/judging.md` has the table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from monitor.domain import Arm, Effect, Metric, Signature, Verdict
from monitor.judge import counts, statistics
from monitor.judge.comparison import Comparison
from monitor.judge.metrics import OVERALL, Table
from monitor.judge.policy import JudgingPolicy

_DECAY_PROMPTS = 8
"""Fewer requests a session show no trend."""
_DECAY_P = 0.01


@dataclass(frozen=True)
class Moves:
    """The gating metrics that moved, by direction; a workload's row counts like the overall one."""

    worse: frozenset[Metric]
    better: frozenset[Metric]

    @classmethod
    def of(cls, effects: Iterable[Effect]) -> Moves:
        """Collect the gating rows that are regressed or improved."""
        gating = [row for row in effects if row.gates]
        worse = frozenset(row.metric for row in gating if row.verdict is Verdict.REGRESSED)
        # An improved workload beside a regressed one is no improvement of the metric.
        better = frozenset(row.metric for row in gating if row.verdict is Verdict.IMPROVED) - worse
        return cls(worse, better)


def drafts(table: Table) -> bool:
    """Say whether the mtp arm drafted anything at all."""
    return counts.drafted(table) > 0


def is_dead(table: Table, policy: JudgingPolicy) -> bool:
    """Say whether hardly any of many drafted tokens were accepted."""
    drafted = counts.drafted(table)
    return drafted >= policy.dead_drafted and counts.accepted(table) < policy.dead_acceptance * drafted


def name_pattern(comparison: Comparison, moves: Moves) -> Signature | None:
    """Return the name of what the effects show; None when nothing moved."""
    if not drafts(comparison.candidate):
        return Signature.SPECULATION_OFF
    if is_dead(comparison.candidate, comparison.policy):
        return Signature.DRAFTER_DEAD
    if (moves.worse or moves.better) and not comparison.drafts_alike():
        return Signature.CONFIGURATION_DRIFT
    if moves.worse:
        return _name_of_loss(comparison, moves)
    if Metric.BASELINE_RATE in moves.better and not moves.better & {
        Metric.ACCEPTANCE_LENGTH,
        Metric.STEP_TIME,
    }:
        return Signature.BASELINE_FASTER
    return None


def _name_of_loss(comparison: Comparison, moves: Moves) -> Signature:
    acceptance = {Metric.ACCEPTANCE_LENGTH, Metric.ACCEPTANCE_RATE}
    steps_slower = Metric.STEP_TIME in moves.worse
    if moves.worse & acceptance:
        if steps_slower:
            return Signature.MIXED
        return Signature.DECAY if _decays(comparison) else Signature.ACCEPTANCE_DROP
    if steps_slower and moves.better & acceptance:
        return Signature.MIXED
    if steps_slower:
        return Signature.ENGINE_SLOWER if Metric.BASELINE_RATE in moves.worse else Signature.STEP_SLOWER
    if moves.worse == {Metric.TTFT_MTP}:
        return Signature.PREFILL_COST
    slower_baseline = moves.worse <= {Metric.BASELINE_RATE, Metric.TTFT_BASELINE}
    return Signature.BASELINE_SLOWER if slower_baseline else Signature.ENGINE_SLOWER


def _decays(comparison: Comparison) -> bool:
    """Say whether the loss of acceptance grows with the requests a server has answered.

    Spearman's rank correlation between a prompt's place in the session and how much its log acceptance
    length lost against the reference.
    """
    sessions = comparison.candidate.of(Arm.MTP)
    if not sessions:
        return False
    order = [key for key in comparison.candidate.cells[sessions[0].session] if key in comparison.prompts]
    losses = []
    for key in order:
        pair = [
            counts.prompt_mean(table, Metric.ACCEPTANCE_LENGTH, key)
            for table in (comparison.reference, comparison.candidate)
        ]
        if pair[0] is not None and pair[1] is not None:
            losses.append(pair[1] - pair[0])
    return len(losses) >= _DECAY_PROMPTS and statistics.falls_with_rank(losses, _DECAY_P)


def overall(effects: Iterable[Effect], metric: Metric) -> Effect | None:
    """Return a metric's overall row."""
    return next((row for row in effects if row.metric is metric and row.workload == OVERALL), None)
