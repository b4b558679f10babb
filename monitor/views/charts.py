"""The report's charts of a verdict: the three factors as a waterfall, and how far each metric moved.

Drawn 400 units wide, so that the same drawing can be read on a phone and beside another one on a desk.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from monitor.domain import ArmSummary, Attribution, Channel, Effect, Share
from monitor.views import numbers, svg, words
from monitor.views.scales import Logarithmic, Squeezed
from monitor.views.text import shortened

WIDTH = 400
_ROW = 45  # a label line above, a bar below
_BAR = 15
_AXIS = 26
_EDGE = 6
_TICK_ROOM = 20
_TICKS_APART = 40
_LABEL_LENGTH = 40  # characters that leave room for the value
_LARGEST_LOG = 2.5  # a factor of 12: an interval wider than that says nothing and would squash the rest

FOREST_WIDTH = 200
_FOREST_HEIGHT = 26
_LEAST_REACH = 6.0  # percent each side, so that a quiet run does not look dramatic


@dataclass(frozen=True, slots=True)
class _Bar:
    label: str
    value: str
    note: str
    begin: float
    end: float
    css: str
    whisker: tuple[float, float] | None = None


# ---------------------------------------------------------------------------------------------
# Waterfall


def waterfall(
    identity: str, attribution: Attribution, reference_speedup: float, *, reference: str, candidate: str
) -> Markup:
    """Return the way from the reference's speedup to the candidate's, one factor after the other.

    Ratios are drawn on a logarithmic scale, where the three factors add up; bars of a speedup begin at 1×,
    the speed without speculation. `reference` and `candidate` are the names of the releases.
    """
    end_speedup = reference_speedup * math.exp(attribution.speedup_change_log)
    bars = [
        _Bar(f"Reference {reference}", numbers.times(reference_speedup), "", 1.0, reference_speedup, "ref")
    ]
    at, told = reference_speedup, []
    for field, title, _ in words.FACTORS:
        share = getattr(attribution, field)
        after = at * math.exp(share.change_log)
        bars.append(_factor_bar(title, share, at))
        told.append(f"{title.lower()} ×{_factor(share.change_log)}")
        at = after
    bars.append(_Bar(f"Candidate {candidate}", numbers.times(end_speedup), "", 1.0, end_speedup, "cand"))
    return _ladder(
        identity,
        bars,
        title="From the reference's speedup to the candidate's",
        description=f"{numbers.times(reference_speedup)} with {reference}; {', '.join(told)}; "
        f"{numbers.times(end_speedup)} with {candidate}.",
    )


def _factor_bar(title: str, share: Share, at: float) -> _Bar:
    value, after = f"×{_factor(share.change_log)}", at * math.exp(share.change_log)
    if share.ci_low == share.ci_high:
        return _Bar(title, value, "exact", at, after, _direction(share))
    if not (_drawable(share.ci_low) and _drawable(share.ci_high)):
        return _Bar(title, value, "too few sessions", at, after, "flat")
    note = f"{_factor(share.ci_low)} to {_factor(share.ci_high)}"
    edges = (at * math.exp(share.ci_low), at * math.exp(share.ci_high))
    return _Bar(title, value, note, at, after, _direction(share), edges)


def _drawable(change_log: float) -> bool:
    return math.isfinite(change_log) and abs(change_log) < _LARGEST_LOG


def anatomy(identity: str, summary: ArmSummary, *, release: str) -> Markup | None:
    """Return how one release's own speedup comes about: tokens gained a step, less what a step costs.

    speedup = acceptance length × baseline step time / mtp step time. None when a figure is missing.
    """
    length, step, base = summary.acceptance_length, summary.step_time_s, summary.baseline_step_time_s
    if not length or not step or not base:
        return None
    cost, speedup = base / step, length * base / step
    bars = [
        _Bar("Tokens gained in a step", f"×{length:.2f}", "acceptance length", 1.0, length, "good"),
        _Bar("What a longer step costs", f"×{cost:.2f}", "baseline / mtp step time", length, speedup, "bad"),
        _Bar(f"Speedup of {release}", numbers.times(speedup), "", 1.0, speedup, "cand"),
    ]
    return _ladder(
        identity,
        bars,
        title=f"How the speedup of {release} comes about",
        description=f"{length:.2f} tokens a step, each step {1 / cost:.2f} times as long as one without "
        f"speculation: {numbers.times(speedup)}.",
    )


def _ladder(identity: str, bars: Sequence[_Bar], *, title: str, description: str) -> Markup:
    reached = [1.0, *(edge for bar in bars for edge in (bar.begin, bar.end, *(bar.whisker or ())))]
    room = max(1.06, (max(reached) / min(reached)) ** 0.08)
    scale = Logarithmic(min(reached) / room, max(reached) * room, _EDGE, WIDTH - _EDGE)
    bottom = len(bars) * _ROW + 4
    return svg.chart(
        identity,
        WIDTH,
        bottom + _AXIS,
        title=title,
        description=description,
        children=[
            *_ratio_axis(scale, bottom),
            *(_link(scale.at(upper.end), row) for row, (upper, _) in enumerate(pairwise(bars))),
            *(part for row, bar in enumerate(bars) for part in _bar(scale, row * _ROW, bar)),
        ],
    )


def _bar(scale: Logarithmic, top: float, bar: _Bar) -> Iterable[Markup]:
    left, right = sorted((scale.at(bar.begin), scale.at(bar.end)))
    y = top + 20
    yield svg.text(_EDGE, top + 14, shortened(bar.label, _LABEL_LENGTH), class_="label")
    yield svg.element(
        "text",
        *([svg.element("tspan", f"{bar.note}  ", class_="muted")] if bar.note else []),
        svg.element("tspan", bar.value, class_="value"),
        x=WIDTH - _EDGE,
        y=top + 14,
        text_anchor="end",
    )
    yield svg.rect(left, y, right - left, _BAR, f"bar {bar.css}", radius=2)
    if bar.whisker:
        low, high = (scale.at(edge) for edge in bar.whisker)
        middle = y + _BAR / 2
        yield svg.line(low, middle, high, middle, "whisker")
        yield svg.line(low, middle - 4, low, middle + 4, "whisker")
        yield svg.line(high, middle - 4, high, middle + 4, "whisker")


def _link(x: float, row: int) -> Markup:
    y = row * _ROW + 20 + _BAR
    return svg.line(x, y, x, y + _ROW - _BAR, "link")


def _ratio_axis(scale: Logarithmic, bottom: float) -> Iterable[Markup]:
    for tick in scale.ticks(_TICKS_APART):
        x = scale.at(tick)
        yield svg.line(x, 0, x, bottom, "grid unity" if tick == 1 else "grid")
        near_edge = "start" if x < _TICK_ROOM else "end" if x > WIDTH - _TICK_ROOM else "middle"
        yield svg.text(x, bottom + 16, f"{tick:g}×", anchor=near_edge, class_="tick")


def _factor(change_log: float) -> str:
    return f"{math.exp(change_log):.3f}"


def _direction(share: Share) -> str:
    if share.change_log == 0 or (share.ci_low <= 0 <= share.ci_high):
        return "flat"
    return "good" if share.change_log > 0 else "bad"


# ---------------------------------------------------------------------------------------------
# How far each metric moved


def forest_scale(effects: Iterable[Effect]) -> Squeezed:
    """Return one scale for all rows of a table, wide enough for every interval and floor."""
    reach = _LEAST_REACH
    for effect in effects:
        shift = words.shift_of(effect)
        for edge in (shift.change, shift.low, shift.high, 1.5 * shift.floor):
            if numbers.known(edge):
                reach = max(reach, abs(edge) * 1.08)
    return Squeezed(min(reach, 900.0), 5, FOREST_WIDTH - 5)


def forest(identity: str, effect: Effect, scale: Squeezed) -> Markup:
    """Return one metric's change and interval against the band of changes too small to count."""
    shift, middle = words.shift_of(effect), _FOREST_HEIGHT / 2
    left, right = scale.at(-shift.floor), scale.at(shift.floor)
    bad_edge, bad_floor = (
        (scale.end, right) if effect.metric in words.LOWER_IS_BETTER else (scale.start, left)
    )
    css = f"v-{words.VERDICTS[effect.verdict].css}"
    parts = [
        svg.rect(min(bad_edge, bad_floor), 2, abs(bad_edge - bad_floor), _FOREST_HEIGHT - 4, "harm"),
        svg.rect(left, 2, right - left, _FOREST_HEIGHT - 4, "band"),
        svg.line(scale.at(0), 0, scale.at(0), _FOREST_HEIGHT, "grid unity"),
    ]
    exact = effect.channel is Channel.EXACT
    if shift.low is not None and shift.high is not None and not exact:
        low, high = scale.at(shift.low), scale.at(shift.high)
        parts.append(svg.line(low, middle, high, middle, f"span {css}"))
        parts.extend(svg.line(edge, middle - 4, edge, middle + 4, f"span {css}") for edge in (low, high))
    if shift.change is not None:
        x = scale.at(shift.change)
        diamond = f"M{x:.2f} {middle - 6:.2f}l6 6l-6 6l-6 -6z"
        parts.append(
            svg.element("path", d=diamond, class_=f"dot {css}")
            if exact
            else svg.element("circle", cx=x, cy=middle, r=4.5, class_=f"dot {css}")
        )
    return svg.chart(
        identity,
        FOREST_WIDTH,
        _FOREST_HEIGHT,
        title=f"{words.METRICS[effect.metric]}: {shift.shown}",
        description=f"{words.certainty_of(effect)} against a floor of ±{shift.shown_floor}: "
        f"{words.VERDICTS[effect.verdict].label.lower()}.",
        children=parts,
    )


def forest_axis(identity: str, scale: Squeezed) -> Markup:
    """Return the axis above a column of forest rows."""
    return svg.chart(
        identity,
        FOREST_WIDTH,
        16,
        title="Change in percent",
        description="The scale of the drawings below.",
        children=[
            svg.text(scale.at(tick), 12, numbers.digits(tick, 1), anchor="middle", class_="tick")
            for tick in scale.ticks()
            if _TICK_ROOM < 2 * scale.at(tick) < 2 * FOREST_WIDTH - _TICK_ROOM
        ],
    )
