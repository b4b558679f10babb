"""How a run's row becomes a value; for the queries on runs and attempts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from packaging.version import Version
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select

from monitor.domain import RunState, Tier, version_order
from monitor.errors import StoreError
from monitor.store.models import StoredArtifact, StoredEnvironment, StoredRun
from monitor.store.queries import environments


@dataclass(frozen=True, slots=True)
class Run:
    """One check on one artifact on one host."""

    id: int
    check_id: str
    check_digest: str
    project: str
    version: str
    artifact_sha256: str
    host: str
    """Machine id."""
    tier: Tier
    reference_run_id: int | None
    environment_key: str | None
    state: RunState
    stage: str
    """What it was doing, in the state's words: `install`, `block 3`."""
    reason: str
    """Why it is where it is, for states that nobody hoped for."""
    permanent: bool | None
    """Of a failure: whether another attempt would be pointless."""
    attempts: int
    planned_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    """When it came to its present end; None while it has none."""
    requested_by: str
    channel: str
    epoch_id: int | None
    against: str
    """`last-good`, or what it was asked to be compared with: then it is no part of the series' history."""
    confirm: bool
    priority: int
    """In the queue: higher ones first."""
    due_at: datetime | None
    """Of a run in the queue: not before this moment. None: nobody but who asked for it takes it up."""
    waiting: str
    """Why it was not begun when its turn came last."""
    announced_at: datetime | None
    artifact_id: int
    """Artifacts are numbered as they were first seen."""

    @property
    def place(self) -> tuple[int, Version, int]:
        """Its release's place in the series: by version, several files of a version by first sight.

        Local parts of versions order nothing: `1.2+mine` stands beside `1.2`.
        """
        follows, version, _ = version_order(self.version)
        return follows, Version(version.public), self.artifact_id


def rows() -> Select[StoredRun, StoredArtifact, str]:
    """Return the query for runs with their artifact and the key of their environment, if any."""
    return (
        select(StoredRun, StoredArtifact, StoredEnvironment.key)
        .join(StoredArtifact, col(StoredRun.artifact_id) == col(StoredArtifact.id))
        .join(
            StoredEnvironment,
            col(StoredRun.environment_id) == col(StoredEnvironment.id),
            isouter=True,
        )
    )


def values(db: Session, wanted: Select[StoredRun, StoredArtifact, str]) -> list[Run]:
    """Return the runs that a query made from `rows` finds."""
    return [
        Run(
            id=row.id or 0,
            check_id=row.check_id,
            check_digest=row.check_digest,
            project=artifact.project,
            version=artifact.version,
            artifact_sha256=artifact.sha256,
            host=row.machine_id,
            tier=Tier(row.tier),
            reference_run_id=row.reference_run_id,
            environment_key=key,
            state=RunState(row.state),
            stage=row.stage,
            reason=row.reason,
            permanent=row.permanent,
            attempts=row.attempts,
            planned_at=row.planned_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
            requested_by=row.requested_by,
            channel=row.channel,
            epoch_id=row.epoch_id,
            against=row.against,
            confirm=row.confirm,
            priority=row.priority,
            due_at=row.due_at,
            waiting=row.waiting,
            announced_at=row.announced_at,
            artifact_id=row.artifact_id,
        )
        for row, artifact, key in db.exec(wanted)
    ]


def existing(db: Session, run_id: int) -> Run:
    """Return the run, or raise StoreError."""
    found = values(db, rows().where(StoredRun.id == run_id))
    if not found:
        raise _no_such_run(run_id)
    return found[0]


def locked(db: Session, run_id: int) -> StoredRun:
    """Return the row of a run, to change it, or raise StoreError."""
    # SQLite's write lock is held already; on PostgreSQL two transitions of one run wait for each other.
    row = db.exec(select(StoredRun).where(StoredRun.id == run_id).with_for_update()).first()
    if row is None:
        raise _no_such_run(run_id)
    return row


def _no_such_run(run_id: int) -> StoreError:
    return StoreError(f"There is no run {run_id}.", advice="`mtp-monitor report` shows which there are")


def environment_row(db: Session, key: str) -> int:
    """Return the row id of the environment under `key`, or raise StoreError."""
    row = environments.current(db, key)
    if row is None or row.id is None:
        raise StoreError(f"No environment {key!r} was saved.", advice="save it before a run refers to it")
    return row.id
