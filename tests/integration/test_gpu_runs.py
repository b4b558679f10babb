"""Runs on a GPU that is taken, slowed down, lost or left with its memory full, and what waits for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor import pipeline, proc
from monitor.domain import Requirements, Role, RunState, Verdict
from monitor.errors import GpuFaultError
from monitor.gpu.driver import opened_card
from monitor.gpu.watch import Watch
from monitor.pipeline import Station
from monitor.steps import gpu
from monitor.store import Subject
from monitor.store.queries import judgements, runs, sessions
from monitor.store.queries.runs import Run
from standins import nvml
from standins.engine import measure
from standins.service import World, check

GIB = 2**30


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> nvml.Driver:
    monkeypatch.setattr("monitor.gpu.readiness.SETTLE_S", 0.0)
    return nvml.install(monkeypatch)


@pytest.fixture
def world(tmp_path: Path, driver: nvml.Driver, monkeypatch: pytest.MonkeyPatch) -> World:
    settled = gpu._readiness

    def at_once(*arguments: object) -> object:
        found = settled(*arguments)  # type: ignore[arg-type]
        object.__setattr__(found, "settle_s", 0.0)
        return found

    monkeypatch.setattr(gpu, "_readiness", at_once)
    made = World(
        tmp_path,
        checks=(check(requires=Requirements(gpu=True), step_bytes=20_000_000_000),),
        gpu={"uuid": driver.cards[0].uuid, "index": 0, "bandwidth_bytes_per_s": 1.7e12},
    )
    made.release("2026.6.9294")
    return made


def newest(station: Station) -> Run:
    with station.store.read() as db:
        return runs.recent(db)[0]


def test_a_run_on_a_sound_gpu_knows_its_roofline(world: World) -> None:
    with world.station() as station:
        pipeline.cycle(station)
        run = newest(station)
        with station.store.read() as db:
            loaded = sessions.load(db, run.id, Subject.CANDIDATE, Role.SCREEN)
            found = judgements.get(db, run.id)
    assert run.state is RunState.DONE
    assert loaded is not None
    assert loaded.header.roofline_tokens_per_s == 85.0
    assert found is not None
    (guard,) = [guard for guard in found.guards if guard.name.startswith("roofline")]
    assert guard.detail == "baseline at 59 % of it"


def test_a_baseline_above_the_roofline_is_invalid(world: World) -> None:
    world.gpu["bandwidth_bytes_per_s"] = 0.9e12
    with world.station() as station:
        pipeline.cycle(station)
        with station.store.read() as db:
            found = judgements.get(db, newest(station).id)
    assert found is not None
    assert found.verdict is Verdict.INVALID
    assert any("above what memory allows (45)" in guard.detail for guard in found.guards)


def test_a_gpu_in_use_makes_the_run_wait_without_counting_an_attempt(
    world: World, driver: nvml.Driver
) -> None:
    driver.cards[0].processes = [2**22 + 1]
    with world.station() as station:
        pipeline.cycle(station)
        waiting = newest(station)
        assert (waiting.state, waiting.attempts) == (RunState.PLANNED, 0)
        assert "used by process" in waiting.waiting
        driver.cards[0].processes = []
        pipeline.cycle(station)
        assert newest(station).state is RunState.PLANNED, "not before its time"
        world.wait(minutes=6)
        pipeline.cycle(station)
        assert newest(station).state is RunState.DONE
        assert gpu.quarantined(station) is None


def test_memory_that_stays_taken_stops_the_queue_until_a_person_releases_the_gpu(
    world: World, driver: nvml.Driver
) -> None:
    def leak(_: str) -> None:
        driver.cards[0].used_bytes += 30 * GIB

    world.on_session = leak
    with world.station() as station:
        pipeline.cycle(station)
        cut = newest(station)
        assert cut.state is RunState.INTERRUPTED
        assert "memory on the GPU did not come back" in cut.reason
        assert world.sessions == [("2026.6.9294", world.sessions[0][1])], "and nothing more was measured"

        world.on_session = None
        driver.cards[0].used_bytes = GIB // 2
        world.wait(days=1)
        pipeline.cycle(station)
        assert len(world.sessions) == 1
        assert "quarantine" in newest(station).waiting

        gpu.release(station, who="ada", why="restarted")
        world.wait(hours=1)
        pipeline.cycle(station)
        assert newest(station).state is RunState.DONE


def test_memory_that_somebody_takes_between_runs_is_waited_for_and_no_quarantine(
    world: World, driver: nvml.Driver
) -> None:
    with world.station() as station:
        pipeline.cycle(station)
        assert newest(station).state is RunState.DONE
        driver.cards[0].used_bytes += 2 * GIB  # a desktop that a container does not see
        world.release("2026.7.9713")
        world.wait(hours=1)
        pipeline.cycle(station)
        waiting = newest(station)
        assert waiting.state is RunState.PLANNED
        assert "memory is not free: 2.5 GiB in use" in waiting.waiting
        assert gpu.quarantined(station) is None

        assert gpu.release(station, who="ada", why="a desktop") is None
        world.wait(minutes=6)
        pipeline.cycle(station)
        assert newest(station).state is RunState.DONE, "what is in use now is the floor"


def test_a_release_from_quarantine_holds_although_the_memory_stays_in_use(
    world: World, driver: nvml.Driver
) -> None:
    def take(_: str) -> None:
        driver.cards[0].used_bytes = 2 * GIB

    world.on_session = take
    with world.station() as station:
        pipeline.cycle(station)
        assert gpu.quarantined(station) is not None
        gpu.release(station, who="ada", why="that was my browser")
        world.wait(hours=1)
        pipeline.cycle(station)
        assert gpu.quarantined(station) is None
        assert newest(station).state is RunState.DONE


@pytest.mark.parametrize("error", ["GPU_IS_LOST", "RESET_REQUIRED"])
def test_a_gpu_that_is_lost_is_no_fault_of_the_release(world: World, driver: nvml.Driver, error: str) -> None:
    def lose(version: str) -> None:
        driver.fail("*", error)
        world.builds[next(iter(world.builds))] = world_build_that_hangs()

    world.on_session = lose
    with world.station() as station:
        pipeline.cycle(station)
        run = newest(station)
        assert run.state is RunState.INTERRUPTED
        assert "The GPU cannot be used" in run.reason
        with station.store.read() as db:
            assert judgements.get(db, run.id) is None
        found = gpu.quarantined(station)
        assert found is not None
        assert found.gpu == driver.cards[0].uuid


def world_build_that_hangs() -> object:
    from standins.service import Build

    return Build(fault="hang")


def test_memory_errors_void_the_session(world: World, driver: nvml.Driver) -> None:
    def err(_: str) -> None:
        driver.cards[0].uncorrected += 1

    world.on_session = err
    with world.station() as station:
        pipeline.cycle(station)
        assert newest(station).state is RunState.INTERRUPTED
        assert "ECC could not correct" in newest(station).reason
        assert gpu.quarantined(station) is not None


def test_mig_holds_the_queue_as_long_as_it_is_on(world: World, driver: nvml.Driver) -> None:
    driver.cards[0].mig = 1
    with world.station() as station:
        pipeline.cycle(station)
        assert newest(station).state is RunState.PLANNED
        assert "MIG is on" in newest(station).waiting
        driver.cards[0].mig = 0
        world.wait(minutes=6)
        pipeline.cycle(station)
        assert newest(station).state is RunState.DONE


def test_a_check_for_the_cpu_does_not_wait_for_a_gpu_in_quarantine(world: World) -> None:
    world.checks = (check(),)
    with world.station() as station:
        with station.store.write() as db:
            gpu.quarantines.begin(db, "m1", gpu="GPU-1", reason="lost", now=world.now)
        pipeline.cycle(station)
        assert newest(station).state is RunState.DONE


def test_a_server_that_its_owner_runs_is_expected_on_the_gpu_and_watched(
    world: World, driver: nvml.Driver
) -> None:
    attached = check(engine="endpoint", requires=Requirements(gpu=True))
    real = driver.cards[0]
    with world.station() as station:
        pipeline.cycle(station)  # learns the floor, without the server
        real.processes, real.used_bytes, real.utilisation = [2**22 + 1], 60 * GIB, 30
        gpu.make_ready(station, attached)
        with gpu.watching(station, attached) as watch:
            watch.attend(lambda _: False)
            mark = watch.mark()
            real.energy_mj = (real.energy_mj or 0) + 7_000
            assert watch.since(mark).contaminated_by == ()
            assert watch.since(mark).energy_j == 7.0
            real.reasons = 0x40
            assert watch.since(mark).contaminated_by == ("hardware thermal slowdown",)
            real.reasons, real.processes = 0, [2**22 + 1, 2**22 + 2]
            mark = watch.mark()
            assert watch.since(mark).contaminated_by == (f"process {2**22 + 2} on the GPU",)
        assert watch.watched(mark).gpu_memory_bytes is None, "what the server took is not known"
        assert gpu.quarantined(station) is None
        with pytest.raises(ValueError, match="it stopped"), gpu.watching(station, attached):
            raise ValueError("it stopped")
        assert gpu.quarantined(station) is None


def test_an_attached_server_on_a_lost_gpu_is_a_fault_of_the_gpu(world: World, driver: nvml.Driver) -> None:
    attached = check(engine="endpoint", requires=Requirements(gpu=True))
    with world.station() as station:
        driver.cards[0].processes = [2**22 + 1]
        with pytest.raises(GpuFaultError), gpu.watching(station, attached):
            driver.fail("*", "GPU_IS_LOST")
        assert gpu.quarantined(station) is not None


def test_another_card_in_the_slot_begins_a_new_epoch(world: World, driver: nvml.Driver) -> None:
    with world.station() as station:
        pipeline.cycle(station)
        first = newest(station).epoch_id
        driver.cards[0].uuid = "GPU-another"
        world.gpu["uuid"] = "GPU-another"
        world.release("2026.7.9713")
        world.wait(hours=1)
        pipeline.cycle(station)
        with station.store.read() as db:
            later = [run for run in runs.recent(db) if run.epoch_id != first]
        assert sorted(run.version for run in later) == ["2026.6.9294", "2026.7.9713"], "the old one again"


# ---------------------------------------------------------------------------------------------
# A real session of a stand-in server, watched


def watched(driver: nvml.Driver, folder: Path) -> tuple[object, int]:
    with opened_card(driver.cards[0].uuid) as card:
        session, samples = measure(folder, "none", watch=Watch(card, every_s=None))
    return session, len(samples)


def test_energy_is_that_of_the_answers_that_count(tmp_path: Path, driver: nvml.Driver) -> None:
    looks: list[int] = []

    def use(real: nvml.Card) -> None:
        looks.append(1)
        real.energy_mj = (real.energy_mj or 0) + 50_000
        real.used_bytes = 10 * GIB

    driver.on_look = use
    session, samples = watched(driver, tmp_path)
    assert samples == 2
    # Two looks around each of two answers: 50 J between them, whatever lies before and in between.
    assert session.energy_j == 100.0  # type: ignore[attr-defined]
    expected = proc.inherited(on_gpu=True)
    found = session.effective  # type: ignore[attr-defined]
    assert {name: found[name] for name in found if name.startswith("machine.")} == expected
    assert len(looks) > 4


def test_an_answer_during_a_hardware_slowdown_is_asked_again(tmp_path: Path, driver: nvml.Driver) -> None:
    looks: list[int] = []

    def slow_down_once(real: nvml.Card) -> None:
        looks.append(1)
        real.reasons = 0x40 if len(looks) == 3 else 0

    driver.on_look = slow_down_once
    session, samples = watched(driver, tmp_path)
    assert samples == 2
    assert session.effective["counter.asked_again"] >= 1  # type: ignore[attr-defined]
    assert "contaminated" not in session.gpu  # type: ignore[attr-defined]


def test_a_slowdown_that_stays_is_told_of_the_session(tmp_path: Path, driver: nvml.Driver) -> None:
    driver.cards[0].reasons = 0x08
    session, samples = watched(driver, tmp_path)
    assert samples == 2
    assert session.gpu["contaminated"] == 2  # type: ignore[attr-defined]
    assert session.gpu["contaminated_by"] == ["hardware slowdown"]  # type: ignore[attr-defined]
