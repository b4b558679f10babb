"""The wheel of vLLM that serves on NVIDIA GPUs, installed for real, with all that it brings.

Where there is no GPU it ends while it starts, which has to be told as that and in plain words.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.version import Version

from monitor import host
from monitor.bench.session import measure_session
from monitor.checks.loader import load_check
from monitor.checks.models import fetch
from monitor.domain import Arm, Environment, Role
from monitor.engines import engine_for
from monitor.environments.collection import Environments
from monitor.errors import EngineStartError
from monitor.net import Http
from monitor.releases.package_index import PackageIndex
from monitor.settings_tables import SourceSettings, UvSettings

SOURCE = SourceSettings(project="vllm", versions=">=0.33")
NEEDED_BYTES = 25 * 2**30
"""The installation takes ten gigabytes, and while it is made the packed files lie beside it."""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Install the newest release; MTP_TEST_ENVIRONMENTS names a folder that keeps it."""
    folder = Path(os.environ.get("MTP_TEST_ENVIRONMENTS") or tmp_path_factory.mktemp("environments"))
    if shutil.disk_usage(folder).free < NEEDED_BYTES:
        pytest.skip(f"{NEEDED_BYTES >> 30} GiB are needed in {folder}")
    with Http() as http:
        release = PackageIndex(SOURCE, http).poll()[-1]
        artifact = next(item for item in release.artifacts if "x86_64" in item.filename)
        return Environments.at(folder, uv=UvSettings(), http=http).provision(artifact, SOURCE)


def test_the_stack_that_a_release_brings_is_recorded(environment: Environment) -> None:
    packages = {package.name: package for package in environment.packages}
    assert Version(packages["vllm"].version) >= Version("0.33")
    assert {"torch", "torchvision", "triton", "flashinfer-python", "nvidia-cublas"} <= packages.keys()
    assert all(package.sha256 for package in environment.packages)


def test_its_pytorch_is_the_one_for_cuda(environment: Environment) -> None:
    assert environment.python is not None
    done = subprocess.run(
        [environment.python, "-c", "import torch; print(torch.version.cuda)"],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert Version(done.stdout.strip()) >= Version("13.0")


@pytest.mark.skipif(bool(host.read_gpus()), reason="this machine has a GPU")
def test_without_a_gpu_it_does_not_start_and_says_why(environment: Environment, tmp_path: Path) -> None:
    check = load_check("synthetic-mimo-vllm-cpu")
    check = replace(check, serve={**check.serve, "environment": {}})
    with pytest.raises(EngineStartError, match="Failed to infer device type") as caught:
        measure_session(
            check=check,
            engine=engine_for("vllm"),
            environment=environment,
            model=fetch(check.model, tmp_path / "models"),
            draft_model=None,
            arm=Arm.MTP,
            number=0,
            block=0,
            order=0,
            role=Role.SCREEN,
            prompts=check.workloads[0].prompts,
            log=tmp_path / "engine.log",
            scratch=tmp_path / "scratch",
        )
    assert "device.py" in caught.value.log_tail
