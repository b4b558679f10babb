"""The tables of sweeps: what is asked, and what it came to. Their sessions lie in the sweep's run."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlmodel import Field

from monitor.store.columns import Facts, Table, UtcDateTime


class OrderedSweep(Table, table=True):
    """What a sweep is to measure, so that a process other than the one that was asked can."""

    __tablename__: ClassVar[str] = "ordered_sweep"

    run_id: int = Field(primary_key=True, foreign_key="run.id")
    check_id: str
    """Of the check that is swept."""
    draft_lengths: list[int] = Field(sa_type=Facts)
    options: dict[str, list[str]] = Field(sa_type=Facts)
    """Name of an option → the values to try, as they were written."""


class StoredSweep(Table, table=True):
    """What one sweep found; its number is that of its run."""

    __tablename__: ClassVar[str] = "sweep"

    run_id: int = Field(primary_key=True, foreign_key="run.id")
    check_id: str
    check_digest: str = Field(index=True)
    """Of the check that was swept. No foreign key: that check itself may never have been measured."""
    machine_id: str = Field(foreign_key="host.machine_id", index=True)
    project: str
    made_at: datetime = Field(sa_type=UtcDateTime)
    document: dict[str, Any] = Field(sa_type=Facts)
