"""The outbox: messages written with what they tell, and their deliveries, claimed one at a time.

A message is delivered at least once, under one id. Each destination gets its messages in the order in which
they were written: what is tried again holds up what was written after it, what was given up does not.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, or_, select, update

from monitor.domain import Delivery, DeliveryState, Message, MessageType
from monitor.errors import StoreError
from monitor.store.columns import clean
from monitor.store.models import DeliveryAttempt, StoredDelivery, StoredMessage

DELIVERED = "delivered"
"""Outcome of an attempt that went well."""


@dataclass(frozen=True, slots=True)
class Try:
    """One request to a destination."""

    number: int
    begun_at: datetime
    ended_at: datetime | None
    outcome: str
    """`delivered`, or the error; empty when the monitor was killed in between."""


def write(
    db: Session, kind: MessageType, data: dict[str, Any], destinations: Iterable[str], *, now: datetime
) -> Message:
    """Keep a message and a delivery for each destination, in the caller's transaction."""
    row = StoredMessage(id=f"msg_{uuid.uuid4().hex}", type=kind.value, created_at=now, data=data)
    db.add(row)
    db.flush()
    for name in dict.fromkeys(destinations):
        db.add(
            StoredDelivery(message_id=row.id, destination=name, state=DeliveryState.PENDING.value, due_at=now)
        )
    db.flush()
    return _message(row)


def claim(
    db: Session, destinations: Sequence[str], *, lease_s: float, now: datetime
) -> tuple[Delivery, int] | None:
    """Claim the next delivery that is due, and return it with the number of the attempt that begins.

    The attempt is kept before the request is sent. A lease that has run out may be claimed again: whoever
    held it was killed before it could say how the request went, so the message is sent once more.
    """
    for name in destinations:
        wanted = select(StoredDelivery).where(
            StoredDelivery.destination == name, StoredDelivery.state == DeliveryState.PENDING.value
        )
        row = db.exec(wanted.order_by(col(StoredDelivery.id)).limit(1)).first()
        if row is None or row.due_at > now or (row.leased_until is not None and row.leased_until > now):
            continue
        free = or_(col(StoredDelivery.leased_until).is_(None), col(StoredDelivery.leased_until) <= now)
        claimed = db.exec(
            update(StoredDelivery)
            .where(
                col(StoredDelivery.id) == row.id,
                col(StoredDelivery.state) == DeliveryState.PENDING.value,
                free,
            )
            .values(leased_until=now + timedelta(seconds=lease_s), attempts=StoredDelivery.attempts + 1)
            .execution_options(synchronize_session=False)
        )
        if claimed.rowcount != 1:
            continue  # another got there first
        db.refresh(row)
        db.add(DeliveryAttempt(delivery_id=row.id or 0, number=row.attempts, begun_at=now))
        db.flush()
        return _delivery(row, db.get_one(StoredMessage, row.message_id)), row.attempts
    return None


def succeed(db: Session, delivery_id: int, number: int, *, now: datetime) -> None:
    """Note that an attempt was answered well."""
    row = _row(db, delivery_id)
    row.state, row.leased_until, row.last_error = DeliveryState.DELIVERED.value, None, ""
    row.delivered_at = now
    _end(db, delivery_id, number, DELIVERED, now)


def fail(
    db: Session, delivery_id: int, number: int, error: str, *, retry_at: datetime | None, now: datetime
) -> None:
    """Note why an attempt failed, and when the next one is due; without one the delivery is given up."""
    row = _row(db, delivery_id)
    row.leased_until, row.last_error = None, clean(error)
    if retry_at is None:
        row.state = DeliveryState.DEAD.value
    else:
        row.due_at = retry_at
    _end(db, delivery_id, number, clean(error), now)


def replay(db: Session, delivery_id: int, *, now: datetime) -> None:
    """Put a delivery that was given up back in its place, under the same message id.

    Raises:
        StoreError: when there is no such delivery, or it was not given up.

    """
    row = _row(db, delivery_id)
    if row.state != DeliveryState.DEAD.value:
        raise StoreError(
            f"Delivery {delivery_id} is {row.state}.", advice="only one that was given up can be replayed"
        )
    row.state, row.due_at, row.attempts = DeliveryState.PENDING.value, now, row.attempts
    db.flush()


