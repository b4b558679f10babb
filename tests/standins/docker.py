"""A `docker` that behaves as the command's reference says, for images that a test describes.

DockerStandin(folder).image("ghcr.io/ggml-org/llama.cpp", digest, {"/app/llama-server": [program]})

A container is a process of this machine in a session of its own, so it outlives the command that started it,
as a container does. What was asked, what is pulled and what runs lies in files of `folder`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any


class DockerStandin:
    """The command, and what it knows."""

    def __init__(self, folder: Path, name: str = "docker") -> None:
        self.folder = folder
        self._state: dict[str, Any] = {"images": {}}
        folder.mkdir(parents=True)
        self.program = folder / "bin" / name
        self.program.parent.mkdir()
        cli = Path(__file__).with_name("docker_cli.py")
        self.program.write_text(f'#!/bin/sh\nexec {sys.executable} {cli} {folder} "$@"\n', encoding="utf-8")
        self.program.chmod(0o755)
        self.tell()

    def tell(self, **changes: Any) -> None:
        """Change what it knows: `down`, `pull_error`."""
        self._state |= changes
        (self.folder / "registry.json").write_text(json.dumps(self._state), encoding="utf-8")

    def image(
        self, name: str, digest: str, programs: dict[str, list[str]], *, listed: str | None = None
    ) -> str:
        """Let an image be had whose programs are commands of this machine; return its reference."""
        reference = f"{name}@sha256:{digest}"
        inspect = {
            "Id": "sha256:" + "1" * 64,
            "RepoDigests": [f"{name}@sha256:{listed or digest}"],
            "Created": "2026-10-01T00:00:00Z",
            "Architecture": "amd64",
            "Os": "linux",
            "Size": 1234,
            "Config": {
                "Env": ["CUDA_VERSION=13.0.1"],
                "Labels": {"a": "b"},
                "Entrypoint": [next(iter(programs))],
            },
        }
        self._state["images"][reference] = {"inspect": inspect, "programs": programs}
        self.tell()
        return reference

    @property
    def asked(self) -> list[dict[str, Any]]:
        """Return every call: its arguments and its environment."""
        log = self.folder / "asked.jsonl"
        return (
            [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
            if log.exists()
            else []
        )

    @property
    def running(self) -> list[str]:
        """Return the names of the containers that are there."""
        return sorted(path.stem for path in (self.folder / "containers").glob("*.json"))

    def close(self) -> None:
        """End what is still running."""
        for one in (self.folder / "containers").glob("*.json"):
            try:
                os.killpg(json.loads(one.read_text(encoding="utf-8"))["pid"], signal.SIGKILL)
            except ProcessLookupError:
                continue
