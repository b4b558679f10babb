from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.command import House


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
