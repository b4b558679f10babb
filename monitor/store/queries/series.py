"""Series: which stretches of results there are. Their values lie in the judgements of their runs."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func
from sqlmodel import Session, col, select

from monitor.store.models import StoredArtifact, StoredRun
from monitor.store.queries import runs
from monitor.store.queries.run_rows import rows, values


@dataclass(frozen=True, slots=True)
class Series:
    """One check, as its digest fixes it, on the releases of one project on one host."""

    project: str
    check_id: str
    check_digest: str
    machine_id: str
    newest_run_id: int


def all_of(db: Session, machine_id: str | None = None) -> list[Series]:
    """Return every series that has a run, on one host or all; the one a run was planned in last first."""
    newest = (
        select(func.max(col(StoredRun.id)))
        .join(StoredArtifact, col(StoredRun.artifact_id) == col(StoredArtifact.id))
        .where(StoredRun.against != runs.SWEEP)
        .group_by(
            col(StoredArtifact.project),
            col(StoredRun.check_id),
            col(StoredRun.check_digest),
            col(StoredRun.machine_id),
        )
    )
    wanted = rows().where(col(StoredRun.id).in_(newest)).order_by(col(StoredRun.id).desc())
    if machine_id is not None:
        wanted = wanted.where(StoredRun.machine_id == machine_id)
    return [
        Series(run.project, run.check_id, run.check_digest, run.host, run.id) for run in values(db, wanted)
    ]
