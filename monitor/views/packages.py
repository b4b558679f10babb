"""What differs between the packages of two environments, as rows of one table."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.domain import Environment, Package
from monitor.environments.difference import difference


@dataclass(frozen=True, slots=True)
class PackageRow:
    """One package that is not the same on both sides; None where it is not installed."""

    name: str
    reference: Package | None
    candidate: Package | None

    @property
    def what(self) -> str:
        """Return what happened to the package, in one word or a few."""
        if self.reference is None:
            return "added"
        if self.candidate is None:
            return "removed"
        return "changed" if self.reference.version != self.candidate.version else "another file"


def package_rows(reference: Environment, candidate: Environment) -> tuple[PackageRow, ...]:
    """Return the packages that were added, removed or changed, by name."""
    differing = difference(reference, candidate)
    rows = [
        *(PackageRow(package.name, None, package) for package in differing.added),
        *(PackageRow(package.name, package, None) for package in differing.removed),
        *(PackageRow(new.name, old, new) for old, new in differing.changed),
    ]
    return tuple(sorted(rows, key=lambda row: row.name))
