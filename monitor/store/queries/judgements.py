"""Judgements: each verdict with everything it rests on, to the last digit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlmodel import Session, col, select

from monitor.domain import Basis, Judgement, Verdict
from monitor.store.models import StoredJudgement

_JUDGEMENT: TypeAdapter[Judgement] = TypeAdapter(Judgement)


def save(
    db: Session, run_id: int, judgement: Judgement, *, now: datetime, basis: Basis = Basis.REFERENCE
) -> int:
    """Keep a judgement of a run, and return its number.

    Equal to the newest one it is not kept twice; earlier ones stay.
    """
    document = _portable(_JUDGEMENT.dump_python(judgement, mode="python"))
    newest = _newest(db, run_id, basis)
    if newest is not None and newest.document == document:
        return newest.id or 0
    row = StoredJudgement(
        run_id=run_id,
        basis=basis.value,
        verdict=judgement.verdict.value,
        signature=judgement.signature.value if judgement.signature else None,
        confirmed=judgement.confirmed,
        policy_version=judgement.policy_version,
        judged_at=now,
        document=document,
    )
    db.add(row)
    db.flush()
    return row.id or 0


def save_all(db: Session, run_id: int, made: Mapping[Basis, Judgement | None], *, now: datetime) -> None:
    """Keep what was said of a run on each basis; None where it was not compared."""
    for basis, judgement in made.items():
        if judgement is not None:
            save(db, run_id, judgement, now=now, basis=basis)


def numbered(db: Session, judgement_id: int) -> Judgement:
    """Return the judgement that another table points to."""
    return _JUDGEMENT.validate_python(db.get_one(StoredJudgement, judgement_id).document)


def newest_id(db: Session, run_id: int, basis: Basis = Basis.REFERENCE) -> int | None:
    """Return the number of the newest judgement of a run on a basis."""
    row = _newest(db, run_id, basis)
    return None if row is None else row.id


def get(db: Session, run_id: int, basis: Basis = Basis.REFERENCE) -> Judgement | None:
    """Return the newest judgement of a run on a basis, equal field by field to the one that was saved."""
    row = _newest(db, run_id, basis)
    return None if row is None else _JUDGEMENT.validate_python(row.document)


def since(db: Session, run_id: int, moment: datetime) -> Judgement | None:
    """Return the newest verdict on a run against its reference, if it was reached at or after `moment`."""
    row = _newest(db, run_id, Basis.REFERENCE)
    return None if row is None or row.judged_at < moment else _JUDGEMENT.validate_python(row.document)


def several(db: Session, run_ids: Iterable[int], basis: Basis = Basis.REFERENCE) -> dict[int, Judgement]:
    """Return run → its newest judgement on a basis; runs without one are left out."""
    wanted = select(StoredJudgement).where(
        col(StoredJudgement.run_id).in_(list(run_ids)), StoredJudgement.basis == basis.value
    )
    # The last one of a run stays.
    newest = {row.run_id: row for row in db.exec(wanted.order_by(col(StoredJudgement.id)))}
    return {run_id: _JUDGEMENT.validate_python(row.document) for run_id, row in newest.items()}


def verdict_of(db: Session, run_id: int) -> Verdict | None:
    """Return the newest verdict on a run, against its reference."""
    row = _newest(db, run_id, Basis.REFERENCE)
    return None if row is None else Verdict(row.verdict)


def _newest(db: Session, run_id: int, basis: Basis) -> StoredJudgement | None:
    rows = select(StoredJudgement).where(
        StoredJudgement.run_id == run_id, StoredJudgement.basis == basis.value
    )
    return db.exec(rows.order_by(col(StoredJudgement.id).desc()).limit(1)).first()


def _portable(value: Any) -> Any:
    """Return plain JSON values. JSON has no word for infinity; pydantic reads the text back as the number."""
    if isinstance(value, dict):
        return {str(key): _portable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return getattr(value, "value", value)  # an enum's word
