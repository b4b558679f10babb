from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.command import GOOD, House
from monitor.net import Http
from monitor.releases.package_index import PackageIndex
from monitor.settings_tables import SourceSettings


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of stand-in releases, discovered like an index."""
    return tmp_path_factory.mktemp("stand-ins")


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, stand_ins: Path) -> House:
    """Return one house for the tests of the main job: what an earlier test measured is there for the next."""
    built = House.build(tmp_path_factory.mktemp("house"), planted=stand_ins)
    built.run("releases", "--refresh")
    return built


@pytest.fixture(scope="session")
def wheel(house: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the real wheel of the good release, from the index."""
    listed = house.json("releases")["releases"]
    artifact = next(item for item in listed if item["version"] == GOOD)["artifacts"]
    file = next(item for item in artifact if "manylinux" in item["filename"] and "x86_64" in item["filename"])
    with Http() as http:
        release = next(
            r for r in PackageIndex(SourceSettings(project="xllamacpp"), http).poll() if r.version == GOOD
        )
        chosen = next(item for item in release.artifacts if item.sha256 == file["sha256"])
        target = tmp_path_factory.mktemp("wheel") / chosen.filename
        return http.download(chosen.url, target, sha256=chosen.sha256, max_bytes=2**29, deadline_s=300)
