"""The tables of bisections: what each looks for, and what every release between its ends said."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sqlalchemy import UniqueConstraint
from sqlmodel import Field

from monitor.store.columns import Table, UtcDateTime


class StoredBisection(Table, table=True):
    """A search for the first bad release between a good and a bad one."""

    __tablename__: ClassVar[str] = "bisection"

    id: int | None = Field(default=None, primary_key=True)
    check_id: str
    check_digest: str = Field(foreign_key="check_definition.digest", index=True)
    project: str
    machine_id: str = Field(foreign_key="host.machine_id", index=True)
    tier: str
    requested_by: str
    priority: int
    incident_id: int | None = Field(default=None, foreign_key="incident.id", index=True)
    state: str = Field(index=True)
    reason: str = ""
    began_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class StoredVisit(Table, table=True):
    """One release of a bisection; when a commit comes in, what stands after it moves on by one place."""

    __tablename__: ClassVar[str] = "visit"
    __table_args__ = (UniqueConstraint("bisection_id", "place"),)

    id: int | None = Field(default=None, primary_key=True)
    bisection_id: int = Field(foreign_key="bisection.id")
    place: int
    artifact_id: int = Field(foreign_key="artifact.id", index=True)
    channel: str
    last_resort: bool
    commit: str | None = None
    run_id: int | None = Field(default=None, foreign_key="run.id", index=True)
    judgement_id: int | None = Field(default=None, foreign_key="judgement.id", index=True)
    answer: str | None = None
    why: str = ""
    own_run: bool = False
    answered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
