"""Says of each listed release whether it is measured here, and why not.

Pure: releases, settings, a moment and a machine's wheel tags in, decisions out. A decision is made anew
at every look, so a wheel that arrives late or a yank that is taken back changes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import compatible_tags, cpython_tags, platform_tags
from packaging.utils import BuildTag, InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from monitor.domain import Artifact, Release, ReleaseState, SkipReason
from monitor.settings_tables import SourceSettings


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done with a release, and why."""

    release: Release
    state: ReleaseState
    reason: SkipReason | None
    """Only of a release that is skipped."""
    detail: str
    """The reason in words, or what is waited for; "" for an aged release."""
    artifact: Artifact | None
    """The one file that would be installed on this machine."""


def decide(
    releases: Sequence[Release],
    settings: SourceSettings,
    *,
    now: datetime,
    python_version: str,
    first_mtp_version: str | None = None,
    platforms: Sequence[str] | None = None,
) -> list[Decision]:
    """Decide each release, in the order given (a source lists them by ascending version).

    `python_version` is that of the environments ("3.11" or "3.11.7"), `platforms` the platform tags from
    best to worst (default: this machine's). In this order a release is

    1. skipped as an odd version: not PEP 440, or a pre-release that is not wanted. A local version such
       as `1.2+mine` is a release like any other;
    2. skipped as too old: outside `versions`, or before the project had MTP;
    3. skipped as incomplete: it has no file that can be identified;
    4. skipped as yanked: every file that would install here is;
    5. skipped for want of an artifact, unless a file came within the settle time: then more may come;
    6. settling until `settle_minutes` after its last wanted file and `minimum_age_hours` after that file.
       Without an upload time, or with one in the future, no age is proven;
    7. aged: it may be measured.

    What an attached source lists runs already, so there is nothing to choose or to wait for: it is aged.
    """
    if settings.kind == "attached":
        return [_running(release) for release in releases]
    machine = _Machine(python_version, platforms)
    return [_decide(release, settings, machine, now, first_mtp_version) for release in releases]


def coalesce(decisions: Sequence[Decision], keep: int) -> list[Decision]:
    """Return the decisions with all aged ones but the last `keep` marked as skipped in their favour."""
    aged = [number for number, item in enumerate(decisions) if item.state is ReleaseState.AGED]
    passed = set(aged[: max(len(aged) - keep, 0)])
    newest = decisions[aged[-1]].release.version if aged and keep > 0 else ""
    detail = f"{newest} is newer" if newest else "nothing is to be measured by itself"
    return [
        replace(item, state=ReleaseState.SKIPPED, reason=SkipReason.COALESCED, detail=detail)
        if number in passed
        else item
        for number, item in enumerate(decisions)
    ]


class _Machine:
    """Which wheels install here, and which of them is the best fit."""

    def __init__(self, python_version: str, platforms: Sequence[str] | None) -> None:
        self.python = Version(python_version)
        pair = self.python.release[:2]
        on = list(platforms) if platforms is not None else list(platform_tags())
        interpreter = "cp" + "".join(str(part) for part in pair)
        tags = [*cpython_tags(pair, platforms=on), *compatible_tags(pair, interpreter, on)]
        # The first place counts: a tag may be generated twice.
        self._rank = {tag: -number for number, tag in reversed(list(enumerate(tags)))}

    def fit(self, artifact: Artifact) -> tuple[int, BuildTag, str] | None:
        """Return a key that is higher for the better of two wheels, or None when it does not install."""
        try:
            _, _, build, tags = parse_wheel_filename(artifact.filename)
        except (InvalidWheelFilename, InvalidVersion):
            return None
        rank = max((self._rank[tag] for tag in tags if tag in self._rank), default=None)
        return None if rank is None else (rank, build, artifact.filename)

    def runs(self, requires_python: str | None) -> bool:
        """Say whether the Python is new enough; a limit nobody can read is none, as pip has it."""
        try:
            return SpecifierSet(requires_python or "").contains(self.python, prereleases=True)
        except InvalidSpecifier:
            return True


