"""The score: how many answers to prompts with a known answer are right, and whether it moved.

The prompt is the unit: at temperature 0 its sessions repeat each other, so they are averaged and not counted.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean

from monitor.domain import Arm, Right, SampleSet, Score, ScoreChange
from monitor.judge.policy import JudgingPolicy

_Rights = Mapping[tuple[str, str], float]
"""(workload, prompt) → share of its answers that are right."""


def score(candidate: SampleSet, reference: SampleSet | None, policy: JudgingPolicy) -> Score | None:
    """Return the score of a release; None where no prompt that both arms answered is scored."""
    baseline, mtp = rights(candidate, Arm.BASELINE), rights(candidate, Arm.MTP)
    both = sorted(baseline.keys() & mtp.keys())
    if not both:
        return None
    before = rights(reference, Arm.MTP) if reference is not None else {}
    # The same prompts on both sides, or an easier choice of them would look like a gain.
    comparable = before.keys() >= set(both)
    level = policy.level_shown
    return Score(
        prompts=len(both),
        baseline=right([baseline[key] for key in both], level),
        mtp=right([mtp[key] for key in both], level),
        between_arms=change([(baseline[key], mtp[key]) for key in both], level),
        between_releases=change([(before[key], mtp[key]) for key in both], level) if comparable else None,
    )


def loss(found: Score | None, policy: JudgingPolicy) -> str:
    """Return the sentence about a loss of score that counts; empty for none.

    The whole interval must lie beyond the limit, and a few prompts can say nothing of a share.
    """
    if found is None or found.prompts < policy.score_prompts_min:
        return ""
    compared = ((found.between_arms, "the baseline"), (found.between_releases, "the reference release's"))
    for moved, other in compared:
        if moved is not None and moved.high < -policy.score_limit:
            bounds = f"{100 * moved.low:+.0f} to {100 * moved.high:+.0f}"
            return (
                f"mtp answers fewer of the {found.prompts} scored prompts right than {other}: "
                f"{100 * moved.change:+.0f} points ({bounds})"
            )
    return ""


def rights(samples: SampleSet, arm: Arm) -> _Rights:
    """Return the scored prompts of an arm with the share of their answers that are right."""
    answers: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for sample in samples.samples:
        if sample.arm is arm and sample.correct is not None:
            answers[sample.workload, sample.prompt].append(sample.correct)
    return {key: fmean(group) for key, group in answers.items()}


def right(shares: Sequence[float], level: float) -> Right:
    """Return the mean of the prompts' shares with its interval, at the one-sided `level` on each side."""
    share = fmean(shares)
    low, high = wilson(share, len(shares), level)
    return Right(share, low, high)


def wilson(share: float, n: int, level: float) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion found in `n` cases.

    Wilson (1927), Probable inference, the law of succession, and statistical inference, JASA 22, 209-212:
    (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n).
    """
    z = NormalDist().inv_cdf(level)
    middle = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))


def change(pairs: Sequence[tuple[float, float]], level: float) -> ScoreChange:
    """Return the difference of two proportions of the same prompts (before, after) with its interval.

    Newcombe (1998), Improved confidence intervals for the difference between binomial proportions based on
    paired data, Statistics in Medicine 17, 2635-2650, method 10: Wilson's limits of both proportions, joined
    with the correlation of the pairs, which is corrected for continuity where it is positive.
    """
    n = len(pairs)
    before, after = fmean(one for one, _ in pairs), fmean(other for _, other in pairs)
    (low1, high1), (low2, high2) = wilson(after, n, level), wilson(before, n, level)
    phi = _correlation(pairs)
    down = math.sqrt(max(0.0, _joined(after - low1, high2 - before, phi)))
    up = math.sqrt(max(0.0, _joined(before - low2, high1 - after, phi)))
    moved = after - before
    return ScoreChange(moved, max(-1.0, moved - down), min(1.0, moved + up))


def _joined(one: float, other: float, phi: float) -> float:
    return one * one - 2 * phi * one * other + other * other


def _correlation(pairs: Sequence[tuple[float, float]]) -> float:
    n = len(pairs)
    both = sum(one * other for one, other in pairs)
    neither = sum((1 - one) * (1 - other) for one, other in pairs)
    lost = sum(one * (1 - other) for one, other in pairs)
    gained = sum((1 - one) * other for one, other in pairs)
    totals = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    if totals <= 0:
        return 0.0
    product = both * neither - lost * gained
    corrected = max(product - n / 2, 0.0) if product > 0 else product
    return corrected / math.sqrt(totals)
