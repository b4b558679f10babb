"""Charts of a series: the large one with intervals, reference and epochs, and a spark of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from monitor.domain import Metric, Verdict
from monitor.views import numbers, svg, words
from monitor.views.scales import Linear, nice_ticks, padded
from monitor.views.series import SeriesPoint
from monitor.views.text import shortened

_TOP, _BOTTOM, _LEFT, _RIGHT = 34.0, 290.0, 86.0, 24.0
_LEAST_WIDTH, _SLOT = 1000.0, 40.0
_LABEL_SLOPE = 4.4  # height that a character of a slanting label takes
_LABEL_LENGTH = 18  # characters of a version below its point
_MARK = 5.5

SPARK_WIDTH, SPARK_HEIGHT = 168, 44
_SPARK_MOST = 24  # points that can still be told apart


def series_chart(
    identity: str, points: Sequence[SeriesPoint], metric: Metric, *, title: str
) -> Markup | None:
    """Return the series as a chart: a mark a run over the line of the reference it was judged by.

    None when no run has a value. Runs that brought none stand at the bottom: a gap is never smoothed over.
    Runs that have not ended are left out.
    """
    points = [point for point in points if point.value is not None or point.verdict is not None]
    values = [value for point in points for value in _heights(point)]
    if not values:
        return None
    slot = max(_SLOT, (_LEAST_WIDTH - _LEFT - _RIGHT) / len(points))
    width = _LEFT + _RIGHT + slot * len(points)
    longest = max(len(shortened(point.version, _LABEL_LENGTH)) for point in points)
    upward = Linear(*_range(points), _BOTTOM - 12, _TOP)
    places = [_LEFT + slot * (number + 0.5) for number in range(len(points))]
    return svg.chart(
        identity,
        width,
        _BOTTOM + 26 + _LABEL_SLOPE * longest,
        title=title,
        description=_told(points, metric),
        children=[
            *_axis(upward, metric, width - _RIGHT),
            *_epochs(points, places, slot),
            *_drifts(points, places, width),
            *_references(points, places, slot, upward),
            *(
                part
                for x, point in zip(places, points, strict=True)
                for part in _run(x, point, upward, metric)
            ),
            *(_label(x, point) for x, point in zip(places, points, strict=True)),
        ],
    )


def spark(identity: str, points: Sequence[SeriesPoint], metric: Metric, *, title: str) -> Markup | None:
    """Return the last runs as a line of the size of a word; None when fewer than two have a value."""
    drawn = [point for point in points if point.value is not None][-_SPARK_MOST:]
    if len(drawn) < 2:  # noqa: PLR2004 - one point is no line
        return None
    low, high = padded([value for point in drawn for value in _heights(point)], 0.15)
    across = Linear(0, len(drawn) - 1, 6, SPARK_WIDTH - 8)
    upward = Linear(low, high, SPARK_HEIGHT - 6, 6)
    places = [(across.at(number), upward.at(point.value or 0)) for number, point in enumerate(drawn)]
    last = drawn[-1]
    reference = (
        [svg.line(6, y, SPARK_WIDTH - 8, y, "level ref")]
        if last.reference_value is not None and (y := upward.at(last.reference_value)) is not None
        else []
    )
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    bad = [place for place, point in zip(places, drawn, strict=True) if point.verdict is Verdict.REGRESSED]
    return svg.chart(
        identity,
        SPARK_WIDTH,
        SPARK_HEIGHT,
        title=title,
        description=_told(drawn, metric),
        children=[
            *reference,
            svg.element("polyline", points=path, class_="thread"),
            *(svg.element("circle", cx=x, cy=y, r=2.5, class_="dot v-regressed") for x, y in bad),
            svg.element("circle", cx=places[-1][0], cy=places[-1][1], r=4.0, class_=f"dot v-{_css(last)}"),
        ],
    )


# ---------------------------------------------------------------------------------------------
# Parts


def _heights(point: SeriesPoint) -> list[float]:
    if point.value is None:
        return []
    return [value for value in (point.value, point.reference_value) if value is not None]


def _range(points: Sequence[SeriesPoint]) -> tuple[float, float]:
    """Return what the chart spans: every value, and intervals as far as they do not squash the rest."""
    values = [value for point in points for value in _heights(point)]
    low, high = min(values), max(values)
    room = max(high - low, abs(high) * 0.05)
    edges = [edge for point in points for edge in (point.low, point.high) if edge is not None]
    return padded([*values, *(min(high + room, max(low - room, edge)) for edge in edges)])


def _axis(upward: Linear, metric: Metric, end: float) -> Iterable[Markup]:
    for tick in nice_ticks(upward.low, upward.high, 6):
        y = upward.at(tick)
        unity = metric is Metric.SPEEDUP and tick == 1
        yield svg.line(_LEFT, y, end, y, "grid unity" if unity else "grid")
        yield svg.text(_LEFT - 8, y + 4, words.value_of(metric, tick), anchor="end", class_="tick")
    yield svg.line(_LEFT, _BOTTOM, end, _BOTTOM, "grid")


def _epochs(points: Sequence[SeriesPoint], places: Sequence[float], slot: float) -> Iterable[Markup]:
    """Draw a line where an epoch begins; across it nothing is compared."""
    numbers_seen = [point.epoch for point in points]
    if len({number for number in numbers_seen if number is not None}) < 2:  # noqa: PLR2004 - one epoch needs no line
        return
    before = None
    for x, number in zip(places, numbers_seen, strict=True):
        if number is not None and number != before:
            edge = x - slot / 2
            if before is not None:
                yield svg.line(edge, 8, edge, _BOTTOM, "link")
            yield svg.text(edge + 5, 18, f"epoch {number}", class_="tick")
            before = number


def _drifts(points: Sequence[SeriesPoint], places: Sequence[float], width: float) -> Iterable[Markup]:
    """Draw a line where a slow drift was noticed: no point near it looks bad by itself."""
    for x, point in zip(places, points, strict=True):
        if point.drift is not None:
            yield svg.line(x, 24, x, _BOTTOM, "link")
            right = x > width / 2
            yield svg.text(
                x - 5 if right else x + 5,
                30,
                f"slow drift noticed (incident {point.drift})",
                anchor="end" if right else "start",
                class_="tick",
            )


def _references(
    points: Sequence[SeriesPoint], places: Sequence[float], slot: float, upward: Linear
) -> Iterable[Markup]:
    for x, point in zip(places, points, strict=True):
        if point.reference_value is not None and point.value is not None:
            y = upward.at(point.reference_value)
            yield svg.line(x - slot / 2, y, x + slot / 2, y, "level ref")


def _run(x: float, point: SeriesPoint, upward: Linear, metric: Metric) -> Iterable[Markup]:
    css = f"v-{_css(point)}"
    name = svg.element("title", _sentence(point, metric))
    if point.value is None:
        yield svg.element(
            "path", name, d=f"M{x - 4:.1f} {_BOTTOM - 4:.1f}l8 8m0 -8l-8 8", class_=f"span {css}"
        )
        return
    if point.low is not None and point.high is not None and point.low < point.high:
        top, bottom = upward.at(point.high), upward.at(point.low)
        yield svg.line(x, top, x, bottom, f"span {css}")
        # An end that lies outside of the chart has no bar across it.
        inside = [edge for edge in (point.low, point.high) if upward.low < edge < upward.high]
        yield from (svg.line(x - 4, y, x + 4, y, f"span {css}") for y in map(upward.at, inside))
    y = upward.at(point.value)
    if point.verdict is Verdict.REGRESSED:
        yield _triangle(x, y, name, css, down=True)
    elif point.verdict is Verdict.IMPROVED:
        yield _triangle(x, y, name, css, down=False)
    elif point.verdict is Verdict.UNCHANGED and not point.first:
        yield svg.element("circle", name, cx=x, cy=y, r=_MARK, class_=f"dot {css}")
    else:  # undecided, or nothing to compare with: hollow
        yield svg.element("circle", name, cx=x, cy=y, r=_MARK, class_=f"dot hollow {css}")


def _triangle(x: float, y: float, name: Markup, css: str, *, down: bool) -> Markup:
    tip, base = (y + 8, y - 6) if down else (y - 8, y + 6)
    corners = f"M{x - 8:.1f} {base:.1f}L{x + 8:.1f} {base:.1f}L{x:.1f} {tip:.1f}z"
    return svg.element("path", name, d=corners, class_=f"dot {css}")


def _label(x: float, point: SeriesPoint) -> Markup:
    return svg.element(
        "text",
        svg.element("title", point.version),
        shortened(point.version, _LABEL_LENGTH),
        x=x + 4,
        y=_BOTTOM + 16,
        transform=f"rotate(-40 {x + 4:.1f} {_BOTTOM + 16:.1f})",
        text_anchor="end",
        class_="tick",
    )


# ---------------------------------------------------------------------------------------------
# Words


def _css(point: SeriesPoint) -> str:
    return words.VERDICTS[point.verdict].css if point.verdict is not None and not point.first else "pending"


def _sentence(point: SeriesPoint, metric: Metric) -> str:
    said = words.said_of(point.verdict, first=point.first).label.lower()
    value = words.value_of(metric, point.value)
    if point.reference_value is None:
        return f"{point.version}: {value}, {said}"
    return f"{point.version}: {value}, reference {words.value_of(metric, point.reference_value)}, {said}"


def _told(points: Sequence[SeriesPoint], metric: Metric) -> str:
    known = [point for point in points if point.value is not None]
    if not known:
        return "No run has a value."
    spread = [point.value for point in known if numbers.known(point.value)]
    return (
        f"{len(points)} runs, from {words.value_of(metric, min(spread))} to "
        f"{words.value_of(metric, max(spread))}. The last: {_sentence(known[-1], metric)}."
    )
