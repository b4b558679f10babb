"""Between: every release from a good one to a bad one, in order, wherever they are listed."""

from __future__ import annotations

from collections.abc import Iterator

from monitor.domain import Artifact, ReleaseState, is_attached, version_order
from monitor.errors import UnknownNameError
from monitor.releases.policy import Decision
from monitor.steps import plan
from monitor.steps.discover import settle
from monitor.steps.station import Station
from monitor.store.queries import releases
from monitor.store.queries.bisections import Stop


def between(station: Station, good: Artifact, bad: Artifact) -> list[Stop]:
    """Return the way from the good to the bad release: both ends, and all that may be visited between.

    1. What every source of the project has listed, on whatever channel and of whatever kind (an index, tags,
       a wheel for each commit), also what was passed over as coalesced.
    2. As a last resort what the policy would not measure, because it is yanked, outside the version limits
       or too young, as long as one file of it can be named.

    Raises:
        UnknownNameError: when the good release does not stand before the bad one, or one is attached: what
            ran there cannot be had again.

    """
    if is_attached(good) or is_attached(bad):
        raise UnknownNameError(
            "A bisection installs releases, and what was attached cannot be had again.",
            advice="name releases that a package index lists",
        )
    if good.sha256 == bad.sha256 or version_order(good.version) > version_order(bad.version):
        raise UnknownNameError(
            f"The good release {good.version} does not stand before the bad one, {bad.version}.",
            advice="give the earlier one with --good and the later one with --bad",
        )
    channels = _channels(station, good.project)
    found: dict[str, Stop] = {}
    for decision in _decisions(station, good, bad):
        artifact = decision.artifact
        if artifact is not None and artifact.sha256 not in found:
            late = decision.state is not ReleaseState.AGED
            found[artifact.sha256] = Stop(artifact, decision.release.channel, last_resort=late)
    versions = {stop.artifact.version for stop in found.values()}
    for stop in _last_resorts(station, good, bad, versions):
        found[stop.artifact.sha256] = stop
    ordered = sorted(found.values(), key=lambda stop: version_order(stop.artifact.version))
    ends = [Stop(end, channels.get(end.version, "stable")) for end in (good, bad)]
    return [ends[0], *ordered, ends[1]]


def _channels(station: Station, project: str) -> dict[str, str]:
    with station.store.read() as db:
        return {row.release.version: row.release.channel for row in releases.all_of(db, project)}


def _inside(version: str, good: Artifact, bad: Artifact) -> bool:
    return version_order(good.version) < version_order(version) < version_order(bad.version)


def _decisions(station: Station, good: Artifact, bad: Artifact) -> Iterator[Decision]:
    for settings in station.settings.sources:
        if settings.project != good.project or settings.kind == "attached":
            continue
        listed = [item.decision for item in settle(station, settings)]
        yield from (item for item in listed if _inside(item.release.version, good, bad))


def _last_resorts(station: Station, good: Artifact, bad: Artifact, known: set[str]) -> Iterator[Stop]:
    with station.store.read() as db:
        rows = [
            row
            for row in releases.all_of(db, good.project)
            if row.release.artifacts
            and row.release.version not in known
            and _inside(row.release.version, good, bad)
        ]
    for row in rows:
        try:
            artifact = plan.resolve(station, f"{good.project}=={row.release.version}")
        except UnknownNameError:
            continue  # several files, and none is the one for this machine
        if not is_attached(artifact):
            yield Stop(artifact, row.release.channel, last_resort=True)
