"""Runs a program of an image in a container of its own, as if it lay in `bin` of the environment.

It imports nothing of the monitor: it is copied into `bin`, and `container.json` beside that says what to run.
The working directory is the session's private folder. Into the container go that folder, the one in which
compilers keep their results, and read-only every file or folder that the command line names; the variables of
this process, without their values in the command line; the host's network, where the server is told to listen
on the loopback interface alone; and the GPU when `CUDA_VISIBLE_DEVICES` says which.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_STAYS_HERE = {"PATH", "LD_LIBRARY_PATH", "CUDA_HOME", "PYTHONHOME", "SHELL", "USER", "LOGNAME", "HOME"}
"""Places of this machine, which are others in the image."""


def _named(value: Any) -> Iterator[Path]:
    """Yield the existing absolute paths in an argument, also in JSON that it holds."""
    if isinstance(value, str):
        if value.startswith("/") and Path(value).exists():
            yield Path(value)
        elif value.startswith(("{", "[")):
            try:
                yield from _named(json.loads(value))
            except ValueError:
                return
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _named(item)


def command(order: dict[str, Any], arguments: list[str], scratch: Path) -> list[str]:
    """Return the tool's command line."""
    name = f"mtp-monitor-{hashlib.sha256(str(scratch).encode()).hexdigest()[:16]}"
    words = [order["tool"], "run", "--rm", "--init", "--name", name, "--label", order["label"]]
    podman = Path(order["tool"]).name == "podman"
    words += ["--pull", "never", "--network", "host", "--user", f"{os.getuid()}:{os.getgid()}"]
    if podman and os.getuid() != 0:
        # Without root podman numbers users anew, and the session's folder would be somebody else's.
        words += ["--userns", "keep-id"]
    words += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--shm-size", "4g"]
    # SELinux keeps containers out of folders that do not carry its label; relabelling weights is not for us.
    words += ["--security-opt", "label=disable"]
    words += ["--workdir", str(scratch), "--mount", f"type=bind,source={scratch},target={scratch}"]
    seen = {scratch}
    if caches := os.environ.get("MTP_MONITOR_CACHES"):
        # What compilers keep from one start to the next.
        words += ["--mount", f"type=bind,source={caches},target={caches}"]
        seen.add(Path(caches))
    for path in (path for argument in arguments for path in _named(argument)):
        inside = any(path == known or known in path.parents for known in seen)
        if not inside:
            seen.add(path)
            words += ["--mount", f"type=bind,source={path},target={path},readonly"]
    if os.environ.get("CUDA_VISIBLE_DEVICES"):
        words += ["--device", "nvidia.com/gpu=all"] if podman else ["--gpus", "all"]
    for variable in sorted(os.environ.keys() - _STAYS_HERE):
        words += ["--env", variable]
    words += ["--env", f"HOME={os.environ.get('HOME', scratch)}"]
    return [*words, "--entrypoint", order["entrypoint"], order["image"], *arguments]


if __name__ == "__main__":
    own = Path(__file__).resolve().parent.parent / "container.json"
    described = json.loads(own.read_text(encoding="utf-8"))
    run = command(described, sys.argv[1:], Path.cwd())
    # The tool itself needs what decides which service it speaks to, and where it keeps its images.
    os.execve(run[0], run, {**os.environ, **described["environment"]})  # noqa: S606  # no shell is meant
