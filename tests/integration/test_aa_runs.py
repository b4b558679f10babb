"""A release measured against itself: what is learnt of a check's noise, and that it counts from then on."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor import orders, pipeline
from monitor.domain import Metric, Role, RunState
from monitor.judge.calibration import Calibration
from monitor.store import Subject
from monitor.store.queries import calibrations, incidents, runs, sessions
from standins.service import CHECK, PROJECT, Build, World

NOISE = 0.01


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path, noise=NOISE)
    made.release("2026.6.9294")
    return made


def test_a_release_measured_against_itself_tells_the_noise_that_is_there(world: World) -> None:
    with world.station() as station:
        pipeline.cycle(station)
        found = orders.calibrate(station, CHECK, f"{PROJECT}==2026.6.9294", measurements=5)
        assert found is not None
        assert (found.measurements, found.counts_repeat, found.tokens_repeat) == (5, True, True)
        levels = found.noise[Metric.STEP_TIME]
        assert 0.5 * NOISE < levels.session_sd < 2 * NOISE
        assert levels.session_df == 5 * (6 - 1)
        assert found.alarms == 0
        with station.store.read() as db:
            document = calibrations.newest(db, machine_id="m1", check_digest="c" * 64)
            assert incidents.in_state(db) == []
        assert document is not None
        assert Calibration.read(document) == found


def test_what_was_learnt_is_in_the_samples_of_later_runs_and_an_aa_run_is_no_reference(world: World) -> None:
    with world.station() as station:
        pipeline.cycle(station)
        orders.calibrate(station, CHECK, f"{PROJECT}==2026.6.9294", measurements=3)
        world.wait(hours=1)
        world.release("2026.7.9713", Build(step_time_s=0.03))
        pipeline.cycle(station)
        with station.store.read() as db:
            newest = runs.recent(db)[0]
            loaded = sessions.load(db, newest.id, Subject.CANDIDATE, Role.SCREEN)
        assert newest.reference_run_id == 1
        assert loaded is not None
        assert loaded.header.calibration is not None
        assert loaded.header.calibration["measurements"] == 3


def test_the_reference_is_measured_against_itself_by_the_schedule(world: World) -> None:
    with world.station(schedule={"calibrate_days": 7}) as station:
        for _ in range(3 * 8):
            pipeline.cycle(station)
            world.wait(days=1)
        with station.store.read() as db:
            asked = [run for run in runs.recent(db) if run.against == "itself"]
        assert [run.state for run in asked] == [RunState.DONE] * len(asked)
        assert len(asked) == 4
