"""The overview: how every followed project stands with every check of it, and what needs somebody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlmodel import Session as Db

from monitor.domain import LIVE_STATES, BisectionState, Incident, Metric
from monitor.steps.advise import advise, followed
from monitor.steps.station import Station
from monitor.store.queries import epochs, incidents, judgements, queue, runs
from monitor.views.advice import Advised, said
from monitor.views.series import SeriesPoint, series_points
from monitor.web.facts.bisections import BisectionFacts, bisection_list
from monitor.web.facts.health import Health, health
from monitor.web.facts.run_lines import RunLine, run_line, run_lines
from monitor.web.facts.sources import SourceLine, source_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One check on one project's releases on this host."""

    project: str
    check: str
    check_title: str
    check_digest: str
    latest: RunLine | None
    """The newest run with a verdict; null before the first."""
    next: RunLine | None
    """The newest run on its way, if there is one."""
    points: list[SeriesPoint]
    """The speedup over the releases, in their order."""
    incidents: list[int]
    """Ids of those that go on."""
    advice: Advised | None
    """Which release to run; null before the first run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """How things stand on this host."""

    schema: Literal["mtp-monitor/api/overview/1"] = "mtp-monitor/api/overview/1"
    host: str
    hardware_class: str
    incidents: list[Incident]
    """Those that go on: open ones first, then acknowledged, then snoozed."""
    standings: list[Standing]
    working: list[RunLine]
    waiting: list[RunLine]
    bisections: list[BisectionFacts]
    """Those that go on."""
    sources: list[SourceLine]
    health: Health
    now: datetime


def overview(station: Station) -> Overview:
    """Return how things stand."""
    wellness = health(station)
    searches = bisection_list(station, BisectionState.RUNNING).bisections
    with station.store.read() as db:
        # The open ones first; the order within a state stays.
        live = sorted(incidents.in_state(db, LIVE_STATES), key=lambda one: LIVE_STATES.index(one.state))
        return Overview(
            host=station.host.name,
            hardware_class=station.host.hardware_class,
            incidents=live,
            standings=[_standing(station, db, *key, live=live) for key in followed(station, db)],
            working=run_lines(station, db, queue.working(db, station.host.machine_id)),
            waiting=run_lines(station, db, queue.waiting(db, station.host.machine_id)),
            bisections=searches,
            sources=source_lines(station, db),
            health=wellness,
            now=station.clock(),
        )


def _standing(
    station: Station, db: Db, project: str, check: str, digest: str, *, live: list[Incident]
) -> Standing:
    key = {"machine_id": station.host.machine_id, "project": project, "check_digest": digest}
    found = runs.of_series(db, **key)
    judged = judgements.several(db, [run.id for run in found])
    points = series_points(found, judged, epochs.all_of(db, **key), Metric.SPEEDUP)
    lines = [run_line(station, run, judged) for run in found if run.against == runs.LAST_GOOD]
    told = [line for line in lines if line.verdict is not None]
    ahead = [line for line in lines if line.verdict is None and line.finished_at is None]
    known = station.checks.get(check)
    advice = advise(station, db, project, check, digest)
    return Standing(
        project=project,
        check=check,
        check_title=known.title if known is not None else check,
        check_digest=digest,
        latest=told[-1] if told else None,
        next=ahead[-1] if ahead else None,
        points=[point for point in points if point.value is not None],
        incidents=[
            one.id
            for one in live
            if (one.project, one.check_id, one.machine_id) == (project, check, station.host.machine_id)
        ],
        advice=said(advice) if advice is not None else None,
    )
