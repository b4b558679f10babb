"""Runs the real command in a state folder of its own, as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

CHECKS = Path(__file__).parent / "checks"
CHECK = "small"
GOOD = "2026.10.11549"
"""The release whose wheel the stand-ins are made of."""
TIMEOUT_S = 300


@dataclass
class House:
    """A working folder with a configuration; commands run in it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    timeout_s: float = TIMEOUT_S
    """After which a command that hangs fails its test."""

    @classmethod
    def build(
        cls,
        folder: Path,
        *,
        planted: Path | None = None,
        index: str | None = None,
        check: str = CHECK,
        extra: str = "",
    ) -> House:
        """Write the configuration: the real index or another, and a folder for stand-in releases if any."""
        folder.mkdir(parents=True, exist_ok=True)
        links = f"find_links = [{json.dumps(str(planted))}]\n" if planted else ""
        links += f"index_url = {json.dumps(index)}\n" if index else ""
        (folder / "mtp-monitor.toml").write_text(
            f"check_dirs = [{json.dumps(str(CHECKS))}]\n{extra}\n"
            f'[[sources]]\nproject = "xllamacpp"\nsettle_minutes = 0\n{links}\n'
            f'[[assignments]]\nproject = "xllamacpp"\nchecks = ["{check}"]\n',
            encoding="utf-8",
        )
        return cls(folder)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def start(self, *arguments: str, **changes: str) -> subprocess.Popen[str]:
        """Start `mtp-monitor …` without waiting for it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MTP_MONITOR")}
        return subprocess.Popen(
            [sys.executable, "-m", "monitor", *arguments],
            cwd=self.folder,
            env=kept | self.environment | changes,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int | None = 0, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run `mtp-monitor …` to its end and check its exit code; None takes any."""
        process = self.start(*arguments, **changes)
        try:
            out, err = process.communicate(timeout=self.timeout_s)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        if code is not None:
            assert process.returncode == code, f"{arguments} ended with {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def json(self, *arguments: str, code: int | None = 0) -> Any:
        """Run a command with --json and return its document."""
        return json.loads(self.run(*arguments, "--json", code=code).stdout)


def engines_of(house: House) -> list[psutil.Process]:
    """Return the living processes that were started for this house, the monitor itself apart."""
    found = []
    for process in psutil.process_iter():
        try:
            mentions = [*process.cmdline(), process.cwd(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if process.pid != os.getpid() and any(str(house.state) in text for text in mentions):
            found.append(process)
    return found
