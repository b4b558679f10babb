"""Whether what a release had lost is there again."""

from __future__ import annotations

from monitor.domain import Judgement, Verdict

_GOOD = (Verdict.UNCHANGED, Verdict.IMPROVED)


def has_recovered(lost: Judgement, now: Judgement) -> bool:
    """Say whether a later release has back what an earlier one had lost against the same reference.

    A good verdict says so. So does an undecided one when each gating row that was lost is decided as good
    now, and the output is what it should be: on a noisy machine times may stay open for ever, and say nothing
    against counts that are exactly the reference's again. Nothing may be worse now.
    """
    if now.verdict in _GOOD:
        return True
    if now.verdict is not Verdict.INCONCLUSIVE or now.lossless.verdict is Verdict.REGRESSED:
        return False
    rows = {(row.metric, row.workload): row.verdict for row in now.effects if row.gates}
    missed = [
        (row.metric, row.workload) for row in lost.effects if row.gates and row.verdict is Verdict.REGRESSED
    ]
    output_was_lost = lost.lossless.verdict is Verdict.REGRESSED
    return bool(missed or output_was_lost) and all(rows.get(row) in _GOOD for row in missed)
