"""Slow drift: what an epoch's good releases have lost together, though none alone lost enough to be blamed.

Three things must agree before anybody is told, in this order:

1. the change-point pass over the series of the epoch finds a loss of a floor or more since its first good
   run, made of steps that no release was blamed for (`crept`);
2. the newest release, which passed against its reference, is worse than the first good run in the same
   metric (`is_behind`);
3. fresh sessions of both in turns say so too, so that neither a lucky first run nor a changed machine is
   taken for it (`is_behind` again, on the confirmed judgement).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from monitor.domain import ArmSummary, Effect, Judgement, Metric, Verdict
from monitor.judge.changepoints import change_points, has_crept, unexplained
from monitor.judge.metrics import OVERALL
from monitor.judge.policy import JudgingPolicy

FIELDS = {
    Metric.STEP_TIME: "step_time_s",
    Metric.ACCEPTANCE_LENGTH: "acceptance_length",
    Metric.BASELINE_RATE: "baseline_rate",
}
"""The factors of the speedup, which are searched for drift, and their field in a summary."""
LESS_IS_BETTER = frozenset({Metric.STEP_TIME})


@dataclass(frozen=True, slots=True)
class Creep:
    """How one metric of an epoch moved from its first good run on, release by release."""

    metric: Metric
    versions: tuple[str, ...]
    """Releases in order from the first good one on; those that were found regressed are left out."""
    changes: tuple[float, ...]
    """ln(value / value of the first), one a release, in the metric's own direction."""
    total: float
    """What the change points that no release was blamed for sum to, as a log; 0 where there is none."""
    floor: float
    """The smallest change that counts, as a fraction."""

    @property
    def is_loss(self) -> bool:
        """Say whether the level is worse by a floor or more than where the epoch began."""
        worse = self.total if self.metric in LESS_IS_BETTER else -self.total
        # A change of logarithms is compared as the fraction it stands for.
        return math.expm1(worse) >= self.floor

    @property
    def largest(self) -> tuple[str, float] | None:
        """Return the release with the largest step for the worse from the one before, and that log change."""
        sign = 1 if self.metric in LESS_IS_BETTER else -1
        steps = [
            (version, after - before)
            for version, (before, after) in zip(self.versions[1:], pairwise(self.changes), strict=True)
        ]
        return max(steps, key=lambda step: sign * step[1], default=None)


def crept(history: Sequence[Judgement], policy: JudgingPolicy) -> list[Creep]:
    """Return the metrics that have lost a floor or more since the epoch began, the worst first.

    Args:
        history: the newest judgement of each release of an epoch against its reference, in order of release;
            it begins with that of the epoch's first good run.
        policy: its floors count, or the floor of the newest row where that was raised for a noisy machine.

    """
    found = [creep for metric in FIELDS if (creep := creep_of(history, metric, policy)) and creep.is_loss]
    return sorted(found, key=lambda creep: -abs(creep.total) / creep.floor)


def creep_of(history: Sequence[Judgement], metric: Metric, policy: JudgingPolicy) -> Creep | None:
    """Return how one metric moved over an epoch (`history` as for `crept`); None without two values."""
    known = [
        (judged, value)
        for place, judged in enumerate(history)
        if (place == 0 or _is_believed(judged)) and (value := _value(judged, metric)) is not None
    ]
    if len(known) < 2:  # noqa: PLR2004 - one value has not moved
        return None
    values = [math.log(value) for _, value in known]
    floor = max([policy.floor(metric), *(row.floor for row in _rows(known[-1][0], metric))])
    blamed = {place for place, (judged, _) in enumerate(known) if place and _is_blamed(judged, metric)}
    return Creep(
        metric=metric,
        versions=tuple(judged.candidate.version for judged, _ in known),
        changes=tuple(value - values[0] for value in values),
        total=moved(
            values,
            blamed,
            inner=policy.inner_fraction * floor,
            less_is_better=metric in LESS_IS_BETTER,
        ),
        floor=floor,
    )


