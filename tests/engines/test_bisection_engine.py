"""The ten builds of llama.cpp with MTP, one of them the first bad one: found by the command, with the engine.

From the first bad build on each is a stand-in of the same build with a worse MTP head. One build between does
not start, and the command is killed half-way.
"""

from __future__ import annotations

import json
import math
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from acceptance.command import House, engines_of
from monitor.domain import Artifact
from monitor.net import Http
from monitor.planted.wheels import Fault, plant
from monitor.releases.package_index import PackageIndex
from monitor.settings_sources import SourceSettings
from standins.builds import MTP_BUILDS

CHECK = "synthetic-qwen35-tiny"
MIDDLE = 4
"""Place of the build that is visited first."""
_WHEEL = re.compile(r"-cp310-abi3-manylinux2014_x86_64|-cp311-cp311-manylinux\S*x86_64")
_MAX_WHEEL_BYTES = 500 * 2**20
_PATIENCE_S = 600.0  # only ends a test that has failed


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Fetch the wheels of the ten builds from the real index."""
    folder = tmp_path_factory.mktemp("originals")
    with Http() as web:
        listed: dict[str, list[Artifact]] = {}
        for release in PackageIndex(SourceSettings(project="xllamacpp"), web).poll():
            listed[release.version] = [file for file in release.artifacts if _WHEEL.search(file.filename)]
        found = {}
        for version in MTP_BUILDS:
            artifact = listed[version][0]
            target = folder / artifact.filename
            web.download(
                artifact.url,
                target,
                sha256=artifact.sha256,
                max_bytes=_MAX_WHEEL_BYTES,
                deadline_s=_PATIENCE_S,
            )
            found[version] = target
    return found


@dataclass(frozen=True)
class Index:
    """A folder that lists the ten builds, and how each is called there."""

    folder: Path
    versions: tuple[str, ...]
    first_bad: int
    """Place among the builds."""


def index_of(originals: dict[str, Path], folder: Path, *, first_bad: int, broken: int | None = None) -> Index:
    """List the good builds as they are and the bad ones as stand-ins; `broken` does not start."""
    listed = folder / "xllamacpp"
    listed.mkdir(parents=True)
    versions = []
    for place, version in enumerate(MTP_BUILDS):
        wheel = originals[version]
        if place == broken or place >= first_bad:
            fault = Fault.CRASH if place == broken else Fault.WORSE_HEAD
            versions.append(plant(wheel, fault, listed).name.split("-")[1])
        else:
            (listed / wheel.name).hardlink_to(wheel)
            versions.append(version)
    return Index(folder, tuple(versions), first_bad)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    built = House(tmp_path / "house")
    yield built
    assert engines_of(built) == []


def follow(house: House, index: Index) -> None:
    """Let the house read nothing but the folder."""
    house.folder.mkdir()
    (house.folder / "mtp-monitor.toml").write_text(
        f'[[sources]]\nproject = "xllamacpp"\nsettle_minutes = 0\nindex_url = "{index.folder.as_uri()}"\n\n'
        f'[[assignments]]\nproject = "xllamacpp"\nchecks = ["{CHECK}"]\n',
        encoding="utf-8",
    )


def command(index: Index) -> list[str]:
    return ["bisect", CHECK, "--good", index.versions[0], "--bad", index.versions[-1], "--json"]


def searched(house: House, index: Index) -> tuple[Any, float]:
    """Carry the search out with the real command; return its document and how long it took."""
    begin = time.monotonic()
    process = house.start(*command(index))
    out, err = process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == 0, err
    return json.loads(out), time.monotonic() - begin


def assert_found(document: Any, index: Index) -> None:
    assert document["state"] == "found", document
    good, bad = index.versions[index.first_bad - 1 : index.first_bad + 1]
    assert (document["last_good"], document["first_bad"]) == (good, bad)
    builds = [MTP_BUILDS[place].rpartition(".")[2] for place in (index.first_bad - 1, index.first_bad)]
    assert document["commits"]["range"] == "b{}..b{}".format(*builds)
    assert document["commits"]["url"].endswith("/compare/b{}...b{}".format(*builds))


def report(what: str, document: Any, seconds: float) -> None:
    """Print what the figures in a report of this test come from."""
    print(f"\n{what}: {document['steps']} steps, {seconds:.0f} s")  # noqa: T201
    for release in document["releases"]:
        print(f"  {release['version']:38} {release['answer'] or '-':8} {release['why']}")  # noqa: T201


def test_the_first_bad_of_ten_builds_is_found_in_log2_steps(
    house: House, originals: dict[str, Path], tmp_path: Path
) -> None:
    index = index_of(originals, tmp_path / "index", first_bad=MIDDLE + 1)
    follow(house, index)
    document, seconds = searched(house, index)
    report("ten builds", document, seconds)
    assert_found(document, index)
    assert document["steps"] <= math.ceil(math.log2(len(MTP_BUILDS) - 1))
    # Asked again, it is known.
    again, _ = searched(house, index)
    assert again["releases"] == document["releases"]


def test_it_is_found_beside_a_build_that_does_not_start_and_after_a_kill(
    house: House, originals: dict[str, Path], tmp_path: Path
) -> None:
    index = index_of(originals, tmp_path / "index", first_bad=MIDDLE + 2, broken=MIDDLE)
    follow(house, index)
    begin = time.monotonic()
    process = house.start(*command(index))
    assert process.stderr is not None
    lines = []
    # Half-way: both ends have answered, and a step is being measured.
    for line in process.stderr:
        lines.append(line)
        if "session 2 of" in line and any("good up to" in said for said in lines):
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "".join(lines)
    document, _ = searched(house, index)
    report("one does not start, killed half-way", document, time.monotonic() - begin)
    assert_found(document, index)
    assert document["steps"] <= math.ceil(math.log2(len(MTP_BUILDS) - 1)) + 1
    answers = {release["version"]: release["answer"] for release in document["releases"]}
    assert answers[index.versions[MIDDLE]] == "skipped"
