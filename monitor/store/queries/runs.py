"""Runs: what is to be measured, how far it has come, and which of them is the last good one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func
from sqlmodel import Session, col, select

from monitor.domain import Artifact, Basis, Check, Host, RunState, Tier, Verdict
from monitor.errors import StoreError
from monitor.store import transitions
from monitor.store.columns import clean
from monitor.store.models import (
    RunTransition,
    StoredArtifact,
    StoredJudgement,
    StoredRun,
    StoredSampleSet,
    StoredSession,
)
from monitor.store.queries import artifacts, checks, hosts
from monitor.store.queries.attempts import (
    Attempt,
    begin_attempt,
    end_attempt,
    last_attempt,
    measured_before,
    set_attempt_environment,
)
from monitor.store.queries.run_rows import Run, environment_row, existing, locked, rows, values

__all__ = [
    "GOOD",
    "LAST_GOOD",
    "SWEEP",
    "Attempt",
    "Run",
    "Step",
    "begin_attempt",
    "counts",
    "create",
    "end_attempt",
    "find",
    "first_good",
    "get",
    "history",
    "in_state",
    "last_attempt",
    "last_good",
    "last_progress",
    "listed",
    "measured_before",
    "of_epoch",
    "of_series",
    "predecessor",
    "recent",
    "set_attempt_environment",
    "set_environment",
    "set_epoch",
    "set_reference",
    "set_state",
]

LAST_GOOD = "last-good"
"""What a run is compared with unless somebody names another release."""

SWEEP = "sweep"
"""What the run of a sweep is compared with: its own cells."""

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
    channel: str = "stable",
    epoch_id: int | None = None,
    against: str = LAST_GOOD,
    confirm: bool = True,
    priority: int = 0,
    due_at: datetime | None = None,
) -> Run:
    """Plan a run; check, artifact and host are kept with it as they are now.

    With `due_at` it stands in the queue; without, it is left to whoever asks for it.

    It is made even when the artifact has one already: `find` in the same `Store.write` says so.
    """
    checks.save(db, check, now=now)
    hosts.save(db, host, now=now)
    row = StoredRun(
        check_id=check.id,
        check_digest=check.digest,
        artifact_id=artifacts.keep(db, artifact, now=now),
        machine_id=host.machine_id,
        tier=tier.value,
        requested_by=requested_by,
        state=RunState.PLANNED.value,
        planned_at=now,
        channel=channel,
        epoch_id=epoch_id,
        against=against,
        confirm=confirm,
        priority=priority,
        due_at=due_at,
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


def listed(
    db: Session,
    *,
    machine_id: str | None = None,
    project: str | None = None,
    check_id: str | None = None,
    states: Iterable[RunState] | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Run]:
    """Return the runs that fit every given limit, newest first; `before` goes on after that run's id."""
    wanted = rows()
    if machine_id is not None:
        wanted = wanted.where(StoredRun.machine_id == machine_id)
    if project is not None:
        wanted = wanted.where(StoredArtifact.project == project)
    if check_id is not None:
        wanted = wanted.where(StoredRun.check_id == check_id)
    if states is not None:
        wanted = wanted.where(col(StoredRun.state).in_([state.value for state in states]))
    if before is not None:
        wanted = wanted.where(col(StoredRun.id) < before)
    return values(db, wanted.order_by(col(StoredRun.id).desc()).limit(limit))


def counts(db: Session, machine_id: str) -> dict[RunState, int]:
    """Return how many runs of a host are in each state."""
    found = dict.fromkeys(RunState, 0)
    wanted = select(StoredRun.state, func.count(col(StoredRun.id))).where(StoredRun.machine_id == machine_id)
    for state, number in db.exec(wanted.group_by(col(StoredRun.state))):
        found[RunState(state)] = number
    return found


