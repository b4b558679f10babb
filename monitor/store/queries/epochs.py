"""Epochs: the stretches of a series within which results compare."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select, update

from monitor.domain import Epoch
from monitor.store.columns import clean
from monitor.store.models import StoredArtifact, StoredEpoch, StoredRun


def current(db: Session, *, machine_id: str, project: str, check_digest: str) -> Epoch | None:
    """Return the epoch of a series that goes on, None before its first."""
    wanted = select(StoredEpoch).where(
        StoredEpoch.machine_id == machine_id,
        StoredEpoch.project == project,
        StoredEpoch.check_digest == check_digest,
    )
    row = db.exec(wanted.order_by(col(StoredEpoch.number).desc()).limit(1)).first()
    return None if row is None else _value(row)


def get(db: Session, epoch_id: int) -> Epoch | None:
    """Return the epoch with this id."""
    row = db.get(StoredEpoch, epoch_id)
    return None if row is None else _value(row)


def all_of(db: Session, *, machine_id: str, project: str, check_digest: str) -> list[Epoch]:
    """Return the epochs of a series, oldest first."""
    wanted = select(StoredEpoch).where(
        StoredEpoch.machine_id == machine_id,
        StoredEpoch.project == project,
        StoredEpoch.check_digest == check_digest,
    )
    return [_value(row) for row in db.exec(wanted.order_by(col(StoredEpoch.number)))]


def begin(
    db: Session,
    *,
    machine_id: str,
    project: str,
    check_digest: str,
    conditions: dict[str, Any],
    reason: str,
    who: str,
    now: datetime,
    reference_run_id: int | None = None,
) -> Epoch:
    """Begin the next epoch of a series; the first takes in the runs made before there were any."""
    before = current(db, machine_id=machine_id, project=project, check_digest=check_digest)
    row = StoredEpoch(
        machine_id=machine_id,
        project=project,
        check_digest=check_digest,
        number=1 if before is None else before.number + 1,
        conditions=conditions,
        reference_run_id=reference_run_id,
        reason=clean(reason),
        who=clean(who),
        began_at=now,
    )
    db.add(row)
    db.flush()
    if before is None:
        artifacts = select(StoredArtifact.id).where(StoredArtifact.project == project)
        db.exec(
            update(StoredRun)
            .where(
                col(StoredRun.epoch_id).is_(None),
                col(StoredRun.machine_id) == machine_id,
                col(StoredRun.check_digest) == check_digest,
                col(StoredRun.artifact_id).in_(artifacts),
            )
            .values(epoch_id=row.id)
        )
    return _value(row)


def _value(row: StoredEpoch) -> Epoch:
    return Epoch(
        id=row.id or 0,
        machine_id=row.machine_id,
        project=row.project,
        check_digest=row.check_digest,
        number=row.number,
        conditions=row.conditions,
        reference_run_id=row.reference_run_id,
        reason=row.reason,
        who=row.who,
        began_at=row.began_at,
    )
