"""Whose work the machine did while a session was measured."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from monitor.bench import load
from monitor.bench.load import Usage

SPIN = "while True: pass"
SLEEP = "import time; time.sleep(60)"


@contextmanager
def running(program: str) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-S", "-c", program])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def test_what_is_left_after_engine_and_monitor_is_other_work() -> None:
    before = Usage(at_s=10.0, cpus=4, busy_s=100.0, own_s=50.0)

    assert Usage(20.0, 4, 130.0, 70.0).others_since(before) == pytest.approx(0.25)
    assert Usage(20.0, 4, 120.0, 70.5).others_since(before) == 0.0


@pytest.mark.parametrize("after", [Usage(10.01, 4, 100.0, 50.0), Usage(20.0, 3, 110.0, 50.0)])
def test_too_short_a_stretch_or_another_number_of_cpus_tells_nothing(after: Usage) -> None:
    assert after.others_since(Usage(10.0, 4, 100.0, 50.0)) is None


def test_an_engine_that_runs_already_or_has_ended_cannot_be_told_from_other_work() -> None:
    with running(SLEEP) as pid:
        pass
    assert load.read(None) is None
    assert load.read(pid) is None


def test_the_same_work_is_the_engines_or_that_of_others() -> None:
    with running(SPIN) as engine, running(SLEEP) as idle:
        before = [load.read(pid) for pid in (engine, idle)]
        time.sleep(0.6)
        after = [load.read(pid) for pid in (engine, idle)]

    shares = [
        later.others_since(earlier) for later, earlier in zip(after, before, strict=True) if later and earlier
    ]
    as_engine, as_stranger = shares
    assert as_engine is not None
    assert as_stranger is not None
    assert as_stranger > as_engine
