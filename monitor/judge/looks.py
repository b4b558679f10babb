"""When to look, and how sure each look must be: the error of a whole judgement, spent over its looks.

Looking after every block and stopping at the first alarm gives noise many chances. So an error is fixed for
the whole judgement and spent in proportion to the information gained (Kim and DeMets 1987, power family with
exponent 1, of the spending functions of Lan and DeMets 1983). The limits that spend exactly this much at each
look follow from the joint distribution of the looks, by the recursion of Armitage, McPherson and Rowe (1969);
see Jennison and Turnbull, "Group Sequential Methods" (2000), chapters 7 and 19. They are stated as one-sided
levels and used as levels of the t distribution with each row's degrees of freedom (their section 4.4).
"""

from __future__ import annotations

import math
from enum import StrEnum
from functools import lru_cache

import numpy as np
from scipy import special

from monitor.domain import Look
from monitor.judge.policy import JudgingPolicy

_POINTS = 241
"""Places of the grid; the levels agree to 1e-4 with those of twice as many."""
_REACH = 6.0
"""How many deviations below zero the grid begins: what lies beyond is a billionth."""
_SOLVED = 1e-7


class Step(StrEnum):
    """What is to be done after a look."""

    GO_ON = "go on"
    STOP = "stop"


def screening(policy: JudgingPolicy, *, blocks: int, reference: int | None, gating: int) -> Look:
    """Return the look after `blocks` blocks of a candidate.

    Args:
        policy: its `blocks_min` is the first look, its `blocks_max` the last.
        blocks: complete blocks of the candidate, one session of each arm in each.
        reference: stored sessions of an arm, which bound what can be learnt; None where old and new take
            turns.
        gating: rows that gate and carry noise, among which the error of a false alarm is divided.

    """
    first, last = min(policy.blocks_min, policy.blocks_max), policy.blocks_max
    known = math.inf if reference is None else max(1, reference)
    information = tuple(1 / (1 / known + 1 / n) for n in range(first, last + 1))
    number = min(max(blocks, first), last) - first + 1
    levels = _levels(policy, policy.error_regressed / max(1, gating), information, number)
    return Look(number, len(information), blocks, gating, *levels)


def confirming(policy: JudgingPolicy, *, blocks: int) -> Look:
    """Return the look after `blocks` blocks in which old and new took turns.

    The error is that of one suspicion: what is confirmed was picked before, by other sessions.
    """
    last = max(1, policy.confirm_blocks_max)
    information = tuple(float(n) for n in range(1, last + 1))
    number = min(max(blocks, 1), last)
    return Look(number, last, blocks, 1, *_levels(policy, policy.error_confirm, information, number))


def step(look: Look, *, decided: bool) -> Step:
    """Say whether to measure another block: not when all that gates is decided, nor after the last look."""
    return Step.STOP if decided or look.number >= look.of else Step.GO_ON


def _levels(
    policy: JudgingPolicy, error: float, information: tuple[float, ...], number: int
) -> tuple[float, float]:
    """Return the levels of one look: for a change, and for none."""
    spent = (spent_levels(error, information), spent_levels(policy.error_unchanged, information))
    return spent[0][number - 1], spent[1][number - 1]


@lru_cache(maxsize=512)
def spent_levels(error: float, information: tuple[float, ...]) -> tuple[float, ...]:
    """Return the one-sided level of each look, so that all looks together err with probability `error`.

    Args:
        error: of the whole, 0 < error < 1; at look k the share information[k] / information[-1] is spent.
        information: at each look, rising, in any unit (shape: looks).

    """
    times = np.asarray(information, dtype=float) / information[-1]
    spent = error * np.diff(times, prepend=0.0)
    levels: list[float] = []
    # S(t) = Z·√t has independent normal steps; `density` on `grid` is that of not having stopped.
    grid, density, before = np.zeros(1), np.ones(1), 0.0
    for time, share in zip(times, spent, strict=True):
        deviation = math.sqrt(time - before)
        limit = _limit(grid, density, deviation, share, math.sqrt(time))
        levels.append(float(special.ndtr(limit / math.sqrt(time))))
        if time < 1:
            grid, density = _carried(grid, density, deviation, limit, math.sqrt(time))
        before = time
    return tuple(levels)


def _limit(grid: np.ndarray, density: np.ndarray, deviation: float, share: float, spread: float) -> float:
    """Return the s above which the next step ends with probability `share`; by bisection."""
    low, high = -_REACH * spread, 2 * _REACH * spread
    while high - low > _SOLVED * spread:
        middle = (low + high) / 2
        beyond = float(density @ special.ndtr((grid - middle) / deviation))
        low, high = (middle, high) if beyond > share else (low, middle)
    return (low + high) / 2


def _carried(
    grid: np.ndarray, density: np.ndarray, deviation: float, limit: float, spread: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return grid and weighted density after a step, of what stayed below `limit` (trapezoidal rule)."""
    places = np.linspace(-_REACH * spread, limit, _POINTS)
    weights = np.full(_POINTS, places[1] - places[0])
    weights[[0, -1]] /= 2
    steps = (places[:, None] - grid[None, :]) / deviation
    normal = np.exp(-(steps**2) / 2) / (deviation * math.sqrt(2 * math.pi))
    return places, weights * (normal @ density)
