"""Orders: what people ask for beside the daemon's own news: a run, a calibration, a bisection, a sweep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from monitor import bisect as bisecting
from monitor import sweep as sweeping
from monitor.domain import Bisection, RunState, Sweep, Tier
from monitor.errors import HostError, UnknownNameError
from monitor.judge.calibration import Calibration
from monitor.pipeline import RunOutcome, RunRequest, Station, execute, named, work_off
from monitor.steps import calibrate as calibrating
from monitor.steps import plan as planning
from monitor.steps.sweep import Plan as SweepPlan
from monitor.store.queries import artifacts, bisections, queue, runs, sweeps
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
        artifact = artifacts.with_content(db, found.artifact_sha256)
        if artifact is None:
            raise AssertionError(f"the artifact of run {run_id} is gone")
        return RunOutcome.of(db, found, artifact)


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


# ---------------------------------------------------------------------------------------------
# Bisections


def bisect(
    station: Station, check_id: str, project: str, good: str, bad: str, *, tier: Tier, again: bool = False
) -> Bisection:
    """Return the search between two versions of a project: one that is there, else one begun now.

    Args:
        station: where it is made.
        check_id: the check that shows the loss.
        project: what the versions are of.
        good: VERSION[@sha256-prefix] of a release without the loss.
        bad: of a later one with it.
        tier: how much of the check is run at each step.
        again: begin another although one has found it.

    Raises:
        UnknownNameError: for a check or release that is not known, or in the wrong order.
        HostError: when this machine cannot run the check.

    """
    check = planning.runnable_check(station, check_id, project)
    ends = [planning.resolve(station, f"{project}=={version}") for version in (good, bad)]
    found = bisecting.begin(station, check, *ends, tier=tier, again=again)
    if station.daemon() is not None:
        bisecting.advance(station, found.id, queued=True, reading=False)
    return found


def searched(station: Station, bisection_id: int) -> Iterator[Bisection]:
    """Carry a search out here, yielding how it stands before each run and at its end.

    Raises:
        SourceError, ModelError, DiskFullError, HostError: as `run`. What was answered stays, and the search
            goes on when it is asked for again.

    """
    while (run := bisecting.advance(station, bisection_id, queued=False)) is not None:
        yield bisection(station, bisection_id)
        work_off(station, run)
    yield bisection(station, bisection_id)


def bisection(station: Station, bisection_id: int) -> Bisection:
    """Return a search as it stands.

    Raises:
        UnknownNameError: when there is no such one.

    """
    with station.store.read() as db:
        found = bisections.get(db, bisection_id)
    if found is None:
        raise UnknownNameError(f"There is no bisection {bisection_id}.")
    return found


# ---------------------------------------------------------------------------------------------
# Sweeps


def sweep(station: Station, plan: SweepPlan, release: str, *, again: bool = False) -> Sweep | None:
    """Measure the cells of a sweep on a release (PROJECT==VERSION[@SHA256]) here, and return what was found.

    A finished one is returned as it is unless it is asked for `again`; one that was cut short goes on. None
    when the release does not install or its baseline does not serve: its run says why.

    Raises:
        UnknownNameError, HostError, SourceError, ModelError, DiskFullError: as `run`; HostError also when the
            owner's hours or budget are over, which keeps what is complete.

    """
    return sweeping.carry_out(station, sweeping.begin(station, plan, release, again=again), plan)


def enqueue_sweep(station: Station, plan: SweepPlan, release: str, *, again: bool = False) -> Run:
    """Put a sweep in the queue of the daemon, before what it found by itself, and return its run.

    Raises:
        UnknownNameError, HostError: as `sweep`.

    """
    return sweeping.begin(station, plan, release, again=again, queued=True)


def swept(station: Station, run_id: int) -> Sweep | None:
    """Return what a sweep of the queue found; None when the release does not serve.

    Raises:
        HostError: when it was called off; its run says why.

    """
    with station.store.read() as db:
        run, found = runs.get(db, run_id), sweeps.get(db, run_id)
    if run is not None and run.state in (RunState.CANCELLED, RunState.SKIPPED):
        raise HostError(
            f"The sweep, run {run_id}, is {run.state}: {run.reason}", kept="what is complete of it"
        )
    return found
