"""Checks: the definition each result was measured by."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlmodel import Session

from monitor.domain import Check
from monitor.store.models import CheckDefinition

_CHECK: TypeAdapter[Check] = TypeAdapter(Check)


def save(db: Session, check: Check, *, now: datetime) -> None:
    """Keep the definition of a check under its digest.

    What the digest covers never changes under it; what it leaves out (title, judging, estimates) is kept as
    it was last.
    """
    definition = _CHECK.dump_python(check, mode="json")
    row = db.get(CheckDefinition, check.digest)
    if row is None:
        row = CheckDefinition(
            digest=check.digest,
            check_id=check.id,
            definition=definition,
            first_seen_at=now,
            last_seen_at=now,
        )
    else:
        row.check_id, row.definition, row.last_seen_at = check.id, definition, now
    db.add(row)
    db.flush()


def known(db: Session, digest: str) -> dict[str, Any] | None:
    """Return the definition with this digest as plain JSON values."""
    row = db.get(CheckDefinition, digest)
    return None if row is None else row.definition


def get(db: Session, digest: str) -> Check | None:
    """Return the check with this digest as it was saved last."""
    definition = known(db, digest)
    return None if definition is None else _CHECK.validate_python(definition)
