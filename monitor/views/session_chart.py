"""Every session as a point, in the order of time: what the noise of this machine looks like."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from monitor.domain import Arm, Metric, Role, SampleSet, Session
from monitor.judge import metrics
from monitor.views import numbers, svg, words
from monitor.views.charts import WIDTH
from monitor.views.scales import Linear, nice_ticks, padded

_HEIGHT = 250
_TOP, _BOTTOM, _LEFT, _RIGHT = 30.0, 222.0, 44.0, 394.0
_GAP = 0.8  # of a slot, between screening and confirmation
_ARM_METRIC = {Arm.BASELINE: Metric.BASELINE_RATE, Arm.MTP: Metric.MTP_RATE}


@dataclass(frozen=True, slots=True)
class SessionPoint:
    """One session's decode rate: geometric mean over its prompts, then over workloads, in tokens/s."""

    subject: str
    """`reference` or `candidate`."""
    role: Role
    arm: Arm
    number: int
    started_at: datetime | None
    rate: float

    @property
    def told(self) -> str:
        """The point in words."""
        return f"{self.subject}, session {self.number}, {words.ARMS[self.arm]}: {numbers.rate(self.rate)}"


def session_points(sets: Iterable[tuple[str, SampleSet | None]], min_rate_tokens: int) -> list[SessionPoint]:
    """Return a point for each complete session with a usable rate, screening first, then by time.

    `sets` holds pairs of `reference` or `candidate` and what was measured of it.
    """
    keyed: list[tuple[tuple[bool, float, int, int], SessionPoint]] = []
    for place, (subject, sample_set) in enumerate(sets):
        if sample_set is None:
            continue
        table = metrics.tabulate(sample_set.judged, min_rate_tokens)
        prompts = metrics.comparable_prompts([table])
        if not prompts:
            continue
        means = {arm: metrics.session_means(table, metric, prompts) for arm, metric in _ARM_METRIC.items()}
        for session in table.sessions:
            log_rate = means[session.arm].get(session.session) if session.arm in means else None
            if log_rate is not None:
                point = SessionPoint(
                    subject,
                    session.role,
                    session.arm,
                    session.session,
                    session.started_at,
                    math.exp(log_rate),
                )
                keyed.append((_moment(session, place), point))
    return [point for _, point in sorted(keyed, key=lambda pair: pair[0])]


def session_chart(identity: str, points: Sequence[SessionPoint]) -> Markup | None:
    """Return the strip of sessions: round with MTP, square without; hollow reference, filled candidate."""
    if not points:
        return None
    confirming = sum(point.role is Role.CONFIRM for point in points)
    screening = len(points) - confirming
    gap = _GAP if screening and confirming else 0.0
    across = Linear(-0.7, len(points) - 0.3 + gap, _LEFT, _RIGHT)
    low, high = padded([point.rate for point in points])
    upward = Linear(low, high, _BOTTOM, _TOP)
    places = [across.at(i + (gap if point.role is Role.CONFIRM else 0)) for i, point in enumerate(points)]
    parts = [*_rate_axis(upward)]
    if gap:
        middle = across.at(screening - 0.5 + gap / 2)
        parts.append(svg.line(middle, 8, middle, _BOTTOM, "link"))
    if screening:
        parts.append(svg.text(_LEFT, 18, "screening", class_="tick"))
    if confirming:
        x = across.at(screening - 0.5 + gap / 2) + 6 if gap else _LEFT
        parts.append(svg.text(x, 18, "confirming", class_="tick"))
    parts.extend(_levels(points, places, upward))
    size = 5.0 if len(points) <= 40 else 3.5  # noqa: PLR2004 - where points would touch
    parts.extend(_mark(x, upward.at(p.rate), size, p) for x, p in zip(places, points, strict=True))
    parts.append(
        svg.text(
            (_LEFT + _RIGHT) / 2, _HEIGHT - 8, "sessions in order of time", anchor="middle", class_="tick"
        )
    )
    return svg.chart(
        identity,
        WIDTH,
        _HEIGHT,
        title="Decode rate of every session",
        description=_told(points),
        children=parts,
    )


def _levels(points: Sequence[SessionPoint], places: Sequence[float], upward: Linear) -> Iterable[Markup]:
    """Draw a line at each group's geometric mean, over the stretch in which it was measured."""
    groups: dict[tuple[str, Role, Arm], list[tuple[float, float]]] = {}
    for x, point in zip(places, points, strict=True):
        groups.setdefault((point.subject, point.role, point.arm), []).append((x, point.rate))
    for (subject, _, _), members in groups.items():
        if len(members) > 1:
            y = upward.at(math.exp(sum(math.log(rate) for _, rate in members) / len(members)))
            xs = [x for x, _ in members]
            yield svg.line(min(xs), y, max(xs), y, f"level {_css(subject)}")


def _mark(x: float, y: float, size: float, point: SessionPoint) -> Markup:
    name = svg.element("title", point.told)
    css = f"{'ring' if point.subject == 'reference' else 'dot'} {_css(point.subject)}"
    if point.arm is Arm.BASELINE:
        return svg.element(
            "rect", name, x=x - size, y=y - size, width=2 * size, height=2 * size, rx=1, class_=css
        )
    return svg.element("circle", name, cx=x, cy=y, r=size + 0.5, class_=css)


def _rate_axis(upward: Linear) -> Iterable[Markup]:
    for tick in nice_ticks(upward.low, upward.high):
        y = upward.at(tick)
        yield svg.line(_LEFT, y, _RIGHT, y, "grid")
        yield svg.text(_LEFT - 6, y + 4, f"{tick:,.10g}", anchor="end", class_="tick")
    yield svg.text(_LEFT - 6, 18, "tok/s", anchor="end", class_="tick")


def _told(points: Sequence[SessionPoint]) -> str:
    parts = []
    for subject in ("reference", "candidate"):
        for arm in (Arm.BASELINE, Arm.MTP):
            rates = [point.rate for point in points if point.subject == subject and point.arm is arm]
            if rates:
                spread = f"{numbers.digits(min(rates))} to {numbers.rate(max(rates))}"
                parts.append(f"{subject} {words.ARMS[arm]}: {len(rates)} sessions, {spread}")
    return "; ".join(parts) + "."


def _css(subject: str) -> str:
    return "ref" if subject == "reference" else "cand"


def _moment(session: Session, place: int) -> tuple[bool, float, int, int]:
    # Without a date the reference's sessions come first, each in the order of its file.
    at = session.started_at.timestamp() if session.started_at else 0.0
    return (session.role is Role.CONFIRM, at, place if not at else 0, session.session)
