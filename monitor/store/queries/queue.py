"""The queue: planned and interrupted runs in the order of their turn. It is the table of runs."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import Session, col, func, select

from monitor.domain import RunState
from monitor.store import transitions
from monitor.store.columns import clean
from monitor.store.models import RunTransition, StoredArtifact, StoredRun
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


def last_planned(
    db: Session, machine_id: str, project: str, channel: str, *, requested_by: str
) -> datetime | None:
    """Return when a run of a stream was last planned on a host, None when none ever was."""
    wanted = (
        select(func.max(StoredRun.planned_at))
        .join(StoredArtifact, col(StoredRun.artifact_id) == col(StoredArtifact.id))
        .where(
            StoredRun.machine_id == machine_id,
            StoredArtifact.project == project,
            StoredRun.channel == channel,
            StoredRun.requested_by == requested_by,
        )
    )
    return db.exec(wanted).one()


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
    db: Session,
    machine_id: str,
    *,
    since: datetime | None,
    now: datetime,
    artifact_id: int | None = None,
) -> float:
    """Return the minutes a host was measuring since a moment (None: ever), or those spent on one artifact.

    Installing does not count. What never ended counts until `now`, at most an hour: the monitor was killed.
    """
    wanted = (
        select(RunTransition.run_id, RunTransition.target, RunTransition.at)
        .join(StoredRun, col(RunTransition.run_id) == col(StoredRun.id))
        .where(StoredRun.machine_id == machine_id)
        .order_by(col(RunTransition.run_id), col(RunTransition.id))
    )
    if artifact_id is not None:
        wanted = wanted.where(StoredRun.artifact_id == artifact_id)
    if since is not None:
        # A state may have begun before; none lasts longer than a day.
        wanted = wanted.where(RunTransition.at >= since - timedelta(days=1))
    steps = db.exec(wanted).all()
    total = timedelta()
    for number, (run_id, target, at) in enumerate(steps):
        if target not in _MEASURING:
            continue
        after = steps[number + 1] if number + 1 < len(steps) else None
        end = after[2] if after is not None and after[0] == run_id else min(now, at + _KILLED_WITHIN)
        begin = at if since is None else max(at, since)
        total += max(end - begin, timedelta())
    return total / timedelta(minutes=1)


_KILLED_WITHIN = timedelta(hours=1)
_MEASURING = {state.value for state in transitions.WORKING if state is not RunState.PROVISIONING}
