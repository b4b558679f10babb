"""Calibrate: measure the same artifact again and again, and keep what it says about the check's noise.

Each measurement is a run of its own that is compared with the first one of the same artifact (an A/A run).
Made on several days, they also tell how much days differ.
"""

from __future__ import annotations

from datetime import timedelta

from monitor.domain import Check, Role, SampleSet
from monitor.judge.calibration import Calibration
from monitor.judge.calibration import calibrate as noise_of
from monitor.judge.policy import JudgingPolicy
from monitor.steps import epochs, plan
from monitor.steps.plan import RunRequest
from monitor.steps.station import Station
from monitor.store import Subject
from monitor.store.queries import calibrations, runs, sessions
from monitor.store.queries.runs import Run

CALIBRATION = "calibration"
"""Who asks for A/A runs."""
_MOST = 20  # measurements that a record rests on; older ones are of another time


def request(check_id: str, release: str, *, channel: str = "stable") -> RunRequest:
    """Return the request for one more A/A measurement of a release (PROJECT==VERSION@SHA256)."""
    return RunRequest(
        check=check_id,
        release=release,
        against=plan.ITSELF,
        confirm=False,
        again=True,
        requested_by=CALIBRATION,
        channel=channel,
    )


def refresh(station: Station, check: Check, run: Run) -> Calibration | None:
    """Make the record anew from the measurements of the run's artifact in its epoch, and keep it.

    None as long as there is only one.
    """
    measurements = measured(station, run)
    if len(measurements) < 2:  # noqa: PLR2004  # one has nothing beside it
        return None
    found = noise_of(measurements, JudgingPolicy().with_overrides(measurements[-1].header.judging))
    with station.store.write() as db:
        calibrations.save(
            db,
            machine_id=station.host.machine_id,
            check_digest=check.digest,
            document=found.document(),
            now=station.clock(),
        )
    return found


def measured(station: Station, run: Run) -> list[SampleSet]:
    """Return the complete measurements of a run's artifact in its epoch, oldest first, at most twenty."""
    with station.store.read() as db:
        alike = [
            other
            for other in runs.repeated(db, run)
            if other.against == plan.ITSELF or other.reference_run_id is None
        ]
        loaded = [sessions.load(db, other.id, Subject.CANDIDATE, Role.SCREEN) for other in alike[-_MOST:]]
    return [item for item in loaded if item is not None]


def plan_scheduled(station: Station) -> list[Run]:
    """Plan an A/A run of each series' reference whose record is older than `calibrate_days`."""
    days = station.settings.schedule.calibrate_days
    planned: list[Run] = []
    if days is None:
        return planned
    for project in dict.fromkeys(source.project for source in station.settings.sources):
        for check_id in station.settings.checks_of(project):
            check = station.checks.get(check_id)
            reference = _reference(station, check, project) if check else None
            if check is None or reference is None or not _is_due(station, check, reference, days):
                continue
            spec = f"{reference.project}=={reference.version}@{reference.artifact_sha256}"
            wanted = request(check.id, spec, channel=reference.channel)
            artifact = plan.resolve(station, spec)
            planned.append(plan.plan(station, wanted, check, artifact, queued=True))
    return planned


def _reference(station: Station, check: Check, project: str) -> Run | None:
    epoch = epochs.current(station, check, project)
    with station.store.read() as db:
        return runs.last_good(db, epoch_id=epoch.id)


def _is_due(station: Station, check: Check, reference: Run, days: float) -> bool:
    with station.store.read() as db:
        made_at = calibrations.made_at(db, machine_id=station.host.machine_id, check_digest=check.digest)
        asked = [run for run in runs.of_epoch(db, reference.epoch_id or 0) if run.against == plan.ITSELF]
    last = max([run.planned_at for run in asked] + ([made_at] if made_at else []), default=None)
    return last is None or station.clock() - last >= timedelta(days=days)
