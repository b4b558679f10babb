"""docker or podman, as a command: found, asked, and its failures turned into the monitor's errors."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monitor.environments.command import answer_of
from monitor.errors import DiskFullError, MonitorError, ProvisionError, SourceError
from monitor.proc import one_line

TOOLS = ("docker", "podman")
LABEL = "io.mtp-monitor.state"
"""On every container of ours: which state folder it belongs to."""
# Decides which service the command speaks to, what it knows of registries and where it keeps its images.
_PASSED_ON = (
    *("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
    *("DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"),
    *("CONTAINER_HOST", "CONTAINERS_CONF", "CONTAINERS_REGISTRIES_CONF", "CONTAINERS_STORAGE_CONF"),
    "REGISTRY_AUTH_FILE",
)
_ASK_S = 60.0
_MAX_BYTES = 16 * 2**20

# Both tools say what went wrong in words only.
_NO_ROOM = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_GONE = re.compile(r"manifest unknown|not found|no such (image|manifest)|does not exist", re.IGNORECASE)
_REFUSED = re.compile(r"unauthorized|denied|authentication required", re.IGNORECASE)
_NO_SERVICE = re.compile(
    r"cannot connect to the docker daemon|connect: |permission denied while", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class ContainerTool:
    """One of the two commands, with what decides which service it speaks to."""

    program: str
    environment: Mapping[str, str]
    version: str = ""
    """Of its service."""

    @property
    def name(self) -> str:
        """`docker` or `podman`."""
        return Path(self.program).name

    @classmethod
    def find(cls) -> ContainerTool:
        """Return the first of docker and podman whose service answers.

        Raises:
            ProvisionError: neither does.

        """
        found = []
        kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        for name in TOOLS:
            if (program := shutil.which(name)) is None:
                continue
            tool = cls(program, {**kept, "PATH": os.environ.get("PATH", os.defpath)})
            code, out, said = tool.ask("version", "--format", "{{.Server.Version}}")
            if code == 0:
                return replace(tool, version=one_line(out))
            found.append(f"{name} says: {one_line(said) or 'nothing'}")
        raise ProvisionError(
            f"An image needs docker or podman ({'; '.join(found) or 'neither is here'}).",
            kept="every complete environment",
            advice="install one of them and let the monitor's user use it; `mtp-monitor doctor` looks at it",
        )

    def ask(self, *arguments: str, deadline_s: float = _ASK_S) -> tuple[int | None, str, str]:
        """Run it and return its status (None: not in time), output and error output."""
        return answer_of(
            [self.program, *arguments],
            self.environment,
            Path("/"),
            deadline_s=deadline_s,
            max_bytes=_MAX_BYTES,
        )

    def run(self, *arguments: str, deadline_s: float = _ASK_S) -> str:
        """Run it and return its output.

        Raises:
            ProvisionError, SourceError, DiskFullError: by what it says.

        """
        code, out, said = self.ask(*arguments, deadline_s=deadline_s)
        if code != 0:
            raise self._failure(arguments[0], code, said, deadline_s)
        return out

    def inspect(self, image: str) -> dict[str, Any]:
        """Return what the tool knows of an image that is here; raises as `run`."""
        text = self.run("image", "inspect", image)
        try:
            (found,) = json.loads(text)
            if isinstance(found, dict):
                return found
        except (ValueError, RecursionError):
            pass
        raise ProvisionError(f"{self.name} tells nothing that is understood of the image {image}.")

    def remove(self, *containers: str) -> None:
        """Remove containers, running or not; those that are not there are no error."""
        if containers:
            self.ask("rm", "--force", *containers)

    def pid_of(self, container: str) -> int | None:
        """Return the first process of a running container, as its service numbers it."""
        code, out, _ = self.ask("inspect", "--format", "{{.State.Pid}}", container)
        return int(out) if code == 0 and out.strip().isdecimal() and int(out) > 0 else None

    def ours(self, state: str) -> list[str]:
        """Return the ids of the containers of a state folder, running or not."""
        code, out, _ = self.ask("ps", "--all", "--quiet", "--filter", f"label={LABEL}={state}")
        return out.split() if code == 0 else []

    def _failure(self, what: str, code: int | None, said: str, deadline_s: float) -> MonitorError:
        if code is None:
            return SourceError(f"`{self.name} {what}` was not done after {deadline_s:g} s.")
        text = f"`{self.name} {what}` ends with {code}: {one_line(said)[-500:] or 'no message'}."
        if _NO_ROOM.search(said):
            advice = f"make room where {self.name} keeps its images, then try again"
            return DiskFullError(text, kept="every complete environment", advice=advice)
        if _NO_SERVICE.search(said):
            return SourceError(text, kept="every complete environment", advice=f"start {self.name}'s service")
        if _REFUSED.search(said):
            advice = f"log in with `{self.name} login`, or name another image"
            return ProvisionError(text, kept="every complete environment", advice=advice)
        if _GONE.search(said):
            advice = "the registry no longer has it; the next release is not affected"
            return ProvisionError(text, kept="every complete environment", advice=advice)
        return SourceError(text, kept="every complete environment", advice="it will be tried again")
