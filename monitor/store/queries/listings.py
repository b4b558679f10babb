"""What a source lists: recorded with its history, withdrawn when it is missing, never deleted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, or_, select

from monitor.domain import Artifact, Release, ReleaseState, SkipReason
from monitor.store.columns import clean
from monitor.store.models import Listing, StoredArtifact, StoredRelease
from monitor.store.queries import artifacts

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
            namesakes.append(artifacts.new_row(artifact, self._now))
            self._db.add(namesakes[0])
            self._new_artifacts.append(artifact)
        elif namesakes[0].sha256 != artifact.sha256:
            self._changed.append((artifact.filename, namesakes[0].sha256, artifact.sha256))
            return None
        else:
            artifacts.refresh(namesakes[0], artifact)
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
                gone[listing.artifact_id] = artifacts.value(files[listing.artifact_id])
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


def _id(row: StoredRelease | StoredArtifact) -> int:
    if row.id is None:
        raise AssertionError("a row is used before it was flushed")
    return row.id
