"""A made-up service that lives through release after release, for tests of slow drift."""

from __future__ import annotations

from dataclasses import replace

from monitor import pipeline
from monitor.pipeline import Station
from standins.service import Build, World

GOOD = Build()
STEP = 1.006
FIRST = "2026.6.100"


def slower(factor: float) -> Build:
    return replace(GOOD, step_time_s=GOOD.step_time_s * factor)


def live_through(station: Station, world: World, builds: list[Build], *, number: int = 101) -> None:
    for place, build in enumerate(builds):
        world.release(f"2026.6.{number + place}", build)
        pipeline.cycle(station)
        world.wait(hours=4)


def begun(station: Station, world: World) -> None:
    world.release(FIRST, GOOD)
    pipeline.cycle(station)
    world.wait(hours=4)
