"""The tables of what people are told: incidents with their log, messages, and their deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import UniqueConstraint
from sqlmodel import Field

from monitor.store.columns import Facts, Table, UtcDateTime


class StoredIncident(Table, table=True):
    """One loss of one check on one host. Of one key at most one incident goes on at a time."""

    __tablename__: ClassVar[str] = "incident"

    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(index=True)
    project: str
    channel: str
    machine_id: str = Field(foreign_key="host.machine_id", index=True)
    check_id: str
    epoch_id: int = Field(foreign_key="epoch.id", index=True)
    direction: str
    state: str = Field(index=True)
    signature: str | None = None
    headline: str
    opened_at: datetime = Field(sa_type=UtcDateTime)
    changed_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    first_bad_run_id: int = Field(foreign_key="run.id", index=True)
    latest_bad_run_id: int = Field(foreign_key="run.id", index=True)
    worst_run_id: int = Field(foreign_key="run.id", index=True)
    fixed_by_run_id: int | None = Field(default=None, foreign_key="run.id", index=True)
    snoozed_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    reminders: int = 0
    remind_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class IncidentTransition(Table, table=True):
    """One transition or note of an incident, kept for ever; an undo is another one."""

    __tablename__: ClassVar[str] = "incident_transition"

    id: int | None = Field(default=None, primary_key=True)
    incident_id: int = Field(foreign_key="incident.id", index=True)
    action: str
    source: str | None = None
    target: str
    who: str
    why: str
    run_ids: list[int] = Field(sa_type=Facts)
    at: datetime = Field(sa_type=UtcDateTime)


class StoredMessage(Table, table=True):
    """Something to tell, written in the transaction that makes it true (a transactional outbox)."""

    __tablename__: ClassVar[str] = "message"

    id: str = Field(primary_key=True)
    type: str
    created_at: datetime = Field(sa_type=UtcDateTime)
    data: dict[str, Any] = Field(sa_type=Facts)


class StoredDelivery(Table, table=True):
    """A message on its way to one destination. Claimed by a conditional update, with a lease.

    Each destination gets its messages in the order of these ids.
    """

    __tablename__: ClassVar[str] = "delivery"
    __table_args__ = (UniqueConstraint("message_id", "destination"),)

    id: int | None = Field(default=None, primary_key=True)
    message_id: str = Field(foreign_key="message.id")
    destination: str = Field(index=True)
    state: str = Field(index=True)
    attempts: int = 0
    due_at: datetime = Field(sa_type=UtcDateTime)
    leased_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_error: str = ""
    delivered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class DeliveryAttempt(Table, table=True):
    """One request to a destination, written before it is sent and updated after it."""

    __tablename__: ClassVar[str] = "delivery_attempt"
    __table_args__ = (UniqueConstraint("delivery_id", "number"),)

    id: int | None = Field(default=None, primary_key=True)
    delivery_id: int = Field(foreign_key="delivery.id")
    number: int
    begun_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    outcome: str = ""
    """`delivered`, or the error; empty when the monitor was killed in between."""
