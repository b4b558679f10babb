"""Discover and settle: ask each source what exists, and decide how far each release has come."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from monitor.domain import ReleaseState
from monitor.errors import ArtifactChangedError, SourceError
from monitor.releases import policy
from monitor.releases.policy import Decision
from monitor.releases.projects import PROJECTS
from monitor.settings_tables import SourceSettings
from monitor.steps.station import Station
from monitor.store.queries import releases
from monitor.store.queries.releases import ReleaseRow


@dataclass(frozen=True, slots=True)
class Poll:
    """What one look at a source brought."""

    project: str
    channel: str
    address: str
    found: int
    new: tuple[tuple[str, str], ...]
    withdrawn: int
    error: SourceError | None = None
    """Why it could not be read; what was known stays."""


def discover(station: Station, project: str | None = None) -> list[Poll]:
    """Ask every source (or those of one project) and store what it lists; a dead source stops no other.

    Raises:
        ArtifactChangedError: when a file kept its name and changed its content. Everything else was stored.

    """
    polls = []
    changed: list[tuple[str, str, str]] = []
    for settings in station.settings.sources:
        if project is not None and settings.project != project:
            continue
        source = station.source_of(settings)
        station.progress.stage(f"asking {source.address} for releases of {settings.project}")
        try:
            listed = source.poll()
        except SourceError as error:
            polls.append(Poll(settings.project, settings.channel, source.address, 0, (), 0, error))
            continue
        with station.store.write() as db:
            recorded = releases.record(db, listed, source=source.address, now=station.clock())
        changed += recorded.changed
        polls.append(
            Poll(
                settings.project,
                settings.channel,
                source.address,
                len(listed),
                recorded.new,
                len(recorded.withdrawn),
            )
        )
        settle(station, settings)
    if changed:
        name, old, new = changed[0]
        raise ArtifactChangedError(
            f"{name} is listed with sha256 {new[:12]}…, and was {old[:12]}… when it was first seen.",
            kept="the file as it was first seen; the new one was not stored and is not installed",
            advice="find out who replaced it before you trust this index again",
        )
    return polls


def settle(station: Station, settings: SourceSettings) -> list[Decision]:
    """Decide the state of every stored release of a source, and store it."""
    with station.store.read() as db:
        rows = releases.all_of(db, settings.project)
    known = [row.release for row in rows if row.release.channel == settings.channel and row.release.artifacts]
    decisions = policy.decide(
        known,
        settings,
        now=station.clock(),
        python_version=platform.python_version(),
        first_mtp_version=_first_mtp(settings.project),
    )
    with station.store.write() as db:
        for decision in decisions:
            release = decision.release
            releases.decide(
                db,
                release.project,
                release.version,
                release.channel,
                decision.state,
                decision.reason,
                decision.detail,
            )
    return decisions


def measurable(station: Station, project: str) -> list[Decision]:
    """Return the releases that may be measured here now, oldest first, each with the file to install."""
    settings = station.settings.source(project)
    if settings is None:
        return []
    return [decision for decision in settle(station, settings) if decision.state is ReleaseState.AGED]


def listing(station: Station, project: str | None = None) -> list[ReleaseRow]:
    """Return every stored release with its state."""
    with station.store.read() as db:
        return releases.all_of(db, project)


def _first_mtp(project: str) -> str | None:
    known = PROJECTS.get(project)
    return known.first_mtp_version if known else None
