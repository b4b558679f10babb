"""What stands on disk of an environment: its folder's name, and `environment.json` inside it."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from monitor.domain import Artifact, Environment
from monitor.environments import files

RECORD = "environment.json"
_ADAPTER = TypeAdapter(Environment)


def key_of(artifact: Artifact, made_with: str) -> str:
    """Return the name of an environment of `artifact`: project, version, sha256, what it was made with."""
    name = f"{artifact.project}-{artifact.version}-{artifact.sha256[:12]}-{made_with}"
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def write(folder: Path, environment: Environment) -> None:
    """Write the record into `folder` and make sure that it is on disk."""
    with (folder / RECORD).open("wb") as stream:
        stream.write(_ADAPTER.dump_json(environment, indent=1))
        stream.flush()
        os.fsync(stream.fileno())


def read(folder: Path) -> Environment | None:
    """Return the environment that stands in `folder`, or None when it is not complete and usable.

    The paths are those of `folder` as it is now: the state folder may have been moved.
    """
    try:
        found = _ADAPTER.validate_json((folder / RECORD).read_bytes())
    except (OSError, ValidationError):
        return None
    if found.key != folder.name or not files.are_there(folder):
        return None
    placed_here = placed(found, folder)
    # The link dangles when the Python it was built with is gone.
    if placed_here.python is not None and not placed_here.python.exists():
        return None
    return placed_here


def placed(environment: Environment, folder: Path) -> Environment:
    """Return the environment with the paths it has in `folder`."""
    python = python_in(folder) if environment.python is not None else None
    return replace(environment, path=folder, python=python)


def python_in(folder: Path) -> Path:
    """Return the interpreter of the environment in `folder`."""
    return folder / "bin" / "python"
