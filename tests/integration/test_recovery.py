"""What a monitor left behind is put in order, at the next start and by a service that goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor import pipeline
from monitor.daemon import Daemon, Stop
from monitor.domain import Artifact, RunState
from monitor.environments.collection import Environments
from monitor.environments.uv import WheelBuilder
from monitor.errors import DiskFullError, MonitorError, ProvisionError, StoreBusyError
from monitor.pipeline import Station
from monitor.settings_tables import SourceSettings, UvSettings
from monitor.store.queries import attempts, releases, runs
from standins.service import Build, World


class Killed(BaseException):
    """Stands for the end of the process: nobody catches it."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.release("2026.6.9294")
    return made


def state_of(station: Station) -> RunState:
    with station.store.read() as db:
        return runs.recent(db)[0].state


def leave_at_work(world: World, station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a run cut in its first session, with nobody left to write how it ended."""

    def cut(_: str) -> None:
        raise Killed

    world.on_session = cut
    with monkeypatch.context() as gone:
        gone.setattr("monitor.steps.states._end", lambda *_, **__: None)
        with pytest.raises(Killed):
            pipeline.cycle(station)
    world.on_session = None
    assert state_of(station) is RunState.MEASURING


def test_recovery_interrupts_the_run_and_closes_its_attempt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.station() as station:
        leave_at_work(world, station, monkeypatch)
        world.wait(minutes=3)
        assert pipeline.is_left(station)
        assert pipeline.recover(station) == 1
        assert not pipeline.is_left(station)
        with station.store.read() as db:
            (attempt,) = attempts.all_of(db, 1)
        assert (attempt.outcome, attempt.ended_at) == (RunState.INTERRUPTED, world.now)


def test_only_the_spools_of_ended_runs_are_removed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.station() as station:
        leave_at_work(world, station, monkeypatch)
        spool = station.settings.spool_dir
        for name in ("run-1", "run-77", "run-of-mine"):
            (spool / name / "candidate-screen").mkdir(parents=True, exist_ok=True)
        pipeline.recover(station)
        assert {path.name for path in spool.iterdir()} == {"run-1", "run-77", "run-of-mine"}
        pipeline.cycle(station)
        assert state_of(station) is RunState.DONE
        (spool / "run-1").mkdir()
        pipeline.recover(station)
        assert {path.name for path in spool.iterdir()} == {"run-77", "run-of-mine"}


def test_a_release_with_a_run_stays_planned_although_a_newer_one_came_before_that_was_noted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object, **__: object) -> None:
        raise Killed

    with world.station() as station:
        pipeline.cycle(station)
        world.release("2026.7.9713")
        with monkeypatch.context() as gone:
            gone.setattr("monitor.steps.news._decide", cut)
            with pytest.raises(Killed):
                pipeline.cycle(station)
        world.release("2026.8.10229")
        pipeline.cycle(station)
        with station.store.read() as db:
            states = {row.release.version: row.state for row in releases.all_of(db)}
            measured = [run.version for run in reversed(runs.recent(db)) if run.state is RunState.DONE]
    assert set(states.values()) == {"planned"}
    assert measured == ["2026.6.9294", "2026.7.9713", "2026.8.10229"]


def test_a_service_takes_a_run_up_again_whose_end_could_not_be_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.station() as station:
        leave_at_work(world, station, monkeypatch)
        Daemon(station)._work()
        assert state_of(station) is RunState.DONE


def test_a_service_leaves_a_run_alone_that_another_process_measures(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with world.station() as station:
        leave_at_work(world, station, monkeypatch)
        with station.measuring("a run beside the service"):
            Daemon(station)._work()
        assert state_of(station) is RunState.MEASURING
        assert caplog.messages == []


@pytest.mark.parametrize("part", ["is_left", "is_work_due"])
def test_a_database_that_is_locked_too_long_ends_a_round_and_not_the_service(
    world: World, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def locked(_: Station) -> bool:
        raise StoreBusyError("The database stayed locked.")

    with world.station() as station:
        pipeline.look(station)
        with monkeypatch.context() as busy:
            busy.setattr(pipeline, part, locked)
            Daemon(station)._work()
        assert state_of(station) is RunState.PLANNED
        Daemon(station)._work()
        assert state_of(station) is RunState.DONE


@pytest.mark.filterwarnings("default")  # the loop that was left says what it had still to do
def test_a_signal_leaves_an_event_loop_wherever_it_comes() -> None:
    def stop() -> None:
        raise Stop

    async def work(schedule: Callable[[Callable[[], None]], object]) -> None:
        schedule(stop)
        await asyncio.sleep(30)

    with pytest.raises(Stop):
        asyncio.run(work(lambda what: asyncio.get_running_loop().call_soon(what)))


def test_a_stopped_run_says_so(world: World) -> None:
    def stop(_: str) -> None:
        raise Stop

    world.on_session = stop
    with world.station() as station:
        with pytest.raises(Stop):
            pipeline.cycle(station)
        with station.store.read() as db:
            (run,) = runs.recent(db)
        assert (run.state, run.reason) == (RunState.INTERRUPTED, "the monitor was stopped")


def test_an_engine_that_fails_on_a_full_disk_is_no_broken_release(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.release("2026.7.9713", Build(fault="start"))
    with world.station() as station:
        with monkeypatch.context() as full:
            full.setattr("monitor.host.free_disk", lambda _: 0)
            pipeline.cycle(station)
        with station.store.read() as db:
            (run,) = runs.recent(db)
        assert run.state is RunState.INTERRUPTED
        assert "No room left" in run.reason
        world.wait(minutes=2)
        pipeline.cycle(station)
        assert state_of(station) is RunState.FAILED


@pytest.mark.parametrize(("free", "error"), [(0, DiskFullError), (2**30, ProvisionError)])
def test_an_install_that_fails_on_a_full_disk_is_no_broken_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, error: type[MonitorError]
) -> None:
    def broken(*_: object) -> None:
        raise ProvisionError("The interpreter has no configuration.")

    environments = Environments.at(tmp_path, uv=UvSettings())
    monkeypatch.setattr(WheelBuilder, "build", broken)
    monkeypatch.setattr("monitor.host.free_disk", lambda _: free)
    artifact = Artifact("xllamacpp", "1.0", "xllamacpp-1.0-py3-none-any.whl", "0" * 64, "file:///nowhere")
    with pytest.raises(error):
        environments.provision(artifact, SourceSettings(project="xllamacpp"))
