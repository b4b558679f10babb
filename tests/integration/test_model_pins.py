"""Weights that a check names by a branch are those of the first fetch: its commit and files are kept to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from monitor import settings
from monitor.checks import loader, models
from monitor.checks.lock import FILE
from monitor.cli import app
from monitor.domain import ModelSpec
from monitor.errors import ModelError
from monitor.steps.provision import weights
from monitor.steps.station import Station
from standins.hub import COMMIT, WEIGHTS, HubServer, sha256

CHECK = """
schema = "mtp-monitor/check/1"
id = "mine"
title = "Mine"
engine = "llama-server"
projects = ["xllamacpp"]
quantisation = "Q8"
draft_length = 2
workloads = ["w.jsonl"]
model = { name = "m", kind = "huggingface", repository = "org/m", revision = "main", files = ["m.gguf"] }
sampling = { temperature = 0 }
estimate_minutes = { quick = 1, full = 2 }
"""
NEWER = WEIGHTS[::-1]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """Yield a hub, in a folder whose configuration has one check that names its branch `main`."""
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "mine.toml").write_text(CHECK)
    prompt = {"id": "a", "workload": "w", "max_tokens": 32, "text": "x", "source": "self", "licence": "MIT"}
    (tmp_path / "checks" / "w.jsonl").write_text(json.dumps(prompt) + "\n")
    (tmp_path / "mtp-monitor.toml").write_text('check_dirs = ["checks"]\n')
    monkeypatch.chdir(tmp_path)
    with HubServer() as server:
        monkeypatch.setenv("MTP_MONITOR_MODELS__ENDPOINT", server.address)
        yield server


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["models", *arguments])


def locked(folder: Path) -> dict[str, Any]:
    (entry,) = json.loads((folder / "state" / FILE).read_text())["models"].values()
    assert isinstance(entry, dict)
    return entry


def spec() -> ModelSpec:
    return loader.load_checks([Path("checks")])["mine"].model


def weights_of_a_run(folder: Path) -> bytes:
    with Station.open(settings.load(folder / "mtp-monitor.toml")) as station:
        return weights(station, station.checks["mine"]).model.read_bytes()


def remove_weights(folder: Path) -> None:
    shutil.rmtree(models.folder_of(spec(), folder / "state" / "models"))


def test_the_first_fetch_writes_down_the_commit_and_every_file(hub: HubServer, tmp_path: Path) -> None:
    done = call("fetch", "m")
    assert done.exit_code == 0, done.output
    entry = locked(tmp_path)
    assert (entry["commit"], entry["wanted_revision"]) == (COMMIT, "main")
    assert entry["files"] == {"m.gguf": sha256(WEIGHTS)}


def test_a_run_that_fetches_by_itself_writes_the_same(hub: HubServer, tmp_path: Path) -> None:
    assert weights_of_a_run(tmp_path) == WEIGHTS
    assert (locked(tmp_path)["commit"], locked(tmp_path)["files"]) == (COMMIT, {"m.gguf": sha256(WEIGHTS)})


@pytest.mark.parametrize("by", ["fetch", "run"])
def test_later_the_same_commit_is_fetched_wherever_the_branch_has_gone(
    hub: HubServer, tmp_path: Path, by: str
) -> None:
    call("fetch", "m")
    hub.move({"m.gguf": NEWER})
    remove_weights(tmp_path)
    hub.seen.clear()
    if by == "fetch":
        assert call("fetch", "m").exit_code == 0
    assert weights_of_a_run(tmp_path) == WEIGHTS
    assert all(COMMIT in path for path in hub.downloads())
    assert not [path for path, _, _ in hub.seen if "/revision/" in path]


@pytest.mark.parametrize("listed", [True, False])
def test_another_file_under_the_same_commit_is_refused(hub: HubServer, tmp_path: Path, listed: bool) -> None:
    hub.files = {"m.gguf": WEIGHTS if listed else b"small"}  # small files are listed without their sha256
    call("fetch", "m")
    remove_weights(tmp_path)
    hub.files = {"m.gguf": NEWER if listed else b"other"}
    hub.seen.clear()

    done = call("fetch", "m")

    assert done.exit_code == 1
    assert "holds another m.gguf than the one it had at first" in done.stderr
    assert bool(hub.downloads()) is not listed  # no gigabyte is fetched for nothing
    with pytest.raises(ModelError, match="holds another"):
        weights_of_a_run(tmp_path)


def test_a_file_that_was_exchanged_on_the_disk_stops_the_run_and_says_how_to_go_on(
    hub: HubServer, tmp_path: Path
) -> None:
    call("fetch", "m")
    hub.move({"m.gguf": NEWER})
    remove_weights(tmp_path)
    models.fetch(spec(), tmp_path / "state" / "models", endpoint=hub.address)  # by a tool that knows no lock

    with pytest.raises(ModelError, match=r"m\.gguf is another file") as stopped:
        weights_of_a_run(tmp_path)

    name = models.folder_of(spec(), Path()).name
    assert f"remove the folder {name}" in stopped.value.advice
    remove_weights(tmp_path)
    assert weights_of_a_run(tmp_path) == WEIGHTS


def test_a_commit_that_is_gone_is_told_with_the_way_on(hub: HubServer, tmp_path: Path) -> None:
    call("fetch", "m")
    hub.move({"m.gguf": NEWER})
    hub.earlier.clear()
    remove_weights(tmp_path)
    done = call("fetch", "m")
    assert done.exit_code == 1
    assert "was fetched at first is gone" in done.stderr
    assert "models fetch --newest m" in done.stderr


def test_what_the_branch_holds_now_is_taken_on_demand_and_measured_once_accepted(
    hub: HubServer, tmp_path: Path
) -> None:
    call("fetch", "m")
    assert call("fetch", "--newest", "m").exit_code == 0  # nothing has moved
    assert len(hub.downloads()) == 1
    newer = hub.move({"m.gguf": NEWER})

    done = call("fetch", "--newest", "m")

    assert done.exit_code == 0, done.output
    assert "models accept m" in done.stderr
    assert locked(tmp_path)["commit"] == COMMIT
    with pytest.raises(ModelError, match="is not the one it was measured with"):
        weights_of_a_run(tmp_path)
    assert call("accept", "m").exit_code == 0
    assert (locked(tmp_path)["commit"], locked(tmp_path)["generation"]) == (newer, 2)
    assert weights_of_a_run(tmp_path) == NEWER
