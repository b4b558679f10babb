"""The text for upstream: a stranger who runs its commands in an empty folder sees what it states."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import uv

from monitor.net import Http
from monitor.planted.wheels import Fault, plant
from monitor.releases.package_index import PackageIndex
from monitor.settings_tables import SourceSettings

VERSION = "2026.10.11549"
PLANTED = f"{VERSION}+planted.worse.head"
CHECK = "small"
CHECKS = Path(__file__).parents[1] / "acceptance" / "checks"
_BLOCK = re.compile(r"^(`{3,})sh\n(.*?)^\1$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the monitor has found a planted regression."""
    folder = tmp_path_factory.mktemp("house")
    links = folder / "links"
    shutil.copytree(CHECKS, folder / "checks")
    # One thread does not wait for another that a busy machine has put aside.
    definition = folder / "checks" / "small.toml"
    text = definition.read_text(encoding="utf-8").replace("threads = 2", "threads = 1")
    definition.write_text(text.replace("per_workload = 2", "per_workload = 1"), encoding="utf-8")
    (folder / "mtp-monitor.toml").write_text(
        'check_dirs = ["checks"]\n'
        f'[[sources]]\nproject = "xllamacpp"\nversions = "=={VERSION}"\nsettle_minutes = 0\n'
        f"find_links = [{json.dumps(str(links))}]\n\n"
        f'[[assignments]]\nproject = "xllamacpp"\nchecks = ["{CHECK}"]\n',
        encoding="utf-8",
    )
    links.mkdir()
    with Http() as web:
        (artifact,) = [
            artifact
            for release in PackageIndex(SourceSettings(project="xllamacpp"), web).poll()
            for artifact in release.artifacts
            if artifact.version == VERSION and "-cp310-abi3-manylinux2014_x86_64" in artifact.filename
        ]
        wheel = folder / artifact.filename
        web.download(artifact.url, wheel, sha256=artifact.sha256, max_bytes=2**29, deadline_s=300)
    monitor(folder, "releases", "--refresh")
    monitor(folder, "run", CHECK, "--release", f"xllamacpp=={VERSION}")
    plant(wheel, Fault.WORSE_HEAD, links)
    monitor(folder, "releases", "--refresh")
    found = monitor(folder, "run", CHECK, "--release", f"xllamacpp=={PLANTED}", "--json", code=3)
    assert json.loads(found)["judgement"]["confirmed"] is True
    return folder


def monitor(folder: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "monitor", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_the_commands_of_the_text_show_the_counts_that_it_states(house: Path, tmp_path: Path) -> None:
    text: dict[str, Any] = json.loads(monitor(house, "incidents", "upstream", "1", "--json"))
    blocks = [found[2] for found in _BLOCK.finditer(text["body"])]
    assert "\n".join(blocks).split() == text["script"].split()
    (wheel,) = (house / "links").iterdir()
    told = next(note for note in text["notes"] if wheel.name in note)
    assert str(wheel) in told
    assert str(house) not in text["body"] + text["title"] + text["script"]
    assert socket.gethostname() not in text["body"] + text["title"]
    # What the note says is to be attached; nothing else is at hand.
    shutil.copy(wheel, tmp_path)

    printed = _reproduce(text["script"], tmp_path)

    lines = [line for line in printed.splitlines() if line.startswith(("good-", "bad-"))]
    assert [line.partition(" text=")[0] for line in lines] == text["expected"]
    counts = {name: _counts(line) for name, line in zip(("gb", "gm", "bb", "bm"), lines, strict=True)}
    assert counts["gb"]["drafted"] == counts["bb"]["drafted"] == 0
    assert counts["gm"]["accepted"] > counts["bm"]["accepted"] > 0
    # The planted fault takes drafts, not words.
    assert len({line.partition(" text=")[2] for line in lines}) == 1
    assert not [one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(tmp_path)]


def _counts(line: str) -> dict[str, int]:
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+) ", line + " ")}


def _reproduce(script: str, folder: Path) -> str:
    """Run the script as a stranger would: nothing of the monitor or its Python is on the path."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    programs = folder / "programs"
    programs.mkdir()
    (programs / "uv").symlink_to(uv.find_uv_bin())
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("UV_", "PIP_", "SSL_"))
        or name in {"HOME", "LANG"}
        or name.lower().endswith("_proxy")
    }
    done = subprocess.run(
        ["/bin/sh"],
        input=script,
        cwd=folder,
        env=kept | {"PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin", "PORT": str(port)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
