"""Releases, their artifacts, and the environments these are installed in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from packaging.version import InvalidVersion, Version


class ReleaseState(StrEnum):
    """How far a release has come on its way to a run; every release is in exactly one state."""

    SEEN = "seen"
    SETTLING = "settling"
    AGED = "aged"
    PLANNED = "planned"
    SKIPPED = "skipped"


class SkipReason(StrEnum):
    """Why a release is not measured."""

    COALESCED = "coalesced"
    INCOMPLETE = "incomplete"
    YANKED = "yanked"
    WITHDRAWN = "withdrawn"
    NO_ARTIFACT = "no artifact"
    TOO_OLD = "too old"
    ODD_VERSION = "odd version"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One installable file of a release; its identity is its sha256, never its name."""

    project: str
    version: str
    filename: str
    sha256: str
    url: str
    size: int | None = None
    requires_python: str | None = None
    uploaded_at: datetime | None = None
    yanked: str | None = None
    """None when not yanked, else the reason given ("" when none was given)."""


@dataclass(frozen=True, slots=True)
class Release:
    """One version of a project on a channel, with every file its source lists for it."""

    project: str
    version: str
    channel: str
    artifacts: tuple[Artifact, ...]
    published_at: datetime | None = None
    notes: str = ""
    """What its makers say of it, as plain text; untrusted."""
    page: str = ""
    """Address of a page about it; "" where there is none."""


@dataclass(frozen=True, slots=True)
class Package:
    """One distribution installed in an environment, or what else belongs to it and can move a measurement."""

    name: str
    version: str
    sha256: str | None = None

    @property
    def is_distribution(self) -> bool:
        """Say whether it can be installed by its name: a driver, a compiler, an option has a space in its."""
        return " " not in self.name


@dataclass(frozen=True, slots=True)
class Environment:
    """An isolated install of one artifact, complete and never changed afterwards.

    Its programs lie in `bin`, whatever it was made of.
    """

    key: str
    artifact: Artifact
    path: Path
    python: Path | None
    """None in one that holds programs alone, and where that of an attached engine is not known."""
    python_version: str
    """"" where there is no Python."""
    packages: tuple[Package, ...]
    built_at: datetime
    reused: bool = False


def version_order(version: str) -> tuple[int, Version, str]:
    """Return a key that sorts versions as PEP 440 orders them; what does not follow it comes first."""
    try:
        return 1, Version(version), version
    except InvalidVersion:
        return 0, Version("0"), version
