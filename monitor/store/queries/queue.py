"""The queue: planned and interrupted runs in the order of their turn. It is the table of runs."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from monitor.domain import RunState
from monitor.store import transitions
from monitor.store.columns import clean
from monitor.store.models import StoredArtifact, StoredAttempt, StoredRun
from monitor.store.queries.run_rows import Run, locked, rows, values

_QUEUED = (RunState.PLANNED, RunState.INTERRUPTED)
_ON_ITS_WAY = (*_QUEUED, *transitions.WORKING)


def waiting(db: Session, machine_id: str) -> list[Run]:
    """Return the runs in the queue of a host, in the order of their turn, due or not."""
    wanted = rows().where(
        StoredRun.machine_id == machine_id,
        col(StoredRun.state).in_([state.value for state in _QUEUED]),
        col(StoredRun.due_at).is_not(None),
    )
    return values(db, wanted.order_by(col(StoredRun.priority).desc(), col(StoredRun.id)))


def working(db: Session, machine_id: str) -> list[Run]:
    """Return the runs of a host that a process works on, or did until it was killed."""
    wanted = rows().where(
        StoredRun.machine_id == machine_id,
        col(StoredRun.state).in_([state.value for state in transitions.WORKING]),
    )
    return values(db, wanted.order_by(col(StoredRun.id)))


def enqueue(db: Session, run_id: int, *, due_at: datetime, priority: int | None = None) -> None:
    """Put a run in the queue, or move its turn."""
    row = locked(db, run_id)
    row.due_at = due_at
    if priority is not None:
        row.priority = priority
    db.flush()


def put_off(db: Session, run_id: int, *, why: str, due_at: datetime | None = None) -> None:
    """Note why a run was not begun, and until when there is no point in looking again."""
    row = locked(db, run_id)
    row.waiting = clean(why)
    if due_at is not None:
        row.due_at = due_at
    db.flush()


def unannounced(db: Session, machine_id: str) -> list[Run]:
    """Return the runs of a host that ended and whose end was not made known, in the order of their ends."""
    wanted = rows().where(
        StoredRun.machine_id == machine_id,
        col(StoredRun.state).in_([state.value for state in transitions.ENDED]),
        col(StoredRun.announced_at).is_(None),
    )
    return values(db, wanted.order_by(col(StoredRun.finished_at), col(StoredRun.id)))


def unfinished_of_artifact(db: Session, machine_id: str, artifact_id: int) -> list[Run]:
    """Return the runs of an artifact on a host that are queued or at work."""
    wanted = rows().where(
        StoredRun.machine_id == machine_id,
        StoredRun.artifact_id == artifact_id,
        col(StoredRun.state).in_([state.value for state in _ON_ITS_WAY]),
        col(StoredRun.due_at).is_not(None),
    )
    return values(db, wanted.order_by(col(StoredRun.id)))


def set_announced(db: Session, run_id: int, *, now: datetime) -> None:
    """Note that the end of a run was made known."""
    locked(db, run_id).announced_at = now
    db.flush()


def minutes_used(
    db: Session, machine_id: str, *, since: datetime, now: datetime, sha256: str | None = None
) -> float:
    """Return the minutes in which a host was measuring since a moment, or those spent on one artifact.

    An attempt that never ended counts until `now`, at most an hour: the monitor was killed in it.
    """
    wanted = (
        select(StoredAttempt.started_at, StoredAttempt.ended_at)
        .join(StoredRun, col(StoredAttempt.run_id) == col(StoredRun.id))
        .join(StoredArtifact, col(StoredRun.artifact_id) == col(StoredArtifact.id))
        .where(StoredRun.machine_id == machine_id)
    )
    if sha256 is not None:
        wanted = wanted.where(StoredArtifact.sha256 == sha256)
    total = timedelta()
    for started_at, ended_at in db.exec(wanted):
        end = ended_at if ended_at is not None else min(now, started_at + _KILLED_WITHIN)
        if end > since:
            total += end - max(started_at, since)
    return total / timedelta(minutes=1)


_KILLED_WITHIN = timedelta(hours=1)