def last_progress(db: Session, machine_id: str) -> datetime | None:
    """Return when a run that is at work last moved on or began a session; None when none is at work."""
    at_work = select(StoredRun.id).where(
        StoredRun.machine_id == machine_id,
        col(StoredRun.state).in_([state.value for state in transitions.WORKING]),
    )
    moved = select(RunTransition.at).where(col(RunTransition.run_id).in_(at_work))
    begun = (
        select(StoredSession.started_at)
        .join(StoredSampleSet, col(StoredSession.sample_set_id) == col(StoredSampleSet.id))
        .where(col(StoredSampleSet.run_id).in_(at_work), col(StoredSession.started_at).is_not(None))
    )
    newest = [
        db.exec(moved.order_by(col(RunTransition.at).desc()).limit(1)).first(),
        db.exec(begun.order_by(col(StoredSession.started_at).desc()).limit(1)).first(),
    ]
    return max((moment for moment in newest if moment is not None), default=None)


def in_state(db: Session, states: Iterable[RunState], *, machine_id: str | None = None) -> list[Run]:
    """Return the runs in one of these states, oldest first.

    With `transitions.WORKING` it finds at a start what a killed monitor left behind.
    """
    wanted = rows().where(col(StoredRun.state).in_([state.value for state in states]))
    if machine_id is not None:
        wanted = wanted.where(StoredRun.machine_id == machine_id)
    return values(db, wanted.order_by(col(StoredRun.id)))


def last_good(db: Session, *, epoch_id: int, before: Run | None = None) -> Run | None:
    """Return the reference of an epoch: of its runs that ended well, the one furthest on in the series.

    Args:
        db: a session of the store.
        epoch_id: only runs of the same epoch compare.
        before: only releases that stand before this run's one. A release that came out of order (a fix of
            an older line) is so compared with what it continues, and no release with itself.

    """
    found = _good_of_epoch(db, epoch_id)
    if before is not None:
        found = [run for run in found if run.place < before.place]
    return max(found, key=lambda run: (run.place, run.id), default=None)


def first_good(db: Session, *, epoch_id: int) -> Run | None:
    """Return where an epoch began: of its runs that ended well, that of the earliest release."""
    return min(_good_of_epoch(db, epoch_id), key=lambda run: (run.place, run.id), default=None)


def _good_of_epoch(db: Session, epoch_id: int) -> list[Run]:
    return [
        run
        for run in of_epoch(db, epoch_id)
        if run.state is RunState.DONE and run.against == LAST_GOOD and _is_good(db, run.id)
    ]


def predecessor(db: Session, run: Run) -> Run | None:
    """Return the judged run of the same epoch whose release stands right before this run's, good or bad."""
    if run.epoch_id is None:
        return None
    found = [
        other
        for other in of_epoch(db, run.epoch_id)
        if other.state is RunState.DONE and other.against == LAST_GOOD and other.place < run.place
    ]
    return max(found, key=lambda other: (other.place, other.id), default=None)


def of_epoch(db: Session, epoch_id: int) -> list[Run]:
    """Return the runs of an epoch, oldest first."""
    return values(db, rows().where(StoredRun.epoch_id == epoch_id).order_by(col(StoredRun.id)))


def repeated(db: Session, run: Run) -> list[Run]:
    """Return the complete measurements of a run's artifact in its epoch and tier, oldest first."""
    return [
        other
        for other in of_epoch(db, run.epoch_id or 0)
        if other.artifact_id == run.artifact_id and other.tier is run.tier and other.state is RunState.DONE
    ]


def of_series(db: Session, *, machine_id: str, project: str, check_digest: str) -> list[Run]:
    """Return the runs of a check on a project's releases on a host, over all epochs, in order of release."""
    wanted = rows().where(
        StoredRun.machine_id == machine_id,
        StoredRun.check_digest == check_digest,
        StoredArtifact.project == project,
    )
    return sorted(values(db, wanted), key=lambda run: (run.place, run.id))


def _is_good(db: Session, run_id: int) -> bool:
    wanted = select(StoredJudgement.verdict).where(
        StoredJudgement.run_id == run_id, StoredJudgement.basis == Basis.REFERENCE.value
    )
    newest = db.exec(wanted.order_by(col(StoredJudgement.id).desc()).limit(1)).first()
    return newest in {good.value for good in GOOD}


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


def set_epoch(db: Session, run_id: int, epoch_id: int) -> None:
    """Note in which epoch the run is measured.

    Raises:
        StoreError: when there is no such run.

    """
    locked(db, run_id).epoch_id = epoch_id
    db.flush()
