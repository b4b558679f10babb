"""Real images for tests: a Debian with one environment's packages, in a registry on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

SUITE = "bookworm"
PYTHON = "3.11"
"""The Python of that Debian, which the packages have to be made for."""
SERVICES = {"podman": "podman", "docker": "dockerd"}
_STARTED_S = 30.0


def missing(tool: str) -> str:
    """Return what this machine lacks to make images with a tool, as one text; "" where it lacks nothing."""
    needed = (tool, SERVICES[tool], "runc", "docker-registry", "mmdebstrap")
    return ", ".join(name for name in dict.fromkeys(needed) if shutil.which(name) is None)


def program(name: str) -> str:
    """Return where a program lies."""
    found = shutil.which(name)
    assert found, f"{name} is not here"
    return found


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Run a registry that keeps its images in `folder`, and yield its host with its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    folder.mkdir()
    configuration = folder / "registry.yml"
    configuration.write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '{host}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{folder / 'blobs'}'}}}}\n",
        encoding="utf-8",
    )
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            [program("docker-registry"), "serve", configuration], stdout=log, stderr=log
        )
    try:
        _wait(lambda: _answers(f"http://{host}/v2/"), process, folder / "registry.log")
        yield host
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True)
class Tool:
    """docker or podman, with images and containers of its own."""

    name: str
    variables: dict[str, str]
    """By which the command finds them."""

    def run(self, *arguments: str, stdin: IO[bytes] | None = None) -> str:
        """Run it and return its output."""
        done = subprocess.run(
            [program(self.name), *arguments],
            stdin=stdin,
            env={**os.environ, **self.variables},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, f"{self.name} {arguments[0]}: {done.stderr.decode()}"
        return done.stdout.decode().strip()

    def answers(self) -> bool:
        """Say whether its service does."""
        asked = [program(self.name), "version"]
        environment = {**os.environ, **self.variables}
        return subprocess.run(asked, env=environment, capture_output=True, check=False).returncode == 0

    def containers(self) -> list[str]:
        """Return the names of all containers, running or not."""
        return self.run("ps", "--all", "--format", "{{.Names}}").split()

    def images(self) -> list[str]:
        """Return the ids of all images."""
        return self.run("image", "ls", "--quiet").split()


@contextmanager
def podman(folder: Path, registry_host: str) -> Iterator[Tool]:
    """Let podman keep everything in `folder`, and trust the registry."""
    folder.mkdir()
    storage, registries, containers = (
        folder / f"{name}.conf" for name in ("storage", "registries", "containers")
    )
    storage.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder / "images"}"\nrunroot = "{folder / "run"}"\n',
        encoding="utf-8",
    )
    registries.write_text(f'[[registry]]\nlocation = "{registry_host}"\ninsecure = true\n', encoding="utf-8")
    # By itself it raises limits, which is not allowed everywhere; this crun refuses cgroups of both kinds.
    limits = '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
    containers.write_text(f'{limits}[engine]\nruntime = "runc"\n', encoding="utf-8")
    tool = Tool(
        "podman",
        {
            "CONTAINERS_CONF": str(containers),
            "CONTAINERS_REGISTRIES_CONF": str(registries),
            "CONTAINERS_STORAGE_CONF": str(storage),
        },
    )
    yield tool
    tool.run("system", "reset", "--force")


@contextmanager
def docker(folder: Path) -> Iterator[Tool]:
    """Run a docker service that keeps everything in `folder`; it trusts registries on this machine anyway."""
    folder.mkdir()
    address = f"unix://{folder / 'docker.sock'}"
    options = [*("--host", address), *("--data-root", folder / "images"), *("--exec-root", folder / "run")]
    options += [*("--pidfile", folder / "pid"), "--bridge=none", "--iptables=false", "--ip6tables=false"]
    tool = Tool("docker", {"DOCKER_HOST": address})
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program("dockerd"), *options], stdout=log, stderr=log)
    try:
        _wait(tool.answers, process, folder / "log")
        yield tool
    finally:
        process.terminate()
        process.wait()
        # It leaves the host's network mounted there, and a folder with a mount in it cannot be removed.
        mounted = folder / "run/netns/default"
        subprocess.run([program("umount"), mounted], capture_output=True, check=False)


def base(folder: Path) -> Path:
    """Make a small Debian with a Python in `folder`."""
    subprocess.run(
        [
            *(program("mmdebstrap"), "--quiet", "--variant=minbase"),
            *(f"--include=python{PYTHON},libgomp1,libnuma1,libstdc++6", SUITE, folder),
        ],
        check=True,
    )
    # As in vLLM's images, where it stands before Debian's own.
    (folder / "usr/local/bin/python3").symlink_to(f"/usr/bin/python{PYTHON}")
    return folder


def put(packages: Path, root: Path) -> None:
    """Add the packages of an environment to the Debian in `root`, without a second copy of their files."""
    target = root / f"usr/local/lib/python{PYTHON}/dist-packages"
    shutil.copytree(packages, target, copy_function=os.link, symlinks=True, dirs_exist_ok=True)


def publish(root: Path, name: str, tool: Tool) -> None:
    """Make an image of the folder `root`, push it as `name`, and forget it here."""
    with subprocess.Popen([program("tar"), "-C", root, "-c", "."], stdout=subprocess.PIPE) as packed:
        tool.run("import", "--change", 'ENTRYPOINT ["vllm", "serve"]', "-", name, stdin=packed.stdout)
    assert packed.returncode == 0
    # Three gigabytes: what is quick to pack matters more than what is small.
    quick = ["--compression-format", "zstd"] if tool.name == "podman" else []
    tool.run("push", "--quiet", *quick, name)
    tool.run("image", "rm", name)


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _STARTED_S
    while not ready():
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < until, log.read_text(encoding="utf-8")
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False
