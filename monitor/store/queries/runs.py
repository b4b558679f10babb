"""Runs: what is to be measured, how far it has come, and which of them is the last good one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from monitor.domain import Artifact, Check, Host, RunState, Tier, Verdict
from monitor.errors import StoreError
from monitor.store import transitions
from monitor.store.columns import clean
from monitor.store.models import RunTransition, StoredArtifact, StoredJudgement, StoredRun
from monitor.store.queries import checks, hosts, releases
from monitor.store.queries.attempts import Attempt, begin_attempt, end_attempt, last_attempt
from monitor.store.queries.run_rows import Run, environment_row, existing, locked, rows, values

__all__ = [
    "GOOD",
    "Attempt",
    "Run",
    "Step",
    "begin_attempt",
    "create",
    "end_attempt",
    "find",
    "get",
    "history",
    "in_state",
    "last_attempt",
    "last_good",
    "recent",
    "set_environment",
    "set_reference",
    "set_state",
]

GOOD = (Verdict.UNCHANGED, Verdict.IMPROVED)
"""Verdicts after which a run may be a reference; a sound first measurement is `unchanged`."""


@dataclass(frozen=True, slots=True)
class Step:
    """One transition a run has made."""

    source: RunState
    target: RunState
    stage: str
    reason: str
    at: datetime


# ---------------------------------------------------------------------------------------------
# Planning and asking


def create(
    db: Session,
    *,
    check: Check,
    artifact: Artifact,
    host: Host,
    tier: Tier,
    requested_by: str,
    now: datetime,
) -> Run:
    """Plan a run; check, artifact and host are kept with it as they are now.

    It is made even when the artifact has one already: `find` in the same `Store.write` says so.
    """
    checks.save(db, check, now=now)
    hosts.save(db, host, now=now)
    row = StoredRun(
        check_id=check.id,
        check_digest=check.digest,
        artifact_id=releases.keep(db, artifact, now=now),
        machine_id=host.machine_id,
        tier=tier.value,
        requested_by=requested_by,
        state=RunState.PLANNED.value,
        planned_at=now,
    )
    db.add(row)
    db.flush()
    return existing(db, row.id or 0)


def get(db: Session, run_id: int) -> Run | None:
    """Return the run with this id."""
    found = values(db, rows().where(StoredRun.id == run_id))
    return found[0] if found else None


def find(db: Session, *, check_digest: str, artifact_sha256: str, machine_id: str) -> list[Run]:
    """Return the runs of a check on an artifact on a host, newest first."""
    wanted = rows().where(
        StoredRun.check_digest == check_digest,
        StoredArtifact.sha256 == artifact_sha256,
        StoredRun.machine_id == machine_id,
    )
    return values(db, wanted.order_by(col(StoredRun.id).desc()))


def recent(db: Session, limit: int = 20) -> list[Run]:
    """Return the runs planned last, newest first."""
    return values(db, rows().order_by(col(StoredRun.id).desc()).limit(limit))


def in_state(db: Session, states: Iterable[RunState], *, machine_id: str | None = None) -> list[Run]:
    """Return the runs in one of these states, oldest first.

    With `transitions.WORKING` it finds at a start what a killed monitor left behind.
    """
    wanted = rows().where(col(StoredRun.state).in_([state.value for state in states]))
    if machine_id is not None:
        wanted = wanted.where(StoredRun.machine_id == machine_id)
    return values(db, wanted.order_by(col(StoredRun.id)))


def last_good(
    db: Session,
    *,
    check_digest: str,
    machine_id: str,
    project: str,
    exclude_sha256: str | None = None,
    version: str | None = None,
) -> Run | None:
    """Return the reference for a new run: the run of the series that was done last with a good verdict.

    Args:
        db: a session of the store.
        check_digest: only runs of exactly this measurement compare.
        machine_id: only runs on the same host compare.
        project: the project whose releases are followed.
        exclude_sha256: the artifact to be judged, which is no reference for itself.
        version: only this version.

    """
    newest = select(StoredJudgement.verdict).where(StoredJudgement.run_id == StoredRun.id)
    verdict = newest.order_by(col(StoredJudgement.id).desc()).limit(1).correlate(StoredRun).scalar_subquery()
    wanted = rows().where(
        StoredRun.state == RunState.DONE.value,
        StoredRun.check_digest == check_digest,
        StoredRun.machine_id == machine_id,
        StoredArtifact.project == project,
        verdict.in_([good.value for good in GOOD]),
    )
    if exclude_sha256 is not None:
        wanted = wanted.where(StoredArtifact.sha256 != exclude_sha256)
    if version is not None:
        wanted = wanted.where(StoredArtifact.version == version)
    found = values(db, wanted.order_by(col(StoredRun.finished_at).desc(), col(StoredRun.id).desc()).limit(1))
    return found[0] if found else None


# ---------------------------------------------------------------------------------------------
# Moving on


def set_state(
    db: Session,
    run_id: int,
    state: RunState,
    *,
    stage: str = "",
    reason: str = "",
    permanent: bool | None = None,
    now: datetime,
) -> None:
    """Move a run to `state`; in the state it has already, only stage and reason change.

    Raises:
        StoreError: when `store/transitions.py` does not allow it, or there is no such run. Nothing changes.

    """
    row = locked(db, run_id)
    before = RunState(row.state)
    if before is not state:
        if not transitions.allowed(before, state):
            after = ", ".join(transitions.followers(before))
            raise StoreError(
                f"Run {run_id} is {before} and cannot become {state}.",
                kept="the run as it is",
                advice=f"after {before} comes: {after}; docs/run_lifecycle.md draws it",
            )
        db.add(
            RunTransition(
                run_id=run_id,
                source=before.value,
                target=state.value,
                stage=clean(stage),
                reason=clean(reason),
                at=now,
            )
        )
        row.finished_at = now if state in transitions.ENDED else None
        if state in transitions.WORKING and row.started_at is None:
            row.started_at = now
    row.state, row.stage, row.reason, row.permanent = state.value, clean(stage), clean(reason), permanent
    db.flush()


def history(db: Session, run_id: int) -> list[Step]:
    """Return the transitions of a run, oldest first."""
    made = select(RunTransition).where(RunTransition.run_id == run_id).order_by(col(RunTransition.id))
    return [
        Step(RunState(row.source), RunState(row.target), row.stage, row.reason, row.at)
        for row in db.exec(made)
    ]


def set_reference(db: Session, run_id: int, reference_run_id: int | None) -> None:
    """Note which run this one is judged against.

    Raises:
        StoreError: when there is no such run.

    """
    if reference_run_id is not None:
        existing(db, reference_run_id)
    locked(db, run_id).reference_run_id = reference_run_id
    db.flush()


def set_environment(db: Session, run_id: int, key: str) -> None:
    """Note in which environment the run is measured.

    Raises:
        StoreError: when there is no such run, or no such environment was saved.

    """
    row = locked(db, run_id)
    row.environment_id = environment_row(db, key)
    db.flush()
