"""Bisections: the incident that a search belongs to, and how people hear what it has found."""

from __future__ import annotations

from dataclasses import replace

from sqlmodel import Session as Db

from monitor.alerts import messages
from monitor.domain import Action, Artifact, Bisection, Check, Direction, IncidentState, Message
from monitor.steps.station import Station
from monitor.store.queries import incidents, judgements

_TOLD = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)


def of_loss(station: Station, db: Db, check: Check, bad: Artifact) -> int | None:
    """Return the incident that goes on about the loss of a release, if there is one."""
    for incident in incidents.live_of_series(
        db, machine_id=station.host.machine_id, project=bad.project, check_id=check.id
    ):
        named = {incident.first_bad_run_id, incident.latest_bad_run_id, incident.worst_run_id}
        if incident.direction is Direction.REGRESSED and any(
            messages.run_of(db, number).artifact_sha256 == bad.sha256 for number in named
        ):
            return incident.id
    return None


def bisected(station: Station, db: Db, found: Bisection) -> list[Message]:
    """Put what a bisection has found on its incident, in the caller's transaction, and tell of it once.

    Nobody is told when there was nothing between the ends, after the incident has ended, or while it is
    snoozed; its log and its page have the result all the same.
    """
    incident = incidents.get(db, found.incident_id) if found.incident_id is not None else None
    if incident is None:
        return []
    now, bad = station.clock(), found.first_bad
    first = messages.run_of(db, bad.run_id if bad.run_id is not None else incident.first_bad_run_id)
    changed = replace(incident, changed_at=now)
    runs_of_ends = (first.id, *([found.last_good.run_id] if found.last_good.run_id is not None else []))
    step = messages.own_step(Action.BISECTED, incident.state, incident.state, found.reason, runs_of_ends, now)
    kept = incidents.change(db, changed, step)
    if len(found.visits) == len((found.last_good, found.first_bad)) or kept.state not in _TOLD:
        return []
    judgement = judgements.numbered(db, bad.judgement_id) if bad.judgement_id is not None else None
    return messages.write_incidents(
        station, db, [messages.change_of(station, db, kept, step, first, judgement)]
    )
