"""Runs `mtp-monitor serve` against a local index, and asks it what it knows, over HTTP as anybody would."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from acceptance.command import House
from monitor.planted.wheels import Fault, plant
from standins.index import IndexServer

SECRET = "whsec_bXRwLW1vbml0b3ItdGVzdC1zZWNyZXQtMzItYnl0ZXM="
PATIENCE_S = 240.0


def configuration(webhook: str | None = None, slack: str | None = None) -> tuple[str, dict[str, str]]:
    """Return the text for the configuration, and the variables with the destinations' secrets."""
    lines = ['allow_private_hosts = ["127.0.0.1"]']
    variables = {"MTP_MONITOR_SCHEDULE__POLL_MINUTES": "0.05", "MTP_MONITOR_WEB__PORT": "0"}
    for name, url in (("webhook", webhook), ("slack", slack)):
        if url is not None:
            lines.append(f'[[destinations]]\nname = "{name}"\nkind = "{name}"\n')
            variables[f"MTP_MONITOR_DESTINATION_{name.upper()}_URL"] = url
    variables["MTP_MONITOR_DESTINATION_WEBHOOK_SECRET"] = SECRET
    return "\n".join(lines), variables


def publish(index: IndexServer, wheel: Path, fault: Fault, folder: Path, **which: Any) -> str:
    """Put a stand-in release on the index and return its version."""
    made = plant(wheel, fault, folder, **which)
    index.add("xllamacpp", made.name, made.read_bytes())
    return made.name.split("-")[1]


@dataclass
class Service:
    """A running `mtp-monitor serve`."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str] = field(default_factory=list)
    """What it has logged."""

    def get(self, path: str) -> Any:
        answer = httpx.get(f"{self.url.rstrip('/')}{path}", timeout=30)
        answer.raise_for_status()
        return answer.json() if "json" in answer.headers["content-type"] else answer.text

    def run_of(self, version: str, states: tuple[str, ...] = ("done", "failed", "invalid")) -> Any:
        """Return the run of a release once it has ended."""

        def ended() -> Any:
            for run in self.get("/api/v1/runs")["runs"]:
                if run["version"] == version and run["state"] in states:
                    return run
            return None

        return self.wait(ended, f"the end of the run of {version}")

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """Return what `condition` finds; the limit only ends a test that has failed."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            log = "\n".join(self.lines[-40:])
            assert self.process.poll() is None, f"the service has ended while waiting for {what}\n{log}"
            assert time.monotonic() < deadline, f"{what} did not happen\n{log}"
            time.sleep(0.2)
        return found


@contextmanager
def serving(house: House, *arguments: str) -> Iterator[Service]:
    """Run the service; at the end it is asked to stop, and must do so."""
    process = house.start("serve", *arguments)
    assert process.stdout is not None
    assert process.stderr is not None
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stderr.readline, "")))
    reader.start()
    try:
        service = Service(process, "", lines)
        address = service.wait(lambda: re.search(r"pages at (http://\S+)", "".join(lines)), "the pages")
        service.url = address[1]
        yield service
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, "".join(lines[-20:])
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join()
        process.stdout.close()
        process.stderr.close()


def headline(message: Any) -> str:
    return json.dumps(message["data"], ensure_ascii=False)
