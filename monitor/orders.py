"""Orders: what people ask for beside the daemon's own news: a run, how it stands, a calibration."""

from __future__ import annotations

from dataclasses import replace

from monitor.domain import RunState
from monitor.judge.calibration import Calibration
from monitor.pipeline import RunOutcome, RunRequest, Station, execute, named
from monitor.steps import calibrate as calibrating
from monitor.steps import plan as planning
from monitor.store.queries import judgements, queue, releases, runs
from monitor.store.queries.runs import Run
from monitor.store.transitions import ENDED


def enqueue(station: Station, request: RunRequest) -> Run:
    """Put a run in the queue of the daemon, before what it found by itself, and return it.

    Raises:
        UnknownNameError, HostError: as `run`.

    """
    check, artifact = named(station, request)
    asked = replace(request, priority=planning.ASKED)
    return planning.plan(station, asked, check, artifact, queued=True)


def outcome(station: Station, run_id: int) -> RunOutcome | None:
    """Return how a run of the queue ended, None as long as it has not."""
    with station.store.read() as db:
        found = runs.get(db, run_id)
        if found is None or found.state not in ENDED:
            return None
        artifact = releases.artifact(db, found.artifact_sha256)
        if artifact is None:
            raise AssertionError(f"the artifact of run {run_id} is gone")
        return RunOutcome(found, artifact, judgements.get(db, run_id), reused=False)


def standing(station: Station, run_id: int) -> str:
    """Return in words where a run of the queue stands."""
    with station.store.read() as db:
        found = runs.get(db, run_id)
        if found is None:
            return f"run {run_id} is gone"
        if found.state not in (RunState.PLANNED, RunState.INTERRUPTED):
            return f"run {run_id} is {found.state}"
        before = [item.id for item in queue.waiting(db, station.host.machine_id)]
        place = before.index(run_id) if run_id in before else 0
        why = f": {found.waiting}" if found.waiting else ""
        ahead = f", {place} before it" if place else ""
        return f"run {run_id} is in the queue{ahead}{why}"


def calibrate(station: Station, check_id: str, release: str, *, measurements: int) -> Calibration | None:
    """Measure a release against itself until there are so many measurements, and return what they say.

    What was measured before in this epoch counts. None when a measurement could not be trusted or failed.

    Raises:
        UnknownNameError, HostError, SourceError, ModelError, DiskFullError: as `run`.

    """
    wanted = calibrating.request(check_id, release)
    check, artifact = named(station, wanted)
    found = None
    done = 0
    while done < measurements:
        outcome = execute(station, wanted, check, artifact, planning.plan(station, wanted, check, artifact))
        if outcome.run.state is not RunState.DONE:
            return None
        found = calibrating.refresh(station, check, outcome.run)
        done = len(calibrating.measured(station, outcome.run))
    return found
