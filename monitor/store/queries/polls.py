"""Polls: how the last looks at each source went, and when it may be asked again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from monitor.store.columns import clean
from monitor.store.models import StoredPoll


@dataclass(frozen=True, slots=True)
class SourceState:
    """What is known of one source."""

    project: str
    channel: str
    address: str
    asked_at: datetime
    answered_at: datetime | None
    planned_at: datetime | None
    error: str
    failures: int
    due_at: datetime


def get(db: Session, project: str, channel: str) -> SourceState | None:
    """Return what is known of the source of a stream, None before it was first asked."""
    row = _row(db, project, channel)
    return None if row is None else _value(row)


def all_of(db: Session) -> list[SourceState]:
    """Return every source that was ever asked, by project and channel."""
    wanted = select(StoredPoll).order_by(col(StoredPoll.project), col(StoredPoll.channel))
    return [_value(row) for row in db.exec(wanted)]


def note(
    db: Session, project: str, channel: str, *, address: str, error: str, due_at: datetime, now: datetime
) -> None:
    """Note how a look at `now` went (`error` is empty when it answered) and when the next one is due."""
    row = _row(db, project, channel)
    if row is None:
        row = StoredPoll(project=project, channel=channel, address=address, asked_at=now, due_at=due_at)
        db.add(row)
    row.address, row.asked_at, row.due_at, row.error = address, now, due_at, clean(error)
    row.failures = row.failures + 1 if error else 0
    if not error:
        row.answered_at = now
    db.flush()


def planned(db: Session, project: str, channel: str, *, now: datetime) -> None:
    """Note that the stream's releases were planned from for the first time."""
    row = _row(db, project, channel)
    if row is not None and row.planned_at is None:
        row.planned_at = now
        db.flush()


def _row(db: Session, project: str, channel: str) -> StoredPoll | None:
    wanted = select(StoredPoll).where(StoredPoll.project == project, StoredPoll.channel == channel)
    return db.exec(wanted).first()


def _value(row: StoredPoll) -> SourceState:
    return SourceState(
        project=row.project,
        channel=row.channel,
        address=row.address,
        asked_at=row.asked_at,
        answered_at=row.answered_at,
        planned_at=row.planned_at,
        error=row.error,
        failures=row.failures,
        due_at=row.due_at,
    )
