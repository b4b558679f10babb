"""A sweep on a made-up machine: in turns, ended early, kept, resumed, and within the owner's hours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor import orders, pipeline
from monitor.domain import Arm, RunState, Standing
from monitor.errors import ConfigurationError, HostError
from monitor.pipeline import Station
from monitor.settings import HostSettings
from monitor.steps.advise import advise_all
from monitor.steps.sweep import Plan, planned
from monitor.store.queries import queue, runs, series, sweeps
from monitor.views.advice import said
from monitor.views.sweeps import summary
from standins.lengths import VERSION, Lengths, lengths_world, opened
from standins.service import CHECK, PROJECT


@pytest.fixture
def world(tmp_path: Path) -> Lengths:
    return lengths_world(tmp_path)


@pytest.fixture
def station(world: Lengths) -> Iterator[Station]:
    with opened(world) as found:
        pipeline.discover(found)
        yield found


def plan(station: Station, lengths: Any = range(1, 7), **options: list[str]) -> Plan:
    return planned(station.checks[CHECK], list(lengths), options)


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


# ---------------------------------------------------------------------------------------------
# In the daemon's queue


def queued(station: Station, **more: Any) -> int:
    return orders.enqueue_sweep(station, plan(station), f"{PROJECT}=={VERSION}", **more).id


def test_in_the_queue_it_waits_for_the_owners_hours_stops_with_them_and_goes_on(world: Lengths) -> None:
    world.now = world.now.replace(hour=12)
    with opened(world, host=HostSettings(window="22:00-06:00"), assignments=()) as station:
        pipeline.discover(station)
        number = queued(station)
        assert pipeline.work(station) == 0
        assert "waits for the hours 22:00-06:00" in orders.standing(station, number)

        world.now = world.now.replace(hour=22, minute=0)
        world.on_session = lambda _: world.wait(hours=8) if len(world.asked) == 9 else None
        pipeline.work(station)
        stopped = len(world.asked)
        assert stopped < 20, "no block is begun after the hours"
        assert orders.outcome(station, number) is None
        world.wait(minutes=5)
        pipeline.work(station)
        assert len(world.asked) == stopped

        world.wait(days=1)
        world.now = world.now.replace(hour=23)
        pipeline.work(station)
        found = orders.swept(station, number)
    assert found is not None
    assert found.chosen is not None
    assert found.chosen.draft_length == 3
    assert len(world.asked) == len(set(world.asked)), "no session was measured twice"


def test_one_whose_check_was_changed_meanwhile_is_called_off(station: Station, world: Lengths) -> None:
    number = queued(station)
    station.checks[CHECK] = replace(station.checks[CHECK], digest="d" * 64)
    pipeline.work(station)
    assert world.asked == []
    with pytest.raises(HostError, match="was changed since"):
        orders.swept(station, number)


def test_one_that_failed_is_tried_again_when_it_is_asked_for_again(station: Station, world: Lengths) -> None:
    (sha256,) = world.builds
    usual = world.builds[sha256]
    world.builds[sha256] = replace(usual, fault="start")
    first = queued(station)
    pipeline.work(station)
    assert orders.swept(station, first) is None
    world.builds[sha256] = usual
    second = queued(station)
    assert second != first
    pipeline.work(station)
    found = orders.swept(station, second)
    assert found is not None
    assert queued(station) == second, "what was found is the answer"


def test_one_that_does_not_fit_into_what_the_release_has_left_is_called_off_before_it_begins(
    world: Lengths,
) -> None:
    with opened(world, assignments=()) as station:
        pipeline.discover(station)
        measured = pipeline.run(station, pipeline.RunRequest(CHECK, f"{PROJECT}=={VERSION}")).run
        with station.store.read() as db:
            used = queue.minutes_used(db, "m1", since=None, now=world.now, artifact_id=measured.artifact_id)
        before = len(world.asked)
    block = plan(station).minutes(1)
    with opened(
        world, assignments=(), host=HostSettings(gpu_minutes_per_release=used + block / 2)
    ) as station:
        number = queued(station)
        pipeline.work(station)
        assert len(world.asked) == before
        with pytest.raises(HostError, match="the release has used"):
            orders.swept(station, number)
