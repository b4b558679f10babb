"""Releases as pages show them: how far each has come, why, and what was found when it was measured."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from monitor.domain import ReleaseState, SkipReason, Verdict
from monitor.planted.names import is_planted
from monitor.steps.station import Station
from monitor.store.queries import releases, runs
from monitor.store.queries.releases import ReleaseRow
from monitor.web.facts.run_lines import RunLine, run_lines

_MOST_RUNS = 2000


class Progress(StrEnum):
    """How far a release has come, as lists are filtered by it."""

    WAITING = "waiting"
    """Seen, or old enough, and not planned yet."""
    SETTLING = "settling"
    PLANNED = "planned"
    MEASURED = "measured"
    """Every run planned of it has come to an end."""
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseLine:
    """One release and what became of it on this host."""

    project: str
    version: str
    channel: str
    planted: bool
    progress: Progress
    state: ReleaseState
    reason: SkipReason | None
    detail: str
    published_at: datetime | None
    first_seen_at: datetime
    source: str
    artifacts: list[str]
    """sha256 of each file that is still listed."""
    runs: list[RunLine]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseList:
    """The known releases, newest first."""

    schema: Literal["mtp-monitor/api/releases/1"] = "mtp-monitor/api/releases/1"
    releases: list[ReleaseLine]
    counts: dict[Progress, int]
    """How many there are of each kind, whatever the filter says."""


def release_list(
    station: Station, *, project: str | None = None, progress: Progress | None = None
) -> ReleaseList:
    """Return the known releases of a project or all, in one stage of their way or all."""
    with station.store.read() as db:
        rows = releases.all_of(db, project or None)
        found = runs.listed(db, machine_id=station.host.machine_id, project=project or None, limit=_MOST_RUNS)
        of_version: dict[tuple[str, str], list[RunLine]] = defaultdict(list)
        for line in reversed(run_lines(station, db, found)):
            of_version[line.project, line.version].append(line)
    lines = [
        _line(row, of_version.pop((row.release.project, row.release.version), [])) for row in reversed(rows)
    ]
    counts = {kind: sum(line.progress is kind for line in lines) for kind in Progress}
    shown = [line for line in lines if progress is None or line.progress is progress]
    return ReleaseList(releases=shown, counts=counts)


def _line(row: ReleaseRow, made: list[RunLine]) -> ReleaseLine:
    release = row.release
    return ReleaseLine(
        project=release.project,
        version=release.version,
        channel=release.channel,
        planted=is_planted(release.version),
        progress=_progress(row, made),
        state=row.state,
        reason=row.reason,
        detail=row.detail,
        published_at=release.published_at,
        first_seen_at=row.first_seen_at,
        source=row.source,
        artifacts=[artifact.sha256 for artifact in release.artifacts],
        runs=made,
    )


def _progress(row: ReleaseRow, made: list[RunLine]) -> Progress:
    told: list[Verdict] = [line.verdict for line in made if line.verdict is not None]
    if made and len(told) == len(made):
        return Progress.MEASURED
    if made or row.state is ReleaseState.PLANNED:
        return Progress.PLANNED
    if row.state is ReleaseState.SKIPPED:
        return Progress.SKIPPED
    return Progress.SETTLING if row.state is ReleaseState.SETTLING else Progress.WAITING
