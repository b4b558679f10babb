"""A made-up machine on which the draft length decides how long a step takes, for tests of sweeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

from monitor.domain import Arm
from monitor.errors import EngineStartError
from monitor.pipeline import Station
from monitor.steps.provision import Weights
from standins.service import World, check

STEPS = {1: 0.034, 2: 0.027, 3: 0.025, 4: 0.02505, 5: 0.032, 6: 0.04}
"""Draft length → step time; 3 and 4 are alike, and nothing else comes near."""
VERSION = "2026.6.1"


@dataclass
class Lengths(World):
    """A world whose releases all draft as well, and step the slower the more they draft."""

    asked: list[tuple[int, Arm, int]] = field(default_factory=list)
    """Draft length (0 for the baseline), arm and block of each session, in order."""
    fails: int = 0
    """A draft length that the engine refuses."""

    def measure(self, **asked: Any) -> Any:
        length, arm = asked["check"].draft_length, asked["arm"]
        if arm is Arm.MTP and length == self.fails:
            raise EngineStartError("It ended before it answered.")
        sha256 = asked["environment"].artifact.sha256
        usual = self.builds[sha256]
        self.builds[sha256] = replace(usual, step_time_s=STEPS[length])
        try:
            found = super().measure(**asked)
        finally:
            self.builds[sha256] = usual
        self.asked.append((length if arm is Arm.MTP else 0, arm, asked["block"]))
        return found


def lengths_world(folder: Path) -> Lengths:
    """Return a world with one release, whose check is of an engine that can be swept."""
    swept = check(engine="xllamacpp")
    made = Lengths(folder, checks=(replace(swept, judging=swept.judging | {"blocks_max": 8}),))
    made.release(VERSION)
    return made


@contextmanager
def opened(world: Lengths, **settings: Any) -> Iterator[Station]:
    weights = Weights(world.folder, None, "e" * 64)
    with (
        mock.patch("monitor.steps.sweep.weights_of", return_value=weights),
        world.station(**settings) as station,
    ):
        yield station
