"""From values to places on a drawing, and the ticks a reader expects there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_LENIENCE = 0.8  # rather a tick or two too many than a bare axis
_RATIOS = (
    1.0,
    2.0,
    0.5,
    1.5,
    3.0,
    5.0,
    0.2,
    1.2,
    0.8,
    1.4,
    1.6,
    1.8,
    0.6,
    0.9,
    1.1,
    2.5,
    4.0,
    0.1,
    0.3,
    0.7,
    10.0,
)
"""In the order in which a place on an axis is given away."""
_NEAR_EDGE = 0.9
_PERCENTAGES = (1, 2, 5, 10, 20, 50, 100, 200, 500)


@dataclass(frozen=True, slots=True)
class Linear:
    """Values from `low` to `high` laid evenly from `start` to `end`; values outside stop at the edge."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the place of a value."""
        span = self.high - self.low
        part = (value - self.low) / span if span else 0.5
        return self.start + min(1.0, max(0.0, part)) * (self.end - self.start)


@dataclass(frozen=True, slots=True)
class Logarithmic:
    """Ratios laid so that equal factors are equally long; for values above zero."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the place of a ratio."""
        inner = Linear(math.log(self.low), math.log(self.high), self.start, self.end)
        return inner.at(math.log(max(value, 1e-9)))

    def ticks(self, apart: float) -> list[float]:
        """Return ratios people know within the range, at least `apart` from each other; 1 goes first."""
        chosen: list[float] = []
        for ratio in (value for value in _RATIOS if self.low <= value <= self.high):
            if all(abs(self.at(ratio) - self.at(other)) >= apart for other in chosen):
                chosen.append(ratio)
        return sorted(chosen)


@dataclass(frozen=True, slots=True)
class Squeezed:
    """Changes in percent around zero: nearly even near it, squeezed like a logarithm far from it.

    One axis then shows a floor of 2 % and a drop of 40 % alike (inverse hyperbolic sine).
    """

    reach: float
    start: float
    end: float
    knee: float = 4.0

    def at(self, value: float) -> float:
        """Return the place of a change in percent."""
        edge = math.asinh(self.reach / self.knee)
        return Linear(-edge, edge, self.start, self.end).at(math.asinh(value / self.knee))

    def ticks(self) -> list[float]:
        """Return zero and two changes on each side of it, the outer one near the edge, the inner half way."""
        middle, half = (self.start + self.end) / 2, (self.end - self.start) / 2
        parts = {step: (self.at(step) - middle) / half for step in _PERCENTAGES}
        outer = max((step for step in _PERCENTAGES if parts[step] < _NEAR_EDGE), default=_PERCENTAGES[0])
        inner = min(_PERCENTAGES, key=lambda step: abs(parts[step] - parts[outer] / 2))
        chosen = sorted({inner, outer})
        return [-float(step) for step in reversed(chosen)] + [0.0] + [float(step) for step in chosen]


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round values between `low` and `high`, evenly apart, about `most` of them."""
    span = high - low
    if span <= 0:
        return [low]
    raw = span / max(1, most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(step * power for step in _STEPS if step * power >= raw * _LENIENCE)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def padded(values: Sequence[float], part: float = 0.12) -> tuple[float, float]:
    """Return the range of the values with some room on both sides; never empty."""
    low, high = min(values), max(values)
    room = (high - low) * part or abs(high) * part or 1.0
    return low - room, high + room
