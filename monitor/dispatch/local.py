"""Dispatch on this machine: one run after another, within the owner's hours and budgets."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitor.dispatch import holds
from monitor.dispatch.base import Executor
from monitor.domain import Check, RunState
from monitor.errors import GpuBusyError, MonitorError, UnknownNameError
from monitor.steps import gpu
from monitor.steps.states import MONITOR
from monitor.steps.station import Station
from monitor.steps.tidy import drop_spool
from monitor.store.queries import attempts, checks, queue, runs
from monitor.store.queries.runs import Run

_BACK_OFF = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=8),
)
_BUSY_WAIT = timedelta(seconds=30)
_GPU_WAIT = timedelta(minutes=5)
"""Until a GPU is looked at again that is in quarantine, or was in use after `host.before`."""
_DAY = timedelta(days=1)


class LocalDispatcher:
    """The queue of this host, worked off in this process."""

    def __init__(self, station: Station) -> None:
        self._station = station

    def next(self) -> Run | None:
        """Return the run whose turn it is, None when none may be begun now; why not is noted on each."""
        station = self._station
        with station.store.read() as db:
            queued = queue.waiting(db, station.host.machine_id)
        for run in queued:
            if run.due_at is not None and run.due_at <= station.clock() and self._may_begin(run):
                return run
        return None

    def work(self, execute: Executor) -> int:
        """Carry out one run after another until none may be begun now, and return how many were."""
        done = 0
        while (run := self.next()) is not None:
            done += 1
            try:
                execute(run)
            except MonitorError as error:
                self._put_off(run, error)
        return done

    def _may_begin(self, run: Run) -> bool:
        station, now = self._station, self._station.clock()
        with station.store.read() as db:
            tried = attempts.fruitless(db, run.id)
        if tried >= station.settings.schedule.attempts:
            self._give_up(run, f"interrupted {tried} times without one complete session: {run.reason}")
            return False
        if (why := gpu.held(station, _check_of(station, run))) is not None:
            with station.store.write() as db:
                queue.put_off(db, run.id, why=why, due_at=now + _GPU_WAIT)
            return False
        hold = holds.hold(station.settings.host, self._usage(run, now), now=_local(now))
        if hold is None:
            return True
        with station.store.write() as db:
            if hold.until is None:
                runs.set_state(db, run.id, RunState.CANCELLED, reason=hold.why, now=now)
            else:
                queue.put_off(db, run.id, why=hold.why, due_at=hold.until)
        return False

    def _usage(self, run: Run, now: datetime) -> holds.Usage:
        return usage(self._station, run.artifact_id, _estimate(self._station, run), now)

    def _put_off(self, run: Run, error: MonitorError) -> None:
        """Give an interrupted run another turn later; one that was not begun waits where it is."""
        station, now = self._station, self._station.clock()
        with station.store.read() as db:
            current = runs.get(db, run.id)
            tried = attempts.fruitless(db, run.id)
        if current is None:
            return
        if isinstance(error, UnknownNameError) and error.permanent:
            self._give_up(current, error.what)
            return
        begun = current.state is RunState.INTERRUPTED
        wait = _BACK_OFF[min(max(tried, 1), len(_BACK_OFF)) - 1] if begun else _BUSY_WAIT
        if isinstance(error, GpuBusyError):
            wait = max(wait, _GPU_WAIT)
        with station.store.write() as db:
            queue.put_off(db, run.id, why=error.what, due_at=now + wait)

    def _give_up(self, run: Run, why: str) -> None:
        now = self._station.clock()
        with self._station.store.write() as db:
            if run.state is RunState.PLANNED:
                runs.set_state(db, run.id, RunState.CANCELLED, stage=MONITOR, reason=why, now=now)
            else:
                runs.set_state(
                    db, run.id, RunState.FAILED, stage=MONITOR, reason=why, permanent=False, now=now
                )
        drop_spool(self._station, run.id)


def usage(station: Station, artifact_id: int, estimate: float, now: datetime) -> holds.Usage:
    """Return what was measured here and of a release, beside the minutes that are expected to follow."""
    machine = station.host.machine_id
    with station.store.read() as db:
        return holds.Usage(
            estimate=estimate,
            last_day=queue.minutes_used(db, machine, since=now - _DAY, now=now),
            on_release=queue.minutes_used(db, machine, since=None, now=now, artifact_id=artifact_id),
        )


def held(station: Station, artifact_id: int, estimate: float) -> holds.Hold | None:
    """Return what holds up work that is to begin now, None when it may."""
    now = station.clock()
    return holds.hold(station.settings.host, usage(station, artifact_id, estimate, now), now=_local(now))


def held_onward(station: Station, run: Run) -> holds.Hold | None:
    """Return what holds up one more block of a run that has its verdict, None when nothing does.

    What its release still waits for comes first: a budget that optional sessions used up would call it off.
    """
    with station.store.read() as db:
        others = queue.unfinished_of_artifact(db, station.host.machine_id, run.artifact_id)
    estimate = sum(_estimate(station, one) for one in (run, *(one for one in others if one.id != run.id)))
    return held(station, run.artifact_id, estimate)


def _estimate(station: Station, run: Run) -> float:
    check = _check_of(station, run)
    return check.estimate_minutes.get(run.tier.value, 0.0) if check else 0.0


def _check_of(station: Station, run: Run) -> Check | None:
    """Return the check of a run; that of a sweep is in no file."""
    if (check := station.checks.get(run.check_id)) is not None:
        return check
    with station.store.read() as db:
        return checks.get(db, run.check_digest)


def _local(now: datetime) -> datetime:
    return now.astimezone()
