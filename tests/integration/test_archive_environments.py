"""Release archives become environments: fetched, unpacked, looked at, found again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor import settings
from monitor.domain import Artifact, Package
from monitor.environments import files
from monitor.environments.collection import Environments
from monitor.errors import ArtifactChangedError, ProvisionError, SourceError, SourceLiedError
from monitor.settings import Settings
from monitor.settings_tables import SourceSettings, UvSettings
from monitor.steps.station import Station
from standins.archives import artifact_at, llama_archive, packed
from standins.environments import left_in
from standins.github import GithubServer

GITHUB = SourceSettings(project="llama.cpp", kind="github")
CPU = "llama-b11312-bin-ubuntu-x64.tar.gz"
CUDA = "llama-b11312-bin-ubuntu-cuda-13.4-x64.tar.gz"


@pytest.fixture
def environments(tmp_path: Path) -> Environments:
    return Environments.at(tmp_path / "environments", uv=UvSettings())


def published(tmp_path: Path, content: bytes | None = None, name: str = CPU) -> Artifact:
    return artifact_at(tmp_path / "release" / name, content or llama_archive(11312))


def test_a_release_archive_becomes_an_environment_with_its_server_and_build(
    tmp_path: Path, environments: Environments
) -> None:
    artifact = published(tmp_path)
    steps: list[str] = []

    built = environments.provision(artifact, GITHUB, on_step=steps.append)

    assert (built.python, built.python_version, built.reused) == (None, "", False)
    assert built.packages == (
        Package("llama.cpp", "11312", artifact.sha256),
        Package("llama.cpp build", "b11312-0c1e57098"),
    )
    server = built.path / "bin" / "llama-server"
    assert server.resolve() == built.path / "programs" / "llama-b11312" / "llama-server"
    assert steps == [f"fetching {CPU}", f"unpacking {CPU}", "looking at what was unpacked"]
    assert environments.provision(artifact, GITHUB) == replace(built, reused=True)
    assert environments.all() == [replace(built, reused=True)]
    assert files.altered(built.path) == []
    server.resolve().write_text("#!/bin/sh\necho evil\n")
    assert files.altered(built.path) == ["programs/llama-b11312/llama-server"]


def test_an_older_build_says_its_number_in_the_older_words(
    tmp_path: Path, environments: Environments
) -> None:
    content = llama_archive(9235, "version: 9235 (d14ce3dab)")
    artifact = artifact_at(tmp_path / "llama-b9235-bin-ubuntu-x64.tar.gz", content, version="9235")

    assert environments.provision(artifact, GITHUB).packages[-1].version == "b9235-d14ce3dab"


def test_libraries_of_nvidia_come_from_the_same_release_and_lie_beside_the_program(
    tmp_path: Path, environments: Environments
) -> None:
    artifact = published(tmp_path, llama_archive(11312, **{"libcublas.so.13": b"its own"}), CUDA)
    content = packed(
        {"libcudart.so.13": "->libcudart.so.13.4", "libcudart.so.13.4": b"13.4", "libcublas.so.13": b"x"}
    )
    runtime = published(tmp_path, content, f"cudart-{CUDA}")
    other = published(tmp_path, b"x", f"cudart-{CUDA.replace('13.4', '12.8')}")

    with pytest.raises(SourceError, match=f"cudart-{CUDA}") as missing:
        environments.provision(artifact, GITHUB, beside=[other])
    patterns = GITHUB.model_copy(update={"beside": ("cudart-llama-*.tar.gz",)})
    built = environments.provision(artifact, patterns, beside=[other, runtime])

    assert not missing.value.permanent
    beside = (built.path / "bin" / "llama-server").resolve().parent
    assert (beside / "libcudart.so.13").read_bytes() == b"13.4"
    assert (beside / "libcublas.so.13").read_bytes() == b"its own"
    assert [package.sha256 for package in built.packages] == [artifact.sha256, runtime.sha256, None]
    moved = tmp_path / "moved"
    (tmp_path / "environments").rename(moved)
    (again,) = Environments.at(moved, uv=UvSettings()).all()
    assert (
        (again.path / "bin" / "llama-server").resolve().parent / "libcudart.so.13"
    ).read_bytes() == b"13.4"


def test_a_build_for_cuda_that_finds_no_gpu_is_not_taken_for_a_slow_release(
    tmp_path: Path, environments: Environments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "gpu_present", lambda: True)
    source = GITHUB.model_copy(update={"beside": ("lib*.tar.gz",)})
    beside = [published(tmp_path, packed({"libcudart.so": b"x"}), "lib-cuda-13.4.tar.gz")]
    sees = published(tmp_path, llama_archive(11312), CUDA)
    assert environments.provision(sees, source, beside=beside).packages[1].name == "lib-cuda-13.4.tar.gz"

    script = "#!/bin/sh\necho 'version: 11312 (0c1e57098)'\n"
    content = packed({"llama/llama-server": script}, executable=("llama/llama-server",))
    with pytest.raises(ProvisionError, match="names no CUDA device"):
        environments.provision(published(tmp_path, content, CUDA), source, beside=beside)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (packed({"llama/README": "nothing"}), "no program called llama-server"),
        (packed({"llama/llama-server": "not executable"}), "no program called llama-server"),
        (llama_archive(11312, "version: 9999 (abcdef012)"), "holds build b9999-abcdef012, not b11312"),
        (llama_archive(11312, "hello"), "says: hello"),
        (packed({"a/llama-server": "#!/no/such/shell\n"}, executable=("a/llama-server",)), "llama-server"),
        (packed({"../llama-server": "x"}), "outside"),
        (b"<html>sign in</html>", "no whole archive"),
    ],
)
def test_an_archive_that_cannot_be_used_says_why_and_leaves_nothing(
    tmp_path: Path, environments: Environments, content: bytes, says: str
) -> None:
    with pytest.raises(ProvisionError) as error:
        environments.provision(published(tmp_path, content), GITHUB)

    assert says in str(error.value)
    assert error.value.permanent
    assert left_in(tmp_path) == []


def test_an_archive_with_another_content_than_listed_is_never_unpacked(
    tmp_path: Path, environments: Environments
) -> None:
    artifact = published(tmp_path)
    content = llama_archive(11312)
    (tmp_path / "release" / CPU).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    with pytest.raises(ArtifactChangedError):
        environments.provision(artifact, GITHUB)
    assert left_in(tmp_path) == []


def test_an_archive_environment_that_lost_a_file_is_made_again(
    tmp_path: Path, environments: Environments
) -> None:
    artifact = published(tmp_path)
    built = environments.provision(artifact, GITHUB)
    (built.path / "programs" / "llama-b11312" / "libllama.so.0").unlink()

    assert environments.find(artifact) is None
    assert environments.provision(artifact, GITHUB).reused is False


def test_what_is_neither_wheel_nor_archive_is_refused_by_name(
    tmp_path: Path, environments: Environments
) -> None:
    artifact = published(tmp_path, b"x", "llama-b11312-xcframework.dmg")

    assert environments.find(artifact) is None
    with pytest.raises(ProvisionError, match="no wheel, and nothing else"):
        environments.provision(artifact, GITHUB)


def test_an_archive_environment_with_an_altered_program_is_made_again(
    tmp_path: Path, environments: Environments
) -> None:
    artifact = published(tmp_path)
    built = environments.provision(artifact, GITHUB)
    library = built.path / "programs" / "llama-b11312" / "libllama.so.0"
    whole = library.read_bytes()
    library.write_bytes(whole[:-1] + b"?")  # of the same length
    steps: list[str] = []

    again = environments.provision(artifact, GITHUB, on_step=steps.append)

    assert (again.reused, library.read_bytes()) == (False, whole)
    assert "libllama.so.0 was altered" in steps[0]
    assert environments.provision(artifact, GITHUB).reused


@pytest.fixture
def github() -> Iterator[GithubServer]:
    with GithubServer(lambda: datetime(2026, 11, 1, 12, tzinfo=UTC)) as server:
        yield server


def of_github(github: GithubServer) -> Artifact:
    content = llama_archive(11312)
    github.release("b11312", files={CPU: content}, prerelease=True)
    url = f"{github.web}/ggml-org/llama.cpp/releases/download/b11312/{CPU}"
    return Artifact("llama.cpp", "11312", CPU, hashlib.sha256(content).hexdigest(), url, len(content))


def test_an_archive_is_fetched_from_the_configured_hosts_of_github_and_from_no_other(
    tmp_path: Path, github: GithubServer
) -> None:
    artifact, files_host = of_github(github), github.settings().file_hosts[0]

    def at(name: str, *file_hosts: str) -> Environments:
        hosts = github.settings(file_hosts=file_hosts).download_hosts
        return Environments.at(tmp_path / name, uv=UvSettings(), archive_hosts=hosts)

    refused = f"offered at http://{files_host}/.* none of the hosts"
    with pytest.raises(SourceLiedError, match=refused) as error:
        at("refused", "files.example").provision(artifact, GITHUB)
    assert "added in the configuration" in error.value.advice
    assert not [request for request in github.requests if request.place == "files"]
    assert left_in(tmp_path, "refused") == []
    assert at("taken", files_host).provision(artifact, GITHUB).packages[0].sha256 == artifact.sha256


def test_a_service_is_told_the_hosts_by_its_configuration(tmp_path: Path, github: GithubServer) -> None:
    artifact, hosts = of_github(github), github.settings(file_hosts=("files.example",))
    own = Settings(state=tmp_path / "state", sources=(GITHUB,), github=hosts)

    with Station.open(own) as station, pytest.raises(SourceLiedError, match="none of the hosts"):
        station.environments.provision(artifact, GITHUB)
