"""Which prompts can be compared by counting, and how much the others add to an interval.

Draft and accept counts repeat to the token at temperature 0 and one stream. They are compared exactly only on
prompts whose tokens are equal in every mtp session of both releases; elsewhere the text went another way, and
the prompt is one draw of how well its text can be predicted.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from monitor.domain import Arm, Metric
from monitor.judge.metrics import Cell, PromptKey, Table, prompt_weights

COUNTED: dict[Metric, Callable[[Cell], float | None]] = {
    Metric.ACCEPTANCE_LENGTH: lambda cell: cell.log_acceptance_length,
    Metric.ACCEPTANCE_RATE: lambda cell: cell.accepted / cell.drafted if cell.drafted else None,
}
"""Metrics that rest on counts alone; the acceptance rate is compared as it is, not as a logarithm."""


def counts_repeat(table: Table, prompts: frozenset[PromptKey]) -> bool:
    """Say whether every mtp session of a release counted the same on each of the prompts."""
    sessions = [table.cells[session.session] for session in table.of(Arm.MTP)]
    return all(len({cells[key].counts for cells in sessions}) <= 1 for key in prompts)


def token_equal(
    reference: Table, candidate: Table, arm: Arm, prompts: frozenset[PromptKey]
) -> frozenset[PromptKey]:
    """Return the prompts whose known tokens are the same in every session of an arm of both releases."""
    sessions = [table.cells[s.session] for table in (reference, candidate) for s in table.of(arm)]

    def equal(key: PromptKey) -> bool:
        seen = {cells[key].tokens for cells in sessions}
        return len(seen) == 1 and None not in next(iter(seen))

    return frozenset(key for key in prompts if equal(key))


def is_exact(reference: Table, candidate: Table, prompts: frozenset[PromptKey]) -> bool:
    """Say whether the counts on these prompts differ only when the releases do."""
    if not prompts or not reference.of(Arm.MTP) or not candidate.of(Arm.MTP):
        return False
    return (
        token_equal(reference, candidate, Arm.MTP, prompts) == prompts
        and counts_repeat(reference, prompts)
        and counts_repeat(candidate, prompts)
    )


def text_variance(
    reference: Table, candidate: Table, metric: Metric, prompts: frozenset[PromptKey]
) -> tuple[float, float]:
    """Return the variance that diverged prompts add to the mean change of a counted metric.

    The unit is the prompt: with weights w and changes d over the m diverged prompts it is Σw²·s²(d), with
    m − 1 degrees of freedom; a single prompt is compared with no change at all.
    """
    equal = token_equal(reference, candidate, Arm.MTP, prompts)
    changes = {}
    for key in prompts - equal:
        old, new = (prompt_mean(table, metric, key) for table in (reference, candidate))
        if old is not None and new is not None:
            changes[key] = new - old
    if not changes:
        return 0.0, 0.0
    weights = prompt_weights(prompts)
    squares = sum(weights[key] ** 2 for key in changes)
    values = np.array(list(changes.values()))
    if len(values) == 1:
        return float(squares * values[0] ** 2), 1.0
    return float(squares * values.var(ddof=1)), float(len(values) - 1)


def prompt_mean(table: Table, metric: Metric, key: PromptKey) -> float | None:
    """Return a counted metric of one prompt, averaged over the release's mtp sessions."""
    value = COUNTED[metric]
    found = [value(table.cells[session.session][key]) for session in table.of(Arm.MTP)]
    known = [item for item in found if item is not None]
    return float(np.mean(known)) if known and len(known) == len(found) else None


def drafted_per_step(table: Table, prompts: frozenset[PromptKey]) -> float | None:
    """Return drafted tokens for each decode step over the mtp sessions; None without any step."""
    cells = [table.cells[s.session][key] for s in table.of(Arm.MTP) for key in prompts]
    steps = sum(cell.steps for cell in cells)
    return sum(cell.drafted for cell in cells) / steps if steps else None


def drafted(table: Table) -> int:
    """Return the tokens drafted in all mtp sessions of a release."""
    return sum(cell.drafted for s in table.of(Arm.MTP) for cell in table.cells[s.session].values())


def accepted(table: Table) -> int:
    """Return the drafted tokens that were accepted in all mtp sessions of a release."""
    return sum(cell.accepted for s in table.of(Arm.MTP) for cell in table.cells[s.session].values())
