"""A run of a check with another arm beside the judged ones, and of a release that does not run with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monitor import pipeline
from monitor.domain import Arm, BesideArm, Role, RunState
from monitor.errors import EngineStartError
from monitor.pipeline import Station
from monitor.store import Subject
from monitor.store.queries import runs, sessions
from standins.service import World, check


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path, checks=(check(beside={Arm.NGRAM: BesideArm(4)}),))
    made.release("2026.6.9294")
    return made


def arms_measured(station: Station) -> list[Arm]:
    with station.store.read() as db:
        loaded = sessions.load(db, runs.recent(db)[0].id, Subject.CANDIDATE, Role.SCREEN)
    return [session.arm for session in loaded.sessions] if loaded else []


def test_an_arm_beside_is_measured_in_two_blocks_and_the_run_is_judged_without_it(world: World) -> None:
    with world.station() as station:
        pipeline.cycle(station)
        assert arms_measured(station).count(Arm.NGRAM) == 2
        world.release("2026.7.9713")
        world.wait(hours=1)
        pipeline.cycle(station)
        with station.store.read() as db:
            newest = runs.recent(db)[0]
    assert (newest.version, newest.state) == ("2026.7.9713", RunState.DONE)


def test_a_release_that_does_not_run_with_it_is_not_broken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = world.measure
    tried: list[Arm] = []

    def without_ngrams(**asked: Any) -> Any:
        if asked["arm"] is Arm.NGRAM:
            tried.append(Arm.NGRAM)
            raise EngineStartError("It knows no such method.")
        return measured(**asked)

    monkeypatch.setattr(world, "measure", without_ngrams)
    with world.station() as station:
        pipeline.cycle(station)
        with station.store.read() as db:
            run = runs.recent(db)[0]
        assert run.state is RunState.DONE
        assert Arm.NGRAM not in arms_measured(station)
    assert len(tried) == 2, "one more try, and not again in the next block"