def told_of_incidents(db: Session, incident_ids: Iterable[int]) -> set[str]:
    """Return the destinations that were told, or still are to be, that one of these incidents was opened."""
    wanted = set(incident_ids)
    found = select(StoredDelivery.destination, StoredMessage.data).join(
        StoredMessage, col(StoredDelivery.message_id) == col(StoredMessage.id)
    )
    opened = found.where(StoredMessage.type == MessageType.INCIDENT_OPENED.value)
    return {
        destination
        for destination, data in db.exec(opened)
        if wanted & {item.get("id") for item in data.get("incidents", ())}
    }


def deliveries(
    db: Session,
    *,
    state: DeliveryState | None = None,
    destination: str | None = None,
    limit: int = 100,
) -> list[Delivery]:
    """Return deliveries, the newest message first."""
    wanted = select(StoredDelivery, StoredMessage).join(
        StoredMessage, col(StoredDelivery.message_id) == col(StoredMessage.id)
    )
    if state is not None:
        wanted = wanted.where(StoredDelivery.state == state.value)
    if destination is not None:
        wanted = wanted.where(StoredDelivery.destination == destination)
    found = db.exec(wanted.order_by(col(StoredDelivery.id).desc()).limit(limit))
    return [_delivery(row, message) for row, message in found]


def standing(db: Session) -> dict[tuple[str, DeliveryState], int]:
    """Return (destination, state) → number of deliveries; what has none is left out."""
    what = (StoredDelivery.destination, StoredDelivery.state)
    wanted = select(*what, func.count(col(StoredDelivery.id))).group_by(*(col(column) for column in what))
    return {(name, DeliveryState(state)): number for name, state, number in db.exec(wanted)}


def messages(db: Session, limit: int = 100) -> list[Message]:
    """Return messages, the newest first."""
    wanted = select(StoredMessage).order_by(col(StoredMessage.created_at).desc(), col(StoredMessage.id))
    return [_message(row) for row in db.exec(wanted.limit(limit))]


def tries(db: Session, delivery_id: int) -> list[Try]:
    """Return the attempts of a delivery, oldest first."""
    wanted = select(DeliveryAttempt).where(DeliveryAttempt.delivery_id == delivery_id)
    return [
        Try(row.number, row.begun_at, row.ended_at, row.outcome)
        for row in db.exec(wanted.order_by(col(DeliveryAttempt.number)))
    ]


def next_due(db: Session) -> datetime | None:
    """Return when the earliest pending delivery is due, None when nothing is pending."""
    wanted = select(StoredDelivery.due_at).where(StoredDelivery.state == DeliveryState.PENDING.value)
    return db.exec(wanted.order_by(col(StoredDelivery.due_at)).limit(1)).first()


def _end(db: Session, delivery_id: int, number: int, outcome: str, now: datetime) -> None:
    attempt = db.exec(
        select(DeliveryAttempt).where(
            DeliveryAttempt.delivery_id == delivery_id, DeliveryAttempt.number == number
        )
    ).first()
    if attempt is not None:
        attempt.ended_at, attempt.outcome = now, outcome
    db.flush()


def _row(db: Session, delivery_id: int) -> StoredDelivery:
    row = db.exec(select(StoredDelivery).where(StoredDelivery.id == delivery_id).with_for_update()).first()
    if row is None:
        raise StoreError(f"There is no delivery {delivery_id}.", advice="the status page lists them")
    return row


def _message(row: StoredMessage) -> Message:
    return Message(row.id, MessageType(row.type), row.created_at, row.data)


def _delivery(row: StoredDelivery, message: StoredMessage) -> Delivery:
    return Delivery(
        id=row.id or 0,
        message=_message(message),
        destination=row.destination,
        state=DeliveryState(row.state),
        attempts=row.attempts,
        due_at=row.due_at,
        last_error=row.last_error,
        delivered_at=row.delivered_at,
    )
