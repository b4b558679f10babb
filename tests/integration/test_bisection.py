"""Bisections on a made-up machine: what is found and by what, after kills, by itself, and who is told."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor import bisect as bisecting
from monitor import orders, pipeline
from monitor.alerts.actions import IncidentActions
from monitor.domain import (
    Action,
    BisectionState,
    IncidentState,
    MessageType,
    ReleaseState,
    RunState,
    SkipReason,
    Tier,
)
from monitor.errors import UnknownNameError
from monitor.settings import BisectSettings, DestinationSettings, HostSettings
from monitor.steps.station import Station
from monitor.store.queries import bisections, incidents, outbox, releases, runs
from monitor.views import bisected
from standins.receivers import Receiver
from standins.searches import (
    GOOD,
    SLOWER_STEP,
    WORSE_HEAD,
    begun,
    found,
    publish,
    searching,
    small_world,
    version,
    visited,
)
from standins.service import CHECK, PROJECT, World

# ---------------------------------------------------------------------------------------------
# What is found


def test_counts_decide_with_one_session_of_each_arm_and_times_in_turns(tmp_path: Path) -> None:
    sessions = {}
    for loss, bad in (("counts", WORSE_HEAD), ("times", SLOWER_STEP)):
        world = small_world(tmp_path / loss)
        publish(world, 3, first_bad=1, bad=bad)
        with searching(world, 3) as (station, search):
            ended = found(station, search)
        # The step begins with its own release; before it the ends were measured.
        begin = [release for release, _ in world.sessions].index(version(1))
        sessions[loss] = [release for release, _ in world.sessions[begin:]]
        assert ended.first_bad.version == version(1)
    assert sessions["counts"] == [version(1)] * 2
    assert set(sessions["times"]) == {version(0), version(1)}


def test_the_releases_that_were_passed_over_are_visited_and_yanked_ones_only_at_last(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    world.release(version(0))
    with world.station() as station:
        pipeline.cycle(station)
        world.wait(hours=1)
        publish(world, 7, first_bad=4)
        pipeline.cycle(station)
        rows = {row.release.version: row for row in pipeline.listing(station)}
        assert {rows[version(n)].reason for n in range(1, 6)} == {SkipReason.COALESCED}
        with station.store.write() as db:
            releases.decide(
                db, PROJECT, version(1), "stable", ReleaseState.SKIPPED, SkipReason.COALESCED, "", sha256=None
            )
        ended = found(station, begun(station, 7))
        assert (ended.last_good.version, ended.first_bad.version) == (version(3), version(4))
        # The good end and the bad end had been measured: only the releases between are new.
        assert ended.visits[-1].why.startswith("acceptance length")
        with station.store.read() as db:
            made = [run.version for run in runs.recent(db) if run.requested_by == "bisection"]
        assert sorted(made) == sorted(v for v in visited(ended) if v not in {version(0), version(6)})


def test_ends_that_are_unknown_or_in_the_wrong_order_are_refused(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    publish(world, 3, first_bad=1)
    with world.station() as station:
        pipeline.discover(station)
        with pytest.raises(UnknownNameError, match="does not stand before"):
            orders.bisect(station, CHECK, PROJECT, version(2), version(0), tier=Tier.QUICK)
        with pytest.raises(UnknownNameError, match="No release"):
            orders.bisect(station, CHECK, PROJECT, version(0), version(7), tier=Tier.QUICK)


def test_how_far_a_search_is_can_be_read_from_its_beginning(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    publish(world, 5, first_bad=1)
    with searching(world, 2) as (station, neighbours):
        assert bisected.standing(neighbours, None) == (
            f"the good end {version(0)} has to answer first; no release stands between the two"
        )
        said = bisected.standing(begun(station, 5), 3.4)
        assert said == (
            f"the good end {version(0)} has to answer first; then 3 releases between, about 2 steps or 3 min "
            "of measuring left"
        )


# ---------------------------------------------------------------------------------------------
# The service


def live(station: Station) -> Any:
    with station.store.read() as db:
        (incident,) = incidents.in_state(db)
        return incident, incidents.log(db, incident.id), bisections.of_incident(db, incident.id)


def told(station: Station, kind: MessageType) -> list[Any]:
    with station.store.read() as db:
        return [message for message in outbox.messages(db, 100) if message.type is kind]


def grown(world: World, count: int, *, first_bad: int) -> None:
    """Let the service measure release 0, then be away while the others come out."""
    world.release(version(0))
    with world.station() as station:
        pipeline.cycle(station)
    world.wait(hours=6)
    for number in range(1, count):
        world.release(version(number), WORSE_HEAD if number >= first_bad else GOOD)


AUTOMATIC = {"bisect": BisectSettings(automatic=True)}


def test_after_a_confirmed_regression_it_runs_by_itself_and_its_result_is_told_once(tmp_path: Path) -> None:
    with Receiver() as webhook:
        secret = "whsec_bXRwLW1vbml0b3ItdGVzdC1zZWNyZXQtMzItYnl0ZXM="
        hook = DestinationSettings(name="hook", kind="webhook", url=webhook.url, secret=secret)
        world = small_world(
            tmp_path,
            settings=AUTOMATIC | {"destinations": (hook,), "allow_private_hosts": ("127.0.0.1",)},
        )
        grown(world, 8, first_bad=3)
        with world.station() as station:
            for _ in range(3):
                pipeline.cycle(station)
            incident, log, search = live(station)
            assert (search.state, search.first_bad.version) == (BisectionState.FOUND, version(3))
            assert [step.action for step in log] == [Action.OPENED, Action.BISECTED]
            with station.store.read() as db:
                # The incident still rests on the run that was confirmed.
                assert incident.first_bad_run_id == incident.latest_bad_run_id
                latest = runs.get(db, incident.latest_bad_run_id)
                assert latest is not None
                assert latest.version == version(7)
                # What a step measures is nobody's news and no reference.
                assert [item.id for item in incidents.in_state(db)] == [incident.id]
                good = runs.last_good(db, epoch_id=incident.epoch_id)
                assert good is not None
                assert good.version == version(0)
            (message,) = told(station, MessageType.INCIDENT_UPDATED)
            item = message.data["incidents"][0]
            assert item["action"] == "bisected"
            assert item["bisection"]["last_good_version"] == version(2)
            assert item["first_bad_version"] == version(3)
        updates = [post for post in webhook.posts if post.json["type"] == "incident.updated"]
        assert len(updates) == 1


def test_by_default_nothing_is_searched_by_itself(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    grown(world, 8, first_bad=3)
    with world.station() as station:
        pipeline.cycle(station)
        assert live(station)[2] is None


def test_new_releases_go_before_a_search_that_nobody_asked_for(tmp_path: Path) -> None:
    world = small_world(tmp_path, settings=AUTOMATIC)
    grown(world, 10, first_bad=3)
    with world.station() as station:
        pipeline.look(station)
        order: list[str] = []

        def release_meanwhile(measured: str) -> None:
            order.append(measured)
            if measured not in {version(0), version(9), version(20)} and version(20) not in order:
                world.release(version(20), WORSE_HEAD)
                pipeline.look(station)

        world.on_session = release_meanwhile
        pipeline.work(station)
        steps = list(dict.fromkeys(measured for measured in order if measured != version(0)))
        # The step that was at work came to its end, then the new release had its turn.
        assert steps[:3] == [version(9), version(4), version(20)]
        assert live(station)[2].state is BisectionState.FOUND


def test_a_search_keeps_to_the_hours_and_to_the_budget_of_the_day(tmp_path: Path) -> None:
    world = small_world(tmp_path, settings=AUTOMATIC)
    grown(world, 12, first_bad=3)
    budget = HostSettings(gpu_minutes_per_day=8.5)
    with world.station(host=budget) as station:
        pipeline.cycle(station)
        _, _, search = live(station)
        assert search.state is BisectionState.RUNNING
        with station.store.read() as db:
            (waiting,) = [run for run in runs.recent(db) if run.state is RunState.PLANNED]
        assert "minutes a day are used" in waiting.waiting
        before = len(world.sessions)
        pipeline.cycle(station)
        assert len(world.sessions) == before
        for _ in range(4):
            world.wait(days=1)
            pipeline.cycle(station)
        assert live(station)[2].state is BisectionState.FOUND


def test_a_search_by_itself_waits_for_the_hours_and_goes_on_within_them(tmp_path: Path) -> None:
    world = small_world(tmp_path, settings=AUTOMATIC)
    world.now = world.now.replace(hour=2)
    grown(world, 12, first_bad=3)
    world.now = (world.now + timedelta(days=1)).replace(hour=5, minute=30)
    steps = {version(number) for number in range(1, 11)}
    measured: list[str] = []

    def until_morning(release: str) -> None:
        measured.append(release)
        if len(steps.intersection(measured)) == 1:
            world.now = max(world.now, world.now.replace(hour=6, minute=1))

    world.on_session = until_morning
    with world.station(host=HostSettings(window="22:00-06:00")) as station:
        pipeline.cycle(station)
        _, _, search = live(station)
        # The step at work came to its end; the next one waits.
        assert search.state is BisectionState.RUNNING
        assert len(steps.intersection(measured)) == 1
        with station.store.read() as db:
            (waiting,) = [run for run in runs.recent(db) if run.state is RunState.PLANNED]
        assert waiting.waiting == "waits for the hours 22:00-06:00"
        for hour in (12, 21):
            world.now = world.now.replace(hour=hour)
            pipeline.cycle(station)
        assert len(steps.intersection(measured)) == 1

        world.now = world.now.replace(hour=22, minute=5)
        pipeline.cycle(station)
        assert live(station)[2].first_bad.version == version(3)


def test_a_good_end_that_is_put_off_keeps_its_turn(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    publish(world, 3, first_bad=1)
    with searching(world, 3, assignments=()) as (station, _):
        world.disk_full = True
        pipeline.work(station)
        world.disk_full = False
        assert not pipeline.is_work_due(station), "what failed a moment ago is not tried at once"
        world.wait(minutes=10)
        assert pipeline.is_work_due(station)
        assert world.sessions == []


def test_a_search_by_itself_ends_with_its_incident_and_one_can_be_called_off(tmp_path: Path) -> None:
    world = small_world(tmp_path, settings=AUTOMATIC)
    grown(world, 12, first_bad=3)
    budget = HostSettings(gpu_minutes_per_day=8.5)
    with world.station(host=budget) as station:
        pipeline.cycle(station)
        incident, _, search = live(station)

        IncidentActions(station).resolve(incident.id, "somebody", "known")
        pipeline.cycle(station)
        incident, log, ended = live(station)
        assert (incident.state, ended.state) == (IncidentState.RESOLVED, BisectionState.CANCELLED)
        assert Action.BISECTED not in [step.action for step in log]
        with station.store.read() as db:
            assert [run for run in runs.recent(db) if run.state is RunState.PLANNED] == []
        mine = orders.bisect(station, CHECK, PROJECT, version(0), version(11), tier=Tier.QUICK)
        assert mine.id != search.id
        assert bisecting.cancel(station, mine.id, "me").reason == "called off by me"
        with pytest.raises(UnknownNameError):
            bisecting.cancel(station, mine.id, "me")
