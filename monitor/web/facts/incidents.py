"""Incidents as pages show them: the list, and one with its log and the runs it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from monitor.domain import Basis, Direction, Incident, IncidentState, IncidentStep, Judgement
from monitor.errors import UnknownNameError
from monitor.judge.drift import Creep
from monitor.steps.drift import series_of
from monitor.steps.station import Station
from monitor.steps.upstream import upstream
from monitor.store.queries import hosts, incidents, judgements, runs
from monitor.web.facts.bisections import BisectionFacts, of_incident
from monitor.web.facts.run_lines import RunLine, run_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentList:
    """Incidents, the one that changed last first."""

    schema: Literal["mtp-monitor/api/incidents/1"] = "mtp-monitor/api/incidents/1"
    incidents: list[Incident]
    counts: dict[IncidentState, int]
    """How many there are in each state, whatever the filter says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentFacts:
    """One incident with everything it rests on."""

    schema: Literal["mtp-monitor/api/incident/1"] = "mtp-monitor/api/incident/1"
    incident: Incident
    host: str
    check_title: str
    log: list[IncidentStep]
    """Oldest first; it is only ever appended to."""
    runs: list[RunLine]
    """The evidence, by number: every run the log names."""
    worst: Judgement | None
    """What moved in the worst run; null when that run has no verdict. Of slow drift it is the comparison with
    the epoch's first good run."""
    drift: Creep | None
    """Of slow drift: the metric that was lost most, release by release up to the latest."""
    bisection: BisectionFacts | None
    """The search for where the loss began, if there was one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamFacts:
    """A ready text for the tracker of the project whose release has the loss."""

    schema: Literal["mtp-monitor/api/upstream/1"] = "mtp-monitor/api/upstream/1"
    incident: int
    title: str
    body: str
    """Markdown, at most 65,536 characters."""
    script: str
    """The commands of the body as one script for sh; empty where it has none."""
    expected: list[str]
    """How the lines begin that the script prints at its end."""
    tracker: str | None
    """Where the project takes issues."""


def upstream_facts(station: Station, incident_id: int) -> UpstreamFacts:
    """Return the text about a confirmed loss; the notes for its sender, which name places here, stay here.

    Raises:
        UnknownNameError: when there is no such incident, or nothing to tell upstream.

    """
    text = upstream(station, incident_id)
    return UpstreamFacts(
        incident=incident_id,
        title=text.title,
        body=text.body,
        script=text.script,
        expected=list(text.expected),
        tracker=text.tracker,
    )


def incident_list(station: Station, state: IncidentState | None = None) -> IncidentList:
    """Return the incidents in one state or all."""
    with station.store.read() as db:
        return IncidentList(
            incidents=incidents.in_state(db, [state] if state is not None else None),
            counts=incidents.counts(db),
        )


def incident(station: Station, incident_id: int) -> IncidentFacts:
    """Return one incident.

    Raises:
        UnknownNameError: when there is no such incident.

    """
    search = of_incident(station, incident_id)
    with station.store.read() as db:
        found = incidents.get(db, incident_id)
        if found is None:
            raise UnknownNameError(
                f"There is no incident {incident_id}.", advice="the list of incidents shows which there are"
            )
        log = incidents.log(db, incident_id)
        named = {run_id for step in log for run_id in step.run_ids}
        named |= {found.first_bad_run_id, found.latest_bad_run_id, found.worst_run_id}
        named |= {found.fixed_by_run_id} if found.fixed_by_run_id is not None else set()
        evidence = [run for number in sorted(named) if (run := runs.get(db, number)) is not None]
        drifts = found.direction is Direction.DRIFT
        worst = judgements.get(db, found.worst_run_id, Basis.FIRST if drifts else Basis.REFERENCE)
        latest = runs.get(db, found.latest_bad_run_id)
        machine = hosts.get(db, found.machine_id)
        definition = station.checks.get(found.check_id)
        return IncidentFacts(
            incident=found,
            host=machine.name if machine is not None else found.machine_id,
            check_title=definition.title if definition is not None else found.check_id,
            log=log,
            runs=run_lines(station, db, evidence),
            worst=worst,
            drift=series_of(db, latest, worst) if drifts and worst and latest else None,
            bisection=search,
        )
