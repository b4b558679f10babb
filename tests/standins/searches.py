"""Releases to search among, on a made-up machine, and searches carried out there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monitor import orders, pipeline
from monitor.domain import Answer, Bisection, Tier
from monitor.steps.station import Station
from standins.service import CHECK, PROJECT, Build, World, check

GOOD = Build()
WORSE_HEAD, SLOWER_STEP = Build(accepted_share=0.5), Build(step_time_s=0.0275)
SPECULATION_OFF, OTHER_TEXT = Build(drafts=False), Build(mtp_text="b")
BROKEN = Build(fault="start")
LOSSES = {
    "worse head": WORSE_HEAD,
    "slower step": SLOWER_STEP,
    "speculation off": SPECULATION_OFF,
    "other text": OTHER_TEXT,
}


_SHORT = {"blocks_min": 2, "blocks_max": 2, "blocks_reference": 2, "confirm_blocks_max": 2}


def small_world(folder: Path, **changes: Any) -> World:
    """Return a world whose check is decided after a few sessions."""
    return World(folder, checks=(check(judging=_SHORT),), **changes)


def version(number: int) -> str:
    return f"2026.6.{9300 + number}"


def publish(world: World, count: int, *, first_bad: int, bad: Build = WORSE_HEAD, broken: Any = ()) -> None:
    """List releases 0 … count - 1, of which those from `first_bad` on are bad."""
    for number in range(count):
        build = BROKEN if number in broken else bad if number >= first_bad else GOOD
        world.release(version(number), build)


@contextmanager
def searching(world: World, count: int, **changes: Any) -> Iterator[tuple[Station, Bisection]]:
    with world.station(**changes) as station:
        pipeline.discover(station)
        yield station, begun(station, count)


def begun(station: Station, count: int) -> Bisection:
    return orders.bisect(station, CHECK, PROJECT, version(0), version(count - 1), tier=Tier.QUICK)


def found(station: Station, search: Bisection) -> Bisection:
    for now in orders.searched(station, search.id):
        search = now
    return search


def visited(search: Bisection) -> dict[str, Answer | None]:
    return {visit.version: visit.answer for visit in search.visits if visit.answer is not None}
