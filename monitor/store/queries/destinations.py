"""What the store knows of a destination: how it took the last messages, and what waits for it."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, col, select

from monitor.domain import DeliveryState
from monitor.store.models import DeliveryAttempt, StoredDelivery
from monitor.store.queries.outbox import Try


def waiting(db: Session, *, due_by: datetime) -> list[str]:
    """Return the destinations, configured or not, for which deliveries are due, in alphabetical order."""
    wanted = (
        select(StoredDelivery.destination)
        .where(StoredDelivery.state == DeliveryState.PENDING.value, col(StoredDelivery.due_at) <= due_by)
        .distinct()
    )
    return sorted(db.exec(wanted))


def last_try(db: Session, destination: str) -> Try | None:
    """Return the newest attempt at a destination that has ended."""
    wanted = (
        select(DeliveryAttempt)
        .join(StoredDelivery, col(DeliveryAttempt.delivery_id) == col(StoredDelivery.id))
        .where(StoredDelivery.destination == destination, col(DeliveryAttempt.ended_at).is_not(None))
    )
    row = db.exec(wanted.order_by(col(DeliveryAttempt.id).desc()).limit(1)).first()
    return None if row is None else Try(row.number, row.begun_at, row.ended_at, row.outcome)


def last_end(db: Session, destination: str, *, besides: int) -> DeliveryState | None:
    """Return how the delivery that ended last came out, other than the one with the id `besides`."""
    wanted = (
        select(StoredDelivery.state)
        .join(DeliveryAttempt, col(DeliveryAttempt.delivery_id) == col(StoredDelivery.id))
        .where(
            StoredDelivery.destination == destination,
            StoredDelivery.id != besides,
            StoredDelivery.state != DeliveryState.PENDING.value,
        )
    )
    state = db.exec(wanted.order_by(col(DeliveryAttempt.id).desc()).limit(1)).first()
    return None if state is None else DeliveryState(state)
