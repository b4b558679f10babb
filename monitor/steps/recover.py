"""Recover: what a killed monitor left, put in order before anything else happens."""

from __future__ import annotations

from monitor.domain import RunState
from monitor.steps.borrow import give_back
from monitor.steps.states import end_with_verdict
from monitor.steps.station import Station
from monitor.steps.tidy import tidy
from monitor.store.queries import queue, runs


def recover(station: Station) -> int:
    """End strays, drop what is half-built, interrupt runs nobody works on, give the machine back.

    A run that had its verdict and was only measured on has ended. Returns how many others were found without
    a monitor. Nothing is done while another process measures here: then all of it may be that one's.

    Raises:
        HostError: when another process measures on this state, or the owner's `after` command fails.

    """
    with station.measuring("putting in order what was left"):
        tidy(station)
        now = station.clock()
        with station.store.write() as db:
            left = [
                run
                for run in queue.working(db, station.host.machine_id)
                if not end_with_verdict(db, station, run)
            ]
            for run in left:
                runs.set_state(
                    db,
                    run.id,
                    RunState.INTERRUPTED,
                    reason="the monitor was killed",
                    permanent=False,
                    now=now,
                )
                attempt = runs.last_attempt(db, run.id)
                if attempt is not None and attempt.ended_at is None:
                    runs.end_attempt(db, run.id, attempt.number, outcome=RunState.INTERRUPTED, now=now)
        give_back(station)
    return len(left)


def is_left(station: Station) -> bool:
    """Say whether a run stands as being worked on: to a service that rests, somebody has left it behind."""
    with station.store.read() as db:
        return bool(queue.working(db, station.host.machine_id))
