"""Makes releases of what a GitHub repository lists."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus

from monitor.domain import Artifact, Release, version_order
from monitor.errors import ConfigurationError
from monitor.net import refused
from monitor.releases.assets import AssetPatterns
from monitor.releases.github.api import GithubApi, lied
from monitor.releases.github.ledger import Ledger, opened
from monitor.releases.github.repository import Repository
from monitor.releases.github.schema import Asset, GithubRelease
from monitor.releases.listing import normalised
from monitor.releases.projects import PROJECTS
from monitor.settings_tables import SourceSettings

_STILL_COMING = timedelta(hours=6)
"""So long after its publication a release without its files is looked at with every poll."""
_PROMOTION_BYTES, _PROMOTION_DEADLINE_S = 4096, 30.0


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a repository names its releases, and which of them are on which channel."""

    tag: re.Pattern[str]
    """The tags of releases that have files; the group is the version."""
    promotion: str | None
    """The file that makes a release the promotion of another: it holds that one's tag. None where there are
    no promotions: then every release is stable that is no pre-release."""
    promoted: re.Pattern[str] | None = None
    """The tags of promotions."""


SCHEMES = {
    # Since August 2026 every build is a pre-release, and what is called latest has no files but this one:
    # https://github.com/ggml-org/llama.cpp/pull/27485
    "llama.cpp": Scheme(re.compile(r"b(\d+)"), "nightly-tag.txt", re.compile(r"v\d+(\.\d+)+")),
}
"""Project → its scheme; others have `_USUAL`."""
_USUAL = Scheme(re.compile(r"v?(\d.*)"), None)


