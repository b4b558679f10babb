"""Makes environments of container images: pulled by digest, looked into, and run through programs in `bin`.

An environment's programs lie in `bin`, whatever it was made of. Here each is a small script that runs the
program of that name in a container of its own, so no engine has to know that there is one. What the script
adds to the command is in `container_run.py`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monitor.domain import Artifact, Environment, Package, Packaging
from monitor.domain.images import IMAGE_SCHEME
from monitor.domain.llama_builds import BUILD_PACKAGE, said_by_version
from monitor.environments import collect, record
from monitor.environments.base import Order
from monitor.environments.container_tool import LABEL, ContainerTool
from monitor.errors import ArtifactChangedError, ProvisionError
from monitor.proc import one_line

ORDER = "container.json"
_RUNNER = "container_run.py"
_PULL_S = 3 * 3600.0
_LOOK_S = 300.0
IMAGE_PACKAGE = "container image"


@dataclass(frozen=True, slots=True)
class _Inside:
    """One program that images of a project have."""

    name: str
    """In `bin`."""
    entrypoint: str | None
    """In the image; None: what the image itself starts."""


_INSIDE: Mapping[str, _Inside] = {
    "vllm": _Inside("python", "python3"),
    "llama.cpp": _Inside("llama-server", None),
}
"""Project → what its images are used for."""


class ContainerBuilder:
    """Makes environments of images; a `Builder` (see `monitor/environments/base.py`)."""

    packaging = Packaging.IMAGE
    deadline_s = _PULL_S + 2 * _LOOK_S

    def __init__(self, root: Path) -> None:
        """Take the folder of the environments, which names the containers that are ours."""
        self._root, self._state = root, state_of(root)

    def key(self, artifact: Artifact) -> str:
        """Return the name of the artifact's environment."""
        return record.key_of(artifact, "image")

    def build(self, order: Order) -> Environment:
        """Pull the image, see that it is the one, and write its programs; raises as `Builder.build` does."""
        artifact, folder = order.artifact, order.folder
        inside = _INSIDE.get(artifact.project)
        if inside is None:
            raise ProvisionError(
                f"Nothing is known of what an image of {artifact.project} holds.",
                advice=f"images are known of {' and '.join(_INSIDE)}",
            )
        tool = ContainerTool.find()
        image = artifact.url.removeprefix(IMAGE_SCHEME)
        order.tell(f"pulling {image.partition('@')[0]} {artifact.version}")
        tool.run("pull", "--quiet", image, deadline_s=_PULL_S)
        facts = tool.inspect(image)
        if not any(str(one).endswith(f"@sha256:{artifact.sha256}") for one in facts.get("RepoDigests") or ()):
            raise ArtifactChangedError(
                f"{tool.name} pulled {image}, and the image it has is another one.",
                kept="every complete environment; nothing of it was run",
                advice="look at the registry, or at a mirror in between",
            )
        folder.mkdir(parents=True)
        entrypoint = inside.entrypoint or _started(facts, artifact)
        _write(
            folder / "bin" / inside.name,
            {
                "tool": tool.program,
                "environment": dict(tool.environment),
                "image": image,
                "entrypoint": entrypoint,
                "label": f"{LABEL}={self._state}",
            },
        )
        order.tell("looking at what is in the image")
        python_version, packages = self._contents(tool, image, inside, entrypoint)
        (folder / "image.json").write_text(json.dumps(_shown(facts), indent=1), encoding="utf-8")
        return Environment(
            key=order.key,
            artifact=artifact,
            path=folder,
            python=record.python_in(folder) if inside.name == "python" else None,
            python_version=python_version,
            packages=(
                *packages,
                Package(IMAGE_PACKAGE, f"sha256:{artifact.sha256}", artifact.sha256),
            ),
            built_at=datetime.now(UTC),
        )

    def sweep(self) -> None:
        """Remove containers that a monitor of this state left behind when it was killed."""
        if not any(self._root.glob(f"*/{ORDER}")):
            return
        with suppress(ProvisionError):
            tool = ContainerTool.find()
            tool.remove(*tool.ours(self._state))

    def _contents(
        self, tool: ContainerTool, image: str, inside: _Inside, entrypoint: str
    ) -> tuple[str, list[Package]]:
        look = ["run", "--rm", "--network", "none", "--label", f"{LABEL}={self._state}", "--pull", "never"]
        if inside.name == "python":
            script = Path(collect.__file__).read_text(encoding="utf-8")
            out = tool.run(
                *look, "--entrypoint", entrypoint, image, "-I", "-B", "-c", script, deadline_s=_LOOK_S
            )
            try:
                found = json.loads(out)
                packages = [Package(str(name), str(version)) for name, version in found["packages"]]
                return str(found["python_version"]), packages
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ProvisionError(f"The Python of {image} does not say what is installed.") from error
        code, out, said = tool.ask(*look, "--entrypoint", entrypoint, image, "--version", deadline_s=_LOOK_S)
        build = said_by_version(f"{out}\n{said}")
        if build is None:
            raise ProvisionError(
                f"`{entrypoint} --version` in {image} ends with {code} and says: "
                f"{one_line(said or out) or 'nothing'}",
                kept="every complete environment",
                advice="look whether this machine has what the image was built for",
            )
        return "", [Package(BUILD_PACKAGE, str(build))]


