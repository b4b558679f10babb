"""Sweep: the same steps over draft lengths and options of one release, as one run.

    plan → provision → (baseline and cells in turns → judge)* → advice

`monitor/steps/sweep.py` has the cells and their order. This module says who carries a sweep out and when: it
is begun within the owner's hours and budgets, and stops before the block that would leave them.
"""

from __future__ import annotations

from monitor.dispatch.local import held
from monitor.domain import RunState, Sweep
from monitor.errors import HostError
from monitor.steps import plan as planning
from monitor.steps import sweep as sweeping
from monitor.steps.borrow import borrowed
from monitor.steps.station import Station
from monitor.steps.sweep import Plan
from monitor.steps.tidy import tidy
from monitor.store.queries import runs, sweeps
from monitor.store.queries.runs import Run


def begin(station: Station, plan: Plan, release: str, *, again: bool = False, queued: bool = False) -> Run:
    """Return the run of a sweep on a release (PROJECT==VERSION[@SHA256]), the one that is there or a new one.

    With `queued` it stands in the daemon's queue. A finished one is returned as it is unless it is asked for
    `again`.

    Raises:
        UnknownNameError: for a check or release that is not known.
        HostError: when this machine cannot run the check.

    """
    project, *_ = planning.split_spec(release)
    planning.runnable_check(station, plan.check.id, project)
    artifact = planning.resolve(station, release)
    return sweeping.run_of(station, plan, artifact, again=again, queued=queued)


def is_sweep(run: Run) -> bool:
    """Say whether a run measures the cells of a sweep."""
    return run.against == runs.SWEEP


def carry_out(station: Station, run: Run, plan: Plan | None = None) -> Sweep | None:
    """Measure the cells of a sweep, or go on with it, and return what was found.

    None when the release does not install or its baseline does not serve: its run says why. Without `plan` it
    is what was asked for when the run was planned.

    Raises:
        UnknownNameError: when the check was changed since.
        HostError: when the owner's hours or budget are over, which keeps what is complete.
        HostError, SourceError, ModelError, DiskFullError: as `pipeline.run`.

    """
    if run.state is RunState.DONE:
        with station.store.read() as db:
            return sweeps.get(db, run.id)
    wanted = plan or sweeping.plan_of(station, run)
    artifact = planning.resolve(station, f"{run.project}=={run.version}@{run.artifact_sha256}")

    def may_go_on() -> None:
        # What was measured of this sweep already is part of what was used.
        hold = held(station, run.artifact_id, wanted.minutes(1))
        if hold is not None:
            raise HostError(
                f"The sweep stops here: it {hold.why}.",
                kept="what is complete of it",
                advice="ask for the same sweep again; it goes on where it stopped",
                permanent=False,
            )

    may_go_on()
    with station.measuring(f"a sweep of {wanted.check.id}"), borrowed(station):
        tidy(station)
        return sweeping.sweep(station, wanted, run, artifact, may_go_on)
