"""The few formulas the effects rest on. `docs/judging.md` says why these and not others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special  # scipy.stats would take a second to import, in every command


@dataclass(frozen=True, slots=True)
class Estimate:
    """A difference of logs with its standard error (infinite when unknown) and degrees of freedom."""

    difference: float
    standard_error: float
    degrees_of_freedom: float

    def margin(self, level: float) -> float:
        """Return the half width of the interval whose each side has this one-sided level."""
        if self.standard_error == 0:
            return 0.0
        if self.degrees_of_freedom <= 0:
            return math.inf
        return t_quantile(level, self.degrees_of_freedom) * self.standard_error

    def p_value(self) -> float | None:
        """Return the two-sided p-value of no difference."""
        if self.standard_error == 0:
            return 1.0 if self.difference == 0 else 0.0
        if self.degrees_of_freedom <= 0:
            return None
        t = abs(self.difference) / self.standard_error
        return float(2 * special.stdtr(self.degrees_of_freedom, -t))

    def widened(self, variance: float, degrees_of_freedom: float) -> Estimate:
        """Return the estimate with an independent variance added (Welch–Satterthwaite)."""
        if variance == 0 or math.isinf(self.standard_error):
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
    doubt_level: float = 0.95
    """Quantile of the variance ratio beyond which sessions contradict the calibration."""


def moderated(variance: float, df: float, prior: Prior | None) -> tuple[float, float]:
    """Pool a variance with a calibrated one, weighted by degrees of freedom.

    The moderated variance of Smyth (2004), "Linear models and empirical Bayes methods":
    (d0·s0² + d·s²) / (d0 + d), with d0 + d degrees of freedom.

    Pooling helps only while both speak of the same noise. Where s²/s0² exceeds that quantile of F(d, d0),
    the calibration is contradicted, and pooling would shrink a real scatter: the sessions then speak alone.
    """
    if prior is None or prior.degrees_of_freedom <= 0:
        return variance, df
    if df > 0 and variance > prior.session_sd**2 * special.fdtri(
        df, prior.degrees_of_freedom, prior.doubt_level
    ):
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
    return Estimate(float(y.mean() - x.mean()), _known(error, df), df)


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
    return Estimate(float(solution[-1]), _known(math.sqrt(variance * unscaled), df), df)


def mean_of(values: Sequence[float], prior: Prior | None = None) -> Estimate:
    """Return the mean of session values with the standard error of the mean."""
    x = np.asarray(values, dtype=float)
    df = float(len(x) - 1)
    variance, df = moderated(float(x.var(ddof=1)) if df > 0 else 0.0, df, prior)
    return Estimate(float(x.mean()), _known(math.sqrt(variance / len(x)), df), df)


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


def t_quantile(level: float, df: float) -> float:
    """Return the value that a t variable stays below with probability `level`."""
    return float(special.stdtrit(df, level))


def falls_with_rank(values: Sequence[float], p_limit: float) -> bool:
    """Say whether values fall along the sequence: Spearman's rank correlation, one-sided, t approximation."""
    count = len(values)
    order = np.asarray(values, dtype=float)
    ranks = np.array([(order < value).sum() + ((order == value).sum() - 1) / 2 for value in order])
    places = np.arange(count, dtype=float)
    if count < 3 or float(np.ptp(ranks)) == 0:  # noqa: PLR2004 - two points always lie on a line
        return False
    correlation = float(np.corrcoef(places, ranks)[0, 1])
    if correlation <= -1:
        return True
    t = correlation * math.sqrt((count - 2) / (1 - correlation**2))
    return bool(special.stdtr(count - 2, t) < p_limit)


def quantile_margin(df: float, *levels: float) -> float:
    """Return the sum of t quantiles, in standard errors: what a detection at a power needs."""
    return sum(t_quantile(level, df) for level in levels) if df > 0 else math.inf


def _known(error: float, df: float) -> float:
    """Return a standard error: infinite when nothing was left to estimate it from.

    Rounding residue counts as no spread at all: a copied file has none.
    """
    if df <= 0:
        return math.inf
    return 0.0 if error < 1e-9 else error  # noqa: PLR2004 - a billionth of the value
