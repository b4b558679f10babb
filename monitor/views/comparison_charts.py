"""Charts that set the candidate beside the reference: per workload, and per drafted position."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from monitor.views import numbers, svg
from monitor.views.charts import WIDTH
from monitor.views.scales import Linear, nice_ticks, padded
from monitor.views.text import shortened

_EDGE = 6
_ROW = 42
_POSITIONS_HEIGHT = 190
_LABEL_LENGTH = 30  # characters that leave room for the values


@dataclass(frozen=True, slots=True)
class Pair:
    """One figure of both releases; None where it was not measured."""

    name: str
    reference: float | None
    candidate: float | None


def dumbbells(
    identity: str,
    pairs: Sequence[Pair],
    shown: Callable[[float | None], str],
    *,
    title: str,
    base: float | None = None,
) -> Markup | None:
    """Return a row a pair: a ring for the reference, a dot for the candidate, a line for the change.

    `base` is a value the axis must include (1 for a speedup). None when nothing was measured.
    """
    values = [value for pair in pairs for value in (pair.reference, pair.candidate) if numbers.known(value)]
    if not values:
        return None
    low, high = padded([*values, *([base] if base is not None else [])], 0.08)
    scale = Linear(low, high, _EDGE + 6, WIDTH - _EDGE - 6)
    bottom = len(pairs) * _ROW + 2
    parts: list[Markup] = []
    for tick in nice_ticks(low, high):
        x = scale.at(tick)
        parts.append(svg.line(x, 0, x, bottom, "grid unity" if tick == base else "grid"))
        parts.append(svg.text(x, bottom + 16, _plain_tick(shown, tick), anchor="middle", class_="tick"))
    for row, pair in enumerate(pairs):
        parts.extend(_dumbbell(scale, row * _ROW, pair, shown))
    return svg.chart(
        identity,
        WIDTH,
        bottom + 26,
        title=title,
        description="; ".join(f"{pair.name}: {_told(pair, shown)}" for pair in pairs) + ".",
        children=parts,
    )


def positions(identity: str, reference: Sequence[float] | None, candidate: Sequence[float]) -> Markup | None:
    """Return bars of the share of steps in which the token drafted at each position was accepted.

    Position 1 is drafted first. None when there is no position.
    """
    count = max(len(candidate), len(reference or ()))
    if not count:
        return None
    top, bottom = 22.0, _POSITIONS_HEIGHT - 40.0
    scale = Linear(0.0, 1.0, bottom, top)
    slot = (WIDTH - 44 - _EDGE) / count
    parts: list[Markup] = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = scale.at(tick)
        parts.append(svg.line(40, y, WIDTH - _EDGE, y, "grid unity" if tick == 0 else "grid"))
        parts.append(svg.text(34, y + 4, f"{tick:.0%}".replace("%", " %"), anchor="end", class_="tick"))
    told = []
    for place in range(count):
        centre = 42 + slot * (place + 0.5)
        both = [(_at(reference, place), "ref"), (_at(candidate, place), "cand")]
        present = [(value, css) for value, css in both if value is not None]
        width = min(46.0, slot * 0.8 / max(1, len(present)))
        left = centre - width * len(present) / 2
        for index, (value, css) in enumerate(present):
            y = scale.at(value)
            parts.append(svg.rect(left + index * width + 1, y, width - 2, bottom - y, f"bar {css}", radius=2))
            parts.append(
                svg.text(
                    left + (index + 0.5) * width, y - 5, f"{100 * value:.0f}", anchor="middle", class_="tick"
                )
            )
        parts.append(svg.text(centre, bottom + 17, f"token {place + 1}", anchor="middle", class_="tick"))
        told.append(f"token {place + 1}: " + _told(Pair("", both[0][0], both[1][0]), numbers.percent))
    return svg.chart(
        identity,
        WIDTH,
        _POSITIONS_HEIGHT - 14,
        title="Accepted by position in the draft",
        description="; ".join(told) + ".",
        children=parts,
    )


def _dumbbell(
    scale: Linear, top: float, pair: Pair, shown: Callable[[float | None], str]
) -> Iterable[Markup]:
    y = top + 29
    yield svg.text(_EDGE, top + 15, shortened(pair.name, _LABEL_LENGTH), class_="label")
    yield svg.text(WIDTH - _EDGE, top + 15, _told(pair, shown), anchor="end", class_="value")
    yield svg.line(scale.start, y, scale.end, y, "rail")
    if numbers.known(pair.reference) and numbers.known(pair.candidate):
        yield svg.line(scale.at(pair.reference), y, scale.at(pair.candidate), y, "bond")
    if numbers.known(pair.candidate):
        yield svg.element("circle", cx=scale.at(pair.candidate), cy=y, r=5, class_="dot cand")
    if numbers.known(pair.reference):
        yield svg.element("circle", cx=scale.at(pair.reference), cy=y, r=7.5, class_="ring ref")


def _told(pair: Pair, shown: Callable[[float | None], str]) -> str:
    if pair.reference is None:
        return shown(pair.candidate)
    before, after = shown(pair.reference), shown(pair.candidate)
    return after if before == after else f"{before} → {after}"


def _plain_tick(shown: Callable[[float | None], str], tick: float) -> str:
    return shown(tick).replace(".0 %", " %")


def _at(values: Sequence[float] | None, place: int) -> float | None:
    return values[place] if values is not None and place < len(values) else None
