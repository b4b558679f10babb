from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pydantic import TypeAdapter

from monitor.domain import Artifact
from monitor.environments import command
from monitor.environments.collection import Environments
from monitor.errors import ArtifactChangedError, DiskFullError, MonitorError, ProvisionError, SourceError
from monitor.net import Http
from monitor.settings_tables import SourceSettings
from standins.environments import in_place_of_uv, left_in, listed, made, publish, running
from standins.index import Fault, IndexServer
from standins.polled import source
from standins.wheels import wheel

# ---------------------------------------------------------------------------------------------
# Does not install


def provisioning_fails(
    environments: Environments, artifact: Artifact, settings: SourceSettings, kind: type[MonitorError]
) -> MonitorError:
    with pytest.raises(kind) as error:
        environments.provision(artifact, settings)
    assert type(error.value) is kind
    assert environments.find(artifact) is None
    return error.value


def no_such_package(index: IndexServer) -> Artifact:
    return publish(index, needs=["nobody-offers-this"])


def two_that_conflict(index: IndexServer) -> Artifact:
    index.add("low", *wheel("low", "2.0"))
    index.add("mid", *wheel("mid", "1.0", needs=["low<2"]))
    return publish(index, needs=["low>=2", "mid"])


def newer_python(index: IndexServer) -> Artifact:
    return publish(index, requires_python=">=3.99")


def source_only_dependency(index: IndexServer) -> Artifact:
    index.add("low", "low-2.0.tar.gz", b"")
    return publish(index, needs=["low"])


@pytest.mark.parametrize(
    ("release", "says"),
    [
        (no_such_package, "nobody-offers-this"),
        (two_that_conflict, "low"),
        (newer_python, "3.99"),
        (source_only_dependency, "low"),
    ],
)
def test_a_release_that_does_not_resolve_says_why_and_the_next_is_not_affected(
    index: IndexServer,
    environments: Environments,
    tmp_path: Path,
    release: Callable[[IndexServer], Artifact],
    says: str,
) -> None:
    error = provisioning_fails(environments, release(index), source(index), ProvisionError)

    assert error.permanent
    assert says in str(error)
    assert left_in(tmp_path) == []
    assert environments.provision(publish(index, "2.0"), source(index)).packages[0].version == "2.0"


def test_a_source_archive_is_refused_before_anything_is_built(
    index: IndexServer, environments: Environments
) -> None:
    index.add("demo", "demo-1.0.tar.gz", b"")

    error = provisioning_fails(environments, listed(source(index)), source(index), ProvisionError)

    assert "no wheel" in str(error)


@pytest.mark.parametrize("second_look", [False, True])
def test_a_file_with_another_content_than_listed_is_never_installed(
    index: IndexServer, tmp_path: Path, second_look: bool
) -> None:
    artifact = publish(index)
    index.add("demo", *wheel("demo", "1.0", body="import evil"))
    with Http() as http:
        environments = made(tmp_path, http=http if second_look else None)

        error = provisioning_fails(environments, artifact, source(index), ArtifactChangedError)

    assert error.permanent
    assert artifact.sha256[:12] in str(error)
    assert left_in(tmp_path) == []


