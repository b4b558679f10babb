"""What the GPU did in every session: a row each, and clocks, heat and power of one session as strips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from monitor.domain import JUDGED_ARMS, Arm, SampleSet, Session
from monitor.views import numbers, svg, words
from monitor.views.charts import WIDTH
from monitor.views.scales import Linear, padded
from monitor.views.text import safe

_STRIPS = ((1, "SM clock", "MHz"), (3, "temperature", "°C"), (4, "power", "W"))
"""Place in a point of the trace, what it is, and its unit."""
_LEFT, _RIGHT, _STRIP, _GAP, _TOP = 92.0, 394.0, 54.0, 18.0, 10.0
_TWO = 2


@dataclass(frozen=True, slots=True)
class Median:
    """One reading over a session."""

    shown: str
    spread: str
    """The lowest and the highest look; empty where they are the same."""


@dataclass(frozen=True, slots=True)
class GpuRow:
    """One session."""

    subject: str
    role: str
    arm: Arm
    number: int
    sm_clock: Median
    memory_clock: Median
    temperature: Median
    power: Median
    busy: Median
    memory: str
    energy: str
    told: str
    """What held the clocks down or disturbed it; empty when nothing did."""


@dataclass(frozen=True, slots=True)
class GpuSection:
    """What the report shows of the GPU."""

    rows: tuple[GpuRow, ...]
    chart: Markup | None
    summary: str


def gpu_section(
    identity: str, sides: Iterable[tuple[str, SampleSet | None]], roofline: float | None
) -> GpuSection | None:
    """Return what the watched sessions of (subject, samples) did to the GPU; None when none was watched."""
    rows: list[GpuRow] = []
    watched: list[Session] = []
    last: dict[Arm, Session] = {}
    for subject, samples in sides:
        if samples is None:
            continue
        tokens: dict[int, int] = {}
        for sample in samples.samples:
            tokens[sample.session] = tokens.get(sample.session, 0) + sample.n
        for session in samples.sessions:
            if session.gpu:
                watched.append(session)
                rows.append(_row(subject, session, tokens.get(session.session, 0)))
                if subject == "candidate" and session.arm in JUDGED_ARMS:
                    last[session.arm] = session
    if not rows:
        return None
    disturbed = sum(bool(row.told) for row in rows)
    words_ = (
        f"{disturbed} of {len(rows)} sessions had something to tell" if disturbed else "nothing disturbed it"
    )
    drawn = max((_drawing(session) for session in watched), default=0)
    if drawn:
        words_ += f"; a desktop was on it ({numbers.count(drawn)} {'process' if drawn == 1 else 'processes'})"
    top = f"; memory allows the baseline {numbers.rate(roofline)} at most" if roofline else ""
    return GpuSection(tuple(rows), _chart(identity, last), f"{words_}{top}")


def _row(subject: str, session: Session, tokens: int) -> GpuRow:
    seen = session.gpu or {}
    per_token = session.energy_j / tokens if session.energy_j is not None and tokens else None
    return GpuRow(
        subject=subject,
        role=session.role.value,
        arm=session.arm,
        number=session.session,
        sm_clock=_range(seen.get("sm_clock_mhz"), "MHz"),
        memory_clock=_range(seen.get("memory_clock_mhz"), "MHz"),
        temperature=_range(seen.get("temperature_c"), "°C"),
        power=_range(seen.get("power_w"), "W"),
        busy=_range(seen.get("utilisation_percent"), "%"),
        memory=numbers.size(session.gpu_memory_bytes) if session.gpu_memory_bytes is not None else "–",
        energy=f"{numbers.digits(per_token)} J" if per_token else "–",
        told=_told(seen),
    )


def _drawing(session: Session) -> int:
    found = (session.gpu or {}).get("graphics")
    return found if isinstance(found, int) else 0


def _range(found: Any, unit: str) -> Median:
    """Return "2,450 MHz" and "2,300–2,600" of [lowest, median, highest]."""
    if not isinstance(found, list) or len(found) != len(("lowest", "median", "highest")):
        return _UNSEEN
    if not all(isinstance(one, int | float) for one in found):
        return _UNSEEN
    low, middle, high = found
    return Median(f"{middle:,.0f} {unit}", "" if low == high else f"{low:,.0f}–{high:,.0f}")


_UNSEEN = Median("–", "")


def _told(seen: Mapping[str, Any]) -> str:
    flags = seen.get("flags")
    parts = [
        f"{safe(str(flag))} in {numbers.percent(share)} of the looks"
        for flag, share in (flags.items() if isinstance(flags, Mapping) else ())
        if isinstance(share, int | float)
    ]
    if seen.get("contaminated"):
        parts.append(f"{seen['contaminated']} answers disturbed each time")
    if seen.get("ecc_corrected"):
        parts.append(f"{seen['ecc_corrected']} memory errors corrected")
    return "; ".join(parts)


def _chart(identity: str, sessions: Mapping[Arm, Session]) -> Markup | None:
    traces = {arm: _trace(session) for arm, session in sessions.items()}
    traces = {arm: trace for arm, trace in traces.items() if len(trace) >= _TWO}
    strips = [strip for strip in _STRIPS if any(_values(trace, strip[0]) for trace in traces.values())]
    if not strips:
        return None
    longest = max(point[0] for trace in traces.values() for point in trace)
    across = Linear(0, longest, _LEFT, _RIGHT)
    parts: list[Markup] = []
    for row, (place, name, unit) in enumerate(strips):
        top = _TOP + row * (_STRIP + _GAP)
        every = [value for trace in traces.values() for value in _values(trace, place)]
        low, high = padded(every)
        upward = Linear(low, high, top + _STRIP, top)
        parts.append(svg.line(_LEFT, top + _STRIP, _RIGHT, top + _STRIP, "grid"))
        parts.append(svg.text(0, top + 20, name, class_="tick"))
        bounds = f"{min(every):,.0f}" if min(every) == max(every) else f"{min(every):,.0f}–{max(every):,.0f}"
        parts.append(svg.text(0, top + 36, f"{bounds} {unit}", class_="tick"))
        for arm, trace in traces.items():
            points = " ".join(
                f"{across.at(point[0]):.1f},{upward.at(point[place]):.1f}"
                for point in trace
                if point[place] is not None
            )
            css = "course cand" if arm is Arm.MTP else "course ref"
            parts.append(svg.element("polyline", points=points, class_=css))
    height = _TOP + len(strips) * (_STRIP + _GAP) + 12
    parts.append(
        svg.text(
            (_LEFT + _RIGHT) / 2, height - 4, f"{longest:,.0f} s of answering", anchor="middle", class_="tick"
        )
    )
    told = "; ".join(f"{name} {words.ARMS[arm]}" for arm in traces for _, name, _ in strips)
    return svg.chart(
        identity,
        WIDTH,
        height,
        title="The GPU during one session of each arm",
        description=told,
        children=parts,
    )


def _trace(session: Session) -> list[Sequence[Any]]:
    found = (session.gpu or {}).get("trace")
    width = max(place for place, _, _ in _STRIPS) + 1
    return [
        point
        for point in (found if isinstance(found, list) else [])
        if isinstance(point, list)
        and len(point) >= width
        and isinstance(point[0], int | float)
        and all(one is None or isinstance(one, int | float) for one in point)
    ]


def _values(trace: Sequence[Sequence[Any]], place: int) -> list[float]:
    return [point[place] for point in trace if point[place] is not None]
