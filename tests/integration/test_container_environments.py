"""Releases that come as images: pulled by digest, looked into, served from, and nothing left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.domain import Artifact, Environment
from monitor.engines.llama_server import LlamaServerEngine
from monitor.environments import container, container_run
from monitor.environments.collection import Environments
from monitor.errors import ArtifactChangedError, DiskFullError, MonitorError, ProvisionError, SourceError
from monitor.settings_tables import SourceSettings, UvSettings
from standins.docker import DockerStandin
from standins.engine import one_session, standin_check, until

LLAMA, VLLM = "ghcr.io/ggml-org/llama.cpp", "docker.io/vllm/vllm-openai"
DIGEST = "a" * 64
SERVER = """
import runpy, sys
if "--version" in sys.argv:
    print("version: 11549 (abcdef0)"); sys.exit(0)
port = sys.argv[sys.argv.index("--port") + 1]
sys.argv = [sys.argv[0], "none", port]
runpy.run_path({server!r}, run_name="__main__")
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerStandin]:
    made = DockerStandin(tmp_path / "docker")
    # One that this machine happens to have would be asked where docker does not answer.
    podman = made.program.with_name("podman")
    podman.write_text("#!/bin/sh\nexit 125\n", encoding="utf-8")
    podman.chmod(0o755)
    monkeypatch.setenv("PATH", str(made.program.parent), prepend=os.pathsep)
    monkeypatch.setenv("HUB_TOKEN", "hunter2canary")
    script = tmp_path / "server.py"
    engine = Path(__file__).parents[1] / "standins" / "engine_server.py"
    script.write_text(SERVER.format(server=str(engine)), encoding="utf-8")
    made.image(LLAMA, DIGEST, {"/app/llama-server": [sys.executable, str(script)]})
    made.image(VLLM, DIGEST, {"vllm": ["false"], "python3": [sys.executable]})
    yield made
    made.close()


def artifact(project: str, image: str, digest: str = DIGEST) -> Artifact:
    return Artifact(project, "11549", "server-cuda-b11549", digest, f"docker://{image}@sha256:{digest}")


def environments(folder: Path) -> Environments:
    return Environments.at(folder / "environments", uv=UvSettings())


def provision(
    folder: Path, project: str = "llama.cpp", image: str = LLAMA, digest: str = DIGEST
) -> Environment:
    source = SourceSettings(project=project, kind="registry", image=image)
    return environments(folder).provision(artifact(project, image, digest), source)


def test_an_image_is_pulled_by_its_digest_and_what_is_in_it_recorded(
    docker: DockerStandin, tmp_path: Path
) -> None:
    found = provision(tmp_path)
    assert ["pull", "--quiet", f"{LLAMA}@sha256:{DIGEST}"] in [one["arguments"] for one in docker.asked]
    assert [(package.name, package.version) for package in found.packages] == [
        ("llama.cpp build", "b11549-abcdef0"),
        ("container image", f"sha256:{DIGEST}"),
    ]
    assert (found.python, found.path.is_dir()) == (None, True)
    assert '"CUDA_VERSION=13.0.1"' in (found.path / "image.json").read_text(encoding="utf-8")
    calls = len(docker.asked)
    assert provision(tmp_path).reused
    assert len(docker.asked) == calls, "what is there is not asked for again"
    assert docker.running == []


