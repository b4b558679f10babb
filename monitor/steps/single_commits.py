"""Single commits: what a search goes on to when every release between its last two has answered.

1. GitHub tells which commits lie between the two, where both are tags or commits. That is asked once.
2. The middle one that has a wheel for this machine comes in between: its wheel is read once, for its sha256,
   and it becomes a release of its channel that is never measured as news.
3. The search visits it as any release, and asks again.

A commit without a wheel is passed over for its neighbours. One whose wheel does not say anything is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from monitor.domain import Answer, Bisection, BisectionState, Release, ReleaseState, SkipReason, Visit
from monitor.domain.commits import Commit, CommitLine, CommitRange, commits_of
from monitor.errors import ArtifactChangedError, CommitUnknownError, MonitorError, SourceError
from monitor.releases.commit_wheels import CommitWheels
from monitor.releases.github.commits import git_ref
from monitor.steps import history
from monitor.steps.station import Station
from monitor.store.queries import bisections, listings, releases

MOST_LOOKED_AT = 32
"""Commits whose wheels are looked up for one step."""
_NEAREST = 12
"""So many of them lie around the middle, the others all over: a day may have passed without any wheel."""
MOST_SILENT = 5
"""Commits of a search that may say nothing (each is read, installed and started) before it ends."""
_PAUSE = timedelta(minutes=10)
"""After GitHub or the place of the wheels has not answered, unless they ask for more."""


def may_go_on(station: Station, found: Bisection) -> bool:
    """Say whether single commits can be looked up for a search whose releases have all said something."""
    good, bad = _ends(found)
    silent = sum(visit.commit is not None and visit.answer is Answer.SKIPPED for visit in found.visits)
    return (
        station.settings.bisect.commits
        and _source(station, found) is not None
        and silent < MOST_SILENT
        and history.is_told_apart(station, found.project, good.version, bad.version)
    )


def is_paused(station: Station, found: Bisection) -> bool:
    """Say whether a search waits before it asks again for what it was not told."""
    until = station.pauses.get(found.id)
    return until is not None and station.clock() < until


def go_on(station: Station, found: Bisection) -> bool:
    """Put the next commit into a search, right where it belongs, and say whether there was one.

    Whatever was done stays: a wheel that was read is remembered before the search knows of it.

    Raises:
        SourceError: GitHub or the place of the wheels did not answer; nothing was changed.
        ArtifactChangedError: a wheel has another content than when it was first seen.
        DiskFullError, HostError: what was read cannot be remembered.

    """
    if not may_go_on(station, found):
        return False
    try:
        line = _line(station, found)
        source = _source(station, found)
        if line is None or source is None:
            return False
        for commit in _in_turn(line):
            station.progress.stage(f"looking for the wheel of {found.project}'s commit {commit.sha[:9]}")
            release = source.of_commit(commit.sha)
            if release is not None and release.artifacts[0].sha256 not in _files(found):
                _put_in(station, found, line, commit, release=release, address=source.address)
                return True
    except MonitorError as error:
        asked = error.retry_after_s if isinstance(error, SourceError) else None
        station.pauses[found.id] = station.clock() + max(_PAUSE, timedelta(seconds=asked or 0.0))
        raise
    return False


def line(station: Station, found: Bisection) -> CommitLine | None:
    """Return the commits a search looks among, as far as GitHub was asked; None before, and where it is not.

    Raises nothing and asks nobody: for pages.
    """
    if not station.settings.bisect.commits or _source(station, found) is None:
        return None
    good, bad = _ends(found)
    known = history.known_commits(station, found.project, good.version, bad.version)
    return _along(found, known) if known is not None else None


def left(station: Station, found: Bisection) -> int | None:
    """Return how many commits may still be visited, None as long as releases may."""
    if found.state is not BisectionState.RUNNING or found.visits[-1].answer is None:
        return None
    visit = found.next_visit
    known = line(station, found) if visit is None or visit.commit is not None else None
    # The one that has come in and has not answered yet is among those to visit.
    return len(known.left) + (visit is not None) if known is not None else None


# ---------------------------------------------------------------------------------------------


def _ends(found: Bisection) -> tuple[Visit, Visit]:
    """Return the releases between which commits come in; they stay while those answer."""
    listed = [visit for visit in found.visits if visit.commit is None]
    good = [visit for visit in listed[:-1] if visit.answer is Answer.GOOD]
    bad = [visit for visit in listed[1:] if visit.answer is Answer.BAD]
    return good[-1] if good else listed[0], bad[0] if bad else listed[-1]


def _source(station: Station, found: Bisection) -> CommitWheels | None:
    """Return the configured source of commits' wheels, before others one of the channel of an end."""
    known = [
        settings
        for settings in station.settings.sources
        if settings.kind == "commit-wheels" and settings.project == found.project
    ]
    channels = {visit.channel for visit in _ends(found)}
    known.sort(key=lambda settings: settings.channel not in channels)
    source = station.source_of(known[0]) if known else None
    return source if isinstance(source, CommitWheels) else None


