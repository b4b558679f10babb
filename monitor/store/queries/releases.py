"""Releases and what was decided about them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, or_, select

from monitor.domain import Artifact, Release, ReleaseState, SkipReason, version_order
from monitor.errors import StoreError
from monitor.store.columns import clean
from monitor.store.models import Listing, StoredArtifact, StoredRelease, StoredRun
from monitor.store.queries import artifacts


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """A release with what the monitor decided about it; its artifacts are those still listed."""

    release: Release
    state: ReleaseState
    reason: SkipReason | None
    detail: str
    first_seen_at: datetime
    last_seen_at: datetime
    source: str
    decided_sha256: str | None = None
    """The artifact that was planned or passed over."""


def decide(  # noqa: PLR0917  (the first four name the release, in the order people say them)
    db: Session,
    project: str,
    version: str,
    channel: str,
    state: ReleaseState,
    reason: SkipReason | None = None,
    detail: str = "",
    *,
    sha256: str | None = None,
    by_policy: bool = False,
) -> None:
    """Keep what was decided about a release, and for which artifact (`sha256`).

    What was planned or passed over stays so when the policy, which knows of no runs (`by_policy`), says again
    how old the same artifact is. Another artifact makes the release news again.

    Raises:
        StoreError: when the release was never recorded.

    """
    row = _row(db, project, version, channel)
    if row is None:
        raise StoreError(
            f"Release {project} {version} on {channel} is not in the database.",
            advice="read its source first: mtp-monitor releases --refresh",
        )
    if by_policy:
        early = state in {ReleaseState.SEEN, ReleaseState.SETTLING, ReleaseState.AGED}
        handled = row.decided_sha256 is not None and sha256 in {None, row.decided_sha256}
        if early and handled and row.state in {ReleaseState.PLANNED, ReleaseState.SKIPPED}:
            if row.reason in {None, SkipReason.COALESCED}:
                return
            # It was withdrawn or yanked and has come back: what had been made of it stands.
            if _has_run(db, row.decided_sha256):
                state = ReleaseState.PLANNED
            else:
                state, reason, detail = ReleaseState.SKIPPED, SkipReason.COALESCED, "a newer one was planned"
    else:
        row.decided_sha256 = sha256
    row.state, row.reason, row.detail = state.value, reason.value if reason else None, clean(detail)


def annotate(db: Session, release: Release, *, notes: str, page: str) -> None:
    """Keep what the makers of a release say of it."""
    row = _row(db, release.project, release.version, release.channel)
    if row is not None:
        row.notes, row.page = clean(notes), clean(page)
        db.flush()


def forget_decision(db: Session, project: str, version: str, channel: str) -> None:
    """Make a release news again, for when its file comes back: what was planned for it was called off."""
    row = _row(db, project, version, channel)
    if row is not None:
        row.decided_sha256 = None
        db.flush()


def _has_run(db: Session, sha256: str | None) -> bool:
    made = select(StoredRun.id).join(StoredArtifact, col(StoredRun.artifact_id) == col(StoredArtifact.id))
    return db.exec(made.where(StoredArtifact.sha256 == sha256).limit(1)).first() is not None


def all_of(
    db: Session,
    project: str | None = None,
    *,
    channel: str | None = None,
    since: datetime | None = None,
) -> list[ReleaseRow]:
    """Return the known releases by project, then ascending by version; odd versions come first.

    `since` leaves out what was published before, unless it still waits for a decision.
    """
    rows, listed = select(StoredRelease), select(Listing, StoredArtifact).join(StoredArtifact)
    wanted: list[Any] = []
    if project is not None:
        wanted.append(StoredRelease.project == project)
    if channel is not None:
        wanted.append(StoredRelease.channel == channel)
    if since is not None:
        early = (ReleaseState.SEEN.value, ReleaseState.SETTLING.value, ReleaseState.AGED.value)
        wanted.append(
            or_(
                col(StoredRelease.published_at).is_(None),
                col(StoredRelease.published_at) >= since,
                col(StoredRelease.state).in_(early),
            )
        )
    if wanted:
        rows = rows.where(*wanted)
        listed = listed.join(StoredRelease, col(Listing.release_id) == col(StoredRelease.id)).where(*wanted)
    files: dict[int, list[Artifact]] = defaultdict(list)
    current = listed.where(col(Listing.withdrawn_at).is_(None)).order_by(
        col(Listing.position), col(Listing.id)
    )
    for listing, file in db.exec(current):
        files[listing.release_id].append(artifacts.value(file))
    found = [_release_row(row, files[_id(row)]) for row in db.exec(rows)]
    return sorted(
        found, key=lambda row: (row.release.project, version_order(row.release.version), row.release.channel)
    )


def _release_row(row: StoredRelease, files: list[Artifact]) -> ReleaseRow:
    release = Release(
        row.project, row.version, row.channel, tuple(files), row.published_at, row.notes, row.page
    )
    return ReleaseRow(
        release=release,
        state=ReleaseState(row.state),
        reason=SkipReason(row.reason) if row.reason else None,
        detail=row.detail,
        first_seen_at=row.first_seen_at,
        last_seen_at=row.last_seen_at,
        source=row.source,
        decided_sha256=row.decided_sha256,
    )


def _id(row: StoredRelease) -> int:
    if row.id is None:
        raise AssertionError("a row is used before it was flushed")
    return row.id


def _row(db: Session, project: str, version: str, channel: str) -> StoredRelease | None:
    return db.exec(
        select(StoredRelease).where(
            StoredRelease.project == project,
            StoredRelease.version == version,
            StoredRelease.channel == channel,
        )
    ).first()
