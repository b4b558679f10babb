"""The part of `mtp-monitor doctor` that asks the sources, each kind in its own way; nothing is remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitor.cli.findings import Finding, State
from monitor.errors import MonitorError

if TYPE_CHECKING:
    from monitor.domain import Host
    from monitor.settings import Settings, SourceSettings

INDEX_DEADLINE_S = 20.0
_DAYS = 2.0
"""How far back GitHub is asked: each page is a request of those it allows."""
TOPIC = "indexes"


@dataclass(frozen=True, slots=True)
class _Asked:
    settings: Settings
    source: SourceSettings
    host: Host | None


def examine(settings: Settings, source: SourceSettings, host: Host | None) -> Finding:
    """Ask one source and return what was found."""
    name = source.project if source.channel == "stable" else f"{source.project} ({source.channel})"
    try:
        state, text, advice = _KINDS[source.kind](_Asked(settings, source, host))
    except MonitorError as error:
        advice = error.advice or "see the address and the network; known releases stay usable meanwhile"
        return Finding(TOPIC, name, State.WARNING, error.what, advice)
    return Finding(TOPIC, name, state, text, advice)


def _index(asked: _Asked) -> tuple[State, str, str]:
    from monitor.net import Http  # noqa: PLC0415
    from monitor.releases.package_index import PackageIndex  # noqa: PLC0415

    with Http(timeout_s=INDEX_DEADLINE_S) as http:
        index = PackageIndex(asked.source, http)
        releases = index.poll()
    text = f"{len(releases)} releases at {index.address}"
    if releases:
        return State.FINE, f"{text}, newest {releases[-1].version}", ""
    return State.WARNING, text, "see `index_url` and the project's name"


def _github(asked: _Asked) -> tuple[State, str, str]:
    from monitor.net import Http  # noqa: PLC0415
    from monitor.releases.assets import patterns_for  # noqa: PLC0415
    from monitor.releases.github.api import GithubApi  # noqa: PLC0415
    from monitor.releases.github.source import GithubReleases  # noqa: PLC0415
    from monitor.steps.station import now_utc  # noqa: PLC0415

    patterns = patterns_for(asked.source, driver=asked.host.driver if asked.host else None)
    shortened = asked.source.model_copy(update={"history_days": _DAYS})
    with Http(timeout_s=INDEX_DEADLINE_S) as http:
        api = GithubApi(asked.settings.github, http, folder=None, clock=now_utc)
        source = GithubReleases(shortened, api, patterns)
        releases = source.poll()
        left = api.quota_in_words()
    text = f"{len(releases)} releases of the last {_DAYS:g} days at {source.address}"
    with_files = [release for release in releases if release.artifacts]
    if with_files:
        newest = with_files[-1]
        return State.FINE, f"{text}, newest {newest.version} ({newest.artifacts[0].filename}); {left}", ""
    if releases:
        wanted = ", ".join(patterns.wanted)
        return State.WARNING, f"{text}, none with a file like {wanted}; {left}", "see `wanted` of the source"
    return State.NOTE, f"{text}; {left}", ""


def _registry(asked: _Asked) -> tuple[State, str, str]:
    from monitor.net import Http  # noqa: PLC0415
    from monitor.releases.registry import Registry  # noqa: PLC0415
    from monitor.steps.station import now_utc  # noqa: PLC0415

    with Http(timeout_s=INDEX_DEADLINE_S) as http:
        registry = Registry(asked.source, http, folder=None, clock=now_utc)
        releases = registry.poll()
    if releases:
        return (
            State.FINE,
            f"{len(releases)} versions at {registry.address}, newest {releases[-1].version}",
            "",
        )
    return State.WARNING, f"no version at {registry.address}", "see `image` and `tag` of the source"


def _commit_wheels(asked: _Asked) -> tuple[State, str, str]:
    from monitor.net import Http  # noqa: PLC0415
    from monitor.releases.commit_wheels import CommitWheels  # noqa: PLC0415
    from monitor.steps.station import now_utc  # noqa: PLC0415

    with Http(timeout_s=INDEX_DEADLINE_S) as http:
        source = CommitWheels(asked.source, http, folder=None, clock=now_utc)
        newest = source.newest()
    if newest is not None:
        return State.FINE, f"newest at {source.address}: {newest[1]}", ""
    return State.WARNING, f"no wheel for this machine at {source.address}", "see `variant` of the source"


def _attached(asked: _Asked) -> tuple[State, str, str]:
    from monitor.checks import loader  # noqa: PLC0415
    from monitor.steps import attached  # noqa: PLC0415

    now = attached.look(asked.settings, asked.source, loader.load_checks(asked.settings.check_dirs))
    seen = f"{'; '.join(now.engine)}, {len(now.packages)} packages, image {now.image or 'not watched'}"
    return State.FINE, f"{now.artifact.version}: {seen}", ""


_KINDS: dict[str, Callable[[_Asked], tuple[State, str, str]]] = {
    "package-index": _index,
    "github": _github,
    "registry": _registry,
    "commit-wheels": _commit_wheels,
    "attached": _attached,
}
