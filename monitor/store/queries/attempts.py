"""Attempts: each try at a run, counted before its work begins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from monitor.domain import RunState
from monitor.errors import StoreError
from monitor.store.columns import clean
from monitor.store.models import StoredAttempt, StoredEnvironment
from monitor.store.queries.run_rows import environment_row, locked


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a run. It can be resumed in the same boot and environment, and nowhere else."""

    number: int
    boot_id: str
    environment_key: str | None
    started_at: datetime
    ended_at: datetime | None = None
    outcome: str = ""


def begin_attempt(
    db: Session, run_id: int, *, boot_id: str, environment_key: str | None, now: datetime
) -> Attempt:
    """Count an attempt before its work begins, so that one which kills the monitor is counted too.

    An earlier attempt that never ended is closed as interrupted.

    Raises:
        StoreError: when there is no such run, or no such environment was saved.

    """
    row = locked(db, run_id)
    environment = None if environment_key is None else environment_row(db, environment_key)
    left = select(StoredAttempt).where(StoredAttempt.run_id == run_id, col(StoredAttempt.ended_at).is_(None))
    for attempt in db.exec(left):
        attempt.ended_at, attempt.outcome = now, RunState.INTERRUPTED.value
    row.attempts += 1
    db.add(
        StoredAttempt(
            run_id=run_id,
            number=row.attempts,
            boot_id=boot_id,
            environment_id=environment,
            started_at=now,
        )
    )
    db.flush()
    return Attempt(row.attempts, boot_id, environment_key, now)


def end_attempt(db: Session, run_id: int, number: int, *, outcome: str, now: datetime) -> None:
    """Note how an attempt ended.

    Raises:
        StoreError: when there is no such attempt.

    """
    row = db.exec(
        select(StoredAttempt).where(StoredAttempt.run_id == run_id, StoredAttempt.number == number)
    ).first()
    if row is None:
        raise StoreError(f"Run {run_id} has no attempt {number}.")
    row.ended_at, row.outcome = now, clean(outcome)
    db.flush()


def last_attempt(db: Session, run_id: int) -> Attempt | None:
    """Return the newest attempt at a run."""
    rows = (
        select(StoredAttempt, StoredEnvironment.key)
        .join(
            StoredEnvironment,
            col(StoredAttempt.environment_id) == col(StoredEnvironment.id),
            isouter=True,
        )
        .where(StoredAttempt.run_id == run_id)
        .order_by(col(StoredAttempt.number).desc())
        .limit(1)
    )
    found = db.exec(rows).first()
    if found is None:
        return None
    row, key = found
    return Attempt(row.number, row.boot_id, key, row.started_at, row.ended_at, row.outcome)
