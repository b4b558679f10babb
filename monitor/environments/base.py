"""What makes an environment of one packaging: the interface, and what a builder is given to work with.

`monitor/environments/collection.py` decides which builder makes which environment and owns the folder: it
locks, lets build aside, records, moves into place and tidies up. A builder only fills an empty folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from monitor.domain import Artifact, Environment, Packaging
from monitor.settings_tables import SourceSettings

Tell = Callable[[str], None]
"""Told in words what is being done."""


@dataclass(frozen=True, slots=True)
class Order:
    """One environment to be built."""

    artifact: Artifact
    source: SourceSettings
    """Where the artifact and what it needs are had from."""
    key: str
    folder: Path
    """Absent when building begins, removed when it fails, moved when done: nothing in it may name it."""
    beside: tuple[Artifact, ...] = ()
    """Further files of the same release."""
    tell: Tell = field(default=lambda _: None)


class Builder(Protocol):
    """Makes environments of one packaging."""

    @property
    def packaging(self) -> Packaging:
        """What it builds from."""

    @property
    def deadline_s(self) -> float:
        """How long a build may take, in seconds: another process waits that long for it."""

    def key(self, artifact: Artifact) -> str:
        """Return the name of the artifact's environment as it would be built here now.

        Whatever makes another environment of the same file is part of it: a Python, a compiler, flags.

        Raises:
            ProvisionError: this machine lacks what it takes.

        """

    def build(self, order: Order) -> Environment:
        """Fill `order.folder` and return what it holds now, with paths in that folder.

        Raises:
            ProvisionError: the artifact does not install here.
            SourceError: something could not be fetched.
            ArtifactChangedError: a file came with another sha256 than its source listed.
            DiskFullError: no room. OSError: the same, or the folder cannot be written.

        """
