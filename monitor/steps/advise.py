"""Advise: which release of a project to run here, from everything a check has measured in this epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from sqlmodel import Session as Db

from monitor.domain import (
    Advice,
    BestDraftLength,
    Epoch,
    Exclusion,
    Incident,
    Judgement,
    MeasuredRelease,
    Metric,
    RunState,
    Standing,
    Verdict,
    is_attached,
)
from monitor.judge.advice import choose, is_faster, serving_metric, worth_of
from monitor.judge.metrics import OVERALL
from monitor.judge.policy import JudgingPolicy
from monitor.planted.names import is_planted
from monitor.steps.station import Station
from monitor.store import Subject
from monitor.store.queries import (
    artifacts,
    epochs,
    incidents,
    judgements,
    releases,
    runs,
    series,
    sessions,
    sweeps,
)
from monitor.store.queries.runs import Run

_TIED = (Standing.BEST, Standing.ALIKE, Standing.OPEN)


def advise(station: Station, db: Db, project: str, check_id: str, digest: str) -> Advice | None:
    """Return the advice of a check for a project on this host; None before the first run of an epoch.

    Of each release the newest run counts. What was measured in earlier epochs does not compare, so it is
    neither advised nor excluded.
    """
    machine_id = station.host.machine_id
    epoch = epochs.current(db, machine_id=machine_id, project=project, check_digest=digest)
    if epoch is None:
        return None
    ended = _newest_runs(runs.of_epoch(db, epoch.id))
    channel = _channel(station, project, ended)
    ended = [run for run in ended if run.channel == channel]
    if not ended:
        return None
    judged = judgements.several(db, [run.id for run in ended])
    policy = _policy(station, check_id, judged)
    measured = _measured(station, db, epoch, ended, judged)
    newest = next((release for release in reversed(measured) if release.exclusion is None), None)
    worth = worth_of(*_interval(newest), policy.floor_rate)
    metric = serving_metric(worth)
    faster = partial(_is_faster, db, metric, max(1, len(measured) - 1))
    choice = choose(measured, faster, metric, policy.floor_rate * policy.inner_fraction)
    return Advice(
        project=project,
        check=check_id,
        check_digest=digest,
        channel=channel,
        last_good=choice.last_good,
        fastest=choice.fastest,
        to_run=choice.to_run,
        compared_by=metric,
        worth=worth_of(*_interval(choice.to_run), policy.floor_rate),
        draft_length=_draft_length(station, db, project, digest),
        good_releases=len(measured) - len(choice.excluded),
        newest_is_good=measured[-1].exclusion is None,
        excluded=choice.excluded,
    )


def _draft_length(station: Station, db: Db, project: str, digest: str) -> BestDraftLength | None:
    """Return what the newest sweep of the check says; None without one, or when no cell served."""
    found = sweeps.newest(db, station.host.machine_id, project=project, check_digest=digest)
    if found is None or found.chosen is None:
        return None
    alike = [
        result.cell.name
        for result in found.cells
        if result.standing in _TIED and result.cell.name != found.chosen.name
    ]
    worth = next(result.worth for result in found.cells if result.cell.name == found.chosen.name)
    return BestDraftLength(
        sweep_id=found.id,
        version=found.version,
        draft_length=found.chosen.draft_length,
        options=found.chosen.options,
        current=found.current,
        alike=tuple(alike),
        worth=worth,
    )


def advise_all(station: Station, db: Db, check_id: str | None = None) -> list[Advice]:
    """Return the advice on everything that is followed here, or on what one check measures."""
    found = [advise(station, db, *key) for key in followed(station, db) if check_id in (None, key[1])]
    return [advice for advice in found if advice is not None]


def followed(station: Station, db: Db) -> list[tuple[str, str, str]]:
    """Return (project, check, digest) of what is assigned, then of what was measured and is no more."""
    keys: dict[tuple[str, str], str] = {}
    for project in dict.fromkeys(source.project for source in station.settings.sources):
        for check in station.settings.checks_of(project):
            if check in station.checks:
                keys[project, check] = station.checks[check].digest
    for one in series.all_of(db, station.host.machine_id):
        # With another digest an older series of the check ended; its own page still shows it.
        keys.setdefault((one.project, one.check_id), one.check_digest)
    return [(project, check, digest) for (project, check), digest in keys.items()]


def _newest_runs(found: Iterable[Run]) -> list[Run]:
    """Return the newest ended run of each artifact that is part of the series, in the order of releases."""
    ended = (RunState.DONE, RunState.FAILED, RunState.INVALID)
    newest = {run.artifact_id: run for run in found if run.against == runs.LAST_GOOD and run.state in ended}
    return sorted(newest.values(), key=lambda run: run.place)


def _channel(station: Station, project: str, ended: Sequence[Run]) -> str:
    """Return the channel that is advised about: the first one configured of which something was measured."""
    present = {run.channel for run in ended}
    configured = [source.channel for source in station.settings.sources if source.project == project]
    return next((channel for channel in configured if channel in present), min(present, default=""))


def _policy(station: Station, check_id: str, judged: Mapping[int, Judgement]) -> JudgingPolicy:
    known = station.checks.get(check_id)
    if known is not None:
        return JudgingPolicy().with_overrides(known.judging)
    newest = judged[max(judged)].candidate.judging if judged else None
    return JudgingPolicy().with_overrides(newest)


def _interval(release: MeasuredRelease | None) -> tuple[float | None, float | None]:
    return (release.speedup_low, release.speedup_high) if release is not None else (None, None)


def _is_faster(db: Db, metric: Metric, claims: int, slow: MeasuredRelease, fast: MeasuredRelease) -> bool:
    old, new = (
        sessions.load(db, release.run_id, Subject.CANDIDATE, *sessions.AS_REFERENCE)
        for release in (slow, fast)
    )
    return old is not None and new is not None and is_faster(old, new, metric, claims=claims)


# ---------------------------------------------------------------------------------------------
# What is known of each release


def _measured(
    station: Station, db: Db, epoch: Epoch, ended: Sequence[Run], judged: Mapping[int, Judgement]
) -> list[MeasuredRelease]:
    gone = _gone(db, epoch.project, [run.artifact_sha256 for run in ended])
    live = incidents.live_of_series(
        db, machine_id=station.host.machine_id, project=epoch.project, check_id=ended[0].check_id
    )
    spans = [
        (one, first.place, last.place)
        for one in live
        if one.epoch_id == epoch.id
        and (first := runs.get(db, one.first_bad_run_id)) is not None
        and (last := runs.get(db, one.latest_bad_run_id)) is not None
    ]
    return [
        _release(
            run,
            judged.get(run.id),
            next((one for one, first, last in spans if first <= run.place <= last), None),
            gone.get(run.artifact_sha256),
        )
        for run in ended
    ]


def _release(
    run: Run, judgement: Judgement | None, incident: Incident | None, gone: tuple[Exclusion, str] | None
) -> MeasuredRelease:
    exclusion, detail = _exclusion(run, judgement, incident, gone)
    summaries = judgement.candidate_summary if judgement is not None else ()
    overall = next((summary for summary in summaries if summary.workload == OVERALL), None)
    believed = overall if exclusion is not Exclusion.INVALID else None
    return MeasuredRelease(
        version=run.version,
        sha256=run.artifact_sha256,
        run_id=run.id,
        baseline_rate=believed.baseline_rate if believed else None,
        mtp_rate=believed.mtp_rate if believed else None,
        speedup=believed.speedup if believed else None,
        speedup_low=believed.speedup_low if believed else None,
        speedup_high=believed.speedup_high if believed else None,
        exclusion=exclusion,
        detail=detail,
        incident_id=incident.id if incident is not None else None,
    )


def _exclusion(
    run: Run, judgement: Judgement | None, incident: Incident | None, gone: tuple[Exclusion, str] | None
) -> tuple[Exclusion | None, str]:
    """Return the weightiest reason against a release with its words; (None, "") for none."""
    verdict = judgement.verdict if judgement is not None else Verdict.INVALID
    said = judgement.headline if judgement is not None else run.reason
    rules: tuple[tuple[bool, Exclusion, str], ...] = (
        (is_planted(run.version), Exclusion.PLANTED, "a stand-in of this monitor's, never published"),
        (run.state is RunState.FAILED, Exclusion.FAILED, run.reason),
        (run.state is RunState.INVALID or verdict is Verdict.INVALID, Exclusion.INVALID, said),
        (verdict is Verdict.REGRESSED, Exclusion.REGRESSED, said),
        (incident is not None, Exclusion.INCIDENT, incident.headline if incident is not None else ""),
        (gone is not None, *(gone or (Exclusion.WITHDRAWN, ""))),
        (verdict not in runs.GOOD, Exclusion.UNDECIDED, said),
    )
    return next(((exclusion, detail) for applies, exclusion, detail in rules if applies), (None, ""))


def _gone(db: Db, project: str, shas: Iterable[str]) -> dict[str, tuple[Exclusion, str]]:
    """Return sha256 → why the file is not to be had any more, of those that a source has listed.

    What is attached was never to be had.
    """
    rows = releases.all_of(db, project)
    versions = {row.release.version for row in rows}
    listed = {artifact.sha256: artifact for row in rows for artifact in row.release.artifacts}
    found: dict[str, tuple[Exclusion, str]] = {}
    for sha256 in shas:
        known = listed.get(sha256) or artifacts.with_content(db, sha256)
        if known is None or is_attached(known) or known.version not in versions:
            continue
        if sha256 not in listed:
            found[sha256] = Exclusion.WITHDRAWN, "its source no longer lists it"
        elif known.yanked is not None:
            found[sha256] = Exclusion.YANKED, known.yanked or "its publisher took it back"
    return found
