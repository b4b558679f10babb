"""What is said of a machine, and why a check is not runnable on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor import host
from monitor.domain import Host, Requirements
from monitor.errors import GpuFaultError, HostError
from standins import nvml

GIB = 2**30
CARD = {
    "name": "NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
    "memory_bytes": 96 * GIB,
    "compute_capability": "12.0",
}


@pytest.fixture
def system(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name, text in {
        "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
        "proc/sys/kernel/random/boot_id": "aaaa-bbbb\n",
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD  EPYC(R) 9999 96-Core\nflags\t: x\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "read_gpus", lambda: ())


def test_this_machine_can_be_described(tmp_path: Path) -> None:
    here = host.describe(tmp_path)
    assert here.cores >= 1
    assert here.memory_bytes > 0
    assert here.boot_id
    assert here.hardware_class
    assert here == host.describe(tmp_path)


def test_the_machines_own_id_is_not_published(
    system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_gpu(monkeypatch)
    here = host.describe(tmp_path / "state", root=system)
    assert "0123456789abcdef" not in here.machine_id
    assert not (tmp_path / "state").exists()
    assert here.boot_id == "aaaa-bbbb"
    assert here.hardware_class == f"cpu-amd-epyc-9999-96-core-{here.cores}"


def test_a_machine_without_an_id_keeps_one_in_its_state_folder(
    system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_gpu(monkeypatch)
    (system / "etc/machine-id").write_text("", encoding="utf-8")
    first = host.describe(tmp_path / "one", root=system)
    assert host.describe(tmp_path / "one", root=system).machine_id == first.machine_id
    assert host.describe(tmp_path / "two", root=system).machine_id != first.machine_id
    assert sorted(file.name for file in (tmp_path / "one").iterdir()) == ["host_id"]


def test_a_state_folder_that_takes_no_id_is_told(
    system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_gpu(monkeypatch)
    (system / "etc/machine-id").unlink()
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(HostError, match="none can be kept"):
        host.describe(tmp_path / "file" / "state", root=system)


def test_the_gpu_gives_the_hardware_class_its_name_and_variant(
    system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "read_gpus", lambda: (CARD, CARD))
    here = host.describe(tmp_path, name="lab", root=system)
    assert here.name == "lab"
    assert here.hardware_class == "NVIDIA RTX PRO 6000 Blackwell Workstation Edition"
    assert here.gpu is not None
    assert here.gpu["count"] == 2


BASE = Host(name="h", machine_id="m", hardware_class="c", boot_id="b", cpu="x", cores=2, memory_bytes=8 * GIB)
NEEDS = Requirements(gpu=True, gpu_memory_bytes=80 * GIB, compute_capability="12.0")


@pytest.mark.parametrize(
    ("gpu", "requires", "expected"),
    [
        (None, Requirements(), []),
        (None, NEEDS, ["needs an NVIDIA GPU with 80 GiB of memory; this machine has none"]),
        (CARD, NEEDS, []),
        (CARD | {"memory_bytes": 24 * GIB}, NEEDS, ["needs a GPU with 80 GiB of memory"]),
        (CARD | {"compute_capability": "9.0"}, NEEDS, ["needs compute capability 12.0 or newer"]),
        (CARD | {"compute_capability": "12.1"}, NEEDS, []),
        (CARD | {"compute_capability": None}, NEEDS, ["has told none"]),
        (None, Requirements(memory_bytes=64 * GIB), ["needs 64 GiB of memory; this machine has 8.0 GiB"]),
        (None, Requirements(disk_bytes=3 * GIB), ["needs 3.0 GiB of free disk; there are 2.0 GiB"]),
    ],
)
def test_every_reason_why_a_check_is_not_runnable_is_said(
    gpu: dict[str, Any] | None, requires: Requirements, expected: list[str]
) -> None:
    reasons = host.satisfies(replace(BASE, gpu=gpu), requires, free_disk_bytes=2 * GIB)
    assert len(reasons) == len(expected)
    assert all(wanted in reason for wanted, reason in zip(expected, reasons, strict=True))


def test_the_free_disk_of_a_folder_that_does_not_exist_yet_is_known(tmp_path: Path) -> None:
    assert host.free_disk(tmp_path / "a" / "b") > 0


@pytest.mark.parametrize(("load", "quiet"), [(0.3, True), (3.0, False)])
def test_a_busy_machine_is_told(load: float, quiet: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(host.os, "sched_getaffinity", lambda _: {0, 1})
    assert host.is_quiet()[0] is quiet
    assert f"{load:.2f}" in host.is_quiet()[1]


# ---------------------------------------------------------------------------------------------
# Which GPU stands for the machine


def test_the_gpu_that_is_named_is_measured_on_and_no_other(
    system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml.install(monkeypatch, nvml.Card(uuid="GPU-1"), nvml.Card(uuid="GPU-2"))
    first, second = (host.describe(tmp_path, gpu=uuid, root=system).gpu for uuid in (None, "GPU-2"))
    assert (first or {})["index"] == 0
    assert (second or {})["index"] == 1
    with pytest.raises(GpuFaultError, match=r"GPU-3 of `host.gpu` is not there; the driver shows GPU-1"):
        host.describe(tmp_path, gpu="GPU-3", root=system)


def test_no_driver_is_no_gpu(system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml.install(monkeypatch).fail("nvmlInit", "LIBRARY_NOT_FOUND")
    assert host.describe(tmp_path, root=system).gpu is None


def test_a_lost_gpu_is_an_error_and_not_a_machine_without_one(
    system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml.install(monkeypatch).fail("*", "GPU_IS_LOST")
    with pytest.raises(HostError, match="about its GPUs"):
        host.describe(tmp_path, root=system)
