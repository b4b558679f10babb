"""A release found good is measured on, as what the next ones are compared with; its verdict stays."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from monitor import orders, pipeline
from monitor.cli.run import document
from monitor.domain import JUDGED_ARMS, Arm, BesideArm, BisectionState, Judgement, Role, RunState, Verdict
from monitor.errors import DiskFullError, EngineCrashError, GpuFaultError
from monitor.judge.verdict import judge
from monitor.pipeline import RunRequest, Station
from monitor.settings_tables import HostSettings
from monitor.steps.publish import run_view, sample_sets
from monitor.store import Subject
from monitor.store.queries import judgements, runs, sessions
from monitor.store.queries.runs import Run
from monitor.views.run_section import run_section
from monitor.web.facts.run import run_facts
from standins import searches
from standins.service import CHECK, PROJECT, Build, World, calibrated, check

OLD, NEW, NEXT = "2026.6.100", "2026.6.101", "2026.6.102"
SLOWER = Build(step_time_s=0.03)
LOOKS_END = 2
"""Blocks after which a quiet release is decided here."""


class Killed(BaseException):
    """Stands for the end of the process: nobody catches it."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.release(OLD)
    with made.station() as station:
        pipeline.cycle(station)
    made.wait(hours=1)
    made.release(NEW)
    return made


def run_of(station: Station, run_id: int = 2) -> Run:
    with station.store.read() as db:
        found = runs.get(db, run_id)
    assert found is not None
    return found


def blocks_of(station: Station, run_id: int, role: Role) -> list[int]:
    """Return the block of each session of the mtp arm."""
    with station.store.read() as db:
        found = sessions.load(db, run_id, Subject.CANDIDATE, role)
    return [session.block for session in found.sessions if session.arm is Arm.MTP] if found else []


def verdict_on(station: Station, run_id: int = 2) -> Judgement:
    with station.store.read() as db:
        found = judgements.get(db, run_id)
    assert found is not None
    return found


def measured_on(station: Station, run_id: int = 2) -> int | None:
    with station.store.read() as db:
        return sessions.measured_on(db, run_id)


def cut_in_block(world: World, block: int, error: BaseException) -> Callable[[str], None]:
    """Return what raises `error` in the new release's session that would be the first of a block."""

    def cut(version: str) -> None:
        done = sum(name == version for name, _ in world.sessions)
        if version == NEW and done >= len(JUDGED_ARMS) * block:
            raise error

    return cut


def test_a_good_release_is_measured_on_to_six_blocks_and_keeps_the_verdict_of_its_look(world: World) -> None:
    with world.station() as station:
        pipeline.cycle(station)
        run, judgement = run_of(station), verdict_on(station)
        assert (run.state, judgement.verdict) == (RunState.DONE, Verdict.UNCHANGED)
        assert blocks_of(station, 2, Role.SCREEN) == [0, 1]
        assert blocks_of(station, 2, Role.ONWARD) == [2, 3, 4, 5]
        assert judgement.look is not None
        assert judgement.look.blocks == judgement.sessions["candidate_mtp"] == LOOKS_END
        # The first measurement had its six from the start.
        assert (measured_on(station, 1), measured_on(station, 2)) == (None, 6)
        assert len(blocks_of(station, 1, Role.SCREEN)) == 6


def test_the_export_reaches_the_stored_verdict_and_has_the_later_sessions_apart(world: World) -> None:
    with world.station() as station:
        pipeline.cycle(station)
        sets, stored = sample_sets(station, 2), verdict_on(station)
    assert judge(sets["reference"], sets["candidate"]) == stored
    assert {session.role for session in sets["candidate"].sessions} == {Role.SCREEN}
    assert {session.role for session in sets["onward"].sessions} == {Role.ONWARD}


def test_the_next_release_is_compared_with_all_of_them(world: World) -> None:
    with world.station() as station:
        pipeline.cycle(station)
        world.wait(hours=1)
        world.release(NEXT)
        pipeline.cycle(station)
        judgement, sets = verdict_on(station, 3), sample_sets(station, 3)
        assert run_of(station, 3).reference_run_id == 2
        assert (judgement.sessions["reference_baseline"], judgement.sessions["reference_mtp"]) == (6, 6)
        assert judge(sets["reference"], sets["candidate"]) == judgement


