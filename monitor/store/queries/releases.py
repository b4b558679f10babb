"""Releases and their artifacts: recorded with their history, never deleted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, or_, select

from monitor.domain import Artifact, Release, ReleaseState, SkipReason, version_order
from monitor.errors import StoreError
from monitor.store.columns import clean
from monitor.store.models import Listing, StoredArtifact, StoredRelease, StoredRun

Stream = tuple[str, str]
"""(project, channel)"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a look at a source told that was not known."""

    new: tuple[tuple[str, str], ...]
    """(project, version) of releases seen for the first time, in the order the source gave them."""
    new_artifacts: tuple[Artifact, ...]
    """Files never seen before, on new and on known releases."""
    withdrawn: tuple[Artifact, ...]
    """Files that the source listed until now."""
    changed: tuple[tuple[str, str, str], ...]
    """(file name, sha256 it was first seen with, sha256 it has now). The other content is not stored, so
    nothing can install it, and it is told again at every look for as long as the source lists it."""


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


# ---------------------------------------------------------------------------------------------
# Recording


def record(
    db: Session,
    releases: Sequence[Release],
    *,
    source: str,
    now: datetime,
    since: datetime | None = None,
) -> Recorded:
    """Keep what `source` lists at `now`, and say what is new.

    1. Releases and artifacts that are not known are added; known ones get today's facts.
    2. A file this source listed before, on one of the projects and channels it answered for, is withdrawn
       when it is missing now. An empty answer withdraws nothing: it says nothing about any project. Nor is
       anything withdrawn that was published before `since`, for the source did not look so far back.
    3. A file whose name is known with another content is not stored, only told: names never change content.
    4. A release none of whose files is left is skipped as withdrawn; when one comes back it is seen anew.

    An empty tuple of artifacts is fine: such a release exists, but has nothing to install.
    """
    book = _Book(db, releases, source, now, since)
    for release in releases:
        book.note(release)
    db.flush()  # gives the new rows their ids
    return book.close({(release.project, release.channel) for release in releases})


