"""What two environments differ in, so that a new torch is not blamed on the release under test."""

from __future__ import annotations

from dataclasses import dataclass

from packaging.utils import canonicalize_name

from monitor.domain import Environment, Package


@dataclass(frozen=True, slots=True)
class EnvironmentDifference:
    """Packages of the candidate against those of the reference, each list by name."""

    added: tuple[Package, ...]
    removed: tuple[Package, ...]
    changed: tuple[tuple[Package, Package], ...]
    """(as in the reference, as in the candidate): another version, or another file of the same one."""


def difference(reference: Environment, candidate: Environment) -> EnvironmentDifference:
    """Return what was added, removed and changed from `reference` to `candidate`.

    The released project itself is a package like the others.
    """
    old = {str(canonicalize_name(package.name)): package for package in reference.packages}
    new = {str(canonicalize_name(package.name)): package for package in candidate.packages}
    return EnvironmentDifference(
        added=tuple(new[name] for name in sorted(new.keys() - old.keys())),
        removed=tuple(old[name] for name in sorted(old.keys() - new.keys())),
        changed=tuple(
            (old[name], new[name])
            for name in sorted(old.keys() & new.keys())
            if _differ(old[name], new[name])
        ),
    )


def _differ(old: Package, new: Package) -> bool:
    known = old.sha256 is not None and new.sha256 is not None
    return old.version != new.version or (known and old.sha256 != new.sha256)
