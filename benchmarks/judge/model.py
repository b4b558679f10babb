"""The judge's rules for times on many made-up releases at once, as arrays.

`monitor.judge` decides one release after another from samples; a rate of one in a thousand takes a hundred
thousand releases. So the rules stand here a second time, for arrays of session means. `agrees_with_the_judge`
compares the two, and a difference ends the run. Levels and policy are the judge's own.

Shapes: (releases, checks, series, sessions). Values are logarithms; positive is worse.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from monitor.judge import looks, statistics
from monitor.judge.policy import JudgingPolicy
from monitor.judge.statistics import Prior

Array = np.ndarray
TTFT_PARTS = (False, False, True, True)
"""Which of a check's gating times are TTFT: not step time and baseline rate, but the last two."""


@dataclass(frozen=True)
class Noise:
    """How sessions scatter; all figures are deviations of logarithms."""

    session: float
    within: float = 0.0045
    prompts: int = 14
    tails: str = "normal"
    """`normal`, `t3`, or `outliers`: one session in twenty is five deviations slower."""
    day: float = 0.0
    """Between the day of the reference and that of the candidate, alike for all series of a check."""
    drift_per_hour: float = 0.0
    session_hours: float = 5 / 60

    def draw(self, chance: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Return session means around zero."""
        if self.tails == "t3":
            effect = chance.standard_t(3, shape) / np.sqrt(3)
        else:
            effect = chance.standard_normal(shape)
            if self.tails == "outliers":
                effect += 5.0 * (chance.random(shape) < 1 / 20)
        mean = chance.standard_normal(shape) * self.within / np.sqrt(self.prompts)
        return self.session * effect + mean

    @property
    def total(self) -> float:
        """Return the deviation of a session's mean without outliers."""
        return float(np.hypot(self.session, self.within / np.sqrt(self.prompts)))


@dataclass(frozen=True)
class Known:
    """The calibration of each series: a deviation, itself estimated from `df` differences (0: none)."""

    session_sd: Array
    df: float
    doubt_level: float

    @classmethod
    def drawn(
        cls, chance: np.random.Generator, noise: Noise, shape: tuple[int, ...], df: float, doubt: float
    ) -> Known:
        """Return what an A/A calibration of as many degrees of freedom would have found."""
        spread = np.sqrt(chance.chisquare(df, shape) / df) if df else np.zeros(shape)
        return cls(noise.total * spread, df, doubt)

    def pooled(self, variance: Array, df: float) -> tuple[Array, Array]:
        """Return variance and degrees of freedom as `statistics.moderated` does."""
        if not self.df:
            return variance, np.full(variance.shape, df)
        prior = self.session_sd**2
        doubted = variance > prior * special.fdtri(df, self.df, self.doubt_level) if df else variance < 0
        total = self.df + df
        pooled = (self.df * prior + df * variance) / total
        return np.where(doubted, variance, pooled), np.where(doubted, df, total)


def separate(reference: Array, candidate: Array, known: Known) -> tuple[Array, Array, Array]:
    """Return difference, standard error and degrees of freedom, as `statistics.unpaired` does."""
    n, m = reference.shape[-1], candidate.shape[-1]
    df = n + m - 2
    squares = reference.var(-1) * n + candidate.var(-1) * m
    variance, freedom = known.pooled(squares / df, df)
    return candidate.mean(-1) - reference.mean(-1), np.sqrt(variance * (1 / n + 1 / m)), freedom


def alternating(old: Array, new: Array, known: Known) -> tuple[Array, Array, Array]:
    """Return the same for blocks of equally many old and new sessions, as `statistics.blocked` does.

    Shapes: (…, blocks, sessions of a release in a block).
    """
    blocks, each = old.shape[-2:]
    level = (old.mean(-1) + new.mean(-1)) / 2
    difference = (new - old).mean((-1, -2))
    half = difference[..., None, None] / 2
    squares = ((old - level[..., None] + half) ** 2 + (new - level[..., None] - half) ** 2).sum((-1, -2))
    df = 2 * blocks * each - blocks - 1
    variance, freedom = known.pooled(squares / df, df) if df else known.pooled(squares * 0, 0)
    return difference, np.sqrt(variance * 2 / (blocks * each)), freedom


def decide(
    estimate: tuple[Array, Array, Array], policy: JudgingPolicy, levels: tuple[Array | float, float]
) -> tuple[Array, Array]:
    """Return which series regressed and which are unchanged, as `effects` decides a row."""
    difference, error, df = estimate
    floors = np.array([policy.floor_ttft if ttft else policy.floor_rate for ttft in TTFT_PARTS])
    if policy.noise_floor == "measured":
        quantiles = special.stdtrit(df, policy.level_shown) + special.stdtrit(df, policy.power)
        floors = np.maximum(floors, np.minimum(quantiles * error, policy.measured_floor_max))
    beyond = np.abs(difference) - special.stdtrit(df, levels[0]) * error > policy.inner_fraction * floors
    inside = np.abs(difference) + special.stdtrit(df, levels[1]) * error <= floors
    return beyond & (difference > 0), inside | (beyond & (difference < 0))


@dataclass(frozen=True)
class Outcome:
    """What became of each check of each release (shape: releases, checks)."""

    suspected: Array
    confirmed: Array
    harmless: Array
    """Screening called nothing regressed and left nothing open."""
    blocks: Array
    confirm_blocks: Array


def run(
    chance: np.random.Generator,
    noise: Noise,
    policy: JudgingPolicy,
    *,
    shift: Array,
    releases: int,
    checks: int = 5,
    reference: int = 6,
    calibration_df: float = 20,
    stated: float | None = None,
    takes_turns: bool = False,
    fixed: int | None = None,
) -> Outcome:
    """Screen releases look by look, and confirm what is suspected.

    Args:
        chance: makes the noise.
        noise: of sessions.
        policy: the judge's.
        shift: true change of each series of each check (shape: checks, series).
        releases: how many.
        checks: per release, four gating times each.
        reference: stored sessions of an arm.
        calibration_df: degrees of freedom of the calibration, 0 for none.
        stated: noise that a policy states, in place of a calibration that found the true one.
        takes_turns: old and new alternate from the start, so no day lies between them.
        fixed: look once, after so many blocks, instead of after every block.

    """
    series = len(TTFT_PARTS)
    shape = (releases, checks, series)
    known = Known.drawn(chance, noise, shape, calibration_df, policy.doubt_level)
    if stated is not None:
        known = replace(known, session_sd=np.full(shape, stated))
    first, last = (fixed, fixed) if fixed else (policy.blocks_min, policy.blocks_max)
    stored = last if takes_turns else reference
    old, new = noise.draw(chance, (*shape, stored)), noise.draw(chance, (*shape, last)) + shift[..., None]
    hours = noise.session_hours * 2 * np.arange(last)
    new = new + noise.drift_per_hour * (hours * (2 if takes_turns else 1))
    if takes_turns:
        old = old + noise.drift_per_hour * hours * 2
    else:
        new = new + noise.day * chance.standard_normal((releases, checks, 1, 1))
    judged = replace(policy, blocks_min=first, blocks_max=last)
    open_, suspected = np.ones((releases, checks), bool), np.zeros((releases, checks), bool)
    calm, suspects = np.zeros(shape, bool), np.zeros(shape, bool)
    blocks = np.full((releases, checks), last)
    for count in range(first, last + 1):
        stored_in_turns = None if takes_turns else reference
        look = looks.screening(judged, blocks=count, reference=stored_in_turns, gating=series)
        levels = (look.level_regressed, look.level_unchanged)
        if takes_turns:
            estimate = alternating(old[..., :count, None], new[..., :count, None], known)
        else:
            estimate = separate(old, new[..., :count], known)
        worse, unchanged = decide(estimate, judged, levels)
        alarm, over = worse.any(-1), (worse | unchanged).all(-1)
        suspected |= open_ & alarm
        suspects |= worse & (open_ & alarm)[..., None]
        calm = np.where(open_[..., None], unchanged, calm)
        blocks = np.where(open_ & (alarm | over), count, blocks)
        open_ &= ~(alarm | over)
    confirmed, confirm_blocks = _confirm(chance, noise, policy, shift, known, (suspected, suspects, calm))
    return Outcome(suspected, confirmed, ~suspected & ~open_, blocks, confirm_blocks)


def _confirm(  # noqa: PLR0917 - what was simulated, in the order of `run`
    chance: np.random.Generator,
    noise: Noise,
    policy: JudgingPolicy,
    shift: Array,
    known: Known,
    screened: tuple[Array, Array, Array],
) -> tuple[Array, Array]:
    """Measure suspected checks again, old new new old in each block, until the suspicion is decided.

    `screened` holds the suspected checks, and the series that are suspects and those found harmless.
    """
    suspected, suspects, calm = screened
    confirmed, used = np.zeros(suspected.shape, bool), np.zeros(suspected.shape, int)
    rows, columns = np.nonzero(suspected)
    if not len(rows):
        return confirmed, used
    known = Known(known.session_sd[rows, columns], known.df, known.doubt_level)
    suspects, calm, most = suspects[rows, columns], calm[rows, columns], policy.confirm_blocks_max
    shape = (len(rows), suspects.shape[-1], most, 2)
    # Two arms each turn: a block lasts eight sessions, and a release's two turns lie symmetrically in it.
    hours = noise.session_hours * (8 * np.arange(most)[:, None] + np.array([0, 6]))
    old = noise.draw(chance, shape) + noise.drift_per_hour * hours
    hours = noise.session_hours * (8 * np.arange(most)[:, None] + np.array([2, 4]))
    new = noise.draw(chance, shape) + noise.drift_per_hour * hours + shift[columns][..., None, None]
    open_, found = np.ones(len(rows), bool), np.zeros(len(rows), bool)
    count = np.full(len(rows), most)
    strict = 1 - policy.error_regressed * policy.error_confirm / shape[1]
    for blocks in range(1, most + 1):
        look = looks.confirming(policy, blocks=blocks)
        level = np.where(suspects, look.level_regressed, max(strict, look.level_regressed))
        estimate = alternating(old[..., :blocks, :], new[..., :blocks, :], known)
        worse, unchanged = decide(estimate, policy, (level, look.level_unchanged))
        alarm, over = worse.any(-1), (worse | unchanged | calm).all(-1)
        found |= open_ & alarm
        count = np.where(open_ & (alarm | over), blocks, count)
        open_ &= ~(alarm | over)
    confirmed[rows, columns], used[rows, columns] = found, count
    return confirmed, used


def agrees_with_the_judge(chance: np.random.Generator) -> None:
    """Compare estimates with the judge's own on a few hundred random cases."""
    for _ in range(200):
        n, m, blocks = (int(value) for value in chance.integers(2, 8, 3))
        sd, df = float(chance.uniform(0.5, 2)), float(chance.integers(0, 30))
        prior = Prior(sd, df, 0.95) if df else None
        known = Known(np.array(sd), df, 0.95)
        x, y = chance.standard_normal(n), chance.standard_normal(m) + 1
        _same(statistics.unpaired(x, y, prior), separate(x, y, known))
        old, new = chance.standard_normal((2, blocks, 2))
        pairs = [(tuple(a), tuple(b)) for a, b in zip(old, new, strict=True)]
        _same(statistics.blocked(pairs, prior), alternating(old, new, known))


def _same(judged: statistics.Estimate, modelled: tuple[Array, Array, Array]) -> None:
    theirs = (judged.difference, judged.standard_error, judged.degrees_of_freedom)
    if not np.allclose([float(part) for part in modelled], theirs):
        raise AssertionError(f"the judge says {theirs}, the simulation {modelled}")
