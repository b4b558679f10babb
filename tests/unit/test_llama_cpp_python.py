"""The engine llama-cpp-python: what its launcher is told, and which releases have which arms."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor.domain import Arm, Environment
from monitor.engines import engine_for
from monitor.engines.base import PartialEngine, Setup
from monitor.errors import ConfigurationError
from standins.engine import environment_of, standin_check

PYTHON = Path("/environments/one/bin/python")
ENGINE = engine_for("llama-cpp-python")


def order(arm: Arm, draft: Path | None = None, **changes: Any) -> dict[str, Any]:
    check = standin_check(engine="llama-cpp-python", **changes)
    setup = Setup(check, arm, environment_of(PYTHON), Path("/models/one.gguf"), draft, Path("/scratch"), 4711)
    launch = ENGINE.launch(setup)
    assert launch is not None
    assert launch.argv[:3] == (str(PYTHON), "-I", "-B")
    written: dict[str, Any] = json.loads(launch.files["order.json"])
    return written


def test_the_baseline_is_plain_generation_and_the_mtp_arm_is_the_example_server() -> None:
    baseline, mtp = order(Arm.BASELINE), order(Arm.MTP, Path("/models/head.gguf"), draft_length=5)
    assert baseline["example"] is None
    assert "model" not in baseline
    assert mtp["example"].endswith("share/llama-cpp-python/server.py")
    assert mtp["llama"] == baseline["llama"]
    model = mtp["model"]
    assert (model["draft_model"], model["draft_model_num_pred_tokens"]) == ("draft-mtp", 5)
    assert model["draft_model_path"] == "/models/head.gguf"
    for key in ("n_ctx", "n_batch", "n_ubatch", "n_gpu_layers"):
        assert model[key] == mtp["llama"][key]
    assert model["path"] == mtp["llama"]["model_path"] == "/models/one.gguf"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"serve": {"context": 64}}, r"serve\.threads"),
        ({"serve": {"context": 64, "threads": 1, "flags": []}}, "no setting 'flags'"),
        ({"concurrency": 2}, "2 streams"),
    ],
)
def test_what_it_cannot_do_is_refused_before_anything_starts(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        order(Arm.BASELINE, **changes)


@pytest.mark.parametrize(
    ("example", "has_mtp"), [(None, False), ("prompt-lookup-decoding", False), ('Literal["draft-mtp"]', True)]
)
def test_a_release_has_mtp_when_its_example_server_has(
    tmp_path: Path, example: str | None, *, has_mtp: bool
) -> None:
    environment: Environment = replace(environment_of(PYTHON), path=tmp_path)
    if example is not None:
        (tmp_path / "share" / "llama-cpp-python").mkdir(parents=True)
        (tmp_path / "share" / "llama-cpp-python" / "server.py").write_text(example)
    assert isinstance(ENGINE, PartialEngine)
    assert ENGINE.lacks(environment, Arm.BASELINE) is None
    reason = ENGINE.lacks(environment, Arm.MTP)
    assert (reason is None) is has_mtp
    assert has_mtp or "no MTP in this release" in str(reason)


def test_engines_that_have_every_arm_are_not_asked() -> None:
    assert not isinstance(engine_for("xllamacpp"), PartialEngine)
