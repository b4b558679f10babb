"""Artifacts: the files of releases, told apart by their content, never deleted."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, col, select

from monitor.domain import Artifact
from monitor.store.models import Listing, StoredArtifact


def keep(db: Session, artifact: Artifact, *, now: datetime) -> int:
    """Return the row id of `artifact`, recorded without a release when no source ever listed it."""
    row = db.exec(
        select(StoredArtifact).where(
            StoredArtifact.project == artifact.project,
            StoredArtifact.filename == artifact.filename,
            StoredArtifact.sha256 == artifact.sha256,
        )
    ).first()
    if row is None:
        row = new_row(artifact, now)
        db.add(row)
        db.flush()
    return _id(row)


def of_version(db: Session, project: str, version: str) -> list[Artifact]:
    """Return every file ever seen of a version: those still listed first, then by first sight."""
    files = db.exec(
        select(StoredArtifact)
        .where(StoredArtifact.project == project, StoredArtifact.version == version)
        .order_by(col(StoredArtifact.id))
    ).all()
    listed = _listed(db, [_id(file) for file in files])
    return [value(file) for file in sorted(files, key=lambda file: file.id not in listed)]


def with_content(db: Session, sha256: str) -> Artifact | None:
    """Return the file with this content; of several names for it, one that is still listed, newest first."""
    files = db.exec(
        select(StoredArtifact).where(StoredArtifact.sha256 == sha256).order_by(col(StoredArtifact.id).desc())
    ).all()
    listed = _listed(db, [_id(file) for file in files])
    best = sorted(files, key=lambda file: file.id not in listed)
    return value(best[0]) if best else None


def at(db: Session, number: int) -> Artifact:
    """Return the artifact in row `number`, which another table points to."""
    return value(db.get_one(StoredArtifact, number))


def new_row(artifact: Artifact, now: datetime) -> StoredArtifact:
    """Return the row of a file that was never seen before."""
    return StoredArtifact(
        project=artifact.project,
        version=artifact.version,
        filename=artifact.filename,
        sha256=artifact.sha256,
        url=artifact.url,
        size=artifact.size,
        requires_python=artifact.requires_python,
        uploaded_at=artifact.uploaded_at,
        yanked=artifact.yanked,
        first_seen_at=now,
    )


def refresh(row: StoredArtifact, artifact: Artifact) -> None:
    """Bring the row of a known file up to what its source says now."""
    row.url, row.yanked = artifact.url, artifact.yanked
    # A plain page knows less than the JSON API; what was once known of the same content stays true.
    row.size = row.size if artifact.size is None else artifact.size
    row.requires_python = artifact.requires_python or row.requires_python
    row.uploaded_at = artifact.uploaded_at or row.uploaded_at


def value(row: StoredArtifact) -> Artifact:
    """Return the artifact that a row stands for."""
    return Artifact(
        project=row.project,
        version=row.version,
        filename=row.filename,
        sha256=row.sha256,
        url=row.url,
        size=row.size,
        requires_python=row.requires_python,
        uploaded_at=row.uploaded_at,
        yanked=row.yanked,
    )


def _listed(db: Session, artifact_ids: list[int]) -> set[int]:
    return set(
        db.exec(
            select(Listing.artifact_id).where(
                col(Listing.artifact_id).in_(artifact_ids), col(Listing.withdrawn_at).is_(None)
            )
        )
    )


def _id(row: StoredArtifact) -> int:
    if row.id is None:
        raise AssertionError("a row is used before it was flushed")
    return row.id
