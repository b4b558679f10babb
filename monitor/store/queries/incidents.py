"""Incidents: what goes on, what has ended, and the log of each, which is only ever appended to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from monitor.domain import LIVE_STATES, Direction, Incident, IncidentState, IncidentStep
from monitor.domain.incidents import Action
from monitor.errors import StoreError
from monitor.store.columns import clean
from monitor.store.models import IncidentTransition, StoredIncident


def get(db: Session, incident_id: int) -> Incident | None:
    """Return the incident with this id."""
    row = db.get(StoredIncident, incident_id)
    return None if row is None else _value(row)


def live(db: Session, key: str) -> Incident | None:
    """Return the incident of this key that goes on, if there is one."""
    wanted = select(StoredIncident).where(
        StoredIncident.key == key, col(StoredIncident.state).in_([state.value for state in LIVE_STATES])
    )
    row = db.exec(wanted.order_by(col(StoredIncident.id).desc()).limit(1)).first()
    return None if row is None else _value(row)


def live_of_series(db: Session, *, machine_id: str, project: str, check_id: str) -> list[Incident]:
    """Return the incidents of a check on a project that go on here, whatever their direction or epoch."""
    wanted = select(StoredIncident).where(
        StoredIncident.machine_id == machine_id,
        StoredIncident.project == project,
        StoredIncident.check_id == check_id,
        col(StoredIncident.state).in_([state.value for state in LIVE_STATES]),
    )
    return [_value(row) for row in db.exec(wanted.order_by(col(StoredIncident.id)))]


def newest(
    db: Session, *, machine_id: str, project: str, check_id: str, epoch_id: int, direction: Direction
) -> Incident | None:
    """Return the incident of a check and direction that was opened last in an epoch, ended or not."""
    wanted = select(StoredIncident).where(
        StoredIncident.machine_id == machine_id,
        StoredIncident.project == project,
        StoredIncident.check_id == check_id,
        StoredIncident.epoch_id == epoch_id,
        StoredIncident.direction == direction.value,
    )
    row = db.exec(wanted.order_by(col(StoredIncident.id).desc()).limit(1)).first()
    return None if row is None else _value(row)


def of_epochs(db: Session, epoch_ids: Iterable[int], direction: Direction) -> list[Incident]:
    """Return the incidents of one direction in some epochs, oldest first."""
    wanted = select(StoredIncident).where(
        col(StoredIncident.epoch_id).in_(list(epoch_ids)), StoredIncident.direction == direction.value
    )
    return [_value(row) for row in db.exec(wanted.order_by(col(StoredIncident.id)))]


def in_state(
    db: Session, states: Iterable[IncidentState] | None = None, *, limit: int = 200
) -> list[Incident]:
    """Return incidents in these states (default: all), the one that changed last first."""
    wanted = select(StoredIncident)
    if states is not None:
        wanted = wanted.where(col(StoredIncident.state).in_([state.value for state in states]))
    newest_first = wanted.order_by(col(StoredIncident.changed_at).desc(), col(StoredIncident.id).desc())
    return [_value(row) for row in db.exec(newest_first.limit(limit))]


def of_run(db: Session, run_id: int) -> list[Incident]:
    """Return the incidents that name a run as evidence."""
    ids = [step.incident_id for step in db.exec(select(IncidentTransition)) if run_id in (step.run_ids or ())]
    return [found for number in dict.fromkeys(ids) if (found := get(db, number)) is not None]


def log(db: Session, incident_id: int) -> list[IncidentStep]:
    """Return everything that happened to an incident, oldest first."""
    wanted = select(IncidentTransition).where(IncidentTransition.incident_id == incident_id)
    return [
        IncidentStep(
            action=Action(row.action),
            source=None if row.source is None else IncidentState(row.source),
            target=IncidentState(row.target),
            who=row.who,
            why=row.why,
            run_ids=tuple(row.run_ids or ()),
            at=row.at,
        )
        for row in db.exec(wanted.order_by(col(IncidentTransition.id)))
    ]


def add(db: Session, incident: Incident, step: IncidentStep) -> Incident:
    """Keep a new incident with its first step, and return it with its id.

    Raises:
        StoreError: when an incident of the same key goes on already.

    """
    if live(db, incident.key) is not None:
        raise StoreError(f"An incident of {incident.check_id} on {incident.project} goes on already.")
    values = {name: value for name, value in _columns(incident).items() if name != "id"}
    row = StoredIncident(**values)
    db.add(row)
    db.flush()
    _append(db, row.id or 0, step)
    return _value(row)


def change(db: Session, incident: Incident, step: IncidentStep) -> Incident:
    """Keep an incident as it is now, with the step that made it so.

    Raises:
        StoreError: when it was moved on by somebody else meanwhile: its state is no longer `step.source`.

    """
    wanted = select(StoredIncident).where(StoredIncident.id == incident.id)
    row = db.exec(wanted.with_for_update()).first()
    if row is None or row.state != step.source:
        state = "gone" if row is None else row.state
        raise StoreError(
            f"Incident {incident.id} is {state} by now, not {step.source}.",
            kept="the incident as it is",
            advice="look at it again and decide anew",
        )
    for name, value in _columns(incident).items():
        setattr(row, name, value)
    _append(db, incident.id, step)
    return _value(row)


def counts(db: Session) -> dict[IncidentState, int]:
    """Return how many incidents are in each state: the service's own precision rests on them."""
    found = dict.fromkeys(IncidentState, 0)
    for state in db.exec(select(StoredIncident.state)):
        found[IncidentState(state)] += 1
    return found


def opened_since(db: Session, moment: datetime) -> int:
    """Return how many incidents were opened since `moment`."""
    return len(db.exec(select(StoredIncident.id).where(StoredIncident.opened_at >= moment)).all())


def _append(db: Session, incident_id: int, step: IncidentStep) -> None:
    db.add(
        IncidentTransition(
            incident_id=incident_id,
            action=step.action.value,
            source=None if step.source is None else step.source.value,
            target=step.target.value,
            who=clean(step.who),
            why=clean(step.why),
            run_ids=list(step.run_ids),
            at=step.at,
        )
    )
    db.flush()


def _columns(incident: Incident) -> dict[str, Any]:
    values = asdict(incident)
    values["direction"], values["state"] = incident.direction.value, incident.state.value
    values["headline"] = clean(incident.headline)
    return values


def _value(row: StoredIncident) -> Incident:
    values = {item.name: getattr(row, item.name) for item in fields(Incident)}
    return Incident(
        **values | {"direction": Direction(row.direction), "state": IncidentState(row.state)},
    )
