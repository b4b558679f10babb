"""The tables of what is released, and of what it is installed in."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sqlalchemy import BigInteger, UniqueConstraint
from sqlmodel import Field

from monitor.store.columns import Table, UtcDateTime


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
    decided_sha256: str | None = None
    """The artifact that was planned or passed over; another one makes the release news again."""
    published_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    notes: str = ""
    """What its makers say of it, as plain text; untrusted."""
    page: str = ""
    """Address of a page about it; "" where there is none."""
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
    """"" where there is none, and so its version."""
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