def moved(values: Sequence[float], blamed: Collection[int], *, inner: float, less_is_better: bool) -> float:
    """Return what the changes of level of a series sum to, without losses that a release was blamed for.

    Args:
        values: one a release, as logarithms (shape: releases).
        blamed: places of releases that were found regressed.
        inner: the inner limit, as a fraction. Smaller steps are merged away: small ones are what drift is
            made of, so the smallest that is kept is what an alarm must surely exceed.
        less_is_better: whether a rise is a loss.

    """
    points = change_points(values, floor=math.log1p(inner))
    worse = unexplained(points, blamed, less_is_better=less_is_better)
    better = [point for point in points if (point.change > 0) != less_is_better]
    return sum((point.change for point in (*worse, *better)), start=0.0)


def is_behind(against_reference: Judgement, against_first: Judgement, creeps: Iterable[Creep]) -> list[Creep]:
    """Return the creeps that a release shows against the first good run, though it passes its reference."""
    if not has_crept(against_reference, against_first):
        return []
    return [creep for creep in creeps if _is_blamed(against_first, creep.metric)]


def sentence(creep: Creep, against_first: Judgement) -> str:
    """Return what has crept away, in words: how much, since when, and that no release did it alone."""
    row = next(iter(_rows(against_first, creep.metric)), None)
    total = row.change_percent if row and row.change_percent is not None else 100 * math.expm1(creep.total)
    name = {
        Metric.STEP_TIME: "a step with MTP takes {size:.1f} % longer",
        Metric.ACCEPTANCE_LENGTH: "a step with MTP gains {size:.1f} % fewer tokens",
        Metric.BASELINE_RATE: "decoding without MTP is {size:.1f} % slower",
    }[creep.metric].format(size=abs(total))
    since, count = creep.versions[0], len(creep.versions) - 1
    told = f"Slow drift: {name} than in {since}, {count} releases ago."
    largest = creep.largest
    if largest is None:
        return told
    step = 100 * abs(math.expm1(largest[1]))
    return f"{told} No release did it alone: the largest single step, {step:.1f} %, came with {largest[0]}."


def size_of(judgement: Judgement) -> float:
    """Return the largest loss among the three factors, in floors; 0 where none is known to be lost."""
    return max(lost(judgement, metric) for metric in FIELDS)


def lost(judgement: Judgement, metric: Metric) -> float:
    """Return what was surely lost of a metric, in floors; 0 where it was not found regressed."""
    return max(
        (
            abs(row.change_log) / row.floor
            for row in _rows(judgement, metric)
            if row.verdict is Verdict.REGRESSED and row.change_log is not None and row.floor > 0
        ),
        default=0.0,
    )


def _is_believed(judged: Judgement) -> bool:
    """Say whether a run's values may stand in the series: trusted, undisturbed, and not found regressed.

    A regressed release never becomes the reference, so what it lost is told of by an incident of its own.
    """
    if judged.verdict in (Verdict.REGRESSED, Verdict.INVALID, Verdict.FAILED):
        return False
    return not any(guard.tripped and guard.outcome is not None for guard in judged.guards)


def _is_blamed(judged: Judgement, metric: Metric) -> bool:
    return any(row.verdict is Verdict.REGRESSED for row in _rows(judged, metric))


def _rows(judged: Judgement, metric: Metric) -> list[Effect]:
    return [row for row in judged.effects if row.gates and row.metric is metric and row.workload == OVERALL]


def _value(judged: Judgement, metric: Metric) -> float | None:
    overall: ArmSummary | None = next(
        (summary for summary in judged.candidate_summary if summary.workload == OVERALL), None
    )
    value: float | None = getattr(overall, FIELDS[metric]) if overall else None
    return value if value is not None and math.isfinite(value) and value > 0 else None
