"""Bisections: which go on, what each has learnt, and which run is visited for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select, update

from monitor.domain import Answer, Artifact, Bisection, BisectionState, Check, Tier, Visit
from monitor.errors import StoreError
from monitor.store.columns import clean
from monitor.store.models import StoredArtifact, StoredBisection, StoredVisit
from monitor.store.queries import artifacts, checks


@dataclass(frozen=True, slots=True)
class Stop:
    """A release on the way from the good end to the bad end."""

    artifact: Artifact
    channel: str
    last_resort: bool = False


def create(
    db: Session,
    *,
    check: Check,
    machine_id: str,
    tier: Tier,
    requested_by: str,
    priority: int,
    incident_id: int | None,
    stops: Sequence[Stop],
    now: datetime,
) -> Bisection:
    """Begin a bisection over `stops`, the good end first and the bad end last.

    Raises:
        ValueError: when there are not both ends.

    """
    if len(stops) < 2:  # noqa: PLR2004  # the ends
        raise ValueError("a bisection has two ends")
    checks.save(db, check, now=now)
    row = StoredBisection(
        check_id=check.id,
        check_digest=check.digest,
        project=stops[0].artifact.project,
        machine_id=machine_id,
        tier=tier.value,
        requested_by=clean(requested_by),
        priority=priority,
        incident_id=incident_id,
        state=BisectionState.RUNNING.value,
        began_at=now,
    )
    db.add(row)
    db.flush()
    for place, stop in enumerate(stops):
        db.add(
            StoredVisit(
                bisection_id=row.id or 0,
                place=place,
                artifact_id=artifacts.keep(db, stop.artifact, now=now),
                channel=stop.channel,
                last_resort=stop.last_resort,
            )
        )
    db.flush()
    return _value(db, row)


def get(db: Session, bisection_id: int) -> Bisection | None:
    """Return the bisection with this id."""
    row = db.get(StoredBisection, bisection_id)
    return None if row is None else _value(db, row)


def listed(
    db: Session, *, machine_id: str | None = None, state: BisectionState | None = None, limit: int = 50
) -> list[Bisection]:
    """Return bisections, the newest first."""
    wanted = select(StoredBisection)
    if machine_id is not None:
        wanted = wanted.where(StoredBisection.machine_id == machine_id)
    if state is not None:
        wanted = wanted.where(StoredBisection.state == state.value)
    rows = db.exec(wanted.order_by(col(StoredBisection.id).desc()).limit(limit)).all()
    return [_value(db, row) for row in rows]


def running(db: Session, machine_id: str) -> list[Bisection]:
    """Return the bisections of a host that go on, in the order of their turn."""
    wanted = select(StoredBisection).where(
        StoredBisection.machine_id == machine_id, StoredBisection.state == BisectionState.RUNNING.value
    )
    rows = db.exec(wanted.order_by(col(StoredBisection.priority).desc(), col(StoredBisection.id))).all()
    return [_value(db, row) for row in rows]


def of_incident(db: Session, incident_id: int) -> Bisection | None:
    """Return the newest bisection of an incident's loss."""
    wanted = select(StoredBisection).where(StoredBisection.incident_id == incident_id)
    row = db.exec(wanted.order_by(col(StoredBisection.id).desc()).limit(1)).first()
    return None if row is None else _value(db, row)


def of_run(db: Session, run_id: int) -> tuple[Bisection, Visit] | None:
    """Return the bisection that a run was made for, with its visit; None for every other run."""
    wanted = select(StoredVisit).where(StoredVisit.run_id == run_id, col(StoredVisit.own_run))
    row = db.exec(wanted.order_by(col(StoredVisit.id).desc()).limit(1)).first()
    found = None if row is None else get(db, row.bisection_id)
    return None if row is None or found is None else (found, found.visits[row.place])


# ---------------------------------------------------------------------------------------------
# Moving on


