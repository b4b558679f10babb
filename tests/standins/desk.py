"""A source that asks the stand-in of GitHub at a clock of the test's own, made anew for each look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from monitor.domain import Release
from monitor.net import Http
from monitor.releases.assets import patterns_for
from monitor.releases.github.api import GithubApi
from monitor.releases.github.source import GithubReleases
from monitor.settings_tables import SourceSettings
from standins.github import GithubServer

BEGIN = datetime(2026, 11, 1, 12, tzinfo=UTC)


@dataclass
class Clock:
    now: datetime = BEGIN

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()

    def wait(self, **how_long: float) -> None:
        self.now += timedelta(**how_long)


@dataclass
class Desk:
    """A source that asks the stand-in, made anew for each poll: what it knows lies in the folder."""

    github: GithubServer
    clock: Clock
    folder: Path
    http: Http
    token: str | None = None
    source: dict[str, Any] = field(default_factory=dict)
    since: datetime | None = None

    def poll(self, channel: str = "nightly", **changes: Any) -> tuple[Release, ...]:
        given = {"project": "llama.cpp", "kind": "github", "channel": channel, **self.source, **changes}
        settings = SourceSettings(**given)
        github = self.github.settings(**({"token": self.token} if self.token else {}))
        api = GithubApi(github, self.http, folder=self.folder, clock=self.clock)
        source = GithubReleases(settings, api, patterns_for(settings, driver=None, machine="x86_64"))
        try:
            return source.poll()
        finally:
            self.since = source.since

    def builds(self, **changes: Any) -> dict[str, list[str]]:
        return {
            one.version: [artifact.filename for artifact in one.artifacts] for one in self.poll(**changes)
        }


@contextmanager
def open_desk(folder: Path, *, token: str = "", limit: int | None = None, **source: Any) -> Iterator[Desk]:
    clock = Clock()
    with GithubServer(clock, token=token, limit=limit) as github, Http(clock=clock.seconds) as http:
        yield Desk(github, clock, folder, http, token=token or None, source=source)
        assert not github.violations


def asset(build: int, label: str = "ubuntu-x64") -> str:
    return f"llama-b{build}-bin-{label}.tar.gz"


def publish(desk: Desk, *builds: int, minutes: float = 60) -> None:
    for build in builds:
        name = asset(build)
        desk.github.release(
            f"b{build}", files={name: name.encode(), asset(build, "macos-arm64"): b"mac"}, prerelease=True
        )
        desk.clock.wait(minutes=minutes)
