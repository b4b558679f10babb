"""A disk that is full while something is written: nothing breaks, and the work goes on when there is room."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from killing import Yard, begun_sessions, is_whole, wait_until

from monitor.domain import RunState
from monitor.planted.wheels import Fault
from monitor.store.transitions import ENDED

DISK = "size=768m"
"""Room for two environments and a third half-built one."""


@pytest.fixture
def disk(yard: Yard) -> Iterator[Path]:
    """Put the state on a small disk of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    yard.put_back()
    state = yard.house.state
    shutil.rmtree(state)
    state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", DISK, "tmpfs", str(state)]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        shutil.copytree(yard.folder / "template", state, symlinks=True, dirs_exist_ok=True)
        yield state
    finally:
        subprocess.run(["umount", "--lazy", str(state)], check=True)  # noqa: S607  # wherever it lies


def fill(disk: Path) -> Path:
    """Take all the room there is."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (2**20, 2**12):
            block = bytes(size)
            try:
                while file.write(block) == size:
                    pass
            except OSError:
                continue
    return ballast


def test_a_disk_that_is_full_while_installing_costs_an_attempt_and_no_more(yard: Yard, disk: Path) -> None:
    with yard.told() as webhook:
        worse = yard.publish(Fault.WORSE_HEAD)
        monitor = yard.house.start("watch", "--once")
        wait_until(lambda: list(disk.glob("environments/.building-*/bin/python")), "an environment")
        ballast = fill(disk)
        monitor.communicate()
        is_whole(disk / "monitor.sqlite3")
        assert list(disk.glob("environments/.building-*")) == []
        ballast.unlink()
        run = yard.run_of(worse)
        assert run is not None
        assert run.state not in ENDED, run.reason
        yard.until_done()
        yard.converged_on_the_loss(worse, webhook)


def test_a_service_on_a_full_disk_goes_on_by_itself_when_there_is_room_again(yard: Yard, disk: Path) -> None:
    with yard.told() as webhook:
        worse = yard.publish(Fault.WORSE_HEAD)
        with yard.serving() as service:
            wait_until(lambda: begun_sessions(yard.house), "a session")
            ballast = fill(disk)
            wait_until(lambda: service.said("No room left"), "the disk's being full noticed")
            is_whole(disk / "monitor.sqlite3")
            assert service.process.poll() is None
            ballast.unlink()

            def is_told() -> bool:
                run = yard.run_of(worse)
                assert service.process.poll() is None
                return run is not None and run.state is RunState.DONE and bool(webhook.messages)

            wait_until(is_told, "the end of the run")
            assert service.stop() == 0
        yard.until_done()
        yard.converged_on_the_loss(worse, webhook)