def test_the_packages_of_an_image_with_a_python_are_listed(docker: DockerStandin, tmp_path: Path) -> None:
    found = provision(tmp_path, "vllm", VLLM)
    names = {package.name.lower() for package in found.packages}
    assert {"pytest", "container image"} <= names
    assert found.python is not None
    done = subprocess.run(
        [found.python, "-c", "print(6 * 7)"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "42"


def measure(environment: Environment, folder: Path) -> Any:
    model = folder / "models" / "model.gguf"
    model.parent.mkdir()
    model.touch()
    return one_session(
        standin_check(serve={"context": 64, "threads": 1, "environment": {"SOME": "1"}}),
        environment,
        model,
        folder,
        engine=LlamaServerEngine(),
    )


def test_a_session_is_served_from_the_container_and_nothing_is_left(
    docker: DockerStandin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib")
    session, samples = measure(provision(tmp_path), tmp_path)
    assert [sample.accepted for sample in samples] == [4, 4]
    assert session.effective["build"] == 11549
    assert session.effective["memory.engine_bytes"] > 2**20, "of the container, not of its command"
    assert not [name for name in session.effective if name.startswith("machine.")], "the image has its own"
    assert docker.running == []
    started = next(one for one in reversed(docker.asked) if one["arguments"][0] == "run")
    words = started["arguments"]
    assert words[words.index("--network") + 1] == "host"
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert words[words.index("--pull") + 1] == "never"
    model = tmp_path / "models" / "model.gguf"
    assert f"type=bind,source={model},target={model},readonly" in words
    assert words[words.index("--env", words.index("SOME") - 1) + 1] == "SOME", "named, without its value"
    assert "hunter2canary" not in str(started), "no secret of ours"
    assert "--gpus" not in words, "not unless the check is measured on a GPU"


def test_a_container_outlives_its_command_and_is_removed_all_the_same(
    docker: DockerStandin, tmp_path: Path
) -> None:
    environment, scratch = provision(tmp_path), tmp_path / "scratch"
    scratch.mkdir()
    port = ["--port", "0"]
    cut = subprocess.Popen([environment.path / "bin" / "llama-server", *port], cwd=scratch)
    until(lambda: docker.running)
    assert docker.running == [container.name_in(scratch)]
    cut.send_signal(signal.SIGKILL)
    cut.wait()
    assert docker.running, "as a real one would"
    container.end(environment, scratch)
    assert docker.running == []


def test_what_a_killed_monitor_left_is_swept_and_others_containers_are_not(
    docker: DockerStandin, tmp_path: Path
) -> None:
    environment, scratch = provision(tmp_path), tmp_path / "scratch"
    scratch.mkdir()
    cut = subprocess.Popen([environment.path / "bin" / "llama-server", "--port", "0"], cwd=scratch)
    until(lambda: docker.running)
    cut.kill()
    cut.wait()
    environments(tmp_path / "another").sweep()
    assert docker.running
    environments(tmp_path).sweep()
    assert docker.running == []


def test_a_gpu_is_given_where_the_check_is_measured_on_one(docker: DockerStandin, tmp_path: Path) -> None:
    environment = provision(tmp_path)
    subprocess.run(
        [environment.path / "bin" / "llama-server", "--version"],
        cwd=tmp_path,
        env={"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "PATH": os.defpath},
        check=True,
    )
    words = docker.asked[-1]["arguments"]
    assert words[words.index("--gpus") + 1] == "all"
    assert "CUDA_VISIBLE_DEVICES" in words


def test_what_compilers_keep_goes_into_the_container_and_nobody_elses_cache(
    docker: DockerStandin, tmp_path: Path
) -> None:
    environment, caches = provision(tmp_path), tmp_path / "caches" / "one"
    caches.mkdir(parents=True)
    given = {"MTP_MONITOR_CACHES": str(caches), "XDG_CACHE_HOME": str(caches), "PATH": os.defpath}
    for variables in (given, {"XDG_CACHE_HOME": "/home/owner/.cache", "PATH": os.defpath}):
        subprocess.run(
            [environment.path / "bin" / "llama-server", "--version"], cwd=tmp_path, env=variables, check=True
        )
    with_caches, without = (one["arguments"] for one in docker.asked[-2:])
    assert f"type=bind,source={caches},target={caches}" in with_caches
    assert not [word for word in without if "cache" in word.lower() and word.startswith("type=bind")]


def test_an_environment_takes_its_image_with_it(docker: DockerStandin, tmp_path: Path) -> None:
    found = provision(tmp_path)
    environments(tmp_path).remove(found.key)
    assert not found.path.exists()
    assert docker.asked[-1]["arguments"] == ["image", "rm", f"{LLAMA}@sha256:{DIGEST}"]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("manifest unknown: manifest unknown", ProvisionError),
        ("write /var/lib/docker/tmp: no space left on device", DiskFullError),
        ("Get https://ghcr.io/v2/: net/http: TLS handshake timeout", SourceError),
        ("toomanyrequests: You have reached your pull rate limit", SourceError),
        ("denied: requested access to the resource is denied", ProvisionError),
    ],
)
def test_a_failed_pull_is_told_by_what_it_means(
    docker: DockerStandin, tmp_path: Path, said: str, error: type[MonitorError]
) -> None:
    docker.tell(pull_error=f"Error response from daemon: {said}")
    with pytest.raises(error) as told:
        provision(tmp_path)
    assert said.split(":", maxsplit=1)[0] in told.value.what
    assert not any((tmp_path / "environments").glob("llama*"))


def test_another_image_than_was_asked_for_is_not_run(docker: DockerStandin, tmp_path: Path) -> None:
    docker.image(LLAMA, "b" * 64, {"/app/llama-server": ["false"]}, listed="c" * 64)
    with pytest.raises(ArtifactChangedError, match="another one"):
        provision(tmp_path, digest="b" * 64)
    assert not [one for one in docker.asked if one["arguments"][0] == "run"]


def test_without_a_service_that_answers_the_reason_is_said(
    docker: DockerStandin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(docker.program.parent))  # there may be a podman on this machine
    docker.tell(down=True)
    with pytest.raises(ProvisionError, match="docker says: Cannot connect to the Docker daemon"):
        provision(tmp_path)


@pytest.mark.parametrize(
    ("tool", "uid", "kept"), [("podman", 1000, True), ("podman", 0, False), ("docker", 1000, False)]
)
def test_podman_without_root_leaves_the_user_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str, uid: int, kept: bool
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: uid)
    order = {
        "tool": f"/usr/bin/{tool}",
        "label": "a=b",
        "entrypoint": "python3",
        "image": f"{VLLM}@sha256:{DIGEST}",
    }
    words = container_run.command(order, ["-m", "vllm"], tmp_path)
    assert words[words.index("--user") + 1].startswith(f"{uid}:")
    assert ("--userns" in words) is kept
    assert words[-4:] == ["python3", f"{VLLM}@sha256:{DIGEST}", "-m", "vllm"]


def test_places_of_this_machine_do_not_reach_the_image(docker: DockerStandin, tmp_path: Path) -> None:
    environment = provision(tmp_path)
    given = {
        "CUDA_HOME": "/usr/local/cuda-12.9",
        "LD_LIBRARY_PATH": "/opt/lib",
        "PATH": os.defpath,
        "SOME": "1",
    }
    subprocess.run(
        [environment.path / "bin" / "llama-server", "--version"], cwd=tmp_path, env=given, check=True
    )
    words = docker.asked[-1]["arguments"]
    assert "SOME" in words
    assert not {"CUDA_HOME", "LD_LIBRARY_PATH", "PATH"} & set(words)
