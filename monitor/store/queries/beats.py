"""Beats: when each part of the service last did a round, so that silence never looks like health."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from monitor.store.columns import clean
from monitor.store.models import StoredBeat


@dataclass(frozen=True, slots=True)
class Beat:
    """The last round of one part of the service: `poll`, `work`, `deliver`."""

    part: str
    begun_at: datetime
    ended_at: datetime | None
    """None while it is at it."""
    error: str
    failures: int
    """Rounds in a row that failed."""
    pid: int


def begin(db: Session, part: str, *, pid: int, now: datetime) -> None:
    """Note that a round begins."""
    row = db.get(StoredBeat, part) or StoredBeat(part=part, begun_at=now, pid=pid)
    row.begun_at, row.ended_at, row.pid = now, None, pid
    db.add(row)
    db.flush()


def end(db: Session, part: str, *, pid: int = 0, error: str = "", now: datetime) -> None:
    """Note how a round ended."""
    row = db.get(StoredBeat, part) or StoredBeat(part=part, begun_at=now, pid=pid)
    db.add(row)
    row.ended_at, row.error = now, clean(error)
    row.failures = row.failures + 1 if error else 0
    db.flush()


def all_of(db: Session) -> list[Beat]:
    """Return the last round of each part."""
    return [
        Beat(row.part, row.begun_at, row.ended_at, row.error, row.failures, row.pid)
        for row in db.exec(select(StoredBeat).order_by(col(StoredBeat.part)))
    ]
