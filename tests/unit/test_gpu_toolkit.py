"""The toolkit of CUDA beside a GPU: which compiler engines find, and what they are told to have got of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from monitor import host, proc
from monitor.gpu import toolkit
from monitor.steps.epochs import conditions
from standins import nvml


@pytest.fixture
def toolkit_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "cuda"
    (home / "bin").mkdir(parents=True)
    script = "#!/bin/sh\necho 'Cuda compilation tools, release 13.0, V13.0.88'\n"
    (home / "bin" / "nvcc").write_text(script, encoding="utf-8")
    (home / "bin" / "nvcc").chmod(0o755)
    monkeypatch.setattr(toolkit, "PLACE", home)
    monkeypatch.setattr(toolkit, "SYSTEM_PATH", "/nowhere")
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    return home


def test_an_engine_on_a_gpu_finds_the_compiler_of_the_toolkit_after_its_own(
    toolkit_folder: Path, tmp_path: Path
) -> None:
    own = Path("/environment/bin")
    found = proc.engine_environment(tmp_path, path=(own,), extra={"CUDA_VISIBLE_DEVICES": "0"})
    assert found["PATH"] == f"{own}:{toolkit_folder}/bin:/nowhere"
    assert proc.engine_environment(tmp_path, path=(own,), extra={})["PATH"] == f"{own}:/nowhere"


def test_the_toolkit_of_cuda_home_goes_before_the_usual_one(
    toolkit_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "nothing"))
    assert toolkit.nvcc() == toolkit_folder / "bin" / "nvcc", "one that has no compiler is none"
    other = tmp_path / "other"
    shutil.copytree(toolkit_folder, other)
    monkeypatch.setenv("CUDA_HOME", str(other))
    assert toolkit.nvcc() == other / "bin" / "nvcc"


def test_what_an_engine_gets_of_the_machine_is_told(
    toolkit_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvcc = {"machine.nvcc": f"13.0.88 ({toolkit_folder}/bin/nvcc)"}
    assert proc.inherited(on_gpu=True) == nvcc
    assert proc.inherited(on_gpu=False) == {}
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/cuda/lib64")
    monkeypatch.setenv("CUDA_HOME", str(toolkit_folder))
    variables = {"machine.LD_LIBRARY_PATH": "/opt/cuda/lib64", "machine.CUDA_HOME": str(toolkit_folder)}
    assert proc.inherited(on_gpu=False) == variables
    assert proc.inherited(on_gpu=True) == nvcc | variables


def test_another_compiler_ends_an_epoch_where_there_is_a_gpu(
    toolkit_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = nvml.install(monkeypatch)
    before = conditions(host.describe(tmp_path))
    assert before["CUDA compiler"] == "13.0.88"
    compiler = toolkit_folder / "bin" / "nvcc"
    compiler.write_text("#!/bin/sh\necho release 13.1, V13.1.2\n", encoding="utf-8")
    os.utime(compiler, (1, 1))
    assert conditions(host.describe(tmp_path))["CUDA compiler"] == "13.1.2"
    compiler.unlink()
    assert "CUDA compiler" not in conditions(host.describe(tmp_path))
    driver.fail("nvmlInit", "DRIVER_NOT_LOADED")
    assert "CUDA compiler" not in conditions(host.describe(tmp_path))
