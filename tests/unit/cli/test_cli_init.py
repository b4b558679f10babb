"""init: the configuration it writes, and what it never replaces."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from monitor import settings
from standins.cli import Call


def test_init_writes_a_file_that_loads_and_says_what_comes_next(call: Call, tmp_path: Path) -> None:
    done = call("init")
    assert done.exit_code == 0
    written = settings.load(tmp_path / "mtp-monitor.toml")
    assert [source.project for source in written.sources] == ["xllamacpp"]
    assert "mtp-monitor doctor" in done.stdout
    assert sorted(item.name for item in tmp_path.iterdir()) == ["mtp-monitor.toml"]


def test_init_never_replaces_a_file_unless_told_to(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "mtp-monitor.toml"
    file.write_text("# mine\n")
    done = call("init")
    assert done.exit_code == 1
    assert "--force" in done.stderr
    assert file.read_text() == "# mine\n"
    assert call("init", "--force").exit_code == 0
    assert "[[sources]]" in file.read_text()


def test_init_follows_the_projects_it_is_given_with_their_indexes(call: Call, tmp_path: Path) -> None:
    done = call(
        *("--config", "own.toml", "init", "--project", "vllm", "--project", "llama-cpp-python"),
        *("--index-url", "vllm=https://index.example/simple/", "--state", "/srv/x"),
    )
    assert done.exit_code == 0, done.output
    content = tomllib.loads((tmp_path / "own.toml").read_text())
    assert content["sources"] == [
        {"project": "vllm", "index_url": "https://index.example/simple/", "backfill": 0},
        {"project": "llama-cpp-python", "backfill": 0},
    ]
    assert content["state"] == "/srv/x"
    assert "mtp-monitor --config own.toml doctor" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--project", "vlm"], "did you mean 'vllm'?"),
        (["--index-url", "vllm"], "NAME=URL"),
        (["--index-url", "vllm=https://index.example/"], "add --project vllm"),
    ],
)
def test_init_refuses_what_it_does_not_know_and_writes_nothing(
    arguments: list[str], says: str, call: Call, tmp_path: Path
) -> None:
    done = call("init", *arguments)
    assert done.exit_code == 2
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_init_says_so_when_the_folder_is_not_there(call: Call) -> None:
    done = call("--config", "none/x.toml", "init")
    assert done.exit_code == 1
    assert "cannot be written" in done.stderr


def test_init_writes_a_github_source_for_llama_cpp(call: Call, tmp_path: Path) -> None:
    assert call("init", "--project", "llama.cpp").exit_code == 0
    written = settings.load(tmp_path / "mtp-monitor.toml")
    assert [(source.project, source.kind) for source in written.sources] == [("llama.cpp", "github")]
    assert written.checks_of("llama.cpp") == ("synthetic-qwen35-native",)
