"""kill -9 while measuring, of the monitor and of the engine: nothing is left, nothing complete is lost."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from acceptance.command import CHECK, House, engines_of

RELEASE = "xllamacpp==2026.9.11063"
PATIENCE_S = 120.0


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    pytest.fail(f"{what} did not happen within {PATIENCE_S:.0f} s")


def complete_sessions(house: House) -> list[Path]:
    return [path for path in (house.state / "spool").rglob("*.jsonl") if path.suffix == ".jsonl"]


def begun_sessions(house: House) -> list[Path]:
    return list((house.state / "spool").rglob("*.jsonl.part"))


def servers_of(house: House) -> list[psutil.Process]:
    """Return the engine servers: the processes that run a launcher in an environment."""
    return [process for process in engines_of(house) if "launchers" in " ".join(process.cmdline())]


@pytest.fixture
def own_house(tmp_path: Path) -> House:
    house = House.build(tmp_path / "house")
    house.run("releases", "--refresh")
    return house


def test_a_killed_monitor_leaves_nothing_and_goes_on_where_it_stopped(
    own_house: House, tmp_path: Path
) -> None:
    house = own_house
    monitor = house.start("run", CHECK, "--release", RELEASE)
    # The second session is at work, and has answers in its spool.
    wait_until(
        lambda: (
            complete_sessions(house)
            and any(path.read_text().count("\n") > 1 for path in begun_sessions(house))
        ),
        "a second session with samples",
    )
    monitor.send_signal(signal.SIGKILL)
    monitor.communicate()

    wait_until(lambda: not engines_of(house), "the end of every process of the killed monitor")
    kept = {path.name: path.read_text() for path in complete_sessions(house)}
    assert kept

    ended = house.json("run", CHECK, "--release", RELEASE)
    house.run("export", str(ended["run"]), "-o", str(tmp_path / "export"))
    exported = (tmp_path / "export" / "candidate.jsonl").read_text().splitlines()
    sessions = [line for line in exported if '"kind":"session"' in line]

    assert ended["state"] == "done"
    assert ended["attempts"] == 2
    assert len(sessions) == 4
    for text in kept.values():
        assert set(text.splitlines()) <= set(exported)
    assert begun_sessions(house) == []
    assert engines_of(house) == []


def test_a_killed_engine_costs_one_session_and_not_the_run(own_house: House) -> None:
    house = own_house
    monitor = house.start("run", CHECK, "--release", RELEASE, "--json")
    wait_until(lambda: any(path.read_text().count("\n") > 1 for path in begun_sessions(house)), "a sample")
    server = wait_until(lambda: servers_of(house), "an engine server")[0]
    server.kill()
    out, err = monitor.communicate(timeout=PATIENCE_S)

    assert monitor.returncode == 0, err
    assert '"state": "done"' in out
    assert "one more try" in err
    assert engines_of(house) == []


def test_a_second_run_on_the_same_state_is_refused_and_names_the_first(own_house: House) -> None:
    house = own_house
    monitor = house.start("run", CHECK, "--release", RELEASE)
    try:
        wait_until(lambda: begun_sessions(house), "a session")
        server = wait_until(lambda: servers_of(house), "an engine server")[0]
        server.suspend()  # so that the first is at work for as long as the second takes to start
        second = house.run("run", CHECK, "--release", "xllamacpp==2026.8.10566", code=1)
        server.resume()
    finally:
        monitor.send_signal(signal.SIGTERM)  # ends it in order, like Ctrl-C
        monitor.communicate(timeout=PATIENCE_S)

    assert str(monitor.pid) in second.stderr
    assert monitor.returncode == 130
    assert engines_of(house) == []
