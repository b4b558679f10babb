"""The newest source archive of llama-cpp-python, compiled by the monitor and measured beside a wheel.

Compiling takes a quarter of an hour on two cores. The result is kept in the user's cache folder, so that it
is compiled once and not once a test run.
"""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor import pipeline, resources
from monitor.domain import Arm, Environment, Role, RunState, SampleSet
from monitor.domain.llama_builds import build_number_in
from monitor.environments import toolchain
from monitor.environments.collection import Environments
from monitor.pipeline import RunOutcome, RunRequest, Station
from monitor.settings import Settings
from monitor.settings_tables import SourceSettings, UvSettings
from monitor.store import Subject
from monitor.store.queries import environments, sessions
from standins.archives import artifact_at
from standins.engine import one_session, tagged_by

WHEEL = "2026.10.11549"
CHECKS = resources.resource_dir("checks")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mtp-monitor" / "builds"


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return str(value).lower() if isinstance(value, bool | int | float) else json.dumps(value)


def write_checks(folder: Path) -> None:
    """Write the tiny check twice: for the library as it ships, for the binary as the native check has it."""
    tiny, native = (
        tomllib.loads((CHECKS / f"synthetic-qwen35-{name}.toml").read_text(encoding="utf-8"))
        for name in ("tiny", "native")
    )
    # What is looked at are counts, which a busy machine leaves as they are.
    tiny["judging"]["server_rate_tolerance"] = 10.0
    tiny["workloads"] = [str(CHECKS / name) for name in tiny["workloads"]]
    binary = {key: native[key] for key in ("engine", "projects")}
    serve = native["serve"] | tiny["serve"]
    for name, changes in (("library", {}), ("binary", binary | {"serve": serve})):
        check = tiny | {"id": name} | changes
        text = "\n".join(f"{key} = {toml(value)}" for key, value in check.items())
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    folder = tmp_path_factory.mktemp("source-build")
    write_checks(folder)
    settings = Settings.model_validate(
        {
            "state": folder / "state",
            "check_dirs": [folder],
            "build": {"cache_dir": CACHE, "cuda": False},
            "sources": [
                {"project": "llama-cpp-python", "settle_minutes": 0},
                {"project": "xllamacpp", "versions": f"=={WHEEL}", "settle_minutes": 0},
            ],
            "assignments": [
                {"project": "llama-cpp-python", "checks": ["binary"]},
                {"project": "xllamacpp", "checks": ["library"]},
            ],
        }
    )
    with Station.open(settings) as opened:
        for poll in pipeline.discover(opened):
            assert poll.error is None, poll.error
        yield opened
    assert tagged_by(os.getpid()) == []


def measured(station: Station, check: str, release: str) -> tuple[RunOutcome, SampleSet, Environment]:
    outcome = pipeline.run(station, RunRequest(check=check, release=release, confirm=False))
    assert outcome.run.state is RunState.DONE, outcome.run.reason
    with station.store.read() as db:
        stored = sessions.load(db, outcome.run.id, Subject.CANDIDATE, Role.SCREEN)
        environment = environments.get(db, outcome.run.environment_key or "")
    assert stored is not None
    assert environment is not None
    return outcome, stored, environment


def counts(stored: SampleSet, arm: Arm) -> set[tuple[Any, ...]]:
    return {
        (s.prompt, s.n, s.prompt_tokens, s.drafted, s.accepted, s.steps, s.token_ids)
        for s in stored.samples
        if s.arm is arm
    }


@pytest.fixture(scope="module")
def newest(station: Station) -> str:
    rows = [row for row in pipeline.measurable(station, "llama-cpp-python") if row.artifact]
    assert rows[-1].artifact is not None
    assert rows[-1].artifact.filename.endswith(".tar.gz")
    return rows[-1].release.version


@pytest.fixture(scope="module")
def compiled(station: Station, newest: str) -> tuple[RunOutcome, SampleSet, Environment]:
    return measured(station, "binary", f"llama-cpp-python=={newest}")


