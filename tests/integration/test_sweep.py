"""A sweep on a made-up machine: in turns, ended early, kept, resumed, and within the owner's hours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from monitor import orders, pipeline
from monitor.domain import Arm, RunState, Standing
from monitor.errors import ConfigurationError, EngineStartError, HostError
from monitor.pipeline import Station
from monitor.settings import HostSettings
from monitor.steps.advise import advise_all
from monitor.steps.provision import Weights
from monitor.steps.sweep import Plan, planned
from monitor.store.queries import runs, series, sweeps
from monitor.views.advice import said
from monitor.views.sweeps import summary
from standins.service import CHECK, PROJECT, World, check

STEPS = {1: 0.034, 2: 0.027, 3: 0.025, 4: 0.02505, 5: 0.032, 6: 0.04}
"""Draft length → step time; 3 and 4 are alike, and nothing else comes near."""
VERSION = "2026.6.1"


@dataclass
class Lengths(World):
    """A machine on which the draft length decides how long a step takes."""

    asked: list[tuple[int, Arm, int]] = field(default_factory=list)
    fails: int = 0

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


@pytest.fixture
def world(tmp_path: Path) -> Lengths:
    swept = check()
    made = Lengths(tmp_path, checks=(replace(swept, judging=swept.judging | {"blocks_max": 8}),))
    made.release(VERSION)
    return made


@pytest.fixture
def station(world: Lengths) -> Iterator[Station]:
    with opened(world) as found:
        pipeline.discover(found)
        yield found


def opened(world: Lengths, **settings: Any) -> Any:
    weights = Weights(world.folder, None, "e" * 64)
    stack = mock.patch("monitor.steps.sweep.weights_of", return_value=weights)
    return _Both(stack, world.station(**settings))


class _Both:
    def __init__(self, patch: Any, inner: Any) -> None:
        self._patch, self._inner = patch, inner

    def __enter__(self) -> Station:
        self._patch.start()
        return self._inner.__enter__()  # type: ignore[no-any-return]

    def __exit__(self, *error: object) -> None:
        self._patch.stop()
        self._inner.__exit__(*error)


def plan(station: Station, lengths: Any = range(1, 7), **options: list[str]) -> Plan:
    return planned(replace(station.checks[CHECK], engine="xllamacpp"), list(lengths), options)


def swept(station: Station, what: Plan | None = None, **more: Any) -> Any:
    return orders.sweep(station, what or plan(station), f"{PROJECT}=={VERSION}", **more)


def test_the_best_length_is_found_the_rest_is_dropped_early_and_neighbours_are_called_alike(
    station: Station, world: Lengths
) -> None:
    found = swept(station)

    standings = {result.cell.draft_length: result.standing for result in found.cells}
    assert {standings[3], standings[4]} == {Standing.BEST, Standing.ALIKE}
    assert {standings[length] for length in (1, 2, 5, 6)} == {Standing.SLOWER}
    assert found.decided
    assert found.chosen.draft_length == found.current == 3
    last = max(block for _, _, block in world.asked)
    lengths = {length for length, _, block in world.asked if block == last}
    assert lengths == {0, 3, 4}, "what is slower for certain is not measured to the end"
    # Once a block for all cells, and each block begins at the other end.
    assert [length for length, arm, _ in world.asked if arm is Arm.BASELINE] == [0] * (last + 1)
    assert [length for length, _, block in world.asked if block == 0] == [0, 1, 2, 3, 4, 5, 6]
    assert [length for length, _, block in world.asked if block == 1] == [6, 5, 4, 3, 2, 1, 0]
    assert "draft length 3" in summary(found)
    assert "n4 is as fast" in summary(found) or "n4 has the highest mean" in summary(found)


def test_a_finished_sweep_is_kept_told_as_advice_and_is_no_part_of_the_series(
    station: Station, world: Lengths
) -> None:
    pipeline.run(station, pipeline.RunRequest(CHECK, f"{PROJECT}=={VERSION}"))
    first = swept(station)
    measured = len(world.asked)
    assert swept(station) == first
    assert len(world.asked) == measured
    assert swept(station, again=True).id != first.id
    with station.store.read() as db:
        assert sweeps.get(db, first.id) == first
        (one,) = series.all_of(db)
        assert (one.check_id, runs.get(db, one.newest_run_id).against) == (CHECK, "last-good")  # type: ignore[union-attr]
        advice = said(advise_all(station, db, CHECK)[0])
    assert advice.draft_length is not None
    assert advice.draft_length.draft_length == 3
    assert any("draft length 3" in reason for reason in advice.reasons)


def test_a_sweep_that_was_killed_goes_on_where_it_stopped(world: Lengths) -> None:
    class Killed(BaseException):
        pass

    def kill(_version: str) -> None:
        if len(world.asked) == 9:
            raise Killed

    world.on_session = kill
    with opened(world) as station:
        pipeline.discover(station)
        with pytest.raises(Killed):
            swept(station)
    world.on_session = None
    with opened(world) as station:
        found = swept(station)

    assert found.chosen.draft_length == 3
    assert len(world.asked) == len(set(world.asked)), "no session was measured twice"


def test_a_length_that_the_engine_refuses_is_told_and_the_others_are_compared(
    station: Station, world: Lengths
) -> None:
    world.fails = 6
    found = swept(station)

    assert found.cells[5].standing is Standing.FAILED
    assert "It ended before it answered" in found.cells[5].reason
    assert found.chosen.draft_length == 3


def test_a_release_that_does_not_serve_at_all_ends_the_sweep(world: Lengths) -> None:
    (sha256,) = world.builds
    world.builds[sha256] = replace(world.builds[sha256], fault="start")
    with opened(world) as station:
        pipeline.discover(station)
        assert swept(station) is None
        with station.store.read() as db:
            (run,) = runs.recent(db)
    assert (run.state, run.stage) == (RunState.FAILED, "engine")


def test_nothing_begins_outside_the_owners_hours_and_what_is_complete_is_kept(world: Lengths) -> None:
    world.now = world.now.replace(hour=12)
    with opened(world, host=HostSettings(window="22:00-06:00")) as station:
        pipeline.discover(station)
        with pytest.raises(HostError, match="waits for the hours"):
            swept(station)
        assert world.asked == []


def test_options_are_cells_of_their_own_with_digests_of_their_own(station: Station) -> None:
    made = plan(station, (2, 3), **{"p-min": ["0", "0.4"]})

    assert [cell.name for cell in made.cells] == ["n2,p-min=0", "n2,p-min=0.4", "n3,p-min=0", "n3,p-min=0.4"]
    assert made.checks["n3,p-min=0.4"].serve_mtp["draft_p_min"] == 0.4
    digests = {cell.check_digest for cell in made.cells} | {made.check.digest, made.own_check.digest}
    assert len(digests) == 6


@pytest.mark.parametrize(
    ("lengths", "options"),
    [((3,), {}), (range(1, 30), {}), ((1, 2), {"p-mim": ["0"]}), ((1, 2), {"p-min": ["7"]})],
)
def test_a_sweep_that_cannot_be_is_refused_before_anything_starts(
    station: Station, lengths: Any, options: dict[str, list[str]]
) -> None:
    with pytest.raises(ConfigurationError):
        plan(station, lengths, **options)
