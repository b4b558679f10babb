"""The tables of the service itself: when sources were asked, and when its parts last did their work."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sqlalchemy import UniqueConstraint
from sqlmodel import Field

from monitor.store.columns import Table, UtcDateTime


class StoredPoll(Table, table=True):
    """How the last looks at one source went."""

    __tablename__: ClassVar[str] = "poll"
    __table_args__ = (UniqueConstraint("project", "channel"),)

    id: int | None = Field(default=None, primary_key=True)
    project: str
    channel: str
    address: str
    asked_at: datetime = Field(sa_type=UtcDateTime)
    answered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When it last answered with a listing."""
    planned_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When its releases were first planned from: what had been there before is history."""
    error: str = ""
    failures: int = 0
    """Looks in a row that brought nothing."""
    due_at: datetime = Field(sa_type=UtcDateTime)
    """When it may be asked next."""


class StoredBeat(Table, table=True):
    """When one part of the service last began and ended a round."""

    __tablename__: ClassVar[str] = "beat"

    part: str = Field(primary_key=True)
    begun_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    error: str = ""
    failures: int = 0
    pid: int