def insert(db: Session, found: Bisection, before: Visit, stop: Stop, *, commit: str, now: datetime) -> bool:
    """Let a bisection visit a commit too, right before a release on its way, and say whether it was put in.

    Not when the bisection has moved on since it was read as `found`: then another process was quicker.
    """
    row = db.exec(select(StoredBisection).where(StoredBisection.id == found.id).with_for_update()).one()
    if _value(db, row) != found:
        return False
    # In two steps over negative numbers: no two visits may ever have the same place, not for a moment.
    own, place = col(StoredVisit.bisection_id) == found.id, col(StoredVisit.place)
    db.exec(update(StoredVisit).where(own, place >= before.place).values(place=-place - 1))
    db.exec(update(StoredVisit).where(own, place < 0).values(place=-place))
    db.add(
        StoredVisit(
            bisection_id=found.id,
            place=before.place,
            artifact_id=artifacts.keep(db, stop.artifact, now=now),
            channel=stop.channel,
            last_resort=stop.last_resort,
            commit=commit,
        )
    )
    db.flush()
    return True


def set_run(db: Session, bisection_id: int, sha256: str, run_id: int, *, own: bool) -> None:
    """Note which run answers for the release with this artifact: one made for it (`own`), or a stored one."""
    row = _visit(db, bisection_id, sha256)
    row.run_id, row.own_run, row.judgement_id = run_id, own, None
    db.flush()


def set_judgement(db: Session, bisection_id: int, sha256: str, judgement_id: int) -> None:
    """Note how the release with this artifact was judged against the good end."""
    _visit(db, bisection_id, sha256).judgement_id = judgement_id
    db.flush()


def answer(
    db: Session, bisection_id: int, sha256: str, said: Answer, *, why: str, now: datetime
) -> Bisection:
    """Keep what the release with this artifact said.

    Raises:
        StoreError: when it has said something else already: another process was quicker.

    """
    row = _visit(db, bisection_id, sha256)
    if row.answer not in {None, said.value}:
        raise StoreError(f"Bisection {bisection_id} knows {sha256[:12]}… as {row.answer} already.")
    row.answer, row.why, row.answered_at = said.value, clean(why), now
    db.flush()
    return _value(db, db.get_one(StoredBisection, bisection_id))


def note(db: Session, bisection_id: int, why: str) -> None:
    """Note why a bisection does not move on; "" once it does."""
    db.get_one(StoredBisection, bisection_id).reason = clean(why)
    db.flush()


def end(db: Session, bisection_id: int, state: BisectionState, *, reason: str, now: datetime) -> bool:
    """End a bisection, and say whether it was this call that did."""
    wanted = select(StoredBisection).where(StoredBisection.id == bisection_id)
    row = db.exec(wanted.with_for_update()).one()
    if row.state != BisectionState.RUNNING.value:
        return False
    row.state, row.reason, row.ended_at = state.value, clean(reason), now
    db.flush()
    return True


def _visit(db: Session, bisection_id: int, sha256: str) -> StoredVisit:
    wanted = (
        select(StoredVisit)
        .join(StoredArtifact, col(StoredVisit.artifact_id) == col(StoredArtifact.id))
        .where(StoredVisit.bisection_id == bisection_id, StoredArtifact.sha256 == sha256)
    )
    row = db.exec(wanted.with_for_update(of=StoredVisit)).first()
    if row is None:
        raise StoreError(f"Bisection {bisection_id} has no release with sha256 {sha256[:12]}….")
    return row


def _value(db: Session, row: StoredBisection) -> Bisection:
    wanted = (
        select(StoredVisit, StoredArtifact)
        .join(StoredArtifact, col(StoredVisit.artifact_id) == col(StoredArtifact.id))
        .where(StoredVisit.bisection_id == row.id)
        .order_by(col(StoredVisit.place))
    )
    return Bisection(
        id=row.id or 0,
        check_id=row.check_id,
        check_digest=row.check_digest,
        project=row.project,
        machine_id=row.machine_id,
        tier=Tier(row.tier),
        requested_by=row.requested_by,
        priority=row.priority,
        incident_id=row.incident_id,
        state=BisectionState(row.state),
        reason=row.reason,
        began_at=row.began_at,
        ended_at=row.ended_at,
        visits=tuple(
            Visit(
                place=visit.place,
                version=artifact.version,
                artifact_sha256=artifact.sha256,
                channel=visit.channel,
                last_resort=visit.last_resort,
                run_id=visit.run_id,
                judgement_id=visit.judgement_id,
                answer=None if visit.answer is None else Answer(visit.answer),
                why=visit.why,
                own_run=visit.own_run,
                answered_at=visit.answered_at,
                commit=visit.commit,
            )
            for visit, artifact in db.exec(wanted)
        ),
    )
