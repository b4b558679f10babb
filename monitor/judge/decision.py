"""From rows and guards to one verdict: the first rule that applies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from monitor.domain import ArmSummary, Effect, Guard, Lossless, Signature, Verdict
from monitor.judge import headline, signatures
from monitor.judge.comparison import Comparison
from monitor.judge.effects import SETTLED
from monitor.judge.metrics import Table
from monitor.judge.policy import JudgingPolicy
from monitor.judge.signatures import Moves


def settled(rows: tuple[Effect, ...], screened: tuple[Effect, ...]) -> tuple[Effect, ...]:
    """Mark rows that were never suspected and that a confirmation's few sessions leave open."""
    harmless = {
        (row.metric, row.workload) for row in screened if row.verdict in (Verdict.UNCHANGED, Verdict.IMPROVED)
    }
    return tuple(
        replace(row, note=SETTLED)
        if row.verdict is Verdict.INCONCLUSIVE and (row.metric, row.workload) in harmless
        else row
        for row in rows
    )


def is_open(row: Effect) -> bool:
    """Say whether a row gates and more sessions could still decide it."""
    return row.gates and row.verdict is Verdict.INCONCLUSIVE and row.note != SETTLED


def decide(
    comparison: Comparison,
    rows: tuple[Effect, ...],
    tripped: Iterable[Guard],
    equality: Lossless,
    figures: tuple[ArmSummary, ...],
) -> tuple[Verdict, Signature | None, str]:
    """Return verdict, signature and, where a limit of the check is missed, the sentence about it."""
    drafts, drafted = signatures.drafts(comparison.candidate), signatures.drafts(comparison.reference)
    moves = Moves.of(rows)
    pattern = signatures.name_pattern(comparison, moves)
    limit = missed_limit(comparison.candidate, figures, comparison.policy)
    undecided = any(is_open(row) for row in rows)
    rules: tuple[tuple[bool, Verdict, Signature | None], ...] = (
        (is_invalid(tripped), Verdict.INVALID, Signature.HARNESS_DRIFT),
        (not drafts and not drafted, Verdict.INVALID, Signature.SPECULATION_OFF),
        (not drafts, Verdict.REGRESSED, Signature.SPECULATION_OFF),
        (equality.verdict is Verdict.REGRESSED, Verdict.REGRESSED, Signature.OUTPUT_CHANGED),
        (bool(moves.worse), Verdict.REGRESSED, pattern),
        (bool(limit), Verdict.REGRESSED, pattern),
        (undecided, Verdict.INCONCLUSIVE, pattern),
        (bool(moves.better), Verdict.IMPROVED, pattern),
        (True, Verdict.UNCHANGED, pattern),
    )
    verdict, signature = next((verdict, signature) for applies, verdict, signature in rules if applies)
    missed = verdict is Verdict.REGRESSED and not moves.worse and signature is pattern
    return verdict, signature, limit if missed else ""


def is_invalid(tripped: Iterable[Guard]) -> bool:
    """Say whether a guard forbids to believe any number."""
    return any(guard.tripped and guard.outcome is Verdict.INVALID for guard in tripped)


def missed_limit(table: Table, figures: tuple[ArmSummary, ...], policy: JudgingPolicy) -> str:
    """Return the sentence about a limit that the check expects and the release misses; empty for none."""
    overall = figures[0]
    rate, limit = overall.acceptance_rate, policy.min_acceptance
    if rate is not None and limit is not None and rate < limit:
        return headline.below_limit("The acceptance rate", rate, limit)
    if table.busy_arms:
        return ""
    # The whole interval must lie below: one noisy session alarms nobody.
    high, least = overall.speedup_high, policy.min_speedup
    if high is not None and least is not None and overall.speedup is not None and high < least:
        return headline.below_limit("The speedup", overall.speedup, least)
    return ""
