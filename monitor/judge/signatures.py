"""Which pattern of effects has which name; `docs/judging.md` has the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean

from monitor.domain import Arm, Effect, Metric, Signature, Verdict
from monitor.judge import counts, statistics
from monitor.judge.comparison import Comparison
from monitor.judge.metrics import OVERALL, Cell, PromptKey, Table
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
    """Return the first name whose rule applies."""
    accepts = {Metric.ACCEPTANCE_LENGTH, Metric.ACCEPTANCE_RATE}
    accepts_less, accepts_more = bool(moves.worse & accepts), bool(moves.better & accepts)
    slower = Metric.STEP_TIME in moves.worse
    rules: tuple[tuple[Callable[[], bool], Signature], ...] = (
        (lambda: slower and (accepts_less or accepts_more), Signature.MIXED),
        (lambda: accepts_less and _decays(comparison, _length), Signature.DECAY),
        (lambda: accepts_less, Signature.ACCEPTANCE_DROP),
        (lambda: slower and Metric.BASELINE_RATE in moves.worse, Signature.ENGINE_SLOWER),
        (lambda: slower and _decays(comparison, _speed), Signature.DECAY),
        (lambda: slower, Signature.STEP_SLOWER),
        (lambda: moves.worse == {Metric.TTFT_MTP}, Signature.PREFILL_COST),
        (lambda: moves.worse <= {Metric.BASELINE_RATE, Metric.TTFT_BASELINE}, Signature.BASELINE_SLOWER),
        (lambda: True, Signature.ENGINE_SLOWER),
    )
    return next(name for applies, name in rules if applies())


def _length(cell: Cell) -> float | None:
    return cell.log_acceptance_length


def _speed(cell: Cell) -> float | None:
    return None if cell.log_step_time is None else -cell.log_step_time


def _decays(comparison: Comparison, value: Callable[[Cell], float | None]) -> bool:
    """Say whether a loss grows with the requests a server has answered.

    Spearman's rank correlation between a prompt's place in the session and how much its logarithm (of a value
    of which more is better) lost against the reference.
    """
    sessions = comparison.candidate.of(Arm.MTP)
    if not sessions:
        return False
    order = [key for key in comparison.candidate.cells[sessions[0].session] if key in comparison.prompts]
    losses = []
    for key in order:
        pair = [_mean(table, value, key) for table in (comparison.reference, comparison.candidate)]
        if pair[0] is not None and pair[1] is not None:
            losses.append(pair[1] - pair[0])
    return len(losses) >= _DECAY_PROMPTS and statistics.falls_with_rank(losses, _DECAY_P)


def _mean(table: Table, value: Callable[[Cell], float | None], key: PromptKey) -> float | None:
    found = [value(table.cells[session.session][key]) for session in table.of(Arm.MTP)]
    known = [one for one in found if one is not None]
    return fmean(known) if known and len(known) == len(found) else None


def overall(effects: Iterable[Effect], metric: Metric) -> Effect | None:
    """Return a metric's overall row."""
    return next((row for row in effects if row.metric is metric and row.workload == OVERALL), None)
