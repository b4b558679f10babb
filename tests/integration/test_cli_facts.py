"""The real command in a process of its own: what scripts rely on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COMMAND = Path(sys.executable).with_name("mtp-monitor")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a function that runs the command in an empty folder, with an empty home."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    # An index of the machine stays known: uv and pip use it too.
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MTP_MONITOR_") and name not in {"COLUMNS", "PYTHONUTF8", "PYTHONIOENCODING"}
    }

    def call(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = kept | {"HOME": str(home)} | variables
        return subprocess.run(
            [COMMAND, *arguments],
            cwd=work,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )

    return call


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the one document on stdout."""
    return dict(json.loads(done.stdout))


def test_the_first_minute_of_someone_new_leads_from_help_to_a_checked_machine(
    run: Run, tmp_path: Path
) -> None:
    shown = run("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "mtp-monitor demo" in shown.stdout
    assert run("--version").stdout.startswith("mtp-monitor 0.")
    assert run("init").returncode == 0
    assert (tmp_path / "work" / "mtp-monitor.toml").is_file()
    found = run("doctor", "--offline", "--json")
    assert (found.returncode, document(found)["ok"]) == (0, True)
    assert found.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "schema"),
    [(("checks",), "mtp-monitor/checks/1"), (("models", "list"), "mtp-monitor/models/1")],
)
def test_facts_are_one_document_with_a_schema(
    arguments: tuple[str, ...], schema: str, run: Run, tmp_path: Path
) -> None:
    done = run(*arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert document(done)["schema"] == schema
    assert list((tmp_path / "work").iterdir()) == []


def test_a_terminal_without_the_marks_is_still_served(run: Run) -> None:
    told = run("checks", LC_ALL="C", PYTHONIOENCODING="ascii")
    assert told.returncode == 0, told.stderr
    assert "synthetic-qwen35-cpu" in told.stdout
    assert "\x1b" not in told.stdout


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "says"),
    [
        (("nonsense",), {}, 2, "nonsense"),
        (("checks", "nonsense"), {}, 2, "There is no check 'nonsense'"),
        (("checks",), {"MTP_MONITOR_CONFIG": "absent.toml"}, 1, "absent.toml: cannot be read"),
    ],
)
def test_a_mistake_is_explained_on_stderr_and_ends_with_its_code(
    arguments: tuple[str, ...], variables: dict[str, str], code: int, says: str, run: Run
) -> None:
    done = run(*arguments, **variables)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_is_written_and_an_altered_one_is_found(run: Run) -> None:
    fetched = run("models", "fetch", "synthetic-qwen35-tiny", "--json")
    assert fetched.returncode == 0, fetched.stderr
    [model] = document(fetched)["models"]
    file = Path(model["path"])
    assert file.stat().st_size == model["bytes"]
    verified = run("models", "verify", "synthetic-qwen35-tiny", "--json")
    assert document(verified)["models"][0]["sha256"] == model["sha256"]
    with file.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([last[0] ^ 1]))
    altered = run("models", "verify", "--json")
    assert (altered.returncode, document(altered)["models"][0]["whole"]) == (1, False)
    assert "was altered" in altered.stderr
    assert "models fetch synthetic-qwen35-tiny" in altered.stderr


def test_the_module_runs_like_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "monitor", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("mtp-monitor ")


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [COMMAND, "checks"], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, timeout=120, check=False
    )
    os.close(writer)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
