"""What the service notices and when it measures it, on a made-up machine with a real store."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor import pipeline
from monitor.alerts.stale import reasons
from monitor.domain import MessageType, RunState, SkipReason, Verdict
from monitor.settings import HostSettings, SourceSettings
from monitor.settings_tables import DestinationSettings
from monitor.store.queries import epochs, outbox, polls, queue, releases, runs
from standins.service import PROJECT, World, cycle
from standins.service_reading import ended


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a world with one good release."""
    made = World(tmp_path)
    made.release("2026.6.9294")
    return made


def test_at_the_first_start_only_the_newest_release_is_measured(world: World) -> None:
    for version in ("2026.7.9713", "2026.8.10229"):
        world.release(version)
    with world.station() as station:
        cycle(station, world)
        cycle(station, world)
        assert ended(station) == [("2026.8.10229", RunState.DONE, Verdict.UNCHANGED)]
        with station.store.read() as db:
            states = {row.release.version: (row.state, row.reason) for row in releases.all_of(db)}
    assert states["2026.6.9294"] == ("skipped", SkipReason.COALESCED)
    assert states["2026.8.10229"] == ("planned", None)


def test_with_a_backfill_the_ones_before_are_measured_first(world: World) -> None:
    for version in ("2026.7.9713", "2026.8.10229"):
        world.release(version)
    source = SourceSettings(project=PROJECT, settle_minutes=0, backfill=1)
    with world.station(sources=(source,)) as station:
        cycle(station, world)
        assert [version for version, *_ in ended(station)] == ["2026.7.9713", "2026.8.10229"]
        with station.store.read() as db:
            assert runs.recent(db)[0].reference_run_id == 1


def test_a_release_is_measured_once_over_restarts_and_a_new_file_of_it_again(world: World) -> None:
    for _ in range(2):
        with world.station() as station:
            cycle(station, world)
            cycle(station, world)
            assert len(ended(station)) == 1
    world.release("2026.6.9294", tag="1")
    with world.station() as station:
        cycle(station, world)
        assert [version for version, *_ in ended(station)] == ["2026.6.9294"] * 2
        with station.store.read() as db:
            again, first = runs.recent(db)
    assert again.artifact_sha256 != first.artifact_sha256
    assert again.reference_run_id == first.id


def test_of_several_new_releases_the_newest_is_measured_and_the_others_are_remembered(world: World) -> None:
    with world.station() as station:
        cycle(station, world)
        for version in ("2026.7.9713", "2026.7.9873", "2026.8.10229"):
            world.release(version)
        cycle(station, world)
        assert [version for version, *_ in ended(station)] == ["2026.6.9294", "2026.8.10229"]
        with station.store.read() as db:
            skipped = [row.release.version for row in releases.all_of(db) if row.reason]
    assert skipped == ["2026.7.9713", "2026.7.9873"]


def test_a_release_that_is_taken_back_while_it_waits_is_skipped_and_comes_back_as_news(world: World) -> None:
    shut = HostSettings(gpu_minutes_per_day=1)
    with world.station() as station:
        cycle(station, world)
    with world.station(host=shut) as station:
        artifact = world.release("2026.7.9713")
        cycle(station, world)
        with station.store.read() as db:
            assert "minutes a day are used" in queue.waiting(db, "m1")[0].waiting
        world.yank(artifact)
        cycle(station, world)
        assert ended(station)[-1][:2] == ("2026.7.9713", RunState.SKIPPED)
    with world.station() as station:
        world.release("2026.7.9713")
        cycle(station, world)
        assert ended(station)[-1] == ("2026.7.9713", RunState.DONE, Verdict.UNCHANGED)


def test_who_asks_for_it_hears_of_new_releases_once_and_nothing_of_what_was_there_at_first(
    world: World,
) -> None:
    asks = {"name": "pipeline", "kind": "webhook", "url": "http://127.0.0.1:9/"}
    wants = DestinationSettings.model_validate(asks | {"events": ["release.discovered"]})
    other = DestinationSettings.model_validate(asks | {"name": "team"})
    with world.station(destinations=(wants, other)) as station:
        pipeline.look(station)
        world.wait(hours=1)
        for version in ("2026.8.10229", "2026.7.9713"):
            world.release(version)
        for _ in range(2):
            pipeline.look(station)
            world.wait(hours=1)
        with station.store.read() as db:
            (message,) = outbox.messages(db)
            to = {one.destination for one in outbox.deliveries(db)}
    assert (message.type, to) == (MessageType.RELEASE_DISCOVERED, {"pipeline"})
    assert message.data["title"] == f"New: {PROJECT} 2026.7.9713, 2026.8.10229 (stable)"
    assert message.data["total"] == 2


# ---------------------------------------------------------------------------------------------
# Epochs, hours, sources


def test_another_driver_begins_an_epoch_and_the_reference_is_measured_again_first(world: World) -> None:
    with world.station() as station:
        cycle(station, world)
        world.driver = "590.2"
        world.release("2026.7.9713")
        cycle(station, world)
        found = ended(station)
        with station.store.read() as db:
            newest = next(run for run in runs.recent(db) if run.version == "2026.7.9713")
            reference = runs.get(db, newest.reference_run_id or 0)
            epoch = epochs.get(db, newest.epoch_id or 0)
    assert [version for version, *_ in found] == ["2026.6.9294", "2026.7.9713", "2026.6.9294"]
    assert reference is not None
    assert (reference.version, reference.epoch_id) == ("2026.6.9294", newest.epoch_id)
    assert epoch is not None
    assert epoch.reason == "GPU driver: 580.1 → 590.2"


def test_a_window_is_waited_for(world: World) -> None:
    begin = (world.now + timedelta(hours=3)).astimezone()
    window = f"{begin:%H:00}-{begin + timedelta(hours=2):%H:00}"
    with world.station(host=HostSettings(window=window)) as station:
        cycle(station, world)
        assert ended(station)[-1][1] is RunState.PLANNED
        world.wait(hours=2)
        cycle(station, world)
        assert ended(station)[-1][1] is RunState.DONE


def test_a_source_that_asks_for_a_pause_is_left_alone_to_the_second(world: World) -> None:
    with world.station() as station:
        world.retry_after_s = 7200
        pipeline.look(station, only_due=True)
        world.retry_after_s = None
        world.wait(seconds=7199)
        pipeline.look(station, only_due=True)
        assert len(world.polls) == 1
        world.wait(seconds=1)
        pipeline.look(station, only_due=True)
        assert len(world.polls) == 2
        with station.store.read() as db:
            state = polls.get(db, PROJECT, "stable")
        assert state is not None
        assert (state.failures, state.error) == (0, "")


def test_a_service_that_went_blind_says_so_once(world: World) -> None:
    told: dict[str, Any] = {"schedule": {"stale_hours": 24}}
    with world.station(**told) as station:
        cycle(station, world)
        world.offline = True
        for _ in range(80):
            pipeline.look(station, only_due=True)
            pipeline.tell(station)
            world.wait(hours=1)
        assert len(world.polls) < 30
        assert any("has not answered since" in reason for reason in reasons(station))
