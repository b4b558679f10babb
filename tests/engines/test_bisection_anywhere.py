"""Bisections on a made-up machine: wherever a loss begins, whatever does not start, and killed on the way."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from monitor import orders, pipeline
from monitor.domain import Answer, Bisection, BisectionState, Tier
from monitor.store.queries import bisections, runs
from standins.searches import (
    GOOD,
    LOSSES,
    WORSE_HEAD,
    begun,
    found,
    publish,
    searching,
    small_world,
    version,
    visited,
)
from standins.service import BEGIN, CHECK, PROJECT, Build


@dataclass(frozen=True)
class Case:
    count: int
    first_bad: int
    broken: frozenset[int]
    loss: str
    noise: float


@st.composite
def cases(draw: st.DrawFn) -> Case:
    count = draw(st.integers(2, 14))
    between = st.integers(1, max(1, count - 2))
    return Case(
        count=count,
        first_bad=draw(st.integers(1, count - 1)),
        broken=draw(st.frozensets(between, max_size=4)) if count > 2 else frozenset(),
        loss=draw(st.sampled_from(sorted(LOSSES))),
        noise=draw(st.floats(0.0005, 0.004)),
    )


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(cases())
@example(Case(10, 5, frozenset({4, 5, 6}), "slower step", 0.003))
@example(Case(3, 1, frozenset({1}), "worse head", 0.003))
def test_the_first_bad_release_is_found_wherever_it_is(case: Case) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = small_world(Path(folder), noise=case.noise)
        publish(world, case.count, first_bad=case.first_bad, bad=LOSSES[case.loss], broken=case.broken)
        with searching(world, case.count) as (station, search):
            ended = found(station, search)
    answering = [n for n in range(case.count) if n not in case.broken]
    last_good = max(n for n in answering if n < case.first_bad)
    first_bad = min(n for n in answering if n >= case.first_bad)
    assert (ended.last_good.version, ended.first_bad.version) == (version(last_good), version(first_bad))
    is_found = first_bad == last_good + 1
    assert ended.state is (BisectionState.FOUND if is_found else BisectionState.NARROWED)
    assert ended.steps <= math.ceil(math.log2(case.count - 1 or 1)) + len(case.broken)
    for visit in ended.visits[1:-1]:
        if visit.answer is not None:
            broken = visit.place in case.broken
            said = Answer.BAD if visit.place >= case.first_bad else Answer.GOOD
            assert visit.answer is (Answer.SKIPPED if broken else said)


class Killed(BaseException):
    """Ends the monitor where it is; nothing catches it but to note that the run was interrupted."""


@pytest.mark.parametrize("loss", ["worse head", "slower step"])
def test_killed_again_and_again_it_goes_on_and_visits_nothing_twice(tmp_path: Path, loss: str) -> None:
    world = small_world(tmp_path)
    publish(world, 9, first_bad=6, bad=LOSSES[loss], broken={4})
    lives = 0

    def die_now_and_then(_: str) -> None:
        nonlocal lives
        lives += 1
        if lives % 5 == 0:
            raise Killed

    world.on_session = die_now_and_then
    ended: Bisection | None = None
    for _ in range(200):
        with world.station() as station:
            pipeline.discover(station)
            try:
                ended = found(station, begun(station, 9))
                break
            except Killed:
                continue
    assert ended is not None
    assert (ended.last_good.version, ended.first_bad.version) == (version(5), version(6))
    with world.station() as station, station.store.read() as db:
        assert len(bisections.listed(db)) == 1
        made = [run for run in runs.recent(db, 100) if run.requested_by == "bisection"]
    assert len({run.version for run in made}) == len(made)
    # What was complete when it was killed was kept: no release has more sessions than its run needs.
    for release in {visit.version for visit in ended.visits[1:-1] if visit.answer is Answer.BAD}:
        count = sum(measured == release for measured, _ in world.sessions)
        assert count <= (2 if loss == "worse head" else 10)


def test_in_a_new_epoch_the_good_end_is_measured_again_first(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    publish(world, 9, first_bad=6)
    with searching(world, 9) as (station, search):
        steps = orders.searched(station, search.id)
        for _ in range(4):
            next(steps)
        known = len(world.sessions)
    world.driver = "590.2"
    world.now = BEGIN + timedelta(days=1)
    with searching(world, 9) as (station, search):
        ended = found(station, search)
    assert world.sessions[known][0] == version(0)
    assert (ended.last_good.version, ended.first_bad.version) == (version(5), version(6))


def test_only_what_the_bad_end_lost_counts(tmp_path: Path) -> None:
    """A slower baseline between, and another loss before, do not mislead the search."""
    world = small_world(tmp_path)
    for number in range(8):
        build = GOOD if number < 5 else WORSE_HEAD
        world.release(
            version(number), Build(build.accepted_share, baseline_rate=40.0) if number == 3 else build
        )
    with searching(world, 8) as (station, search):
        ended = found(station, search)
    assert (ended.last_good.version, ended.first_bad.version) == (version(4), version(5))
    assert "by counts" in ended.first_bad.why


def test_found_it_is_not_searched_again_unless_asked(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    publish(world, 5, first_bad=2)
    with searching(world, 5) as (station, search):
        ended = found(station, search)
        before = len(world.sessions)
        assert begun(station, 5) == ended
        anew = orders.bisect(station, CHECK, PROJECT, version(0), version(4), tier=Tier.QUICK, again=True)
        assert anew.id != ended.id
        # Its counts are known, so it costs no session either.
        assert found(station, anew).first_bad.version == version(2)
        assert len(world.sessions) == before


def test_without_a_loss_between_the_ends_nothing_is_searched(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    publish(world, 9, first_bad=9)
    with searching(world, 9) as (station, search):
        ended = found(station, search)
        assert ended.state is BisectionState.NO_LOSS
        assert "has no loss" in ended.reason
        assert len(visited(ended)) == 1