def is_container(environment: Environment) -> bool:
    """Say whether an environment's programs run in containers."""
    return (environment.path / ORDER).is_file()


def name_in(scratch: Path) -> str:
    """Return the name of the container that a program started in the folder `scratch` runs in."""
    return f"mtp-monitor-{hashlib.sha256(str(scratch.resolve()).encode()).hexdigest()[:16]}"


def pid_of(environment: Environment, scratch: Path) -> int | None:
    """Return the first process of a session's container as this machine numbers it.

    None where that cannot be told: the service may run on another machine or number its processes itself.
    """
    found = _order_of(environment.path)
    pid = found[0].pid_of(name_in(scratch)) if found else None
    try:
        inside = pid is not None and Path(f"/proc/{pid}/cwd").readlink() == scratch.resolve()
    except OSError:
        inside = False
    return pid if inside else None


def end(environment: Environment, scratch: Path) -> None:
    """Remove the container of a session: its tool may have been killed before it could."""
    if found := _order_of(environment.path):
        tool, _ = found
        tool.remove(name_in(scratch))


def forget(folder: Path) -> None:
    """Remove the image of the environment in `folder`, when nothing else uses it."""
    if found := _order_of(folder):
        tool, image = found
        tool.ask("image", "rm", image)


def state_of(root: Path) -> str:
    """Return the name that containers of the environments at `root` are labelled with."""
    return hashlib.sha256(str(root.absolute()).encode()).hexdigest()[:16]


def _order_of(folder: Path) -> tuple[ContainerTool, str] | None:
    """Return the tool and the image of the environment in `folder`; None where it is none of an image."""
    try:
        order = json.loads((folder / ORDER).read_text(encoding="utf-8"))
        return ContainerTool(str(order["tool"]), dict(order["environment"])), str(order["image"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _started(facts: Mapping[str, Any], artifact: Artifact) -> str:
    config = facts.get("Config")
    started = (config.get("Entrypoint") if isinstance(config, Mapping) else None) or ()
    if not started:
        raise ProvisionError(f"The image of {artifact.project} {artifact.version} starts nothing by itself.")
    return str(started[0])


def _shown(facts: Mapping[str, Any]) -> dict[str, Any]:
    config = facts.get("Config") or {}
    kept = {name: facts.get(name) for name in ("Id", "RepoDigests", "Created", "Architecture", "Os", "Size")}
    return kept | {name: config.get(name) for name in ("Env", "Labels", "Entrypoint", "Cmd", "WorkingDir")}


def _write(program: Path, order: Mapping[str, Any]) -> None:
    runner = (Path(__file__).parent / _RUNNER).read_text(encoding="utf-8")
    program.parent.mkdir()
    (program.parent.parent / ORDER).write_text(json.dumps(order, indent=1), encoding="utf-8")
    program.write_text(f"#!{sys.executable} -IB\n{runner}", encoding="utf-8")
    program.chmod(0o755)
    if program.name == "python":  # it is called by either name
        program.with_name("python3").symlink_to("python")
