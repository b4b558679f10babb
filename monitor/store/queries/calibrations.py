"""Calibrations: what is known of a check's noise on a host."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from monitor.store.models import StoredCalibration


def save(db: Session, *, machine_id: str, check_digest: str, document: dict[str, Any], now: datetime) -> None:
    """Keep a calibration record as plain JSON (`monitor.judge.calibration`); earlier ones stay."""
    db.add(
        StoredCalibration(machine_id=machine_id, check_digest=check_digest, document=document, made_at=now)
    )
    db.flush()


def newest(
    db: Session, *, machine_id: str, check_digest: str, before: datetime | None = None
) -> dict[str, Any] | None:
    """Return the newest record of a check on a host, or the newest there was at a moment."""
    wanted = select(StoredCalibration).where(
        StoredCalibration.machine_id == machine_id, StoredCalibration.check_digest == check_digest
    )
    if before is not None:
        wanted = wanted.where(StoredCalibration.made_at <= before)
    row = db.exec(wanted.order_by(col(StoredCalibration.id).desc()).limit(1)).first()
    return None if row is None else row.document


def made_at(db: Session, *, machine_id: str, check_digest: str) -> datetime | None:
    """Return when the newest record was made, None when there is none."""
    wanted = select(StoredCalibration.made_at).where(
        StoredCalibration.machine_id == machine_id, StoredCalibration.check_digest == check_digest
    )
    return db.exec(wanted.order_by(col(StoredCalibration.id).desc()).limit(1)).first()
