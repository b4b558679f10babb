"""Where days differ, old and new take turns from the start: on a made-up machine with a store of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor import pipeline
from monitor.domain import Arm, Role, RunState, Verdict
from monitor.pipeline import Station
from monitor.steps.publish import run_view
from monitor.store import Subject
from monitor.store.queries import judgements, runs, sessions
from standins.service import PROJECT, Build, World, calibrated

OLD, NEW = "2026.6.100", "2026.6.101"
ANOTHER_DAY = 1.04
"""How much slower the machine is on the day of the new release."""


def measured(station: Station, world: World, *, alternate: bool, build: Build | None = None) -> Verdict:
    """Measure an old release, and on a slower day the new one; return its verdict."""
    world.release(OLD)
    pipeline.cycle(station)
    calibrated(station, world, alternate=alternate)
    world.wait(days=1)
    world.machine_slower = ANOTHER_DAY
    world.sessions.clear()
    world.release(NEW, build)
    pipeline.cycle(station)
    with station.store.read() as db:
        newest = runs.recent(db, 1)[0]
        assert newest.state is RunState.DONE
        return judgements.verdict_of(db, newest.id) or Verdict.FAILED


def test_a_slower_day_is_no_suspicion_where_old_and_new_take_turns(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.station() as station:
        assert measured(station, world, alternate=True) is Verdict.UNCHANGED
        with station.store.read() as db:
            beside = sessions.load(db, 2, Subject.REFERENCE, Role.SCREEN)
            confirmed = sessions.load(db, 2, Subject.CANDIDATE, Role.CONFIRM)
            judged = judgements.get(db, 2)
        view = run_view(station, 2)
    # A block of four: each arm of the old release beside that of the new one.
    assert world.sessions[:8] == [
        (OLD, Arm.BASELINE),
        (NEW, Arm.BASELINE),
        (NEW, Arm.MTP),
        (OLD, Arm.MTP),
        (OLD, Arm.MTP),
        (NEW, Arm.MTP),
        (NEW, Arm.BASELINE),
        (OLD, Arm.BASELINE),
    ]
    assert confirmed is None
    assert beside is not None
    assert judged is not None
    assert judged.sessions["reference_mtp"] == judged.sessions["candidate_mtp"]
    # What is shown and exported is what was judged.
    assert view.reference_samples == beside


def test_against_stored_sessions_the_same_day_costs_a_confirmation(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.station() as station:
        measured(station, world, alternate=False)
        with station.store.read() as db:
            assert sessions.load(db, 2, Subject.REFERENCE, Role.SCREEN) is None
            assert sessions.load(db, 2, Subject.CANDIDATE, Role.CONFIRM) is not None
    assert {version for version, _ in world.sessions[:4]} == {NEW}


def test_a_loss_is_found_and_confirmed_in_turns(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.station() as station:
        found = measured(station, world, alternate=True, build=Build(step_time_s=0.027))
        with station.store.read() as db:
            judged = judgements.get(db, 2)
    assert found is Verdict.REGRESSED
    assert judged is not None
    assert judged.confirmed


@pytest.mark.parametrize("fault", ["install", "start"])
def test_where_the_old_release_is_gone_its_stored_sessions_are_compared_with(
    tmp_path: Path, fault: str
) -> None:
    world = World(tmp_path)
    with world.station() as station:
        world.release(OLD)
        pipeline.cycle(station)
        old = next(iter(world.builds))
        world.builds[old] = Build(fault=fault)
        calibrated(station, world)
        world.wait(hours=1)
        world.release(NEW)
        pipeline.cycle(station)
        with station.store.read() as db:
            assert judgements.verdict_of(db, 2) is Verdict.UNCHANGED
            assert sessions.load(db, 2, Subject.REFERENCE, Role.SCREEN) is None
            assert runs.recent(db, 1)[0].project == PROJECT
