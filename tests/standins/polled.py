"""What a package index lists, read as the monitor reads it."""

from __future__ import annotations

from monitor.domain import Artifact, Release
from monitor.net import Http
from monitor.releases.package_index import PackageIndex
from monitor.settings_tables import SourceSettings
from standins.index import IndexServer


def source(index: IndexServer, **settings: object) -> SourceSettings:
    return SourceSettings.model_validate({"project": "demo", "index_url": index.url} | settings)


def poll(index: IndexServer, http: Http, **settings: object) -> tuple[Release, ...]:
    return PackageIndex(source(index, **settings), http).poll()


def versions(releases: tuple[Release, ...]) -> list[str]:
    return [release.version for release in releases]


def only_artifact(releases: tuple[Release, ...]) -> Artifact:
    (artifact,) = [item for release in releases for item in release.artifacts]
    return artifact
