"""MTP beside what it replaces: every arm of one release over the same baseline. It decides nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

from monitor.domain import JUDGED_ARMS, Arm, SampleSet
from monitor.judge.metrics import PromptKey, Table, comparable_prompts, tabulate, weighted_mean
from monitor.judge.policy import JudgingPolicy


@dataclass(frozen=True, slots=True)
class ArmFigures:
    """One arm, over the prompts that every arm answered; rates in tokens per second."""

    arm: Arm
    sessions: int
    rate: float | None
    speedup: float | None
    """Rate / the baseline's, by prompt; None of the baseline itself."""
    acceptance_rate: float | None
    """Accepted / drafted tokens; None where nothing was drafted."""
    acceptance_length: float | None


def arms_side_by_side(samples: SampleSet, policy: JudgingPolicy) -> tuple[ArmFigures, ...]:
    """Return each arm's figures, the baseline first; empty where only the judged arms were measured."""
    table = tabulate(samples, policy.min_rate_tokens, busy_limit=policy.busy_limit)
    measured = [arm for arm in Arm if table.of(arm)]
    if not set(measured) - set(JUDGED_ARMS):
        return ()
    prompts = comparable_prompts([table])
    base = _log_rates(table, Arm.BASELINE, prompts)
    return tuple(_figures(table, arm, prompts, base) for arm in measured)


def _figures(
    table: Table, arm: Arm, prompts: frozenset[PromptKey], base: dict[PromptKey, float]
) -> ArmFigures:
    own = _log_rates(table, arm, prompts)
    cells = [table.cells[session.session][key] for session in table.of(arm) for key in prompts]
    drafted = sum(cell.drafted for cell in cells)
    steps = sum(cell.steps for cell in cells)
    gains = {key: own[key] - base[key] for key in own.keys() & base.keys()}
    is_baseline = arm is Arm.BASELINE
    return ArmFigures(
        arm=arm,
        sessions=len(table.of(arm)),
        rate=math.exp(weighted_mean(own)) if own else None,
        speedup=math.exp(weighted_mean(gains)) if gains and not is_baseline else None,
        acceptance_rate=sum(cell.accepted for cell in cells) / drafted if drafted else None,
        acceptance_length=sum(cell.tokens_after_first for cell in cells) / steps
        if steps and not is_baseline
        else None,
    )


def _log_rates(table: Table, arm: Arm, prompts: frozenset[PromptKey]) -> dict[PromptKey, float]:
    found = {}
    for key in prompts:
        logs = [table.cells[session.session][key].log_rate for session in table.of(arm)]
        known = [log for log in logs if log is not None]
        if known:
            found[key] = fmean(known)
    return found
