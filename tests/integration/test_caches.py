"""What an engine's compilers keep: warm from a release's second start on, and never another release's."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from monitor import pipeline
from monitor.engines.base import Launch, Setup
from monitor.steps.tidy import tidy
from standins import engine as standin
from standins.engine import StandinEngine
from standins.service import World

PLACES = ("XDG_CACHE_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "CUDA_CACHE_PATH")


class Compiling(StandinEngine):
    """A server that says which of its caches are warm, and leaves something in each."""

    def launch(self, setup: Setup, /) -> Launch:
        server = Path(standin.__file__).with_name("engine_server.py")
        steps = [
            f'[ -e "${place}/kernel" ] && echo warm {place}; mkdir -p "${place}"; touch "${place}/kernel"'
            for place in PLACES
        ]
        home = '[ -e "$HOME/kernel" ] && echo warm HOME; touch "$HOME/kernel"'
        serve = f"exec {shlex.join((sys.executable, '-u', str(server), self.fault, str(setup.port)))}"
        return Launch(("/bin/sh", "-c", "\n".join([*steps, home, serve])))


def warm(folder: Path, **given: Any) -> set[str]:
    """Measure one session and return what was warm at its start."""
    standin.measure(folder, "none", engine=Compiling("none"), **given)
    lines = (folder / "logs" / "engine.log").read_text().splitlines()
    return {line.removeprefix("warm ") for line in lines if line.startswith("warm ")}


def test_the_first_start_in_an_environment_is_cold_and_later_ones_are_warm(tmp_path: Path) -> None:
    one, other = tmp_path / "caches" / "one", tmp_path / "caches" / "other"
    assert warm(tmp_path, caches=one) == set()
    assert warm(tmp_path, caches=one) == set(PLACES)
    assert warm(tmp_path, caches=other) == set(), "another release starts as cold as the first did"
    assert not list((tmp_path / "scratch").iterdir()), "everything else of a session is gone with it"


def test_without_a_kept_folder_every_start_is_cold(tmp_path: Path) -> None:
    for _ in range(2):
        standin.measure(tmp_path, "none")
    assert not (tmp_path / "caches").exists()


def test_each_environment_is_measured_with_a_folder_of_its_own(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.release("2026.6.9294")
    given: list[tuple[str, Path]] = []
    measured = world.measure

    def noting(**asked: Any) -> Any:
        given.append((asked["environment"].key, asked["caches"]))
        return measured(**asked)

    world.measure = noting  # type: ignore[method-assign]
    with world.station() as station:
        pipeline.cycle(station)
        world.release("2026.7.9713")
        world.wait(hours=1)
        pipeline.cycle(station)
    assert len({key for key, _ in given}) == len(world.builds)
    assert {folder for _, folder in given} == {tmp_path / "state" / "caches" / key for key, _ in given}


def test_the_folder_of_an_environment_that_is_gone_is_removed(tmp_path: Path) -> None:
    with World(tmp_path).station() as station:
        (station.settings.caches_dir / "gone").mkdir(parents=True)
        tidy(station)
        assert list(station.settings.caches_dir.iterdir()) == []
