"""Bisections as pages show them: how far each is, what its releases said, and the commits between."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from monitor import bisect as bisecting
from monitor import orders
from monitor.domain import Answer, Bisection, BisectionState, Tier
from monitor.planted.names import is_planted
from monitor.releases.commits import commits_between
from monitor.steps.station import Station
from monitor.store.queries import bisections


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitLine:
    """One release on the way."""

    version: str
    planted: bool
    artifact_sha256: str
    answer: Answer | None
    """Null as long as it was not visited."""
    why: str
    run: int | None
    stored: bool
    """A result that was there already answered."""
    last_resort: bool
    commit: str | None
    """The upstream's commit it was built of, when it was looked up for this search."""
    answered_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BisectionFacts:
    """One search for the first bad release."""

    schema: Literal["mtp-monitor/api/bisection/1"] = "mtp-monitor/api/bisection/1"
    id: int
    state: BisectionState
    standing: str
    """How far it is, or what it has found, in one sentence."""
    project: str
    check: str
    check_title: str
    check_digest: str
    tier: Tier
    requested_by: str
    incident: int | None
    last_good: str
    first_bad: str
    commits: str | None
    """The upstream's commits between, where the versions name them."""
    commits_url: str | None
    steps: int
    steps_left: int
    """At most, as long as every release answers."""
    minutes_left: float | None
    """Of measuring, about; null once it is over."""
    began_at: datetime
    ended_at: datetime | None
    releases: list[VisitLine]
    """From the good end to the bad end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BisectionList:
    """The searches of this host, newest first."""

    schema: Literal["mtp-monitor/api/bisections/1"] = "mtp-monitor/api/bisections/1"
    bisections: list[BisectionFacts]


def bisection_list(station: Station, state: BisectionState | None = None) -> BisectionList:
    """Return the searches in one state or all."""
    with station.store.read() as db:
        found = bisections.listed(db, machine_id=station.host.machine_id, state=state)
    return BisectionList(bisections=[bisection_facts(station, one) for one in found])


def bisection(station: Station, bisection_id: int) -> BisectionFacts:
    """Return one search.

    Raises:
        UnknownNameError: when there is no such one.

    """
    return bisection_facts(station, orders.bisection(station, bisection_id))


def of_incident(station: Station, incident_id: int) -> BisectionFacts | None:
    """Return the newest search for where an incident's loss began."""
    with station.store.read() as db:
        found = bisections.of_incident(db, incident_id)
    return None if found is None else bisection_facts(station, found)


def bisection_facts(station: Station, found: Bisection) -> BisectionFacts:
    """Return a search as pages show it."""
    good, bad = found.last_good, found.first_bad
    ended = found.state in {BisectionState.FOUND, BisectionState.NARROWED}
    commits = commits_between(found.project, good.version, bad.version) if ended else None
    check = station.checks.get(found.check_id)
    return BisectionFacts(
        id=found.id,
        state=found.state,
        standing=bisecting.standing(station, found),
        project=found.project,
        check=found.check_id,
        check_title=check.title if check is not None else found.check_id,
        check_digest=found.check_digest,
        tier=found.tier,
        requested_by=found.requested_by,
        incident=found.incident_id,
        last_good=good.version,
        first_bad=bad.version,
        commits=str(commits) if commits is not None else None,
        commits_url=commits.url if commits is not None else None,
        steps=found.steps,
        steps_left=bisecting.steps_left(station, found),
        minutes_left=bisecting.minutes_left(station, found),
        began_at=found.began_at,
        ended_at=found.ended_at,
        releases=[
            VisitLine(
                version=visit.version,
                planted=is_planted(visit.version),
                artifact_sha256=visit.artifact_sha256,
                answer=visit.answer,
                why=visit.why,
                run=visit.run_id,
                stored=visit.answer is not None and visit.place > 0 and not visit.own_run,
                last_resort=visit.last_resort,
                commit=visit.commit,
                answered_at=visit.answered_at,
            )
            for visit in found.visits
        ],
    )
