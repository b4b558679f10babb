"""Slow drift over long series: what must tell nobody anything, whatever the noise and the machine do."""

from __future__ import annotations

from pathlib import Path

from monitor.alerts.actions import IncidentActions
from monitor.domain import Basis, IncidentState
from monitor.store.queries import judgements, runs
from standins.drifting import GOOD, STEP, begun, live_through, slower
from standins.service import World
from standins.service_reading import everything


def test_what_was_called_a_false_alarm_is_not_told_at_the_next_release(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.station() as station:
        begun(station, world)
        live_through(station, world, [slower(STEP**n) for n in range(1, 11)])
        (drift,) = everything(station)
        IncidentActions(station).false_alarm(drift.id, "Ada", "another process ran")
        live_through(station, world, [slower(STEP**10)] * 2, number=200)
        assert [item.state for item in everything(station)] == [IncidentState.FALSE_ALARM]


def test_a_quiet_series_tells_nobody_anything(tmp_path: Path) -> None:
    world = World(tmp_path, noise=0.006)
    with world.station() as station:
        begun(station, world)
        live_through(station, world, [GOOD] * 15)
        assert everything(station) == []


def test_a_machine_that_became_slower_is_no_drift_of_the_releases(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.station() as station:
        begun(station, world)
        for n in range(1, 11):
            world.machine_slower = STEP**n
            live_through(station, world, [GOOD], number=100 + n)
        assert everything(station) == []
        with station.store.read() as db:
            asked = [judgements.get(db, run.id, Basis.FIRST) for run in runs.recent(db)]
        # It was suspected, and the old release measured again said otherwise: asked once, then left alone.
        assert [judged.confirmed for judged in asked if judged is not None] == [False]
