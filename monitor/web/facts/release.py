"""One release as its page shows it: its files, what became of it, and what its makers say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from monitor.domain import Artifact
from monitor.errors import UnknownNameError
from monitor.steps.station import Station
from monitor.store.queries import artifacts, releases
from monitor.web.facts.releases import ReleaseLine, release_list
from monitor.web.facts.run_lines import RunLine


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFacts:
    """One version of a project; it may be on several channels."""

    schema: Literal["mtp-monitor/api/release/1"] = "mtp-monitor/api/release/1"
    project: str
    version: str
    channels: list[ReleaseLine]
    runs: list[RunLine]
    """On whichever channel they were planned."""
    files: list[Artifact]
    """Every file ever seen of it, those still listed first."""
    listed: list[str]
    """sha256 of each file that is still listed."""
    notes: str
    """Plain text of its makers, untrusted; empty where none is known."""
    page: str
    """Address of a page about it; empty where there is none."""


def release_facts(station: Station, project: str, version: str) -> ReleaseFacts:
    """Return what is known of a release.

    Raises:
        UnknownNameError: nothing is.

    """
    lines = [line for line in release_list(station, project=project).releases if line.version == version]
    if not lines:
        raise UnknownNameError(
            f"No release {project} {version} is known.", advice="the list of releases has those that are"
        )
    with station.store.read() as db:
        files = artifacts.of_version(db, project, version)
        rows = [row for row in releases.all_of(db, project) if row.release.version == version]
    return ReleaseFacts(
        project=project,
        version=version,
        channels=lines,
        runs=[run for line in lines for run in line.runs],
        files=files,
        listed=sorted({sha256 for line in lines for sha256 in line.artifacts}),
        notes=next((row.release.notes for row in rows if row.release.notes), ""),
        page=next((row.release.page for row in rows if row.release.page), ""),
    )