def _decide(
    release: Release,
    settings: SourceSettings,
    machine: _Machine,
    now: datetime,
    first_mtp_version: str | None,
) -> Decision:
    unwanted = _unwanted_version(release.version, settings, first_mtp_version)
    if unwanted is not None:
        return _skipped(release, *unwanted)
    if not release.artifacts:
        return _skipped(release, SkipReason.INCOMPLETE, "no file with a sha256 is listed")
    named = [item for item in release.artifacts if _named(item.filename, settings.wanted)]
    fitting = [item for item in named if machine.fit(item) and machine.runs(item.requires_python)]
    usable = [item for item in fitting if item.yanked is None]
    if not usable:
        return _nothing_usable(release, settings, machine, now, named=named, fitting=fitting)
    best = max(usable, key=lambda item: machine.fit(item) or ())
    # Patterns name what a release is complete with; without any, what installs here is what counts.
    awaited = [item for item in named if item.yanked is None] if settings.wanted else usable
    waiting = _waits_for(awaited, settings, now)
    if waiting:
        return Decision(release, ReleaseState.SETTLING, None, waiting, best)
    return Decision(release, ReleaseState.AGED, None, "", best)


def _running(release: Release) -> Decision:
    if not release.artifacts:
        return _skipped(release, SkipReason.INCOMPLETE, "nothing is known of what runs")
    return Decision(release, ReleaseState.AGED, None, "", release.artifacts[0])


def _unwanted_version(
    text: str, settings: SourceSettings, first_mtp_version: str | None
) -> tuple[SkipReason, str] | None:
    try:
        version = Version(text)
    except InvalidVersion:
        return SkipReason.ODD_VERSION, "its version does not follow PEP 440"
    nightly = settings.channel == "nightly"
    if version.is_prerelease and not (settings.include_prereleases or nightly):
        return SkipReason.ODD_VERSION, "a pre-release; `include_prereleases` would follow it"
    if settings.versions and not SpecifierSet(settings.versions).contains(version, prereleases=True):
        return SkipReason.TOO_OLD, f"outside the limits {settings.versions}"
    if first_mtp_version and version < Version(first_mtp_version):
        return SkipReason.TOO_OLD, f"without MTP, which came with {first_mtp_version}"
    return None


def _nothing_usable(
    release: Release,
    settings: SourceSettings,
    machine: _Machine,
    now: datetime,
    *,
    named: Sequence[Artifact],
    fitting: Sequence[Artifact],
) -> Decision:
    if fitting or all(item.yanked is not None for item in release.artifacts):
        given = {item.yanked for item in fitting or release.artifacts if item.yanked}
        detail = "; ".join(sorted(given)) or "no reason given"
        return _skipped(release, SkipReason.YANKED, detail)
    detail = _why_none(release, settings, machine, named)
    last = max((item.uploaded_at for item in release.artifacts if item.uploaded_at), default=None)
    if last is not None and now < last + timedelta(minutes=settings.settle_minutes):
        return Decision(release, ReleaseState.SETTLING, None, f"still being uploaded; so far: {detail}", None)
    return _skipped(release, SkipReason.NO_ARTIFACT, detail)


def _why_none(
    release: Release, settings: SourceSettings, machine: _Machine, named: Sequence[Artifact]
) -> str:
    if not named:
        return f"no file name fits {', '.join(settings.wanted)}"
    if not any(item.filename.endswith(".whl") for item in named):
        return "source only; nothing is built here"
    limits = {item.requires_python for item in named if machine.fit(item)}
    if limits:
        return f"needs Python {' or '.join(sorted(str(limit) for limit in limits))}, not {machine.python}"
    return f"no wheel for this machine among {len(release.artifacts)} files"


def _waits_for(files: Sequence[Artifact], settings: SourceSettings, now: datetime) -> str:
    """Return what the newest of `files` still has to wait for, or "" when it is old enough."""
    moments = [item.uploaded_at for item in files if item.uploaded_at is not None]
    limit = max(timedelta(minutes=settings.settle_minutes), timedelta(hours=settings.minimum_age_hours))
    if len(moments) < len(files):
        # Nobody asked for an age, so none has to be proven.
        return "its source gives no upload time, so its age is not proven" if limit else ""
    last = max(moments)
    if last > now:
        return f"its upload time {last:%Y-%m-%d %H:%M} UTC is in the future"
    if now < last + limit:
        return f"old enough at {last + limit:%Y-%m-%d %H:%M} UTC"
    return ""


def _named(filename: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(filename, pattern) for pattern in patterns)


def _skipped(release: Release, reason: SkipReason, detail: str) -> Decision:
    return Decision(release, ReleaseState.SKIPPED, reason, detail, None)
