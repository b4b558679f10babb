"""Arms that a run left out, and why: written down as notes among its transitions that move it nowhere."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, col, select

from monitor.domain import Arm
from monitor.store.columns import clean
from monitor.store.models import RunTransition
from monitor.store.queries.run_rows import locked

_STAGE = "arm "


def leave_out(db: Session, run_id: int, arm: Arm, reason: str, *, now: datetime) -> None:
    """Write down that an arm beside the judged ones does not run, in whatever state the run is.

    Raises:
        StoreError: when there is no such run.

    """
    state = locked(db, run_id).state
    db.add(
        RunTransition(
            run_id=run_id,
            source=state,
            target=state,
            stage=f"{_STAGE}{arm.value}",
            reason=clean(reason),
            at=now,
        )
    )
    db.flush()


def left_out(db: Session, run_id: int) -> dict[Arm, str]:
    """Return arm → why it was left out, as of the last attempt that found it so."""
    noted = (
        select(RunTransition)
        .where(
            RunTransition.run_id == run_id,
            RunTransition.source == RunTransition.target,
            col(RunTransition.stage).startswith(_STAGE, autoescape=True),
        )
        .order_by(col(RunTransition.id))
    )
    return {Arm(row.stage.removeprefix(_STAGE)): row.reason for row in db.exec(noted)}
