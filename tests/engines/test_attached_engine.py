"""An engine of the owner's own: his Python, his commands, and an upgrade that he makes in place."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import uv

from monitor import pipeline, resources
from monitor.domain import Arm, Artifact, Role, RunState
from monitor.pipeline import RunRequest, Station
from monitor.settings import Settings
from monitor.store import Subject
from monitor.store.queries import environments, sessions
from standins.engine import tagged_by

OLD, NEW = "2026.8.10566", "2026.10.11549"
OWN_LLAMA = Path(__file__).parents[1] / "standins" / "own_llama.py"
TINY = resources.resource_dir("checks") / "synthetic-qwen35-tiny.toml"


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return str(value).lower() if isinstance(value, bool | int | float) else "'" + str(value) + "'"


def written(folder: Path, python: Path, model: Path) -> Settings:
    """Write the tiny check as one of the owner's, and a configuration that watches his Python."""
    check = tomllib.loads(TINY.read_text(encoding="utf-8"))
    command = [str(python), "-u", str(OWN_LLAMA), "{port}", "{model}"]
    check |= {
        "id": "mine",
        "description": "",
        "engine": "command",
        "model": {"name": "mine", "kind": "path", "files": [str(model)]},
        "workloads": [str(TINY.parent / name) for name in check["workloads"]],
        "serve": {
            "protocol": "llama.cpp",
            "baseline_command": [*command, "0"],
            "mtp_command": [*command, "{draft_length}"],
        },
        # What is looked at are counts, which a busy machine leaves as they are.
        "judging": check["judging"] | {"server_rate_tolerance": 10.0},
    }
    folder.mkdir()
    text = "\n".join(f"{key} = {toml(value)}" for key, value in check.items())
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    return Settings.model_validate(
        {
            "state": folder / "state",
            "check_dirs": [folder],
            "sources": [{"kind": "attached", "project": "xllamacpp", "python": python}],
            "assignments": [{"project": "xllamacpp", "checks": ["mine"]}],
        }
    )


def running(station: Station) -> Artifact:
    (poll,) = pipeline.discover(station)
    assert poll.error is None, poll.error
    (row,) = [row for row in pipeline.listing(station) if row.release.artifacts]
    return row.release.artifacts[0]


@pytest.fixture
def python(tmp_path: Path) -> Path:
    folder = tmp_path / "owned"
    subprocess.run([uv.find_uv_bin(), "venv", "--quiet", folder], check=True)
    return folder / "bin" / "python"


def install(python: Path, version: str) -> None:
    program = uv.find_uv_bin()
    subprocess.run(
        [program, "pip", "install", "--quiet", "--python", python, f"xllamacpp=={version}"], check=True
    )


def test_an_upgrade_that_the_owner_makes_in_place_is_measured_beside_what_ran_before(
    tmp_path: Path, python: Path, tiny_model: Path
) -> None:
    install(python, OLD)
    counted: dict[str, Any] = {}
    with Station.open(written(tmp_path / "checks", python, tiny_model)) as station:
        for version in (OLD, NEW):
            install(python, version)
            artifact = running(station)
            assert artifact.version.startswith(f"{version}+attached.")
            release = f"xllamacpp=={artifact.version}"
            outcome = pipeline.run(station, RunRequest(check="mine", release=release, confirm=False))
            assert outcome.run.state is RunState.DONE, outcome.run.reason
            with station.store.read() as db:
                stored = sessions.load(db, outcome.run.id, Subject.CANDIDATE, Role.SCREEN)
                environment = environments.get(db, outcome.run.environment_key or "")
            assert stored is not None
            assert environment is not None
            assert {p.name: p.version for p in environment.packages}["xllamacpp"] == version
            drafted = [s for s in stored.samples if s.arm is Arm.MTP]
            assert all((s.drafted or 0) > (s.accepted or 0) > 0 for s in drafted)
            assert {s.drafted for s in stored.samples if s.arm is Arm.BASELINE} == {0}
            counted[version] = {(s.prompt, s.drafted, s.accepted, s.token_ids) for s in drafted}
            assert tagged_by(os.getpid()) == []
    assert counted[OLD] == counted[NEW]
