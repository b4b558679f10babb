"""The newest vLLM for CUDA, installed and measured by the command itself: counts as the head was designed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from packaging.version import Version

from acceptance.command import House, engines_of
from monitor.net import Http
from monitor.releases.package_index import PackageIndex
from monitor.settings_tables import SourceSettings

CHECKS = tuple(f"synthetic-{family}-vllm-cuda" for family in ("mimo", "qwen35", "gemma4"))
SOURCE = SourceSettings(project="vllm", settle_minutes=0)
CONFIGURATION = f"""\
[[sources]]
project = "{SOURCE.project}"
settle_minutes = 0

[[assignments]]
project = "{SOURCE.project}"
checks = {json.dumps(CHECKS)}
"""


@pytest.fixture(scope="module")
def house(gpu: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> House:
    """Return a house on a machine with a GPU; on another the test is skipped, with the reason."""
    assert gpu["uuid"]
    folder = tmp_path_factory.mktemp("cuda")
    (folder / "mtp-monitor.toml").write_text(CONFIGURATION, encoding="utf-8")
    # Twelve gigabytes are installed, and the first start of each check compiles.
    return House(folder, timeout_s=3600)


@pytest.fixture(scope="module")
def newest(house: House) -> str:
    with Http() as http:
        versions = [
            Version(release.version)
            for release in PackageIndex(SOURCE, http).poll()
            if any(artifact.yanked is None for artifact in release.artifacts)
        ]
    house.run("releases", "--refresh")
    return str(max(version for version in versions if not version.is_prerelease))


@pytest.mark.parametrize("check", CHECKS)
def test_the_newest_release_accepts_on_a_gpu_what_the_head_was_designed_for(
    house: House, newest: str, check: str
) -> None:
    run = house.json("run", check, "--release", f"vllm=={newest}", code=None)
    assert run["state"] == "done", run["reason"]

    folder = house.folder / "exported" / check
    house.run("export", str(run["run"]), "-o", str(folder))
    text = (folder / "candidate.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    samples = {
        arm: [line for line in lines if line["kind"] == "sample" and line["arm"] == arm]
        for arm in ("baseline", "mtp")
    }
    sessions = {line["arm"]: line for line in lines if line["kind"] == "session"}

    # Shown with `-rP`: what a person wants to see of a first run on a card.
    print(check, newest, json.dumps(sessions["mtp"]["effective"], indent=1, sort_keys=True))  # noqa: T201
    for arm, found in samples.items():
        rates = [(line["n"] - line["n_first"]) / line["decode_s"] for line in found]
        print(arm, "tokens/s:", [round(rate, 1) for rate in rates])  # noqa: T201
    assert {(s["n"], s["n_first"], s["drafted"], s["accepted"]) for s in samples["mtp"]} == {(97, 1, 72, 72)}
    assert said(samples["mtp"]) == said(samples["baseline"])
    facts = sessions["mtp"]["effective"]
    assert "num_spec_tokens=3" in facts["speculative_config"]
    assert facts["counter.accepted"] == sum(sample["accepted"] for sample in samples["mtp"])
    assert facts["cudagraph_mode"] != "NONE"
    assert sessions["mtp"]["gpu"]["readings"] > 0
    assert engines_of(house) == []


def said(samples: list[Any]) -> set[Any]:
    return {(sample["prompt"], tuple(sample["token_ids"])) for sample in samples}
