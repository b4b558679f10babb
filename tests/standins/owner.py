"""A machine whose owner runs two servers of his own, upgrades them, and knows nothing of the monitor."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from monitor.bench.server import free_port
from monitor.settings import Settings

SERVER = str(Path(__file__).with_name("engine_server.py"))
CHECK = """
schema = "mtp-monitor/check/1"
id = "mine"
title = "My servers"
engine = "ENGINE"
projects = ["llama.cpp"]
quantisation = "Q8_0"
draft_length = 3
workloads = ["code.jsonl"]
warmup_prompts = 0
start_timeout_s = 30
request_timeout_s = 30
model = MODEL
sampling = { temperature = 0, ignore_eos = true }
serve = SERVE
estimate_minutes = { quick = 0.1, full = 0.1 }

# The stand-in answers eight tokens, too few and too fast for rates; what is looked at here are the states.
[judging]
min_rate_tokens = 4
server_rate_tolerance = 5.0
blocks_reference = 2
blocks_min = 2
blocks_max = 2
"""


class Owner:
    """Two servers on loopback, one that drafts and one that does not."""

    def __init__(self, folder: Path, build: str = "b9300-aaaaaaa") -> None:
        self.folder = folder
        self.ports = {"does-not-draft": free_port(), "none": free_port()}
        self._servers: list[subprocess.Popen[bytes]] = []
        self.start(build)

    def start(
        self,
        build: str,
        model: str = "/models/one.gguf",
        *,
        behind: str | None = None,
        drafts: bool = True,
    ) -> None:
        """Start both servers anew.

        `behind` is the build of the one that should draft, where it is another; without `drafts` it does not.
        """
        self.stop()
        for fault, port in self.ports.items():
            own = behind if behind and fault == "none" else build
            self._servers.append(
                subprocess.Popen(
                    [sys.executable, SERVER, fault if drafts else "does-not-draft", str(port), own, model],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        for port in self.ports.values():
            _until_ready(f"http://127.0.0.1:{port}/health")

    def stop(self) -> None:
        for server in self._servers:
            server.kill()
            server.wait()
        self._servers.clear()

    @property
    def urls(self) -> dict[str, str]:
        """The settings of a check that is attached to the servers."""
        plain, drafts = (f"http://127.0.0.1:{port}" for port in self.ports.values())
        return {"baseline_url": plain, "mtp_url": drafts, "protocol": "llama.cpp"}

    def settings(
        self,
        source: Mapping[str, Any] | None = None,
        *,
        engine: str = "endpoint",
        model: str = '{ name = "mine", kind = "served" }',
        serve: Mapping[str, Any] | None = None,
    ) -> Settings:
        """Write a check for the servers and return a configuration that follows them."""
        checks = self.folder / "checks"
        checks.mkdir(exist_ok=True)
        text = CHECK.replace("ENGINE", engine).replace("MODEL", model)
        table = ", ".join(f"{key} = {json.dumps(value)}" for key, value in (serve or self.urls).items())
        (checks / "mine.toml").write_text(text.replace("SERVE", f"{{ {table} }}"), encoding="utf-8")
        prompts = [
            {"id": f"p{i}", "workload": "code", "max_tokens": 8, "text": f"prompt {i}"} for i in range(2)
        ]
        lines = [json.dumps({**prompt, "source": "self", "licence": "MIT"}) for prompt in prompts]
        (checks / "code.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return Settings.model_validate(
            {
                "state": self.folder / "state",
                "check_dirs": [checks],
                "sources": [{"kind": "attached", "project": "llama.cpp", **(source or {})}],
                "assignments": [{"project": "llama.cpp", "checks": ["mine"]}],
            }
        )

    def python(self) -> Path:
        """Make an environment that the owner installs into, and return its interpreter."""
        folder = self.folder / "owned"
        venv.create(folder, with_pip=False, symlinks=True)
        return folder / "bin" / "python"

    def install(self, name: str, version: str) -> None:
        """Put a package into it, over the one of that name; only what metadata tells of it."""
        (site,) = (self.folder / "owned" / "lib").glob("python*/site-packages")
        for old in site.glob(f"{name}-*.dist-info/METADATA"):
            old.unlink()
            old.parent.rmdir()
        folder = site / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _until_ready(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline, f"{url} never answered"
            time.sleep(0.02)
        else:
            return