def test_a_file_of_a_folder_that_was_altered_or_taken_away_is_told_apart(
    index: IndexServer, environments: Environments, tmp_path: Path
) -> None:
    publish(index, "2.0")
    name, content = wheel("demo", "1.0+mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_bytes(content)
    settings = source(index, find_links=[str(tmp_path / "mine")])
    artifact = listed(settings, "1.0+mine")

    (tmp_path / "mine" / name).write_bytes(wheel("demo", "1.0+mine", body="import evil")[1])
    provisioning_fails(environments, artifact, settings, ArtifactChangedError)

    (tmp_path / "mine" / name).unlink()
    error = provisioning_fails(environments, artifact, settings, SourceError)
    assert name in str(error)


def test_a_dependency_with_another_content_than_listed_is_never_installed(
    index: IndexServer, environments: Environments, tmp_path: Path
) -> None:
    index.add("low", *wheel("low", "2.0", body="import evil"), hashes={"sha256": "0" * 64})
    artifact = publish(index, needs=["low"])

    error = provisioning_fails(environments, artifact, source(index), ArtifactChangedError)

    assert "low" in str(error)
    assert left_in(tmp_path) == []


def test_the_same_version_uploaded_again_gets_an_environment_of_its_own(
    index: IndexServer, environments: Environments
) -> None:
    first = environments.provision(publish(index, body="x = 1"), source(index))
    second = environments.provision(publish(index, body="x = 2"), source(index))

    assert (first.artifact.url, first.artifact.version) == (second.artifact.url, second.artifact.version)
    assert [running(item, "import demo; print(demo.x)") for item in (first, second)] == ["1", "2"]
    assert {item.key for item in environments.all()} == {first.key, second.key}


@pytest.mark.parametrize("fault", [Fault.GONE, Fault.SERVER_ERROR, Fault.CUT])
def test_a_file_that_is_listed_and_not_served_is_worth_another_try(
    index: IndexServer, tmp_path: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    artifact = publish(index)
    index.fault, index.on = fault, "files"
    with Http() as http:
        environments = made(tmp_path, http=http)

        error = provisioning_fails(environments, artifact, source(index), SourceError)

        assert not error.permanent
        index.fault = None
        assert environments.provision(artifact, source(index)).reused is False


# ---------------------------------------------------------------------------------------------
# This machine


def test_a_full_disk_while_installing_leaves_what_was_complete_and_no_half(
    index: IndexServer, environments: Environments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = environments.provision(publish(index), source(index))
    artifact = publish(index, "2.0")
    full = in_place_of_uv(
        tmp_path,
        "install",
        """
        echo "error: Failed to install: demo-2.0-py3-none-any.whl (demo==2.0)" >&2
        echo "  cause: failed to copy file: No space left on device (os error 28)" >&2
        exit 2
        """,
    )
    monkeypatch.setattr(command.uv, "find_uv_bin", lambda: str(full))

    error = provisioning_fails(environments, artifact, source(index), DiskFullError)

    assert "No space left" in str(error)
    assert not error.permanent
    assert left_in(tmp_path) == [kept.key]
    monkeypatch.undo()
    assert environments.provision(artifact, source(index)).reused is False


def test_a_builder_that_is_killed_leaves_no_process_and_its_half_is_swept(
    index: IndexServer, environments: Environments, tmp_path: Path
) -> None:
    artifact, settings = publish(index), source(index)
    stuck = in_place_of_uv(tmp_path, "compile", f"touch {tmp_path}/begun; exec sleep 600")
    (tmp_path / "build.py").write_text(
        textwrap.dedent(f"""\
        from pathlib import Path
        from pydantic import TypeAdapter
        from monitor.domain import Artifact
        from monitor.environments import command
        from monitor.environments.collection import Environments
        from monitor.settings_tables import SourceSettings, UvSettings
        command.uv.find_uv_bin = lambda: {str(stuck)!r}
        artifact = TypeAdapter(Artifact).validate_json({TypeAdapter(Artifact).dump_json(artifact)!r})
        source = SourceSettings.model_validate_json({settings.model_dump_json()!r})
        Environments.at(Path({str(tmp_path / "environments")!r}), uv=UvSettings()).provision(artifact, source)
        """)
    )
    builder = subprocess.Popen([sys.executable, str(tmp_path / "build.py")], cwd=Path.cwd())
    wait_for((tmp_path / "begun").exists)
    children = psutil.Process(builder.pid).children(recursive=True)
    assert children
    assert environments.sweep() == []  # its builder is alive

    os.kill(builder.pid, signal.SIGKILL)
    builder.wait()

    wait_for(lambda: not any(child.is_running() for child in children))
    assert environments.all() == []
    (half,) = environments.sweep()
    assert half.name.startswith(".building-demo-1.0-")
    assert left_in(tmp_path) == []
    assert environments.provision(artifact, settings).packages[0].sha256 == artifact.sha256


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "did not happen within a minute"
        time.sleep(0.02)
