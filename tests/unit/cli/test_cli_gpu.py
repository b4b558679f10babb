"""`mtp-monitor gpu` and what `doctor` says of a GPU, against a stand-in driver."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from monitor.cli import app, gpu_needs
from monitor.gpu import toolkit
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
    assert "1792 GB/s at most (memory at 14001 MHz)" in done.stdout
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
    assert list(needs) == [
        *("gpu", "driver", "disk", "token"),
        *("compiler", "headers", "nvcc", "containers"),
    ]
    assert "GiB of memory, compute capability 12.0" in needs["gpu"]
    assert needs["gpu"].endswith("; 8.0 GiB for synthetic models")
    assert "580 or newer" in needs["driver"]
    assert "Qwen/Qwen3.6-27B-FP8" in needs["token"]
    assert "neither is here" in needs["containers"]


def needed(name: str) -> dict[str, Any]:
    findings = json.loads(call("doctor", "--offline", "--json").stdout)["findings"]
    return next(one for one in findings if one["topic"] == "for the GPU checks" and one["name"] == name)


def test_doctor_says_what_fails_without_compilers(
    driver: nvml.Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolkit, "PLACE", tmp_path / "cuda")
    monkeypatch.setattr(toolkit, "SYSTEM_PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_HOME", raising=False)
    assert needed("compiler")["state"] == "warning"
    assert "no gcc or clang: vLLM from a wheel ends at its start" in needed("compiler")["text"]
    assert "ends with 'Could not find nvcc'" in needed("nvcc")["text"]
    assert needed("nvcc")["state"] == "warning"
    driver.fail("nvmlInit", "LIBRARY_NOT_FOUND")
    assert needed("nvcc")["state"] == "note", "nothing is missing before there is a GPU"


def test_doctor_knows_a_toolkit_that_is_too_old_for_the_gpu(
    driver: nvml.Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "cuda"
    (home / "bin").mkdir(parents=True)
    monkeypatch.setenv("CUDA_HOME", str(home))
    for release, state in (("V12.8.93", "warning"), ("V12.10.1", "fine"), ("V13.0.88", "fine")):
        (home / "bin" / "nvcc").write_text(f"#!/bin/sh\necho {release}\n", encoding="utf-8")
        (home / "bin" / "nvcc").chmod(0o755)
        assert needed("nvcc")["state"] == state
        assert release[1:] in needed("nvcc")["text"]


def test_doctor_asks_podman_where_docker_does_not_answer_and_says_what_gives_images_the_gpu(
    driver: nvml.Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, status in (("docker", 1), ("podman", 0)):
        (programs / name).write_text(f"#!/bin/sh\nexit {status}\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr(gpu_needs, "_CDI", (tmp_path / "cdi",))
    assert "podman answers" in needed("containers")["text"]
    assert "no CDI file of NVIDIA" in needed("image gpu")["text"]
    assert "nvidia-ctk cdi generate" in needed("image gpu")["advice"]
    (tmp_path / "cdi").mkdir()
    (tmp_path / "cdi" / "nvidia.yaml").touch()
    assert needed("image gpu")["state"] == "fine"

    (programs / "docker").write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    (tmp_path / "cdi" / "nvidia.yaml").unlink()
    assert "docker answers" in needed("containers")["text"]
    assert "the NVIDIA container toolkit is not here" in needed("image gpu")["text"]


def test_doctor_names_cells_of_a_matrix_together_and_other_checks_by_themselves(driver: nvml.Driver) -> None:
    findings = json.loads(call("doctor", "--offline", "--json").stdout)["findings"]
    names = [one["name"] for one in findings if one["topic"] == "checks"]
    assert "qwen-3.6-27b-vllm-fp8.{n1,n2,n3,n4,n5,n6}" in names
    assert "qwen-3.6-27b-vllm-fp8-long" in names