class _Book:
    """All that is known of some projects, loaded at once: a poll brings thousands of files."""

    def __init__(
        self, db: Session, listed: Sequence[Release], source: str, now: datetime, since: datetime | None
    ) -> None:
        projects = sorted({release.project for release in listed})
        self._db, self._source, self._now, self._since = db, source, now, since
        rows = select(StoredRelease).where(col(StoredRelease.project).in_(projects))
        if since is not None:
            # A stream of nightly builds has thousands, and a look is about the last of them.
            recent = or_(col(StoredRelease.published_at).is_(None), col(StoredRelease.published_at) >= since)
            rows = rows.where(or_(recent, col(StoredRelease.version).in_({one.version for one in listed})))
        known = db.exec(rows).all()
        self._releases = {(row.project, row.version, row.channel): row for row in known}
        self._files: dict[tuple[str, str], list[StoredArtifact]] = defaultdict(list)
        files = select(StoredArtifact).where(col(StoredArtifact.project).in_(projects))
        if since is not None:
            names = {artifact.filename for one in listed for artifact in one.artifacts}
            files = files.where(
                or_(
                    col(StoredArtifact.version).in_({row.version for row in known}),
                    col(StoredArtifact.filename).in_(names),
                )
            )
        for file in db.exec(files.order_by(col(StoredArtifact.id))):
            self._files[file.project, file.filename].append(file)
        self._listed: list[tuple[StoredRelease, int, StoredArtifact]] = []
        self._new: list[tuple[str, str]] = []
        self._new_artifacts: list[Artifact] = []
        self._changed: list[tuple[str, str, str]] = []

    def note(self, release: Release) -> None:
        """Keep one release and its artifacts."""
        key = (release.project, release.version, release.channel)
        row = self._releases.get(key)
        if row is None:
            row = StoredRelease(
                project=release.project,
                version=release.version,
                channel=release.channel,
                source=self._source,
                state=ReleaseState.SEEN.value,
                published_at=release.published_at,
                first_seen_at=self._now,
                last_seen_at=self._now,
            )
            self._db.add(row)
            self._releases[key] = row
            self._new.append((release.project, release.version))
        row.source, row.last_seen_at = self._source, self._now
        row.published_at = release.published_at or row.published_at
        row.notes, row.page = clean(release.notes) or row.notes, clean(release.page) or row.page
        for position, artifact in enumerate(release.artifacts):
            file = self._keep(artifact)
            if file is not None:
                self._listed.append((row, position, file))

    def _keep(self, artifact: Artifact) -> StoredArtifact | None:
        namesakes = self._files[artifact.project, artifact.filename]
        if not namesakes:
            namesakes.append(_new_row(artifact, self._now))
            self._db.add(namesakes[0])
            self._new_artifacts.append(artifact)
        elif namesakes[0].sha256 != artifact.sha256:
            self._changed.append((artifact.filename, namesakes[0].sha256, artifact.sha256))
            return None
        else:
            _refresh(namesakes[0], artifact)
        return namesakes[0]

    def close(self, streams: set[Stream]) -> Recorded:
        """Bring the listings up to date and sum up."""
        known: dict[tuple[int, int], Listing] = {}
        by_release: dict[int, list[Listing]] = defaultdict(list)
        for listing in self._db.exec(
            select(Listing).where(col(Listing.release_id).in_([row.id for row in self._releases.values()]))
        ):
            known[listing.release_id, listing.artifact_id] = listing
            by_release[listing.release_id].append(listing)
        seen: set[tuple[int, int]] = set()
        for release, position, file in self._listed:
            key = (_id(release), _id(file))
            seen.add(key)
            if key not in known:
                known[key] = Listing(
                    release_id=key[0], artifact_id=key[1], source=self._source, position=position
                )
                self._db.add(known[key])
                by_release[key[0]].append(known[key])
            listing = known[key]
            listing.source, listing.position, listing.withdrawn_at = self._source, position, None
        withdrawn = [
            known[release, file]
            for release, file in known.keys() - seen
            if known[release, file].withdrawn_at is None and known[release, file].source == self._source
        ]
        return Recorded(
            new=tuple(self._new),
            new_artifacts=tuple(self._new_artifacts),
            withdrawn=self._withdraw(withdrawn, by_release, streams),
            changed=tuple(dict.fromkeys(self._changed)),
        )

    def _withdraw(
        self, missing: Iterable[Listing], by_release: dict[int, list[Listing]], streams: set[Stream]
    ) -> tuple[Artifact, ...]:
        files = {_id(file): file for namesakes in self._files.values() for file in namesakes}
        gone: dict[int, Artifact] = {}
        answered = {
            _id(row): row
            for row in self._releases.values()
            if (row.project, row.channel) in streams and self._was_asked_about(row)
        }
        for listing in missing:
            if listing.release_id in answered:
                listing.withdrawn_at = self._now
                gone[listing.artifact_id] = _artifact(files[listing.artifact_id])
        for number, row in answered.items():
            listings = by_release[number]
            if listings and all(listing.withdrawn_at is not None for listing in listings):
                if row.state != ReleaseState.SKIPPED or row.reason != SkipReason.WITHDRAWN:
                    row.state, row.reason = ReleaseState.SKIPPED.value, SkipReason.WITHDRAWN.value
                    row.detail = "its source lists none of its files any more"
            elif row.reason == SkipReason.WITHDRAWN:
                row.state, row.reason, row.detail = ReleaseState.SEEN.value, None, ""
        return tuple(gone[number] for number in sorted(gone))

    def _was_asked_about(self, row: StoredRelease) -> bool:
        return self._since is None or row.published_at is None or row.published_at >= self._since


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
        row = _new_row(artifact, now)
        db.add(row)
        db.flush()
    return _id(row)


