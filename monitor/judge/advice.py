"""Which of the measured releases to run. Pure: what is known of each goes in, a choice comes out.

A release is called faster than another only where the judge says so, never because its mean is higher. Among
those that cannot be told apart the newest is chosen: it has the other fixes as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from monitor.domain import MeasuredRelease, Metric, SampleSet, Verdict, Worth
from monitor.judge.metrics import OVERALL
from monitor.judge.policy import JudgingPolicy
from monitor.judge.verdict import judge

Faster = Callable[[MeasuredRelease, MeasuredRelease], bool]
"""Says whether the second release is faster than the first, beyond chance and by more than counts."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and among what."""

    last_good: MeasuredRelease | None
    fastest: MeasuredRelease | None
    excluded: tuple[MeasuredRelease, ...]

    @property
    def to_run(self) -> MeasuredRelease | None:
        """The fastest; it is the newest good one unless an older one is truly faster."""
        return self.fastest


def choose(
    measured: Sequence[MeasuredRelease], faster: Faster, metric: Metric = Metric.MTP_RATE, floor: float = 0.0
) -> Choice:
    """Choose among releases given in the order of the series, oldest first.

    1. Those with an exclusion are out.
    2. The newest of the others is the last good one.
    3. An older one may be the fastest only where it is faster than the last good one. Of those, the one with
       the highest mean leads; the newest that it is not faster than is the fastest.

    Args:
        measured: the releases, each once.
        faster: asked only where the means differ by more than `floor`, for nothing else could be called.
        metric: `mtp_rate` or `baseline_rate`.
        floor: relative difference of two means below which nothing is asked.

    """
    good = [release for release in measured if release.exclusion is None]
    excluded = tuple(release for release in reversed(measured) if release.exclusion is not None)
    if not good:
        return Choice(None, None, excluded)
    newest = good[-1]

    def beats(slow: MeasuredRelease, fast: MeasuredRelease) -> bool:
        old, new = rate_of(slow, metric), rate_of(fast, metric)
        return old is not None and new is not None and new > old * (1 + floor) and faster(slow, fast)

    above = [release for release in good[:-1] if beats(newest, release)]
    if not above:
        return Choice(newest, newest, excluded)
    leader = max(above, key=lambda release: rate_of(release, metric) or 0.0)
    fastest = next(release for release in reversed(above) if release is leader or not beats(release, leader))
    return Choice(newest, fastest, excluded)


def rate_of(release: MeasuredRelease, metric: Metric) -> float | None:
    """Return the mean rate that releases are compared by, in tokens per second."""
    return release.baseline_rate if metric is Metric.BASELINE_RATE else release.mtp_rate


def worth_of(low: float | None, high: float | None, floor: float) -> Worth:
    """Say whether MTP pays, by the interval of its speedup and the smallest change that counts."""
    if low is None or high is None:
        return Worth.UNKNOWN
    if low >= 1 - floor and high <= 1 + floor:
        return Worth.NO_DIFFERENCE
    if low > 1:
        return Worth.PAYS
    return Worth.COSTS if high < 1 else Worth.UNKNOWN


def serving_metric(worth: Worth) -> Metric:
    """Return the rate that matters to who follows the advice: without MTP where MTP does not pay."""
    return Metric.BASELINE_RATE if worth in (Worth.COSTS, Worth.NO_DIFFERENCE) else Metric.MTP_RATE


def is_faster(slow: SampleSet, fast: SampleSet, metric: Metric, *, claims: int) -> bool:
    """Say whether the judge calls `fast` faster than `slow`.

    Nothing confirms such a claim by fresh sessions, so it errs as rarely as a confirmation does, and all
    `claims` that are made together err no more often than one.
    """
    policy = JudgingPolicy().with_overrides(fast.header.judging)
    strict = replace(policy, error_regressed=policy.error_confirm / max(1, claims))
    found = judge(slow, fast, policy=strict)
    if found.verdict is Verdict.INVALID:
        return False
    return any(
        row.metric is metric and row.workload == OVERALL and row.verdict is Verdict.IMPROVED
        for row in found.effects
    )
