"""What `mtp-monitor doctor` says of the programs that environments are built with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from monitor import host, settings
from monitor.cli import app
from monitor.environments import toolchain
from standins.docker import DockerStandin


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that lets doctor look and returns its findings on tools, by name."""
    monkeypatch.setattr(host, "read_gpus", lambda: ())
    monkeypatch.setattr(settings, "gpu_present", lambda: False)

    def look(project: str, more: str = "") -> dict[str, dict[str, str]]:
        file = tmp_path / "mine.toml"
        file.write_text(f'[[sources]]\nproject = "{project}"\n{more}')
        done = CliRunner().invoke(app, ["--config", str(file), "doctor", "--offline", "--json"])
        found = json.loads(done.stdout)["findings"]
        return {item["name"]: item for item in found if item["topic"] == "tools"}

    return look


def test_compilers_are_looked_at_where_a_release_is_compiled_here(
    tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain, "_compiler", lambda *_: toolchain.Tool(Path("/c++"), "c++ 12.2.0"))
    found = tools("llama-cpp-python")["compilers"]

    assert (found["state"], found["text"]) == ("fine", "c++ 12.2.0")
    assert "compilers" not in tools("xllamacpp")


def test_a_missing_compiler_is_named_with_what_cannot_be_measured(
    tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "gpu_present", lambda: True)
    monkeypatch.setattr(toolchain, "_nvcc", lambda: None)

    found = tools("llama-cpp-python")["compilers"]

    assert found["state"] == "warning"
    assert "CUDA compiler (nvcc)" in found["text"]
    assert "llama-cpp-python cannot be measured" in found["text"]
    assert "build.cuda" in found["advice"]


def test_a_container_tool_is_looked_at_where_releases_are_images(
    tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = 'kind = "registry"\nimage = "docker.io/vllm/vllm-openai"\n'
    docker = DockerStandin(tmp_path / "docker")
    monkeypatch.setenv("PATH", str(docker.program.parent))

    found = tools("vllm", images)["containers"]
    assert (found["state"], found["text"]) == ("fine", f"docker 28.2.2 ({docker.program})")
    docker.tell(down=True)
    found = tools("vllm", images)["containers"]
    assert found["state"] == "warning"
    assert "Images of vllm cannot be measured" in found["text"]
    assert "Cannot connect to the Docker daemon" in found["text"]
    assert "containers" not in tools("vllm")
