"""A real card behind the real driver: the questions are understood, and its answers are possible."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from monitor.gpu.driver import opened_card
from monitor.gpu.readiness import Readiness, soundness
from monitor.gpu.reading import read
from monitor.gpu.watch import Watch

GIB = 2**30


def test_the_card_says_what_it_is(gpu: dict[str, Any]) -> None:
    assert gpu["name"].startswith("NVIDIA")
    assert gpu["uuid"].startswith("GPU-")
    assert gpu["memory_bytes"] > GIB
    assert gpu["driver"]
    assert gpu["compute_capability"]


def test_its_bandwidth_is_that_of_a_graphics_card(gpu: dict[str, Any]) -> None:
    found = gpu["bandwidth_bytes_per_s"]
    assert found is None or 1e11 < found < 2e13


def test_a_look_is_possible_and_within_its_limits(gpu: dict[str, Any]) -> None:
    with opened_card(gpu["uuid"]) as card:
        seen = read(card, time.monotonic())
    assert 0 < (seen.sm_clock_mhz or 1) <= (gpu["max_sm_clock_mhz"] or 10_000)
    assert 0 < (seen.temperature_c or 1) < 130
    assert 0 <= (seen.memory_used_bytes or 0) <= gpu["memory_bytes"]
    assert seen.power_w is None or 0 < seen.power_w < 2000


def test_an_idle_stretch_uses_energy_at_the_power_that_is_told(gpu: dict[str, Any]) -> None:
    with opened_card(gpu["uuid"]) as card:
        watch = Watch(card, every_s=0.1)
        mark = watch.mark()
        time.sleep(3)
        stretch = watch.since(mark)
        facts = watch.watched(mark).facts or {}
        watch.close()
    assert facts["readings"] > 10
    if stretch.energy_j is not None and "power_w" in facts:
        low, _, high = facts["power_w"]
        assert 0.3 * low < stretch.energy_j / 3 < 3 * high


def test_a_sound_and_idle_card_is_ready(gpu: dict[str, Any], tmp_path: Path) -> None:
    with opened_card(gpu["uuid"]) as card:
        assert soundness(card) is None
        Readiness(card, gpu, tmp_path / "floor.json", "boot").before()