# ---------------------------------------------------------------------------------------------
# Deciding


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
    row = db.exec(
        select(StoredRelease).where(
            StoredRelease.project == project,
            StoredRelease.version == version,
            StoredRelease.channel == channel,
        )
    ).first()
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
    row = db.exec(
        select(StoredRelease).where(
            StoredRelease.project == release.project,
            StoredRelease.version == release.version,
            StoredRelease.channel == release.channel,
        )
    ).first()
    if row is not None:
        row.notes, row.page = clean(notes), clean(page)
        db.flush()


def forget_decision(db: Session, project: str, version: str, channel: str) -> None:
    """Make a release news again, for when its file comes back: what was planned for it was called off."""
    row = db.exec(
        select(StoredRelease).where(
            StoredRelease.project == project,
            StoredRelease.version == version,
            StoredRelease.channel == channel,
        )
    ).first()
    if row is not None:
        row.decided_sha256 = None
        db.flush()


def _has_run(db: Session, sha256: str | None) -> bool:
    made = select(StoredRun.id).join(StoredArtifact, col(StoredRun.artifact_id) == col(StoredArtifact.id))
    return db.exec(made.where(StoredArtifact.sha256 == sha256).limit(1)).first() is not None


# ---------------------------------------------------------------------------------------------
# Asking


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
    artifacts: dict[int, list[Artifact]] = defaultdict(list)
    current = listed.where(col(Listing.withdrawn_at).is_(None)).order_by(
        col(Listing.position), col(Listing.id)
    )
    for listing, file in db.exec(current):
        artifacts[listing.release_id].append(_artifact(file))
    found = [_release_row(row, artifacts[_id(row)]) for row in db.exec(rows)]
    return sorted(
        found, key=lambda row: (row.release.project, version_order(row.release.version), row.release.channel)
    )


def artifacts_of(db: Session, project: str, version: str) -> list[Artifact]:
    """Return every file ever seen of a version: those still listed first, then by first sight."""
    files = db.exec(
        select(StoredArtifact)
        .where(StoredArtifact.project == project, StoredArtifact.version == version)
        .order_by(col(StoredArtifact.id))
    ).all()
    listed = _listed(db, [_id(file) for file in files])
    return [_artifact(file) for file in sorted(files, key=lambda file: file.id not in listed)]


def artifact(db: Session, sha256: str) -> Artifact | None:
    """Return the file with this content; of several names for it, one that is still listed, newest first."""
    files = db.exec(
        select(StoredArtifact).where(StoredArtifact.sha256 == sha256).order_by(col(StoredArtifact.id).desc())
    ).all()
    listed = _listed(db, [_id(file) for file in files])
    best = sorted(files, key=lambda file: file.id not in listed)
    return _artifact(best[0]) if best else None


def artifact_at(db: Session, number: int) -> Artifact:
    """Return the artifact in row `number`, which another table points to."""
    return _artifact(db.get_one(StoredArtifact, number))


def _listed(db: Session, artifact_ids: list[int]) -> set[int]:
    return set(
        db.exec(
            select(Listing.artifact_id).where(
                col(Listing.artifact_id).in_(artifact_ids), col(Listing.withdrawn_at).is_(None)
            )
        )
    )


# ---------------------------------------------------------------------------------------------
# Rows and values


def _new_row(artifact: Artifact, now: datetime) -> StoredArtifact:
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


def _refresh(row: StoredArtifact, artifact: Artifact) -> None:
    row.url, row.yanked = artifact.url, artifact.yanked
    # A plain page knows less than the JSON API; what was once known of the same content stays true.
    row.size = row.size if artifact.size is None else artifact.size
    row.requires_python = artifact.requires_python or row.requires_python
    row.uploaded_at = artifact.uploaded_at or row.uploaded_at


def _artifact(row: StoredArtifact) -> Artifact:
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


def _release_row(row: StoredRelease, artifacts: list[Artifact]) -> ReleaseRow:
    release = Release(
        row.project, row.version, row.channel, tuple(artifacts), row.published_at, row.notes, row.page
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


def _id(row: StoredRelease | StoredArtifact) -> int:
    if row.id is None:
        raise AssertionError("a row is used before it was flushed")
    return row.id
