"""What the driver says of a GPU, in a session and around it, against a stand-in behind the real library."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.errors import GpuBusyError, GpuFaultError
from monitor.gpu.driver import Card, opened_card
from monitor.gpu.identity import read_gpus, roofline
from monitor.gpu.readiness import Readiness, soundness
from monitor.gpu.watch import Watch
from standins import nvml

GIB = 2**30


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> nvml.Driver:
    return nvml.install(monkeypatch)


@pytest.fixture
def card(driver: nvml.Driver) -> Iterator[Card]:
    with opened_card(driver.cards[0].uuid) as found:
        yield found


# ---------------------------------------------------------------------------------------------
# Identity


def test_everything_that_decides_what_compares_is_read(driver: nvml.Driver) -> None:
    (gpu,) = read_gpus()
    assert gpu["name"] == nvml.WORKSTATION
    assert gpu["driver"] == "590.44.01"
    assert gpu["pci"] == "00000000:01:00.0"
    assert gpu["power_limits_w"] == [150.0, 600.0]
    assert gpu["ecc"] is True
    assert gpu["persistence"] is True
    assert driver.opened == 0, "the driver is let go of again"


def test_what_a_card_does_not_know_is_none(driver: nvml.Driver) -> None:
    driver.cards[0].ecc = driver.cards[0].mig = driver.cards[0].bus_width = None
    (gpu,) = read_gpus()
    assert (gpu["ecc"], gpu["mig"], gpu["ecc_uncorrected"], gpu["bandwidth_bytes_per_s"]) == (None,) * 4


def test_the_roofline_is_that_of_the_highest_memory_clock_not_of_the_one_at_work(driver: nvml.Driver) -> None:
    (gpu,) = read_gpus()
    assert gpu["bandwidth_bytes_per_s"] == pytest.approx(1792e9, rel=1e-3)
    assert roofline(gpu, 26_900_000_000) == pytest.approx(66.6, rel=2e-3)
    # The published table is of the clock at work.
    driver.cards[0].max_memory_clock = driver.cards[0].memory_clock
    (gpu,) = read_gpus()
    assert gpu["bandwidth_bytes_per_s"] == pytest.approx(1711e9, rel=1e-3)
    assert roofline(gpu, 26_900_000_000) == pytest.approx(63.6, rel=2e-3)
    assert roofline(gpu, None) is None
    assert roofline(None, 1) is None


def test_a_driver_that_is_not_loaded_is_no_gpu(driver: nvml.Driver) -> None:
    driver.fail("nvmlInit", "DRIVER_NOT_LOADED")
    assert read_gpus() == ()


def test_another_gpu_is_not_measured_in_the_place_of_the_one_meant(driver: nvml.Driver) -> None:
    with pytest.raises(GpuFaultError, match="GPU-other is not there"), opened_card("GPU-other"):
        pass


# ---------------------------------------------------------------------------------------------
# During a session


def watch_of(card: Card) -> Watch:
    ticks = itertools.count()
    return Watch(card, every_s=None, clock=lambda: float(next(ticks)))


def test_energy_and_memory_are_those_of_the_session(driver: nvml.Driver, card: Card) -> None:
    watch, real = watch_of(card), driver.cards[0]
    real.energy_mj, real.used_bytes = 2_000_000, 40 * GIB + GIB // 2
    mark = watch.mark()
    real.energy_mj, real.used_bytes = 2_450_000, 60 * GIB + GIB // 2
    assert watch.since(mark).energy_j == 450.0
    assert watch.watched(mark).gpu_memory_bytes == 60 * GIB


def test_a_card_without_an_energy_counter_has_no_energy(driver: nvml.Driver, card: Card) -> None:
    driver.cards[0].energy_mj = None
    watch = watch_of(card)
    assert watch.since(watch.mark()).energy_j is None


@pytest.mark.parametrize(
    ("bits", "contaminated", "flag"),
    [
        (0x04, False, "power cap"),
        (0x20, False, "software thermal slowdown"),
        (0x08, True, "hardware slowdown"),
        (0x40, True, "hardware thermal slowdown"),
        (0x80, True, "power brake"),
    ],
)
def test_a_slowdown_by_the_hardware_contaminates_and_one_by_the_setup_is_flagged(
    driver: nvml.Driver, card: Card, bits: int, contaminated: bool, flag: str
) -> None:
    watch = watch_of(card)
    mark = watch.mark()
    driver.cards[0].reasons = bits | 0x01
    stretch = watch.since(mark)
    assert stretch.contaminated_by == ((flag,) if contaminated else ())
    facts = watch.watched(mark).facts or {}
    assert facts["flags"] == {flag: 0.5}
    driver.cards[0].reasons = 0
    assert watch.since(watch.mark()).contaminated_by == (), "only the stretch in which it happened"


@pytest.mark.parametrize(
    ("from_s", "to_s", "met"),
    [
        (0.2, 1.8, False),
        (1.0, 2.0, False),
        # Between two looks nobody knows: what the next one sees may have been there.
        (1.5, 2.5, True),
        (3.0, 3.5, True),
        (3.5, 3.6, True),
        (4.0, 5.0, False),
        (9.0, 9.5, False),
    ],
)
def test_a_slowdown_is_laid_to_the_answers_around_the_looks_that_saw_it(
    driver: nvml.Driver, card: Card, from_s: float, to_s: float, met: bool
) -> None:
    watch = watch_of(card)  # it looks each second, for the first time at 0
    for second in range(1, 6):
        driver.cards[0].reasons = 0x40 if second == 3 else 0
        watch.check()
    assert watch.between(from_s, to_s).contaminated_by == (("hardware thermal slowdown",) if met else ())


def test_a_process_that_comes_meanwhile_contaminates_where_processes_can_be_told_apart(
    driver: nvml.Driver, card: Card
) -> None:
    watch = watch_of(card)
    watch.attend(lambda pid: pid == 10)
    driver.cards[0].processes = [10, 77]
    assert watch.since(watch.mark()).contaminated_by == ("process 77 on the GPU",)
    driver.cards[0].processes = [4000001]  # the engine's own id, as another namespace counts
    assert watch.since(watch.mark()).contaminated_by == ()


def test_the_figures_of_a_session_are_lowest_median_and_highest(driver: nvml.Driver, card: Card) -> None:
    watch, real = watch_of(card), driver.cards[0]
    mark = watch.mark()
    for real.sm_clock, real.temperature in ((2500, 60), (2400, 70), (2300, 80)):
        watch.check()
    facts = watch.watched(mark).facts or {}
    assert facts["sm_clock_mhz"] == [2300, 2450, 2600]
    assert facts["temperature_c"] == [55, 65, 80]
    assert facts["p_states"] == [1]
    assert [point[1] for point in facts["trace"]] == [2600, 2500, 2400, 2300]


def test_a_trace_stays_short_however_long_the_session(driver: nvml.Driver, card: Card) -> None:
    watch = watch_of(card)
    for _ in range(1000):
        watch.check()
    facts = watch.watched(0.0).facts or {}
    assert facts["readings"] == 1001
    assert 50 < len(facts["trace"]) <= 80


def test_a_gpu_that_is_lost_is_a_fault(driver: nvml.Driver, card: Card) -> None:
    watch = watch_of(card)
    driver.fail("*", "GPU_IS_LOST")
    with pytest.raises(GpuFaultError, match="fallen off the bus"):
        watch.check()
    driver.failing.clear()
    with pytest.raises(GpuFaultError):
        watch.check()  # it does not become trustworthy by answering again


def test_memory_errors_that_come_up_are_a_fault(driver: nvml.Driver, card: Card) -> None:
    watch = watch_of(card)
    driver.cards[0].corrected = 3
    watch.check()
    assert (watch.watched(0.0).facts or {})["ecc_corrected"] == 3
    driver.cards[0].uncorrected = 1
    with pytest.raises(GpuFaultError, match="1 error that ECC could not correct"):
        watch.check()


def test_a_lost_gpu_is_also_seen_by_the_thread_that_looks_by_itself(driver: nvml.Driver, card: Card) -> None:
    watch = Watch(card, every_s=0.001)
    driver.fail("*", "GPU_IS_LOST")
    watch._thread.join(30)
    with pytest.raises(GpuFaultError):
        watch.since(0.0)
    watch.close()


def test_the_engine_is_told_which_gpu_is_its_own(driver: nvml.Driver, card: Card) -> None:
    watch = Watch(card, index=1, every_s=None)
    assert watch.device == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1"}


# ---------------------------------------------------------------------------------------------
# Before and after


def readiness(card: Card, folder: Path, boot: str = "boot-1", driver: str = "590") -> Readiness:
    ticks = itertools.count()
    return Readiness(
        card,
        {"uuid": "GPU-1", "driver": driver},
        folder / "gpu_floor.json",
        boot,
        settle_s=3,
        clock=lambda: float(next(ticks)),
        pause=lambda _: None,
    )


def test_an_idle_gpu_is_ready_and_its_memory_is_the_floor(
    driver: nvml.Driver, card: Card, tmp_path: Path
) -> None:
    readiness(card, tmp_path).before()
    readiness(card, tmp_path).after()


def test_a_process_on_the_gpu_makes_measuring_wait(driver: nvml.Driver, card: Card, tmp_path: Path) -> None:
    driver.cards[0].processes = [2**22 + 1]
    with pytest.raises(GpuBusyError, match=f"used by process {2**22 + 1}"):
        readiness(card, tmp_path).before()
    assert not (tmp_path / "gpu_floor.json").exists(), "its memory is no floor"


def test_load_that_belongs_to_no_process_makes_measuring_wait(
    driver: nvml.Driver, card: Card, tmp_path: Path
) -> None:
    driver.cards[0].utilisation = 40
    with pytest.raises(GpuBusyError, match="40 %"):
        readiness(card, tmp_path).before()


def test_what_goes_away_within_the_settling_time_is_waited_for(
    driver: nvml.Driver, card: Card, tmp_path: Path
) -> None:
    driver.cards[0].processes = [2**22 + 1]
    driver.on_look = lambda real: real.processes.clear()
    readiness(card, tmp_path).before()


def test_memory_that_does_not_come_back_is_a_fault(driver: nvml.Driver, card: Card, tmp_path: Path) -> None:
    readiness(card, tmp_path).before()
    driver.cards[0].used_bytes += 20 * GIB
    with pytest.raises(GpuFaultError, match=r"did not come back: 20.5 GiB in use, where 0.5 GiB"):
        readiness(card, tmp_path).after()
    with pytest.raises(GpuBusyError, match=r"not free: 20.5 GiB in use.*; nobody that can be seen"):
        readiness(card, tmp_path).before()


def test_a_desktop_that_comes_after_the_floor_is_no_reason_to_wait(
    driver: nvml.Driver, card: Card, tmp_path: Path
) -> None:
    readiness(card, tmp_path).before()
    real = driver.cards[0]
    real.graphics, real.used_bytes = [2**22 + 1, 2**22 + 2], real.used_bytes + 2 * GIB
    readiness(card, tmp_path).before()
    real.used_bytes += GIB  # a browser, while an engine is at work
    readiness(card, tmp_path).after()


def test_what_draws_with_much_memory_is_named_and_waited_for(
    driver: nvml.Driver, card: Card, tmp_path: Path
) -> None:
    readiness(card, tmp_path).before()
    real = driver.cards[0]
    real.graphics, real.used_bytes = [2**22 + 1], real.used_bytes + 12 * GIB
    with pytest.raises(GpuBusyError, match=f"12.5 GiB in use.*process {2**22 + 1} draws on it"):
        readiness(card, tmp_path).before()


def test_memory_of_an_engine_is_missed_beside_a_desktop_too(
    driver: nvml.Driver, card: Card, tmp_path: Path
) -> None:
    driver.cards[0].graphics = [2**22 + 1]
    readiness(card, tmp_path).before()
    driver.cards[0].used_bytes += 20 * GIB
    with pytest.raises(GpuFaultError, match="did not come back"):
        readiness(card, tmp_path).after()


def test_a_driver_that_tells_no_graphics_processes_is_asked_all_the_same(
    driver: nvml.Driver, card: Card, tmp_path: Path
) -> None:
    driver.cards[0].graphics = None
    readiness(card, tmp_path).before()
    readiness(card, tmp_path).after()


def test_one_that_computes_and_draws_is_waited_for(driver: nvml.Driver, card: Card, tmp_path: Path) -> None:
    driver.cards[0].processes = driver.cards[0].graphics = [2**22 + 1]
    with pytest.raises(GpuBusyError, match="used by process"):
        readiness(card, tmp_path).before()


def test_memory_that_was_in_use_before_an_engine_started_is_not_the_engines(
    driver: nvml.Driver, card: Card, tmp_path: Path
) -> None:
    readiness(card, tmp_path).before()
    driver.cards[0].used_bytes += 300 * 2**20
    readiness(card, tmp_path).after(used_before=driver.cards[0].used_bytes - 50 * 2**20)


def test_a_desktop_does_not_disturb_a_session_and_is_told_with_it(driver: nvml.Driver, card: Card) -> None:
    driver.cards[0].graphics = [2**22 + 1, 2**22 + 2]
    watch = watch_of(card)
    watch.attend(lambda pid: pid == 10)
    driver.cards[0].processes = [10]
    assert watch.since(watch.mark()).contaminated_by == ()
    assert (watch.watched(0.0).facts or {})["graphics"] == 2


def test_the_floor_of_another_boot_or_driver_says_nothing(
    driver: nvml.Driver, card: Card, tmp_path: Path
) -> None:
    readiness(card, tmp_path).before()
    driver.cards[0].used_bytes += 2 * GIB
    readiness(card, tmp_path, boot="boot-2").before()
    readiness(card, tmp_path, boot="boot-2").after()
    readiness(card, tmp_path, driver="600").before()


def test_a_damaged_floor_file_is_learned_again(driver: nvml.Driver, card: Card, tmp_path: Path) -> None:
    (tmp_path / "gpu_floor.json").write_text("[1, 2", encoding="utf-8")
    readiness(card, tmp_path).before()
    driver.cards[0].used_bytes += 20 * GIB
    with pytest.raises(GpuFaultError):
        readiness(card, tmp_path).after()


def test_what_makes_a_gpu_unsound_is_said(driver: nvml.Driver, card: Card) -> None:
    real = driver.cards[0]
    assert soundness(card) is None
    real.mig = 1
    assert "MIG is on" in str(soundness(card))
    real.mig, real.uncorrected = 0, 2
    assert "2 errors" in str(soundness(card))
    real.uncorrected, real.rows = 0, (0, 1, 1, 0)
    assert "wait for a reset" in str(soundness(card))
    real.rows, real.pages_pending = None, 1
    assert "wait for a reset" in str(soundness(card))
