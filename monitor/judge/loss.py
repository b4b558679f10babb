"""A known loss, and whether another release has it: what each step of a bisection is about.

Only what the bad end lost counts. Something else that a release between is worse or better in says nothing
about where this loss began.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from monitor.domain import Channel, Effect, Judgement, Lossless, Metric, Signature, Verdict
from monitor.judge.counts import COUNTED
from monitor.judge.metrics import OVERALL
from monitor.judge.policy import JudgingPolicy

_GOOD = (Verdict.UNCHANGED, Verdict.IMPROVED)
_FIRST_TOKEN = (Metric.TTFT_BASELINE, Metric.TTFT_MTP)
_ERROR = 0.01
"""Chance that one step is answered wrongly, in either direction. A wrong step misleads all that follow."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What a bad release lost against a good one."""

    rows: frozenset[tuple[Metric, str]]
    """(metric, workload) of the gating rows that are worse; only the counted ones if there are any."""
    by_counts: bool
    """Draft counts, drafting at all, or the text itself show it, so one session of each arm can."""
    is_off: bool
    """Nothing is drafted."""
    is_text: bool
    """The output is another one."""
    sizes: tuple[tuple[Metric, float], ...]
    """(metric, size of its loss as a log) of the timed rows."""
    scored_prompts: int = 0
    """Of a loss of score: how many prompts showed it."""


def loss_of(judgement: Judgement) -> Loss | None:
    """Return what a judgement found to be lost; None when it found no loss.

    Where only the times cannot be trusted, what was counted is a loss all the same.
    """
    lost = [row for row in judgement.effects if row.gates and row.verdict is Verdict.REGRESSED]
    exact = [row for row in lost if row.channel is Channel.EXACT]
    counted = judgement.verdict is Verdict.INVALID and exact and _only_times_are_wrong(judgement)
    if judgement.verdict is not Verdict.REGRESSED and not counted:
        return None
    is_off = judgement.signature is Signature.SPECULATION_OFF
    is_text, score = judgement.lossless.verdict is Verdict.REGRESSED, judgement.lossless.score
    return Loss(
        rows=frozenset((row.metric, row.workload) for row in exact or lost),
        by_counts=bool(exact) or is_off or is_text,
        is_off=is_off,
        is_text=is_text,
        sizes=tuple((row.metric, abs(row.change_log)) for row in lost if _is_timed(row) and row.change_log),
        scored_prompts=score.prompts if judgement.lossless.by_score and score is not None else 0,
    )


def has_loss(loss: Loss, now: Judgement) -> bool | None:
    """Say whether a release that was judged against the good end has the loss; None: not decided.

    1. Measurements that cannot be trusted decide nothing. Of a loss in counts only their times may be wrong.
    2. Drafting is seen at once; so is the text where it is exact. Elsewhere it takes margins, or the score.
    3. One row of the loss that is worse is enough. All that were measured have to be good to say no; where
       workloads lost, one of them at least: what is left of all prompts may be those that never lost.
    4. A loss without a row of its own (a limit that the check expects) is decided by the verdict.
    """
    if now.verdict is Verdict.INVALID and not (loss.by_counts and _only_times_are_wrong(now)):
        return None
    if loss.is_off:
        return now.signature is Signature.SPECULATION_OFF
    if loss.is_text:
        return _text_is_lost(loss, now.lossless)
    if not loss.rows:
        return {Verdict.REGRESSED: True, Verdict.UNCHANGED: False, Verdict.IMPROVED: False}.get(now.verdict)
    found = [row for row in now.effects if (row.metric, row.workload) in loss.rows]
    if any(row.verdict is Verdict.REGRESSED for row in found):
        return True
    of_workloads = any(workload != OVERALL for _, workload in loss.rows)
    telling = [row for row in found if row.workload != OVERALL] if of_workloads else found
    return False if telling and all(row.verdict in _GOOD for row in found) else None


def _text_is_lost(loss: Loss, now: Lossless) -> bool | None:
    if now.verdict is Verdict.REGRESSED:
        return True
    if now.exact_expected:
        return False
    if loss.scored_prompts:
        return False if now.score is not None and now.score.prompts >= loss.scored_prompts else None
    # The first baseline session of all is asked about nothing yet.
    untold = now.divergences and not now.margins
    return None if untold or now.verdict is not Verdict.UNCHANGED else False


def step_policy(policy: JudgingPolicy, loss: Loss, *, blocks: int) -> JudgingPolicy:
    """Return the limits for old and new in turns, at most `blocks` blocks, when the loss is known.

    Half of the loss is the floor, where that is more than the policy's: a release has the loss when it is
    worse by a quarter of it for certain, and has it not when it lacks half of it for certain. So the rule for
    screening decides here too, only sooner the larger the loss is.
    """

    def half(*, first_token: bool) -> float:
        of_kind = [size for metric, size in loss.sizes if (metric in _FIRST_TOKEN) is first_token]
        return min(of_kind, default=0.0) / 2

    return replace(
        policy,
        floor_rate=max(policy.floor_rate, half(first_token=False)),
        floor_ttft=max(policy.floor_ttft, half(first_token=True)),
        error_regressed=_ERROR,
        error_unchanged=_ERROR,
        blocks_min=1,
        blocks_max=blocks,
    )


def _only_times_are_wrong(now: Judgement) -> bool:
    tripped = [guard.name for guard in now.guards if guard.tripped and guard.outcome is Verdict.INVALID]
    return all(name.startswith(_OF_TIMES) for name in tripped)


_OF_TIMES = ("server rates of", "roofline of")
"""How the guards begin that are about times."""


def _is_timed(row: Effect) -> bool:
    return row.metric not in COUNTED
