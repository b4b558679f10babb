"""`mtp-monitor gpu` and what `doctor` says of a GPU, against a stand-in driver."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from monitor.cli import app
from monitor.settings import load
from monitor.steps.station import Station
from monitor.store.queries import quarantines
from standins import nvml


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nvml.Driver:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return nvml.install(monkeypatch)


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def quarantine() -> None:
    with Station.open(load(None)) as station, station.store.write() as db:
        quarantines.begin(
            db, station.host.machine_id, gpu="GPU-1", reason="It was lost.", now=station.clock()
        )


def test_the_gpu_is_shown_with_what_it_does_now(driver: nvml.Driver) -> None:
    driver.cards[0].temperature = 61
    done = call("gpu", "show")
    assert done.exit_code == 0, done.output
    assert nvml.WORKSTATION in done.stdout
    assert "may be measured on" in done.stdout
    assert "1711 GB/s at most" in done.stdout
    assert "61 °C" in done.stdout
    document = json.loads(call("gpu", "show", "--json").stdout)
    assert document["schema"] == "mtp-monitor/gpu/1"
    assert document["gpu"]["now"]["temperature_c"] == 61
    assert document["gpu"]["why_held"] == ""


def test_a_machine_without_a_gpu_says_so(driver: nvml.Driver) -> None:
    driver.fail("nvmlInit", "LIBRARY_NOT_FOUND")
    done = call("gpu", "show", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["gpu"] is None


def test_a_quarantine_is_shown_and_ends_when_a_person_says_so(driver: nvml.Driver) -> None:
    quarantine()
    assert "nothing is measured on it: in quarantine: It was lost." in call("gpu", "show").stdout
    done = call("gpu", "release", "--reason", "restarted", "--who", "ada", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["ended"]["reason"] == "It was lost."
    assert call("gpu", "release", "--reason", "again").exit_code == 2
    assert "may be measured on" in call("gpu", "show").stdout


def test_memory_that_is_waited_for_can_be_taken_for_the_floor(driver: nvml.Driver, tmp_path: Path) -> None:
    with Station.open(load(None)) as station:
        floor = station.settings.state / "gpu_floor.json"
    floor.write_text("{}", encoding="utf-8")
    done = call("gpu", "release", "--reason", "a desktop that the driver does not show", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["ended"] is None
    assert not floor.exists()


def test_a_desktop_is_shown_with_the_gpu(driver: nvml.Driver) -> None:
    assert "drawing" not in call("gpu", "show").stdout
    driver.cards[0].graphics = [2**22 + 1]
    assert f"drawing      process {2**22 + 1}" in call("gpu", "show").stdout


def test_a_lost_gpu_does_not_keep_the_service_from_starting_and_is_said(driver: nvml.Driver) -> None:
    assert call("gpu", "show").exit_code == 0
    driver.fail("*", "GPU_IS_LOST")
    done = call("gpu", "show")
    assert done.exit_code == 0, done.output
    assert "GPU is lost" in done.stdout


def test_doctor_names_what_is_wrong_with_a_gpu(driver: nvml.Driver) -> None:
    driver.cards[0].mig, driver.cards[0].persistence, driver.version = 1, 0, "550.54"
    findings = {
        (one["name"], one["state"]): one["text"]
        for one in json.loads(call("doctor", "--offline", "--json").stdout)["findings"]
    }
    assert "MIG is on" in findings["gpu mode", "warning"]
    assert "persistence" in findings["gpu mode", "note"]
    assert "older than 580" in findings["driver", "warning"]


def test_doctor_notes_a_desktop_on_the_gpu(driver: nvml.Driver) -> None:
    driver.cards[0].graphics = [2**22 + 1]
    findings = json.loads(call("doctor", "--offline", "--json").stdout)["findings"]
    (note,) = [one for one in findings if one["name"] == "gpu desktop"]
    assert note["state"] == "note"
    assert f"process {2**22 + 1}; 512 MiB in use" in note["text"]


def test_doctor_says_what_a_machine_without_a_gpu_would_need(
    driver: nvml.Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.fail("nvmlInit", "LIBRARY_NOT_FOUND")
    monkeypatch.setenv("PATH", "/nowhere")
    document = json.loads(call("doctor", "--offline", "--json").stdout)
    needs = {one["name"]: one["text"] for one in document["findings"] if one["topic"].startswith("for the")}
    assert list(needs) == ["gpu", "driver", "disk", "token", "containers"]
    assert "GiB of memory, compute capability 12.0" in needs["gpu"]
    assert "580 or newer" in needs["driver"]
    assert "Qwen/Qwen3.6-27B-FP8" in needs["token"]
    assert "neither docker nor podman" in needs["containers"]
