"""Where the level of a series changed: the backstop for drift that no single release explains.

Pruned exact linear time (Killick, Fearnhead and Eckley 2012): the segmentation with the least sum of squares
plus a penalty for each change: 3 ln n noise variances, the modified information criterion of Zhang and
Siegmund (2007) for a change that lies in the middle. The noise is read off neighbouring values, which a shift
hardly touches. A single spike is drawn in towards its neighbours first, so that it is no change.

`ruptures` does the same, but its exact search takes minutes for 10,000 values, where this takes a second.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import special

from monitor.domain import Judgement, Verdict

MIN_SEGMENT = 3
"""Fewer values are a spike, not a level."""
_WINDOW = 2  # neighbours on each side that a spike is held against
_SPIKE = 3.5  # robust deviations, as for outliers among sessions
_MAD_TO_SD = 1.4826  # of a normal distribution


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """A place where the level of a series moved."""

    index: int
    """Of the first value at the new level."""
    before: float
    after: float
    """Means of the segments, in the series' unit."""
    p_value: float
    """Of Welch's t between the two segments; it orders the points and decides nothing."""

    @property
    def change(self) -> float:
        """Return the difference of the levels; of logarithms it is a relative change."""
        return self.after - self.before


def change_points(values: Sequence[float], *, floor: float = 0.0, penalty: float = 3.0) -> list[ChangePoint]:
    """Return the changes of level of a series, in order.

    Args:
        values: one a release, as logarithms where relative changes are meant (shape: releases).
        floor: the least change that counts, in the unit of the values; smaller steps are merged away.
        penalty: what a change costs, in ln(n) noise variances.

    """
    series = np.asarray(values, dtype=float)
    if len(series) < 2 * MIN_SEGMENT:
        return []
    calm = without_spikes(series)
    variance = noise_variance(calm)
    edges = _merged(calm, _segments(calm, penalty * math.log(len(series)) * variance), floor)
    return [_point(calm, edges[i], edges[i + 1], edges[i + 2]) for i in range(len(edges) - 2)]


def unexplained(
    points: Sequence[ChangePoint], explained: Collection[int], *, less_is_better: bool, within: int = 2
) -> list[ChangePoint]:
    """Return the changes for the worse that no release near them was blamed for.

    Args:
        points: of one series.
        explained: places in the series of releases that were found regressed.
        less_is_better: whether a rise is a loss.
        within: how many releases a change may lie from the one that is blamed for it.

    """
    worse = [point for point in points if (point.change > 0) == less_is_better]
    return [point for point in worse if all(abs(point.index - place) > within for place in explained)]


def has_crept(against_reference: Judgement, against_first: Judgement) -> bool:
    """Say whether a release is no worse than the reference, but worse than the epoch's first good run.

    Steps below the floor pass one by one, and each moves the reference; what they sum to shows here.
    """
    passes = against_reference.verdict in (Verdict.UNCHANGED, Verdict.IMPROVED, Verdict.INCONCLUSIVE)
    return passes and against_first.verdict is Verdict.REGRESSED


def noise_variance(series: np.ndarray) -> float:
    """Return the variance of values around their level, from the median size of neighbouring differences.

    The differences of independent values have twice the variance; a shift is one difference among many.
    """
    steps = np.diff(series)
    spread = _MAD_TO_SD * float(np.median(np.abs(steps - np.median(steps)))) / math.sqrt(2)
    # A series that mostly repeats itself still has some noise: that of its steps, else rounding.
    return max(spread**2, float(steps.var()) / 100, 1e-18)


def without_spikes(series: np.ndarray) -> np.ndarray:
    """Return the series with single values drawn in to 3.5 robust deviations of their neighbours' median."""
    padded = np.pad(series, _WINDOW, mode="reflect")
    middle = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * _WINDOW + 1), axis=1)
    reach = _SPIKE * _MAD_TO_SD * float(np.median(np.abs(series - middle)))
    return np.clip(series, middle - reach, middle + reach) if reach > 0 else series.copy()


def _segments(series: np.ndarray, penalty: float) -> list[int]:
    """Return the edges of the best segmentation, from 0 to the length."""
    count = len(series)
    sums = np.concatenate([[0.0], np.cumsum(series)])
    squares = np.concatenate([[0.0], np.cumsum(series**2)])
    best = np.full(count + 1, math.inf)
    best[0] = -penalty
    last = np.zeros(count + 1, dtype=int)
    starts, alive = np.array([0]), np.ones(count + 1, dtype=bool)
    condemned: list[np.ndarray] = []
    for end in range(MIN_SEGMENT, count + 1):
        lengths = end - starts
        costs = squares[end] - squares[starts] - (sums[end] - sums[starts]) ** 2 / lengths
        totals = best[starts] + costs
        chosen = int(np.argmin(totals))
        best[end] = totals[chosen] + penalty
        last[end] = starts[chosen]
        # A start that is worse by a whole penalty can never be best again (Killick et al., theorem 3.1), once
        # another segment fits in between.
        condemned.append(starts[totals > best[end]])
        if len(condemned) >= MIN_SEGMENT:
            alive[condemned[-MIN_SEGMENT]] = False
            starts = starts[alive[starts]]
        if (coming := end + 1 - MIN_SEGMENT) >= MIN_SEGMENT:
            starts = np.append(starts, coming)
    edges = [count]
    while edges[-1] > 0:
        edges.append(int(last[edges[-1]]))
    return edges[::-1]


def _merged(series: np.ndarray, edges: list[int], floor: float) -> list[int]:
    """Return the edges without those whose step is below the floor, the smallest step first."""
    while len(edges) > 2:  # noqa: PLR2004 - beginning and end
        means = [series[a:b].mean() for a, b in pairwise(edges)]
        steps = np.abs(np.diff(means))
        smallest = int(np.argmin(steps))
        if steps[smallest] >= floor:
            break
        del edges[smallest + 1]
    return edges


def _point(series: np.ndarray, start: int, index: int, end: int) -> ChangePoint:
    before, after = series[start:index], series[index:end]
    parts = [part.var(ddof=1) / len(part) for part in (before, after)]
    total = float(sum(parts))
    difference = float(after.mean() - before.mean())
    if total == 0:
        return ChangePoint(index, float(before.mean()), float(after.mean()), 0.0)
    df = total**2 / sum(part**2 / (len(x) - 1) for part, x in zip(parts, (before, after), strict=True))
    p_value = float(2 * special.stdtr(df, -abs(difference) / math.sqrt(total)))
    return ChangePoint(index, float(before.mean()), float(after.mean()), p_value)
