"""Which source asks what: one entry a kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from monitor.domain import Check, Host
from monitor.net import Http
from monitor.releases.assets import patterns_for
from monitor.releases.attached import AttachedSource
from monitor.releases.base import Source
from monitor.releases.commit_wheels import CommitWheels
from monitor.releases.github.api import GithubApi
from monitor.releases.github.source import GithubReleases
from monitor.releases.package_index import PackageIndex
from monitor.releases.registry import Registry
from monitor.settings import Settings
from monitor.settings_tables import SourceSettings
from monitor.steps import attached


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a source may need to ask and to remember."""

    settings: Settings
    http: Http
    host: Host
    checks: dict[str, Check]
    clock: Callable[[], datetime]
    memory: Path | None
    """Folder in which sources remember what they read; None: they do not."""

    @property
    def github(self) -> GithubApi:
        """GitHub as this monitor may ask it."""
        return GithubApi(self.settings.github, self.http, folder=self.memory, clock=self.clock)


def source_of(settings: SourceSettings, around: Surroundings) -> Source:
    """Return what reads the releases of one source.

    Raises:
        ConfigurationError: something is missing without which it cannot be asked.

    """
    return _SOURCES[settings.kind](settings, around)


def _package_index(settings: SourceSettings, around: Surroundings) -> Source:
    return PackageIndex(settings, around.http)


def _github(settings: SourceSettings, around: Surroundings) -> Source:
    return GithubReleases(settings, around.github, patterns_for(settings, driver=around.host.driver))


def _registry(settings: SourceSettings, around: Surroundings) -> Source:
    return Registry(settings, around.http, folder=around.memory, clock=around.clock)


def _commit_wheels(settings: SourceSettings, around: Surroundings) -> Source:
    return CommitWheels(settings, around.http, folder=around.memory, clock=around.clock)


def _attached(settings: SourceSettings, around: Surroundings) -> Source:
    return AttachedSource(settings, partial(attached.look, around.settings, settings, around.checks))


_SOURCES: dict[str, Callable[[SourceSettings, Surroundings], Source]] = {
    "package-index": _package_index,
    "github": _github,
    "registry": _registry,
    "commit-wheels": _commit_wheels,
    "attached": _attached,
}
