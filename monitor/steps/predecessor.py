"""Predecessor: while an incident goes on, what is new in a release against the one measured before it."""

from __future__ import annotations

from monitor.domain import Judgement, Role
from monitor.judge.verdict import judge
from monitor.steps.measure import Bench
from monitor.store import Subject
from monitor.store.queries import incidents, runs, sessions


def compare(bench: Bench) -> Judgement | None:
    """Return the judgement against the release before, None where nothing is going on or it is the reference.

    It is never confirmed and gates nothing: it tells whether a bad series has got worse.
    """
    station = bench.station
    with station.store.read() as db:
        run = runs.get(db, bench.run.id)
        if run is None or not incidents.live_of_series(
            db, machine_id=station.host.machine_id, project=run.project, check_id=run.check_id
        ):
            return None
        before = runs.predecessor(db, run)
        if before is None or before.id == run.reference_run_id:
            return None
        old = sessions.load(db, before.id, Subject.CANDIDATE, *sessions.AS_REFERENCE)
    new = bench.stored(Subject.CANDIDATE, Role.SCREEN)
    return judge(old, new) if old is not None and new is not None else None
