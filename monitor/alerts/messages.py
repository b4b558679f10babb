"""Messages: what is told, written in the transaction of what makes it true, to those who want to hear it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlmodel import Session as Db

from monitor.alerts import losses, render
from monitor.alerts.render import Change
from monitor.domain import (
    Action,
    Basis,
    Direction,
    Incident,
    IncidentState,
    IncidentStep,
    Judgement,
    Message,
    MessageType,
)
from monitor.steps import drift
from monitor.steps.advise import advise
from monitor.steps.costs import costs_of, prices_of
from monitor.steps.station import Station
from monitor.store.queries import bisections, judgements, outbox, runs
from monitor.store.queries.runs import Run
from monitor.views.advice import said

SERVICE = "monitor"
"""Who does what nobody did by hand."""


def write_change(station: Station, db: Db, incident: Incident, step: IncidentStep) -> list[Message]:
    """Write the message about one change of an incident, in the caller's transaction."""
    bad = run_of(db, incident.latest_bad_run_id)
    return write_incidents(
        station, db, [change_of(station, db, incident, step, bad, losses.judged(db, incident, bad.id))]
    )


def write_incidents(station: Station, db: Db, changes: Sequence[Change]) -> list[Message]:
    """Write one message about all these changes, in the caller's transaction; its type follows from them."""
    actions = {change.step.action for change in changes}
    data = render.incident_data(changes, host=station.host, public_url=station.settings.web.public_url)
    if actions & {Action.OPENED, Action.REOPENED}:
        return write(station, db, MessageType.INCIDENT_OPENED, data)
    if actions <= {Action.RESOLVED, Action.ACCEPTED, Action.FALSE_ALARM}:
        told = outbox.told_of_incidents(db, [change.incident.id for change in changes])
        return write(station, db, MessageType.INCIDENT_RESOLVED, data, only=told)
    if actions == {Action.ACKNOWLEDGED}:
        return write(station, db, MessageType.INCIDENT_ACKNOWLEDGED, data)
    return write(station, db, MessageType.INCIDENT_UPDATED, data)


def write(
    station: Station,
    db: Db,
    kind: MessageType,
    data: dict[str, object],
    *,
    only: Iterable[str] | None = None,
) -> list[Message]:
    """Write a message, in the caller's transaction, to who wants its type, or of these to `only`."""
    wanting = [item.name for item in station.settings.destinations if kind in item.events]
    if only is not None:
        told = set(only)
        wanting = [name for name in wanting if name in told]
    # An incident's message is kept even when nobody is told: the log of what was said is complete.
    if not wanting and not kind.value.startswith("incident."):
        return []
    return [outbox.write(db, kind, data, wanting, now=station.clock())]


def change_of(  # noqa: PLR0917  # where, then what changed and by which run
    station: Station, db: Db, incident: Incident, step: IncidentStep, run: Run, judgement: Judgement | None
) -> Change:
    """Return what happened to an incident, with what the message says beside it."""
    reference = runs.get(db, run.reference_run_id) if run.reference_run_id else None
    advice = advise(station, db, run.project, run.check_id, run.check_digest)
    version = reference.version if reference else None
    creep = None
    if incident.direction is Direction.DRIFT and judgement is not None:
        version = judgement.reference.version if judgement.reference else None
        creep = drift.series_of(db, run, judgement)
    return Change(
        incident=incident,
        step=step,
        run=run,
        judgement=judgement,
        reference_version=version,
        predecessor=judgements.get(db, run.id, Basis.PREDECESSOR) if creep is None else None,
        first_bad_version=run_of(db, incident.first_bad_run_id).version,
        advice=said(advice) if advice is not None else None,
        creep=creep,
        bisection=bisections.of_incident(db, incident.id),
        costs=None
        if incident.direction is Direction.DRIFT
        else costs_of(db, run, judgement, prices_of(station.settings.host)),
    )


def own_step(  # noqa: PLR0917  # the fields of a log entry, in the order people say them
    action: Action,
    source: IncidentState | None,
    target: IncidentState,
    why: str,
    run_ids: tuple[int, ...],
    at: datetime,
) -> IncidentStep:
    """Return a step for the log that the service takes by itself."""
    return IncidentStep(action, source, target, SERVICE, why, run_ids, at)


def run_of(db: Db, run_id: int) -> Run:
    """Return a run that an incident names."""
    found = runs.get(db, run_id)
    if found is None:
        raise AssertionError(f"run {run_id}, which an incident rests on, is gone")
    return found
