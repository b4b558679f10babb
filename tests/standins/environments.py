"""Releases of a stand-in index, and environments of them with a uv cache of their own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from monitor.domain import Artifact, Environment
from monitor.environments import command
from monitor.environments.collection import Environments
from monitor.net import Http
from monitor.releases.package_index import PackageIndex
from monitor.settings_tables import SourceSettings, UvSettings
from standins.index import IndexServer
from standins.polled import source
from standins.wheels import wheel


def made(tmp_path: Path, *, folder: str = "environments", http: Http | None = None) -> Environments:
    return Environments.at(tmp_path / folder, uv=UvSettings(cache_dir=tmp_path / "cache"), http=http)


def listed(settings: SourceSettings, version: str = "1.0") -> Artifact:
    with Http() as http:
        releases = PackageIndex(settings, http).poll()
    (release,) = [item for item in releases if item.version == version]
    return release.artifacts[-1]


def publish(index: IndexServer, version: str = "1.0", **kinds: Any) -> Artifact:
    index.add("demo", *wheel("demo", version, **kinds))
    return listed(source(index), version)


def left_in(tmp_path: Path, folder: str = "environments") -> list[str]:
    return [path.name for path in (tmp_path / folder).glob("*") if not path.name.startswith(".lock-")]


def running(environment: Environment, code: str) -> str:
    """Run `code` in the environment, away from this repository, and return what it printed."""
    assert environment.python is not None
    done = subprocess.run(
        [environment.python, "-c", code], check=True, capture_output=True, text=True, cwd="/"
    )
    return done.stdout.strip()


def in_place_of_uv(tmp_path: Path, subcommand: str, script: str) -> Path:
    """Return a program that is uv but for `uv pip <subcommand>`, where it runs `script`."""
    program = tmp_path / f"uv-{subcommand}"
    real = command.uv.find_uv_bin()
    program.write_text(f'#!/bin/sh\n[ "$1 $2" = "pip {subcommand}" ] || exec {real} "$@"\n{script}\n')
    program.chmod(0o755)
    return program
