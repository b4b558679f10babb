"""The tables: what of the glossary's words is kept, and what is unique about each.

Words (states, arms, roles, verdicts) are kept as the text of their enums. A row is never deleted when
history rests on it: what is gone is marked. Only sessions that may not be counted are dropped.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import BigInteger, UniqueConstraint
from sqlmodel import Field

from monitor.store.columns import Facts, Real, Table, UtcDateTime


class Subject(StrEnum):
    """Whose sessions a run holds: the release it is about, or the reference measured again beside it."""

    CANDIDATE = "candidate"
    REFERENCE = "reference"


# ---------------------------------------------------------------------------------------------
# What is released


class StoredRelease(Table, table=True):
    """A version of a project on a channel."""

    __tablename__: ClassVar[str] = "release"
    __table_args__ = (UniqueConstraint("project", "version", "channel"),)

    id: int | None = Field(default=None, primary_key=True)
    project: str
    version: str
    channel: str
    source: str
    """Where it was read last, as shown to people."""
    state: str
    reason: str | None = None
    detail: str = ""
    published_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    first_seen_at: datetime = Field(sa_type=UtcDateTime)
    last_seen_at: datetime = Field(sa_type=UtcDateTime)


class StoredArtifact(Table, table=True):
    """One installable file. The sha256 is what it is; the same name can come back with another one."""

    __tablename__: ClassVar[str] = "artifact"
    __table_args__ = (UniqueConstraint("project", "filename", "sha256"),)

    id: int | None = Field(default=None, primary_key=True)
    project: str
    version: str
    filename: str
    sha256: str = Field(index=True)
    url: str
    size: int | None = Field(default=None, sa_type=BigInteger)
    requires_python: str | None = None
    uploaded_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    yanked: str | None = None
    first_seen_at: datetime = Field(sa_type=UtcDateTime)


class Listing(Table, table=True):
    """That a source lists an artifact under a release, or did until `withdrawn_at`."""

    __tablename__: ClassVar[str] = "listing"
    __table_args__ = (UniqueConstraint("release_id", "artifact_id"),)

    id: int | None = Field(default=None, primary_key=True)
    release_id: int = Field(foreign_key="release.id")
    artifact_id: int = Field(foreign_key="artifact.id", index=True)
    source: str
    position: int
    """Place among the files of the release, as the source lists them."""
    withdrawn_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class StoredEnvironment(Table, table=True):
    """An isolated install of one artifact. Built anew under its key it is a row of its own."""

    __tablename__: ClassVar[str] = "environment"

    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(index=True)
    artifact_id: int = Field(foreign_key="artifact.id", index=True)
    path: str
    python: str
    python_version: str
    built_at: datetime = Field(sa_type=UtcDateTime)
    reused: bool
    forgotten_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Since when it no longer lies on the disk; runs still rest on what was installed."""


class InstalledPackage(Table, table=True):
    """One distribution installed in an environment."""

    __tablename__: ClassVar[str] = "installed_package"
    __table_args__ = (UniqueConstraint("environment_id", "position"),)

    id: int | None = Field(default=None, primary_key=True)
    environment_id: int = Field(foreign_key="environment.id")
    position: int
    name: str = Field(index=True)
    version: str
    sha256: str | None = None


# ---------------------------------------------------------------------------------------------
# What is measured, and where


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


# ---------------------------------------------------------------------------------------------
# What is done


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


class StoredJudgement(Table, table=True):
    """One judgement of a run. Judged again, it gets another row; the newest counts."""

    __tablename__: ClassVar[str] = "judgement"

    id: int | None = Field(default=None, primary_key=True)
    run_id: int = Field(foreign_key="run.id", index=True)
    verdict: str
    signature: str | None = None
    confirmed: bool | None = None
    policy_version: str
    judged_at: datetime = Field(sa_type=UtcDateTime)
    document: dict[str, Any] = Field(sa_type=Facts)
