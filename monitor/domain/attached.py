"""What runs at an engine that its owner starts and upgrades, and the monitor only measures.

Nothing is installed for it, so it has no file to tell its releases apart by. Its *fingerprint* stands in for
one: everything that can be seen of what runs there. Another fingerprint is another release.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from packaging.version import Version

from monitor.domain.checks import Check
from monitor.domain.releases import Artifact, Package

SCHEME = "attached:"
"""Address of an attached artifact: there is nothing to fetch."""
ATTACHED_CHANNEL = "attached"
"""The stream of an attached engine's releases, beside those that an index lists for the same project."""
ATTACHED_ENGINES = ("endpoint", "command")
"""Engines of checks that measure what the owner runs; all others measure what the monitor installs."""
SERVED = "served"
"""Kind of a model that only its server knows: it has a name and no file."""

_SCHEMA = "mtp-monitor/fingerprint/1"
_SHOWN_DIGITS = 8  # of the sha256, in a version


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What runs at an attached engine, as far as it can be seen without touching it."""

    project: str
    version: str
    """The engine's, as PEP 440 writes it, without a local part: what people know it by."""
    engine: tuple[str, ...]
    """All that was said of the engine's version, in the words it was said in."""
    served: tuple[tuple[str, str], ...] = ()
    """(address, the model its server names), by address."""
    packages: tuple[Package, ...] = ()
    python_version: str = ""
    """"" where no package list is watched."""
    driver: str | None = None
    """Of the GPU; None without one."""
    image: str | None = None
    """What the image command says, usually a digest."""

    @property
    def document(self) -> str:
        """The canonical JSON that the sha256 is of."""
        value: dict[str, Any] = {
            "schema": _SCHEMA,
            "project": self.project,
            "version": self.version,
            "engine": self.engine,
            "served": dict(self.served),
            "packages": {package.name: package.version for package in self.packages},
            "python": self.python_version,
            "driver": self.driver,
            "image": self.image,
        }
        return json.dumps(value, sort_keys=True, separators=(",", ":"))

    @property
    def sha256(self) -> str:
        """What tells this fingerprint from every other."""
        return hashlib.sha256(self.document.encode()).hexdigest()

    @property
    def artifact(self) -> Artifact:
        """What stands in for the file of a release."""
        digits = self.sha256
        return Artifact(
            project=self.project,
            # A local part of digits alone is a number to PEP 440, and loses its leading zeros.
            version=str(Version(f"{self.version}+attached.{digits[:_SHOWN_DIGITS]}")),
            filename=f"attached-{digits[:12]}.json",
            sha256=digits,
            url=f"{SCHEME}{self.project}",
            size=len(self.document.encode()),
        )


def is_attached(artifact: Artifact) -> bool:
    """Say whether an artifact is a fingerprint: it cannot be installed, and when it is gone, it is gone."""
    return artifact.url.startswith(SCHEME)


def measures(check: Check, artifact: Artifact) -> bool:
    """Say whether the check measures the artifact: what the owner runs, or what the monitor installs."""
    return (check.engine in ATTACHED_ENGINES) == is_attached(artifact)
