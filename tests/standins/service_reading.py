"""What a test reads of a service: the runs that ended, the incidents and their logs."""

from __future__ import annotations

from monitor.domain import Action, Incident, RunState, Verdict
from monitor.steps.station import Station
from monitor.store.queries import incidents, judgements, runs


def ended(station: Station) -> list[tuple[str, RunState, Verdict | None]]:
    """Return version, state and verdict of every run, in the order they were planned."""
    with station.store.read() as db:
        return [
            (run.version, run.state, judgements.verdict_of(db, run.id)) for run in reversed(runs.recent(db))
        ]


def everything(station: Station) -> list[Incident]:
    """Return every incident, the first one first."""
    with station.store.read() as db:
        return sorted(incidents.in_state(db), key=lambda item: item.id)


def actions(station: Station, incident: int = 1) -> list[Action]:
    """Return what was done to an incident, by the service and by people."""
    with station.store.read() as db:
        return [step.action for step in incidents.log(db, incident)]
