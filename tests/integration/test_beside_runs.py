"""A run of a check with another arm beside the judged ones, and of a release that does not run with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monitor import pipeline
from monitor.domain import Arm, BesideArm, Role, RunState
from monitor.errors import EngineStartError
from monitor.pipeline import Station
from monitor.steps.publish import publish, run_view
from monitor.store import Subject
from monitor.store.queries import arms, runs, sessions
from monitor.web.facts.run import run_facts
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
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
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
        assert run_view(station, run.id).left_out == {Arm.NGRAM: "It knows no such method."}
        assert run_facts(station, run.id).left_out == {"ngram": "It knows no such method."}
        report = publish(station, [run.id], tmp_path / "report.html", title="x").read_text(encoding="utf-8")
    assert "did not run so. It knows no such method." in report
    assert len(tried) == 2, "one more try, and not again in the next block"


def test_why_an_arm_was_left_out_is_kept_when_the_run_goes_on_after_a_restart(world: World) -> None:
    with world.station() as station:
        pipeline.cycle(station)
        with station.store.write() as db:
            run = runs.recent(db)[0]
            arms.leave_out(db, run.id, Arm.NGRAM, "It knows no such method.", now=station.clock())
            arms.leave_out(db, run.id, Arm.NGRAM, "It ran out of memory.", now=station.clock())
    with world.station() as station, station.store.read() as db:
        assert arms.left_out(db, run.id) == {Arm.NGRAM: "It ran out of memory."}
        assert runs.get(db, run.id).state is RunState.DONE  # type: ignore[union-attr]