def test_a_server_that_the_monitor_compiled_counts_as_the_wheel_of_a_nearby_build_does(
    station: Station, compiled: tuple[RunOutcome, SampleSet, Environment]
) -> None:
    _, native, environment = compiled
    _, library, _ = measured(station, "library", f"xllamacpp=={WHEEL}")

    for arm in (Arm.BASELINE, Arm.MTP):
        assert counts(native, arm) == counts(library, arm)
    drafted = [s for s in native.samples if s.arm is Arm.MTP]
    assert all((s.drafted or 0) > (s.accepted or 0) > 0 for s in drafted)
    effective = [session.effective or {} for session in native.sessions if session.arm is Arm.MTP]
    assert {facts["slot.speculative"] for facts in effective} == {True}
    assert {facts["missing"] for facts in effective} == {""}
    number = build_number_in(environment.packages)
    assert {facts["build"] for facts in effective} == {number}


def test_it_is_compiled_once_and_another_state_takes_it_from_the_cache(
    station: Station, compiled: tuple[RunOutcome, SampleSet, Environment], tmp_path: Path
) -> None:
    _, _, environment = compiled
    settings = station.settings.model_copy(update={"state": tmp_path / "state"})
    steps: list[str] = []
    with Station.open(settings) as other:
        again = other.environments.provision(environment.artifact, settings.sources[0], on_step=steps.append)
    assert not any("compiling" in step for step in steps)
    assert again.packages == environment.packages
    said = subprocess.run(
        [again.path / "bin" / "llama-server", "--version"], capture_output=True, text=True, check=True
    )
    assert f"build {build_number_in(again.packages) or 0}," in said.stdout + said.stderr


def test_the_same_environment_has_the_python_package_on_the_same_libraries(
    compiled: tuple[RunOutcome, SampleSet, Environment],
) -> None:
    _, _, environment = compiled
    assert environment.python is not None
    code = (
        "import llama_cpp, llama_cpp.mtmd_cpp\n"
        "with open('/proc/self/maps') as maps:\n"
        "    print(sorted({line.split()[-1] for line in maps if '/llama_cpp/lib/' in line}))\n"
    )
    done = subprocess.run(
        [environment.python, "-I", "-c", code], check=True, capture_output=True, text=True, cwd="/"
    )
    loaded = [Path(path).name for path in json.loads(done.stdout.replace("'", '"'))]
    assert loaded == sorted(set(loaded))
    assert {"libllama.so", "libggml.so", "libggml-base.so", "libmtmd.so"} <= set(loaded)


def test_the_same_programs_out_of_a_release_archive_serve_and_count_the_same(
    station: Station,
    compiled: tuple[RunOutcome, SampleSet, Environment],
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    _, _, environment = compiled
    number = build_number_in(environment.packages)
    built = (environment.path / "bin" / "llama-server").resolve().parent
    name = f"llama-b{number}-bin-ubuntu-x64.tar.gz"
    with tarfile.open(tmp_path / name, "w:gz", compresslevel=1) as archive:
        for file in sorted(built.iterdir()):
            archive.add(file, f"llama-b{number}/{file.name}")
    artifact = artifact_at(tmp_path / name, (tmp_path / name).read_bytes(), version=str(number))
    source = SourceSettings(project="llama.cpp", kind="github")

    unpacked = Environments.at(tmp_path / "environments", uv=UvSettings()).provision(artifact, source)

    told = []
    for place in (environment, unpacked):
        check = station.checks["binary"]
        session, samples = one_session(check, place, tiny_model, tmp_path, prompts=check.workloads[0].prompts)
        assert (session.effective or {})["build"] == number
        told.append([(s.n, s.drafted, s.accepted, s.token_ids) for s in samples])
    assert unpacked.python is None
    assert told[0] == told[1]
    assert (told[0][0][2] or 0) > 0


def test_cmake_and_ninja_come_from_the_index_where_the_machine_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    tools = toolchain.tools(tmp_path / "tools", UvSettings(), SourceSettings(project="llama-cpp-python"))

    assert tools.cmake.is_relative_to(tmp_path)
    assert [package.name for package in tools.versions] == ["cmake program", "ninja program"]
    assert all(package.version for package in tools.versions)