def _line(station: Station, found: Bisection) -> CommitLine | None:
    good, bad = _ends(found)
    station.progress.stage(f"asking GitHub for the commits between {good.version} and {bad.version}")
    try:
        known = history.commits_between(station, found.project, good.version, bad.version, whole=True)
    except CommitUnknownError:
        return None
    return _along(found, known)


def _along(found: Bisection, known: CommitRange) -> CommitLine | None:
    if not known.is_whole or not known.commits:
        return None
    commits = commits_of(known)
    good, bad = found.last_good, found.first_bad
    places = {visit.artifact_sha256: _place(found, visit, commits) for visit in found.visits}
    first = places[good.artifact_sha256] if good.commit is not None else -1
    last = places[bad.artifact_sha256] if bad.commit is not None else len(commits) - 1
    if first is None or last is None:
        return None  # the history was written anew
    visited = frozenset(place for place in places.values() if place is not None)
    return CommitLine(known, first, last, visited)


def _place(found: Bisection, visit: Visit, commits: tuple[Commit, ...]) -> int | None:
    ref = visit.commit or git_ref(found.project, visit.version)
    if ref is None:
        return None
    return next((place for place, commit in enumerate(commits) if commit.sha.startswith(ref)), None)


def _in_turn(line: CommitLine) -> Iterator[Commit]:
    """Yield the commits whose wheels are looked up for a step: around the middle, then all over."""
    middle = (line.good + line.bad) / 2
    by_distance = sorted(line.left, key=lambda place: (abs(place - middle), place))
    near, far = by_distance[:_NEAREST], by_distance[_NEAREST:]
    most = MOST_LOOKED_AT - _NEAREST
    spread = far if len(far) <= most else [far[round(n * (len(far) - 1) / (most - 1))] for n in range(most)]
    for place in (*near, *spread):
        yield line.commits[place]


def _files(found: Bisection) -> set[str]:
    return {visit.artifact_sha256 for visit in found.visits}


def _put_in(
    station: Station, found: Bisection, line: CommitLine, commit: Commit, *, release: Release, address: str
) -> None:
    """Keep a commit as a release that is no news, and let the search visit it: both or neither."""
    now, artifact = station.clock(), release.artifacts[0]
    own = line.commits.index(commit)
    between = found.visits[found.last_good.place + 1 : found.first_bad.place]
    places = [(visit, _place(found, visit, line.commits)) for visit in between]
    later = (visit for visit, place in places if place is not None and place > own)
    with station.store.write() as db:
        # Nothing else was asked about, so nothing else is missing.
        recorded = listings.record(db, [release], source=address, now=now, since=now)
        if recorded.changed:
            name, old, new = recorded.changed[0]
            raise ArtifactChangedError(
                f"{name} has sha256 {new[:12]}…, and had {old[:12]}… when it was first seen.",
                kept="the search as it was; the file was not installed",
                advice="find out who replaced it before you trust that place again",
            )
        if recorded.new:
            releases.decide(
                db,
                release.project,
                release.version,
                release.channel,
                ReleaseState.SKIPPED,
                SkipReason.COALESCED,
                f"read for bisection {found.id} only",
                sha256=artifact.sha256,
            )
        stop = bisections.Stop(artifact, release.channel)
        # When another process was quicker, the search is looked at again as it is then.
        bisections.insert(db, found, next(later, found.first_bad), stop, commit=commit.sha, now=now)
