"""Quarantines: a GPU that is not measured on until a person says that it is fit again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from monitor.store.columns import clean
from monitor.store.models import StoredQuarantine


@dataclass(frozen=True, slots=True)
class Quarantine:
    """One stretch; it goes on while `released_at` is None."""

    id: int
    gpu: str
    reason: str
    began_at: datetime
    released_at: datetime | None
    who: str
    why: str


def begin(db: Session, machine_id: str, *, gpu: str, reason: str, now: datetime) -> None:
    """Keep the GPU of a host from being measured on; one that goes on already keeps its reason."""
    if current(db, machine_id) is None:
        db.add(StoredQuarantine(machine_id=machine_id, gpu=gpu, reason=clean(reason), began_at=now))
        db.flush()


def release(db: Session, machine_id: str, *, who: str, why: str, now: datetime) -> Quarantine | None:
    """End the one that goes on, and return it as it was; None when there is none."""
    row = _current(db, machine_id)
    if row is None:
        return None
    before = _value(row)
    row.released_at, row.who, row.why = now, clean(who), clean(why)
    db.add(row)
    db.flush()
    return before


def current(db: Session, machine_id: str) -> Quarantine | None:
    """Return the quarantine of a host that goes on."""
    row = _current(db, machine_id)
    return _value(row) if row is not None else None


def get(db: Session, number: int) -> Quarantine | None:
    """Return one by its number."""
    row = db.get(StoredQuarantine, number)
    return _value(row) if row is not None else None


def newest(db: Session, machine_id: str, *, limit: int) -> list[Quarantine]:
    """Return a host's last quarantines, the newest first."""
    rows = select(StoredQuarantine).where(StoredQuarantine.machine_id == machine_id)
    return [_value(row) for row in db.exec(rows.order_by(col(StoredQuarantine.id).desc()).limit(limit))]


def _current(db: Session, machine_id: str) -> StoredQuarantine | None:
    rows = select(StoredQuarantine).where(
        StoredQuarantine.machine_id == machine_id, col(StoredQuarantine.released_at).is_(None)
    )
    return db.exec(rows.order_by(col(StoredQuarantine.id))).first()


def _value(row: StoredQuarantine) -> Quarantine:
    if row.id is None:
        raise RuntimeError("a stored row has an id")
    return Quarantine(row.id, row.gpu, row.reason, row.began_at, row.released_at, row.who, row.why)
