"""The tables of what is done: runs with their attempts, sessions, samples and judgements."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import BigInteger, UniqueConstraint
from sqlmodel import Field

from monitor.store.columns import Facts, Real, Table, UtcDateTime


class Subject(StrEnum):
    """Whose sessions a run holds: the release it is about, or another one measured again beside it."""

    CANDIDATE = "candidate"
    REFERENCE = "reference"
    FIRST = "first"
    """The epoch's first good run."""


class StoredRun(Table, table=True):
    """One check on one artifact on one host; `docs/run_lifecycle.md` draws its states."""

    __tablename__: ClassVar[str] = "run"

    id: int | None = Field(default=None, primary_key=True)
    check_id: str
    check_digest: str = Field(foreign_key="check_definition.digest", index=True)
    artifact_id: int = Field(foreign_key="artifact.id", index=True)
    machine_id: str = Field(foreign_key="host.machine_id", index=True)
    tier: str
    requested_by: str
    channel: str = Field(default="stable")
    epoch_id: int | None = Field(default=None, foreign_key="epoch.id", index=True)
    against: str = Field(default="last-good")
    """What it was asked to be compared with; only `last-good` runs are part of the series' history."""
    confirm: bool = True
    priority: int = 0
    """Of the queue: higher ones first, then those planned earlier."""
    due_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Not before this moment; None: as soon as it may."""
    waiting: str = ""
    """Why it was not begun when its turn came last."""
    reference_run_id: int | None = Field(default=None, foreign_key="run.id", index=True)
    environment_id: int | None = Field(default=None, foreign_key="environment.id", index=True)
    state: str = Field(index=True)
    stage: str = ""
    reason: str = ""
    permanent: bool | None = None
    attempts: int = 0
    planned_at: datetime = Field(sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    announced_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When its end was made known: incidents moved and messages written, in one transaction."""


class RunTransition(Table, table=True):
    """One step of a run from state to state, kept for ever."""

    __tablename__: ClassVar[str] = "run_transition"

    id: int | None = Field(default=None, primary_key=True)
    run_id: int = Field(foreign_key="run.id", index=True)
    source: str
    target: str
    stage: str
    reason: str
    at: datetime = Field(sa_type=UtcDateTime)


class StoredAttempt(Table, table=True):
    """One try at a run, begun before the work so that work which kills the monitor is counted."""

    __tablename__: ClassVar[str] = "attempt"
    __table_args__ = (UniqueConstraint("run_id", "number"),)

    id: int | None = Field(default=None, primary_key=True)
    run_id: int = Field(foreign_key="run.id")
    number: int
    boot_id: str
    environment_id: int | None = Field(default=None, foreign_key="environment.id", index=True)
    started_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    outcome: str = ""


class StoredSampleSet(Table, table=True):
    """What the sessions of one subject of a run have in common."""

    __tablename__: ClassVar[str] = "sample_set"
    __table_args__ = (UniqueConstraint("run_id", "subject"),)

    id: int | None = Field(default=None, primary_key=True)
    run_id: int = Field(foreign_key="run.id")
    subject: str
    header: dict[str, Any] = Field(sa_type=Facts)


class StoredSession(Table, table=True):
    """One start of one engine server for one arm."""

    __tablename__: ClassVar[str] = "session"
    __table_args__ = (UniqueConstraint("sample_set_id", "number"),)

    id: int | None = Field(default=None, primary_key=True)
    sample_set_id: int = Field(foreign_key="sample_set.id")
    position: int
    """Place among the sessions of the set, in the order they were stored."""
    number: int = Field(sa_type=BigInteger)
    arm: str
    block: int = Field(sa_type=BigInteger)
    order: int = Field(sa_type=BigInteger)
    role: str
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    startup_s: float | None = Field(default=None, sa_type=Real)
    gpu_memory_bytes: int | None = Field(default=None, sa_type=BigInteger)
    energy_j: float | None = Field(default=None, sa_type=Real)
    effective: dict[str, Any] | None = Field(default=None, sa_type=Facts)
    gpu: dict[str, Any] | None = Field(default=None, sa_type=Facts)
    margins: list[dict[str, Any]] | None = Field(default=None, sa_type=Facts)


class StoredSample(Table, table=True):
    """One prompt answered in one session. The arm is the session's."""

    __tablename__: ClassVar[str] = "sample"
    __table_args__ = (UniqueConstraint("session_id", "workload", "prompt", "repeat"),)

    id: int | None = Field(default=None, primary_key=True)
    session_id: int = Field(foreign_key="session.id")
    position: int
    """Place among the samples of the set, in the order they were stored."""
    workload: str
    prompt: str
    repeat: int = Field(sa_type=BigInteger)
    n: int = Field(sa_type=BigInteger)
    n_first: int | None = Field(default=None, sa_type=BigInteger)
    ttft_s: float | None = Field(default=None, sa_type=Real)
    decode_s: float | None = Field(default=None, sa_type=Real)
    prompt_tokens: int | None = Field(default=None, sa_type=BigInteger)
    drafted: int | None = Field(default=None, sa_type=BigInteger)
    accepted: int | None = Field(default=None, sa_type=BigInteger)
    steps: int | None = Field(default=None, sa_type=BigInteger)
    accepted_per_position: list[int] | None = Field(default=None, sa_type=Facts)
    stop: str | None = None
    server_decode_tps: float | None = Field(default=None, sa_type=Real)
    token_ids: list[int] | None = Field(default=None, sa_type=Facts)
    tokens_sha256: str | None = None
    correct: bool | None = None


class StoredJudgement(Table, table=True):
    """One judgement of a run on one basis. Judged again, it gets another row; the newest counts."""

    __tablename__: ClassVar[str] = "judgement"

    id: int | None = Field(default=None, primary_key=True)
    run_id: int = Field(foreign_key="run.id", index=True)
    basis: str = Field(default="reference")
    """What it was compared with: the reference, or the release before it."""
    verdict: str
    signature: str | None = None
    confirmed: bool | None = None
    policy_version: str
    judged_at: datetime = Field(sa_type=UtcDateTime)
    document: dict[str, Any] = Field(sa_type=Facts)
