"""Attempts: each try at a run, counted before its work begins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from monitor.domain import RunState
from monitor.errors import StoreError
from monitor.store.columns import clean
from monitor.store.models import StoredAttempt, StoredEnvironment, StoredSampleSet, StoredSession
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


def set_attempt_environment(db: Session, run_id: int, number: int, key: str) -> None:
    """Note in which environment an attempt measures; it is known only once that is built.

    Raises:
        StoreError: when there is no such attempt, or no such environment was saved.

    """
    row = db.exec(
        select(StoredAttempt).where(StoredAttempt.run_id == run_id, StoredAttempt.number == number)
    ).first()
    if row is None:
        raise StoreError(f"Run {run_id} has no attempt {number}.")
    row.environment_id = environment_row(db, key)
    db.flush()


def fruitless(db: Session, run_id: int) -> int:
    """Return how many attempts at a run were begun since its last complete session was."""
    newest = (
        select(StoredSession.started_at)
        .join(StoredSampleSet, col(StoredSession.sample_set_id) == col(StoredSampleSet.id))
        .where(StoredSampleSet.run_id == run_id, col(StoredSession.started_at).is_not(None))
        .order_by(col(StoredSession.started_at).desc())
        .limit(1)
    )
    last = db.exec(newest).first()
    begun = select(StoredAttempt.started_at).where(StoredAttempt.run_id == run_id)
    return sum(last is None or started_at > last for started_at in db.exec(begun))


def measured_before(db: Session, run_id: int, number: int) -> Attempt | None:
    """Return the newest attempt before this one that came as far as an environment."""
    found = [item for item in all_of(db, run_id) if item.number < number and item.environment_key]
    return found[-1] if found else None


def last_attempt(db: Session, run_id: int) -> Attempt | None:
    """Return the newest attempt at a run."""
    found = all_of(db, run_id)
    return found[-1] if found else None


def all_of(db: Session, run_id: int) -> list[Attempt]:
    """Return the attempts at a run, oldest first."""
    rows = (
        select(StoredAttempt, StoredEnvironment.key)
        .join(
            StoredEnvironment,
            col(StoredAttempt.environment_id) == col(StoredEnvironment.id),
            isouter=True,
        )
        .where(StoredAttempt.run_id == run_id)
        .order_by(col(StoredAttempt.number))
    )
    return [
        Attempt(row.number, row.boot_id, key, row.started_at, row.ended_at, row.outcome)
        for row, key in db.exec(rows)
    ]
