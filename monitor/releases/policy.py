"""Says of each listed release whether it is measured here, and why not.

Pure: releases, settings, a moment and a machine's wheel tags in, decisions out. A decision is made anew
at every look, so a wheel that arrives late or a yank that is taken back changes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from monitor.domain import Artifact, Release, ReleaseState, SkipReason
from monitor.releases.fit import Fit, fit_of
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
    driver: str | None = None,
) -> list[Decision]:
    """Decide each release, in the order given (a source lists them by ascending version).

    `python_version` is that of the environments ("3.11" or "3.11.7"), `platforms` the platform tags from
    best to worst (default: this machine's), `driver` the version of the GPU's driver. In this order a
    release is

    1. skipped as an odd version: not PEP 440, or a pre-release that is not wanted. A local version such
       as `1.2+mine` is a release like any other;
    2. skipped as too old: outside `versions`, or before the project had MTP;
    3. skipped as incomplete: it has no file that can be identified. Within the settle time after its
       publication it settles instead: its files may still be on their way;
    4. skipped as yanked: every file that would install here is;
    5. skipped for want of an artifact, unless a file came within the settle time: then more may come;
    6. settling until `settle_minutes` after its last wanted file and `minimum_age_hours` after that file.
       Without an upload time, or with one in the future, no age is proven;
    7. aged: it may be measured.

    What an attached source lists runs already, so there is nothing to choose or to wait for: it is aged.
    """
    if settings.kind == "attached":
        return [_running(release) for release in releases]
    fit = fit_of(settings, python_version=python_version, platforms=platforms, driver=driver)
    return [_decide(release, settings, fit, now, first_mtp_version) for release in releases]


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


def _decide(
    release: Release,
    settings: SourceSettings,
    fit: Fit,
    now: datetime,
    first_mtp_version: str | None,
) -> Decision:
    unwanted = _unwanted_version(release.version, settings, first_mtp_version)
    if unwanted is not None:
        return _skipped(release, *unwanted)
    if not release.artifacts:
        if _may_come(release.published_at, settings, now):
            return _settling(release, f"still being uploaded; so far {fit.nothing}")
        return _skipped(release, SkipReason.INCOMPLETE, fit.nothing)
    fitting = [item for item in release.artifacts if fit.rank(item) is not None]
    usable = [item for item in fitting if item.yanked is None]
    if not usable:
        return _nothing_usable(release, settings, fit, now, fitting=fitting)
    best = max(usable, key=lambda item: fit.rank(item) or ())
    waiting = _waits_for(fit.awaited(best, release.artifacts), settings, now)
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
    release: Release, settings: SourceSettings, fit: Fit, now: datetime, *, fitting: Sequence[Artifact]
) -> Decision:
    if fitting or all(item.yanked is not None for item in release.artifacts):
        given = {item.yanked for item in fitting or release.artifacts if item.yanked}
        detail = "; ".join(sorted(given)) or "no reason given"
        return _skipped(release, SkipReason.YANKED, detail)
    detail = fit.why_none(release.artifacts)
    last = max((item.uploaded_at for item in release.artifacts if item.uploaded_at), default=None)
    if _may_come(last, settings, now):
        return _settling(release, f"still being uploaded; so far: {detail}")
    return _skipped(release, SkipReason.NO_ARTIFACT, detail)


def _may_come(last: datetime | None, settings: SourceSettings, now: datetime) -> bool:
    return last is not None and now < last + timedelta(minutes=settings.settle_minutes)


def _settling(release: Release, detail: str) -> Decision:
    return Decision(release, ReleaseState.SETTLING, None, detail, None)


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


def _skipped(release: Release, reason: SkipReason, detail: str) -> Decision:
    return Decision(release, ReleaseState.SKIPPED, reason, detail, None)