def test_a_release_that_has_back_what_was_lost_is_measured_on_after_its_confirmation(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.station() as station:
        for version, build in ((OLD, Build()), (NEW, SLOWER), (NEXT, Build())):
            world.release(version, build)
            pipeline.cycle(station)
            world.wait(hours=1)
        assert (run_of(station, 3).state, measured_on(station, 3)) == (RunState.DONE, 6)
        assert verdict_on(station, 3).sessions["confirm_candidate_mtp"] > 0


def test_only_the_judged_arms_are_measured_on(tmp_path: Path) -> None:
    world = World(tmp_path, checks=(check(beside={Arm.NGRAM: BesideArm(3)}),))
    with world.station() as station:
        for version in (OLD, NEW):
            world.release(version)
            pipeline.cycle(station)
        with station.store.read() as db:
            found = sessions.load(db, 2, Subject.CANDIDATE, Role.ONWARD)
    assert found is not None
    arms = [session.arm for session in sorted(found.sessions, key=lambda one: one.session)]
    # The arm that goes first alternates, as it does in the blocks before.
    assert arms == [*JUDGED_ARMS, *JUDGED_ARMS[::-1]] * 2


# ---------------------------------------------------------------------------------------------
# Whose sessions nothing is compared with


def test_a_loss_is_not_measured_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.station() as station:
        for version, build in ((OLD, Build()), (NEW, SLOWER)):
            world.release(version, build)
            pipeline.cycle(station)
        assert verdict_on(station).verdict is Verdict.REGRESSED
        assert measured_on(station) is None


def test_a_comparison_that_somebody_asked_for_is_not_measured_on(world: World) -> None:
    with world.station() as station:
        pipeline.discover(station)
        outcome = pipeline.run(station, RunRequest(CHECK, f"{PROJECT}=={NEW}", against=OLD))
        assert outcome.judgement is not None
        assert (outcome.judgement.verdict, outcome.measured_on) == (Verdict.UNCHANGED, None)
        assert blocks_of(station, outcome.run.id, Role.ONWARD) == []


def test_nothing_is_measured_on_where_old_and_new_take_turns(world: World) -> None:
    with world.station() as station:
        calibrated(station, world)
        world.wait(minutes=1)
        pipeline.cycle(station)
        assert verdict_on(station).verdict is Verdict.UNCHANGED
        assert measured_on(station) is None


def test_neither_aa_runs_nor_the_visits_of_a_bisection_are_measured_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    searches.publish(world, 5, first_bad=3)
    with searches.searching(world, 5) as (station, search):
        assert searches.found(station, search).state is BisectionState.FOUND
        orders.calibrate(station, CHECK, f"{PROJECT}=={searches.version(0)}", measurements=2)
        with station.store.read() as db:
            measured = runs.recent(db)
            onward = [run.id for run in measured if sessions.measured_on(db, run.id) is not None]
    assert len(measured) > 3
    assert onward == []


def test_a_check_may_say_how_many_blocks_its_reference_has(tmp_path: Path) -> None:
    judging = {"blocks_min": 2, "blocks_max": 4, "blocks_reference": 3, "confirm_blocks_max": 2}
    world = World(tmp_path, checks=(check(judging=judging),))
    with world.station() as station:
        for version in (OLD, NEW):
            world.release(version)
            pipeline.cycle(station)
        assert measured_on(station) == 3


# ---------------------------------------------------------------------------------------------
# It is optional


def test_it_stops_where_the_minutes_of_a_release_end(world: World) -> None:
    with world.station(host=HostSettings(gpu_minutes_per_release=3.05)) as station:
        pipeline.cycle(station)
        assert (run_of(station).state, measured_on(station)) == (RunState.DONE, 3)
        assert verdict_on(station).verdict is Verdict.UNCHANGED


def test_it_stops_when_the_hours_are_over(world: World) -> None:
    local = world.now.astimezone()
    window = f"{local - timedelta(hours=1):%H:%M}-{local + timedelta(minutes=3):%H:%M}"
    with world.station(host=HostSettings(window=window)) as station:
        pipeline.cycle(station)
        assert (run_of(station).state, measured_on(station)) == (RunState.DONE, 3)


def test_it_leaves_the_other_checks_of_the_release_their_minutes(tmp_path: Path) -> None:
    other = check(id="other", digest="d" * 64, estimate_minutes={"quick": 5.0, "full": 5.0})
    world = World(tmp_path, checks=(check(), other))
    world.release(OLD)
    with world.station() as station:
        pipeline.cycle(station)
    world.release(NEW)
    with world.station(host=HostSettings(gpu_minutes_per_release=8)) as station:
        pipeline.cycle(station)
        with station.store.read() as db:
            ended = {run.check_id: run for run in runs.recent(db, 2)}
        assert {run.version for run in ended.values()} == {NEW}
        assert {run.state for run in ended.values()} == {RunState.DONE}
        assert measured_on(station, ended[CHECK].id) == 3


@pytest.mark.parametrize(
    "error",
    [
        EngineCrashError("It ended while it answered."),
        GpuFaultError("The GPU is lost."),
        DiskFullError("No room left on the disk."),
    ],
)
def test_what_fails_then_fails_nothing_else(world: World, error: Exception) -> None:
    world.on_session = cut_in_block(world, 3, error)
    with world.station() as station:
        pipeline.discover(station)
        outcome = pipeline.run(station, RunRequest(CHECK, f"{PROJECT}=={NEW}"))
        assert outcome.judgement is not None
        assert (outcome.run.state, outcome.judgement.verdict) == (RunState.DONE, Verdict.UNCHANGED)
        assert outcome.measured_on == 3


def test_stopped_meanwhile_the_run_ends_with_its_verdict(world: World) -> None:
    world.on_session = cut_in_block(world, 3, KeyboardInterrupt())
    with world.station() as station:
        with pytest.raises(KeyboardInterrupt):
            pipeline.cycle(station)
        assert (run_of(station).state, measured_on(station)) == (RunState.DONE, 3)
        assert run_of(station).announced_at is None
        world.on_session = None
        pipeline.cycle(station)
        assert run_of(station).announced_at is not None
        assert (run_of(station).attempts, measured_on(station)) == (1, 3)


def kill_while_measured_on(world: World, station: Station, monkeypatch: pytest.MonkeyPatch) -> Judgement:
    """Cut the run in its fourth block, with nobody left to write how it ended; return its verdict."""
    world.on_session = cut_in_block(world, 3, Killed())
    with monkeypatch.context() as gone:
        gone.setattr("monitor.steps.states._end", lambda *_, **__: None)
        with pytest.raises(Killed):
            pipeline.cycle(station)
    world.on_session = None
    assert run_of(station).state is RunState.MEASURING
    return verdict_on(station)


def test_killed_meanwhile_it_has_ended_at_the_next_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.station() as station:
        reached = kill_while_measured_on(world, station, monkeypatch)
        before = len(world.sessions)
        world.wait(hours=1)
        assert pipeline.recover(station) == 0
        assert (run_of(station).state, run_of(station).reason) == (RunState.DONE, reached.headline)
        pipeline.cycle(station)
        assert run_of(station).announced_at is not None
        assert (len(world.sessions), verdict_on(station)) == (before, reached)


def test_killed_meanwhile_and_asked_for_again_it_is_answered_with_its_verdict(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.station() as station:
        reached = kill_while_measured_on(world, station, monkeypatch)
        before = len(world.sessions)
        outcome = pipeline.run(station, RunRequest(CHECK, f"{PROJECT}=={NEW}"))
        assert (outcome.run.state, outcome.judgement) == (RunState.DONE, reached)
        assert (outcome.measured_on, len(world.sessions)) == (3, before)


def test_killed_before_its_verdict_a_run_is_interrupted_as_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.on_session = cut_in_block(world, 1, Killed())
    with world.station() as station:
        with monkeypatch.context() as gone:
            gone.setattr("monitor.steps.states._end", lambda *_, **__: None)
            with pytest.raises(Killed):
                pipeline.cycle(station)
        world.on_session = None
        assert pipeline.recover(station) == 1
        assert run_of(station).state is RunState.INTERRUPTED


def test_reports_the_command_and_the_api_say_so(world: World) -> None:
    with world.station() as station:
        pipeline.cycle(station)
        outcome = pipeline.run(station, RunRequest(CHECK, f"{PROJECT}=={NEW}"))
        section = run_section(run_view(station, 2))
        assert section.measured_on == "measured on to 6 blocks, as what the next releases are compared with"
        assert sum(point.subject == "candidate" for point in section.points) == 6 * len(JUDGED_ARMS)
        assert (outcome.reused, document(outcome)["measured_on"]) == (True, 6)
        assert [run_facts(station, run_id).measured_on for run_id in (1, 2)] == [None, 6]
