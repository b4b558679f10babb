"""The few formulas the effects rest on. `docs/judging.md` says why these and not others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True, slots=True)
class Estimate:
    """A difference of logs with its standard error and degrees of freedom."""

    difference: float
    standard_error: float
    degrees_of_freedom: float

    def margin(self, level: float) -> float:
        """Return the half width of the interval whose each side has this one-sided level."""
        if self.standard_error == 0:
            return 0.0
        if self.degrees_of_freedom <= 0:
            return math.inf
        return float(stats.t.ppf(level, self.degrees_of_freedom)) * self.standard_error

    def p_value(self) -> float | None:
        """Return the two-sided p-value of no difference."""
        if self.standard_error == 0:
            return 1.0 if self.difference == 0 else 0.0
        if self.degrees_of_freedom <= 0:
            return None
        t = abs(self.difference) / self.standard_error
        return float(2 * stats.t.sf(t, self.degrees_of_freedom))

    def widened(self, variance: float, degrees_of_freedom: float) -> Estimate:
        """Return the estimate with an independent variance added (Welch–Satterthwaite)."""
        if variance == 0:
            return self
        own = self.standard_error**2
        total = own + variance
        weight = variance**2 / degrees_of_freedom if degrees_of_freedom > 0 else math.inf
        if self.degrees_of_freedom > 0:
            weight += own**2 / self.degrees_of_freedom
        elif own > 0:
            weight = math.inf
        df = total**2 / weight if weight > 0 else 0.0
        return Estimate(self.difference, math.sqrt(total), df)


@dataclass(frozen=True, slots=True)
class Prior:
    """What calibration knows about a metric's noise: between-session deviation of its log."""

    session_sd: float
    degrees_of_freedom: float


def moderated(variance: float, df: float, prior: Prior | None) -> tuple[float, float]:
    """Pool a variance with a calibrated one, weighted by degrees of freedom.

    The moderated variance of Smyth (2004), "Linear models and empirical Bayes methods":
    (d0·s0² + d·s²) / (d0 + d), with d0 + d degrees of freedom.
    """
    if prior is None or prior.degrees_of_freedom <= 0:
        return variance, df
    total = prior.degrees_of_freedom + df
    return (prior.degrees_of_freedom * prior.session_sd**2 + df * variance) / total, total


def unpaired(reference: Sequence[float], candidate: Sequence[float], prior: Prior | None = None) -> Estimate:
    """Compare two groups of session means that were measured one group after the other."""
    x, y = np.asarray(reference, dtype=float), np.asarray(candidate, dtype=float)
    df = float(len(x) + len(y) - 2)
    squares = float(((x - x.mean()) ** 2).sum() + ((y - y.mean()) ** 2).sum())
    variance, df = moderated(squares / df if df > 0 else 0.0, df, prior)
    error = math.sqrt(variance * (1 / len(x) + 1 / len(y)))
    return Estimate(float(y.mean() - x.mean()), _clean(error), df)


def blocked(
    blocks: Sequence[tuple[Sequence[float], Sequence[float]]], prior: Prior | None = None
) -> Estimate:
    """Compare two groups measured in alternation: least squares with one level for each block.

    `blocks` holds (reference sessions, candidate sessions) of each block, neither empty. Drift from
    block to block falls out; the order A B B A takes linear drift within a block out as well.
    """
    rows: list[tuple[int, float, float]] = []
    for number, (reference, candidate) in enumerate(blocks):
        rows += [(number, 0.0, value) for value in reference]
        rows += [(number, 1.0, value) for value in candidate]
    level = np.zeros((len(rows), len(blocks) + 1))
    values = np.array([value for _, _, value in rows])
    for row, (number, is_candidate, _) in enumerate(rows):
        level[row, number] = 1.0
        level[row, -1] = is_candidate
    solution, *_ = np.linalg.lstsq(level, values, rcond=None)
    residual = values - level @ solution
    df = float(len(rows) - len(blocks) - 1)
    variance, df = moderated(float(residual @ residual) / df if df > 0 else 0.0, df, prior)
    unscaled = float(np.linalg.inv(level.T @ level)[-1, -1])
    return Estimate(float(solution[-1]), _clean(math.sqrt(variance * unscaled)), df)


def mean_of(values: Sequence[float]) -> Estimate:
    """Return the mean of session values with the standard error of the mean."""
    x = np.asarray(values, dtype=float)
    df = float(len(x) - 1)
    error = float(x.std(ddof=1)) / math.sqrt(len(x)) if df > 0 else 0.0
    return Estimate(float(x.mean()), _clean(error), df)


def hodges_lehmann(reference: Sequence[float], candidate: Sequence[float]) -> float:
    """Return the median of all pairwise differences: the shift, little moved by outliers."""
    return float(np.median([y - x for x, y in itertools.product(reference, candidate)]))


def has_outliers(*groups: Sequence[float]) -> bool:
    """Say whether a session lies beyond 3.5 robust deviations of its group (Iglewicz and Hoaglin 1993)."""
    for group in groups:
        x = np.asarray(group, dtype=float)
        if len(x) < 4:  # noqa: PLR2004 - a median of three says nothing about spread
            continue
        deviation = np.abs(x - np.median(x))
        spread = float(np.median(deviation))
        if spread > 0 and float(deviation.max()) * 0.6745 / spread > 3.5:  # noqa: PLR2004
            return True
    return False


def quantile_margin(df: float, *levels: float) -> float:
    """Return the sum of t quantiles, in standard errors: what a detection at a power needs."""
    return float(sum(stats.t.ppf(level, df) for level in levels)) if df > 0 else math.inf


def _clean(error: float) -> float:
    """Treat rounding residue as no spread at all: a copied file has none."""
    return 0.0 if error < 1e-9 else error  # noqa: PLR2004 - a billionth of the value