class GithubReleases:
    """The releases of one channel of a repository; a `Source` (see `monitor/releases/base.py`)."""

    def __init__(self, settings: SourceSettings, api: GithubApi, patterns: AssetPatterns) -> None:
        """Take what is to be read.

        Raises:
            ConfigurationError: the project has no repository of its own, and none is named.

        """
        self.project = settings.project
        self.channel: str = settings.channel
        self.since: datetime | None = None
        self._settings = settings
        self._api = api
        self._patterns = patterns
        self._scheme = SCHEMES.get(settings.project, _USUAL)
        self._repository = Repository(api, _repository_of(settings))

    @property
    def address(self) -> str:
        """The page of the repository's releases."""
        return f"{self._api.settings.web_url}/{self._repository.name}/releases"

    def poll(self) -> tuple[Release, ...]:
        """Return the releases of the channel, as far back as they are read; see `Source.poll`.

        Raises:
            SourceError: GitHub could not be asked, or its limits forbid it.
            SourceLiedError: it answered with something else than releases.

        """
        now = self._api.clock()
        horizon = now - timedelta(days=self._settings.history_days)
        with opened(self._api.folder, self._repository.name, self._api.owner) as ledger:
            self._repository.look(
                ledger,
                since=horizon,
                is_young_and_incomplete=lambda release: self._is_awaited(release, now),
            )
            found = list(self._promoted(ledger) if self._is_promoted else self._built(ledger))
        self.since = max(horizon, ledger.reaches or horizon)
        recent = [one for one in found if one.published_at is None or one.published_at >= self.since]
        return tuple(sorted(recent, key=lambda release: version_order(release.version)))

    @property
    def _is_promoted(self) -> bool:
        return self.channel == "stable" and self._scheme.promotion is not None

    def _is_awaited(self, release: GithubRelease, now: datetime) -> bool:
        """Say whether a young release has none of its wanted files yet, or one of them only in part."""
        if release.published_at is None or now - release.published_at > _STILL_COMING:
            return False
        if self._scheme.tag.fullmatch(release.tag_name):
            wanted = [asset for asset in release.assets if self._patterns.belongs(asset.name)]
            return not wanted or any(asset.sha256 is None for asset in wanted)
        return self._is_promotion(release) and _named(release, str(self._scheme.promotion)) is None

    # -----------------------------------------------------------------------------------------
    # Channels

    def _built(self, ledger: Ledger) -> Iterator[Release]:
        """Yield what is released under its own tag: builds of llama.cpp, versions elsewhere."""
        stable_only = self.channel == "stable" and not self._settings.include_prereleases
        for release in _newest_of_each_tag(ledger.releases.values()):
            if self._is_promotion(release) or (stable_only and release.prerelease):
                continue
            yield self._release(release, release)

    def _promoted(self, ledger: Ledger) -> Iterator[Release]:
        """Yield the builds that were promoted; a build that was promoted twice once, as of the first time."""
        first: dict[str, Release] = {}
        for release in sorted(ledger.releases.values(), key=lambda one: one.published_at or one.created_at):
            asset = _named(release, str(self._scheme.promotion))
            if release.prerelease or asset is None or not self._is_promotion(release):
                continue
            tag = self._tag_in(ledger, asset)
            build = self._repository.with_tag(ledger, tag) if tag else None
            # What cannot be read or is not there stays visible, as a version that nobody can order.
            found = (
                self._release(build, release)
                if build
                else Release(self.project, f"{release.tag_name} of {tag or 'what'}?", self.channel, ())
            )
            first.setdefault(found.version, found)
        yield from first.values()

    def _is_promotion(self, release: GithubRelease) -> bool:
        return self._scheme.promoted is not None and bool(self._scheme.promoted.fullmatch(release.tag_name))

    def _tag_in(self, ledger: Ledger, asset: Asset) -> str:
        """Return the tag that a promotion names, "" when what it holds is no tag of a build."""
        key = f"{asset.id} {asset.digest}"
        if key not in ledger.promoted:
            reply = self._api.http.get(
                asset.browser_download_url,
                max_bytes=_PROMOTION_BYTES,
                deadline_s=_PROMOTION_DEADLINE_S,
                hosts=self._api.settings.download_hosts,
            )
            if reply.status != HTTPStatus.OK:
                raise refused(reply.status, asset.browser_download_url, reply.retry_after_s)
            if hashlib.sha256(reply.body).hexdigest() != asset.sha256:
                raise lied(asset.browser_download_url, "sent something else than its digest promises")
            text = reply.body.decode("ascii", "replace").strip()
            ledger.promoted[key] = text if self._scheme.tag.fullmatch(text) else ""
        return ledger.promoted[key]

    # -----------------------------------------------------------------------------------------

    def _release(self, files: GithubRelease, told: GithubRelease) -> Release:
        """Return the release that has the files of one GitHub release and the notes and date of another."""
        match = self._scheme.tag.fullmatch(files.tag_name)
        version = normalised(match[1]) if match else files.tag_name
        notes = told.body if files is told else f"{told.tag_name} promotes {files.tag_name}\n\n{told.body}"
        artifacts = [
            Artifact(
                project=self.project,
                version=version,
                filename=asset.name,
                sha256=asset.sha256,
                url=asset.browser_download_url,
                size=asset.size,
                uploaded_at=asset.updated_at,
            )
            for asset in files.assets
            if asset.sha256 is not None and self._patterns.belongs(asset.name)
        ]
        return Release(
            project=self.project,
            version=version,
            channel=self.channel,
            artifacts=tuple(sorted(artifacts, key=lambda item: item.filename)),
            published_at=told.published_at,
            notes=notes.strip(),
            page=told.html_url if told.html_url.startswith(f"{self._api.settings.web_url}/") else "",
        )


def _repository_of(settings: SourceSettings) -> str:
    known = PROJECTS.get(settings.project)
    repository = settings.repository or (known.repository if known else None)
    if repository is None:
        raise ConfigurationError(
            f"Nobody knows the GitHub repository of {settings.project}.",
            advice='name it in its source: repository = "OWNER/NAME"',
        )
    return repository


def _newest_of_each_tag(releases: Iterable[GithubRelease]) -> Iterable[GithubRelease]:
    """Return one release a tag: one that was deleted and made again may still be remembered."""
    newest: dict[str, GithubRelease] = {}
    for release in sorted(releases, key=lambda one: (one.published_at or one.created_at, one.id)):
        newest[release.tag_name] = release
    return newest.values()


def _named(release: GithubRelease, name: str) -> Asset | None:
    return next((asset for asset in release.assets if asset.name == name and asset.sha256), None)
