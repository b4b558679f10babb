"""News: which releases that came of age are planned, which wait, and which are passed over."""

from __future__ import annotations

from datetime import timedelta

from monitor.domain import ReleaseState, RunState, SkipReason, measures
from monitor.errors import HostError, UnknownNameError
from monitor.settings_tables import SourceSettings
from monitor.steps.discover import Settled, settle
from monitor.steps.plan import DAEMON, RunRequest, plan, runnable_check
from monitor.steps.station import Station
from monitor.store.queries import polls, queue, releases, runs
from monitor.store.queries.runs import Run


def plan_news(station: Station) -> list[Run]:
    """Plan the runs of releases that came of age, newest only, and return those that are new in the queue.

    Of each source that has ever answered:

    1. The first time, what exists is history: only the newest release is planned, and before it as many as
       `backfill` says, so that there is a reference from the first day on.
    2. Later every release that came of age since the last look is news. Of several on one stream only the
       newest is planned; the others are skipped as coalesced, where a bisection finds them. One that has a
       run already, because a monitor was killed before it could note that, stays planned.
    3. A file that was not there before, under a version that was planned or passed over, is news as well.
    4. A release that lost its files or was yanked while it waited in the queue is skipped there too.
    5. On a stream with hours between its releases, as nightly ones have, news wait until so long after the
       last one that was planned, and what comes later than a newer one is skipped as coalesced.
    """
    planned: list[Run] = []
    for settings in station.settings.sources:
        with station.store.read() as db:
            state = polls.get(db, settings.project, settings.channel)
        if state is None or state.answered_at is None:
            continue
        decisions = settle(station, settings)
        _drop_lost(station, settings)
        news = [item for item in decisions if item.state is ReleaseState.AGED and not item.handled]
        if settings.hours_between and state.planned_at is not None:
            news = _in_turn(station, settings, decisions, news)
        keep = 1 if state.planned_at is not None else 1 + settings.backfill
        for place, item in enumerate(news):
            if place < len(news) - keep and not _has_runs(station, item):
                _pass_over(station, item, newer=news[-1].decision.release.version)
            else:
                planned += _plan_release(station, item, settings.channel)
        if state.planned_at is None and (news or any(item.handled for item in decisions)):
            with station.store.write() as db:
                polls.planned(db, settings.project, settings.channel, now=station.clock())
    return planned


def _in_turn(
    station: Station, settings: SourceSettings, decisions: list[Settled], news: list[Settled]
) -> list[Settled]:
    """Pass over what comes too late, and return the news if it is time to plan one of them."""
    planned = [place for place, item in enumerate(decisions) if item.handled and item.was_planned]
    newest = planned[-1] if planned else -1
    for item in decisions[:newest]:
        if item in news and not _has_runs(station, item):
            _pass_over(station, item, newer=decisions[newest].decision.release.version)
    news = [item for item in decisions[newest + 1 :] if item in news]
    with station.store.read() as db:
        last = queue.last_planned(
            db, station.host.machine_id, settings.project, settings.channel, requested_by=DAEMON
        )
    due_at = last + timedelta(hours=settings.hours_between) if last is not None else None
    if due_at is None or due_at <= station.clock():
        return news
    for item in news:
        _wait(station, item, f"the newest of this channel is measured at {due_at:%Y-%m-%d %H:%M} UTC")
    return []


def _plan_release(station: Station, item: Settled, channel: str) -> list[Run]:
    artifact = item.decision.artifact
    if artifact is None:
        raise RuntimeError("a release of age has a file to install")
    planned, refusals = [], []
    for check_id in station.settings.checks_of(artifact.project):
        try:
            check = runnable_check(station, check_id, artifact.project)
        except (HostError, UnknownNameError) as error:
            refusals.append(error.what)
            continue
        if not measures(check, artifact):  # a project may be both followed and attached
            continue
        request = RunRequest(
            check=check.id,
            release=f"{artifact.project}=={artifact.version}@{artifact.sha256}",
            requested_by=DAEMON,
            channel=channel,
        )
        planned.append(plan(station, request, check, artifact, queued=True))
    detail = "" if planned else "; ".join(refusals) or "no check is assigned to this project"
    state = ReleaseState.PLANNED if planned else ReleaseState.AGED
    _decide(station, item, state, None, detail, sha256=artifact.sha256 if planned else None)
    return [run for run in planned if run.state is RunState.PLANNED]


def _has_runs(station: Station, item: Settled) -> bool:
    artifact = item.decision.artifact
    if artifact is None:
        return False
    with station.store.read() as db:
        return any(
            run.requested_by == DAEMON and run.artifact_sha256 == artifact.sha256
            for run in queue.waiting(db, station.host.machine_id)
        )


def _wait(station: Station, item: Settled, detail: str) -> None:
    _decide(station, item, ReleaseState.AGED, None, detail, sha256=None)


def _pass_over(station: Station, item: Settled, *, newer: str) -> None:
    sha256 = item.decision.artifact.sha256 if item.decision.artifact else None
    _decide(station, item, ReleaseState.SKIPPED, SkipReason.COALESCED, f"{newer} is newer", sha256=sha256)


def _decide(
    station: Station,
    item: Settled,
    state: ReleaseState,
    reason: SkipReason | None,
    detail: str,
    *,
    sha256: str | None,
) -> None:
    release = item.decision.release
    with station.store.write() as db:
        releases.decide(
            db, release.project, release.version, release.channel, state, reason, detail, sha256=sha256
        )


def _drop_lost(station: Station, settings: SourceSettings) -> None:
    """Skip what waits in the queue and can no longer be installed, and make it news should it come back."""
    with station.store.read() as db:
        if not any(run.project == settings.project for run in queue.waiting(db, station.host.machine_id)):
            return
    with station.store.write() as db:
        lost = {
            row.release.version: row
            for row in releases.all_of(db, settings.project, channel=settings.channel)
            if row.reason in _LOST
        }
        for run in queue.waiting(db, station.host.machine_id):
            row = lost.get(run.version) if run.project == settings.project else None
            if row is None or run.state is not RunState.PLANNED or run.requested_by != DAEMON:
                continue
            runs.set_state(
                db, run.id, RunState.SKIPPED, reason=f"{row.reason}: {row.detail}", now=station.clock()
            )
            releases.forget_decision(db, run.project, run.version, run.channel)


_LOST = (SkipReason.YANKED, SkipReason.WITHDRAWN, SkipReason.NO_ARTIFACT)
