"""The tables of what is measured, and where."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, UniqueConstraint
from sqlmodel import Field

from monitor.store.columns import Facts, Table, UtcDateTime


class StoredHost(Table, table=True):
    """A machine as it was seen last."""

    __tablename__: ClassVar[str] = "host"

    machine_id: str = Field(primary_key=True)
    name: str
    hardware_class: str
    boot_id: str
    cpu: str
    cores: int
    memory_bytes: int = Field(sa_type=BigInteger)
    gpu: dict[str, Any] | None = Field(default=None, sa_type=Facts)
    kernel: str
    first_seen_at: datetime = Field(sa_type=UtcDateTime)
    last_seen_at: datetime = Field(sa_type=UtcDateTime)


class CheckDefinition(Table, table=True):
    """A check as it was when it was measured; the digest names what may not change."""

    __tablename__: ClassVar[str] = "check_definition"

    digest: str = Field(primary_key=True)
    check_id: str = Field(index=True)
    definition: dict[str, Any] = Field(sa_type=Facts)
    first_seen_at: datetime = Field(sa_type=UtcDateTime)
    last_seen_at: datetime = Field(sa_type=UtcDateTime)


class StoredEpoch(Table, table=True):
    """A stretch of one series in which host, driver, check digest and accepted reference stay the same."""

    __tablename__: ClassVar[str] = "epoch"
    __table_args__ = (UniqueConstraint("machine_id", "project", "check_digest", "number"),)

    id: int | None = Field(default=None, primary_key=True)
    machine_id: str = Field(foreign_key="host.machine_id")
    project: str
    check_digest: str = Field(foreign_key="check_definition.digest", index=True)
    number: int
    """From 1; the newest is the one that goes on."""
    conditions: dict[str, Any] = Field(sa_type=Facts)
    """What of the host decides that its results compare: hardware, driver, kernel."""
    reference_run_id: int | None = None
    """The run a person accepted as reference; None where the last good run of the epoch is the reference.
    No foreign key: runs point to epochs, and a circle of them could be neither made nor dropped in order."""
    reason: str
    who: str
    began_at: datetime = Field(sa_type=UtcDateTime)


class StoredCalibration(Table, table=True):
    """What repeated measurements of one artifact said about a check's noise on a host; the newest counts."""

    __tablename__: ClassVar[str] = "calibration"

    id: int | None = Field(default=None, primary_key=True)
    machine_id: str = Field(foreign_key="host.machine_id", index=True)
    check_digest: str = Field(foreign_key="check_definition.digest", index=True)
    made_at: datetime = Field(sa_type=UtcDateTime)
    document: dict[str, Any] = Field(sa_type=Facts)


class StoredQuarantine(Table, table=True):
    """A stretch in which a host's GPU is not measured on, because something about it cannot be trusted."""

    __tablename__: ClassVar[str] = "quarantine"

    id: int | None = Field(default=None, primary_key=True)
    machine_id: str = Field(foreign_key="host.machine_id", index=True)
    gpu: str
    """Its UUID."""
    reason: str
    began_at: datetime = Field(sa_type=UtcDateTime)
    released_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    who: str = ""
    """Who released it."""
    why: str = ""
