"""What a server counts itself: its Prometheus page before and after a piece of work.

The text format is that of https://prometheus.io/docs/instrumenting/exposition_formats/; of it only samples
with a name, labels and a value matter here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from monitor.engines.answers import refuse
from monitor.engines.base import SpeculationSeries

_SAMPLE = re.compile(
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})?[ \t]+(?P<value>\S+)(?:[ \t]+-?\d+)?"
)
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"')
_MAX_POSITIONS = 256
_SPECULATION = "spec_decode"
_SHOWN = 80  # characters of a name


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals of speculation since the server started, or between two moments."""

    drafts: int
    """Steps that drafted."""
    drafted: int
    accepted: int
    accepted_per_position: tuple[int, ...]
    """Shape: as many places as were ever drafted; index 0 is the first drafted token."""

    def since(self, before: Counts | None) -> Counts:
        """Return what was added since `before`; None counts as nothing, for a series that appears late.

        Raises:
            EngineReplyError: when a counter fell, which means that the server started again unseen.

        """
        if before is None:
            return self
        width = max(len(self.accepted_per_position), len(before.accepted_per_position))
        places = zip(
            _padded(self.accepted_per_position, width),
            _padded(before.accepted_per_position, width),
            strict=True,
        )
        difference = Counts(
            drafts=self.drafts - before.drafts,
            drafted=self.drafted - before.drafted,
            accepted=self.accepted - before.accepted,
            accepted_per_position=tuple(after - earlier for after, earlier in places),
        )
        lowest = min(
            difference.drafts, difference.drafted, difference.accepted, *difference.accepted_per_position, 0
        )
        if lowest < 0:
            raise refuse("a counter of /metrics went down, as if the server had started again")
        return difference

    def plus(self, other: Counts) -> Counts:
        """Return both together."""
        width = max(len(self.accepted_per_position), len(other.accepted_per_position))
        places = zip(
            _padded(self.accepted_per_position, width),
            _padded(other.accepted_per_position, width),
            strict=True,
        )
        return Counts(
            self.drafts + other.drafts,
            self.drafted + other.drafted,
            self.accepted + other.accepted,
            tuple(one + two for one, two in places),
        )


def read_counts(page: str, series: SpeculationSeries) -> Counts | None:
    """Return the totals on a metrics page, None when the build has no such series.

    Labels other than the position (a model's name, an engine's number) are summed over.

    Raises:
        EngineReplyError: when one of the series holds something that is no count.

    """
    totals: dict[str, int] = {}
    places: dict[int, int] = {}
    for name, labels, value in _samples(page):
        if name in {series.drafts, series.drafted, series.accepted}:
            totals[name] = totals.get(name, 0) + _count(name, value)
        elif name == series.accepted_per_position:
            position = labels.get("position", "")
            if not position.isdigit() or int(position) >= _MAX_POSITIONS:
                raise refuse(f"{name} has the position {position[:20]!a}")
            places[int(position)] = places.get(int(position), 0) + _count(name, value)
    if series.drafted not in totals or series.accepted not in totals:
        return None
    return Counts(
        drafts=totals.get(series.drafts, 0),
        drafted=totals[series.drafted],
        accepted=totals[series.accepted],
        accepted_per_position=tuple(places.get(i, 0) for i in range(max(places, default=-1) + 1)),
    )


def renamed(page: str, series: SpeculationSeries) -> str | None:
    """Return a counter of speculation that stands there where the known ones do not, None without such a one.

    A server that drafts under other names must not pass for one that does not draft.
    """
    names = {name for name, _, _ in _samples(page)}
    if series.drafted in names and series.accepted in names:
        return None
    return next((name[:_SHOWN] for name in sorted(names) if _SPECULATION in name), None)


def _samples(page: str) -> Iterator[tuple[str, dict[str, str], str]]:
    for line in page.splitlines():
        match = _SAMPLE.fullmatch(line.strip())
        if match is not None:
            yield match["name"], dict(_LABEL.findall(match["labels"] or "")), match["value"]


def _count(name: str, text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0 or value != int(value):
        raise refuse(f"{name} is {text[:20]!a}, which is no count")
    return int(value)


def _padded(values: tuple[int, ...], width: int) -> tuple[int, ...]:
    return values + (0,) * (width - len(values))
