"""Environments: what was installed for an artifact, kept after the files are gone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from monitor.domain import Environment, Package
from monitor.store.models import InstalledPackage, StoredArtifact, StoredEnvironment, StoredRun
from monitor.store.queries import artifacts


def save(db: Session, environment: Environment) -> None:
    """Keep an environment. Saved again it only learns where it lies now.

    When something else is installed under its key than before, it was built anew and is kept beside the old
    record, which earlier runs rest on.
    """
    row = current(db, environment.key)
    if row is not None and _same_content(db, row, environment):
        row.path, row.python = str(environment.path), _text(environment.python)
        return
    if row is not None:
        forget(db, environment.key)
    fresh = StoredEnvironment(
        key=environment.key,
        artifact_id=artifacts.keep(db, environment.artifact, now=environment.built_at),
        path=str(environment.path),
        python=_text(environment.python),
        python_version=environment.python_version,
        built_at=environment.built_at,
        reused=environment.reused,
    )
    db.add(fresh)
    db.flush()
    number = fresh.id or 0
    db.add_all(
        InstalledPackage(
            environment_id=number,
            position=position,
            name=package.name,
            version=package.version,
            sha256=package.sha256,
        )
        for position, package in enumerate(environment.packages)
    )


def get(db: Session, key: str) -> Environment | None:
    """Return the environment that lies under `key` now."""
    row = current(db, key)
    return None if row is None else _values(db, [row])[0]


def of_artifact(db: Session, sha256: str) -> list[Environment]:
    """Return the environments of an artifact that still lie on the disk, oldest first."""
    rows = _on_disk().join(StoredArtifact).where(StoredArtifact.sha256 == sha256)
    return _values(db, db.exec(rows).all())


def all_of(db: Session) -> list[Environment]:
    """Return the environments that still lie on the disk, oldest first."""
    return _values(db, db.exec(_on_disk()).all())


def of_run(db: Session, run_id: int) -> Environment | None:
    """Return the environment a run was measured in, also when its files are gone."""
    rows = select(StoredEnvironment).join(
        StoredRun, col(StoredRun.environment_id) == col(StoredEnvironment.id)
    )
    found = _values(db, db.exec(rows.where(StoredRun.id == run_id)).all())
    return found[0] if found else None


def forget(db: Session, key: str) -> None:
    """Note that the environment's files are gone; what was installed stays known to its runs."""
    row = current(db, key)
    if row is not None:
        row.forgotten_at = datetime.now(UTC)
        db.flush()


def current(db: Session, key: str) -> StoredEnvironment | None:
    """Return the row of the environment that lies under `key` now."""
    return db.exec(_on_disk().where(StoredEnvironment.key == key)).first()


def _text(python: Path | None) -> str:
    return str(python) if python is not None else ""


def _on_disk() -> SelectOfScalar[StoredEnvironment]:
    return (
        select(StoredEnvironment)
        .where(col(StoredEnvironment.forgotten_at).is_(None))
        .order_by(col(StoredEnvironment.id))
    )


def _same_content(db: Session, row: StoredEnvironment, environment: Environment) -> bool:
    stored = _values(db, [row])[0]
    return (stored.artifact.sha256, stored.python_version, stored.packages) == (
        environment.artifact.sha256,
        environment.python_version,
        environment.packages,
    )


def _values(db: Session, rows: Iterable[StoredEnvironment]) -> list[Environment]:
    rows = list(rows)
    packages: dict[int, list[Package]] = defaultdict(list)
    installed = select(InstalledPackage).where(
        col(InstalledPackage.environment_id).in_([row.id for row in rows])
    )
    for item in db.exec(installed.order_by(col(InstalledPackage.position))):
        packages[item.environment_id].append(Package(item.name, item.version, item.sha256))
    return [
        Environment(
            key=row.key,
            artifact=artifacts.at(db, row.artifact_id),
            path=Path(row.path),
            python=Path(row.python) if row.python else None,
            python_version=row.python_version,
            packages=tuple(packages[row.id or 0]),
            built_at=row.built_at,
            reused=row.reused,
        )
        for row in rows
    ]
