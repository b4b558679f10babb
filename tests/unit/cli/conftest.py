"""What several commands are tried with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from monitor import host as hosts
from monitor import settings
from monitor.cli import app
from standins.cli import Call


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return a function that runs the command in an empty folder of a machine without a GPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hosts, "read_gpus", lambda: ())
    monkeypatch.setattr(settings, "gpu_present", lambda: False)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, list(arguments))

    return run
