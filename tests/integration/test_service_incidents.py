"""Incidents: what opens and ends them, and what people do to them, on a made-up machine with a real store."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from monitor import pipeline
from monitor.alerts.actions import IncidentActions
from monitor.domain import Action, Direction, Expectation, IncidentState, RunState, Verdict
from monitor.errors import UnknownNameError
from monitor.settings import HostSettings
from monitor.steps.publish import run_view
from monitor.store.queries import epochs, incidents, runs
from standins.service import PROJECT, Build, World, check, cycle
from standins.service_reading import actions, ended, everything

WORSE = Build(accepted_share=0.4)
SLOWER = Build(step_time_s=0.030)
SLOWEST = Build(step_time_s=0.040)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a world with one good release."""
    made = World(tmp_path)
    made.release("2026.6.9294")
    return made


def test_a_loss_opens_one_incident_and_a_good_release_ends_it_by_name(world: World) -> None:
    with world.station() as station:
        cycle(station, world)
        world.release("2026.7.9713", WORSE)
        cycle(station, world)
        (opened,) = everything(station)
        assert (opened.state, opened.direction, opened.signature) == (
            *(IncidentState.OPEN, Direction.REGRESSED, "acceptance drop"),
        )
        world.release("2026.8.10229", WORSE)
        cycle(station, world)
        world.release("2026.9.10809")
        cycle(station, world)
        (resolved,) = everything(station)
        assert resolved.state is IncidentState.RESOLVED
        assert actions(station) == [Action.OPENED, Action.SEEN_AGAIN, Action.RESOLVED]
        with station.store.read() as db:
            named = {
                name: run.version
                for name in ("first_bad", "latest_bad", "fixed_by")
                if (run := runs.get(db, getattr(resolved, f"{name}_run_id"))) is not None
            }
            log = incidents.log(db, 1)
    assert named == {"first_bad": "2026.7.9713", "latest_bad": "2026.8.10229", "fixed_by": "2026.9.10809"}
    assert "2026.9.10809" in log[-1].why


def test_a_run_is_shown_as_it_was_measured_with_the_commands_that_repeat_it(world: World) -> None:
    with world.station() as station:
        cycle(station, world)
        world.release("2026.7.9713", WORSE)
        cycle(station, world)
        station.checks.clear()
        view = run_view(station, 2)
    assert view.check == check()
    assert dict(view.commands)["Judge the export, without database or engine"] == (
        "mtp-monitor judge run-2/reference.jsonl run-2/candidate.jsonl "
        "--confirm run-2/confirm-reference.jsonl run-2/confirm-candidate.jsonl"
    )


def test_the_reference_does_not_move_past_a_regression(world: World) -> None:
    with world.station() as station:
        cycle(station, world)
        for version in ("2026.7.9713", "2026.8.10229"):
            world.release(version, SLOWER)
            cycle(station, world)
        with station.store.read() as db:
            assert [run.reference_run_id for run in runs.recent(db)] == [1, 1, None]
        assert [verdict for *_, verdict in ended(station)] == ["unchanged", "regressed", "regressed"]


def test_a_loss_on_top_of_a_loss_is_told_as_worse(world: World) -> None:
    with world.station() as station:
        cycle(station, world)
        world.release("2026.7.9713", SLOWER)
        cycle(station, world)
        world.release("2026.8.10229", SLOWEST)
        cycle(station, world)
        assert actions(station) == [Action.OPENED, Action.WORSE]
        assert everything(station)[0].worst_run_id == 3


@pytest.mark.parametrize("fault", ["install", "start", "hang"])
def test_a_release_that_does_not_run_opens_an_incident_of_its_own_kind(world: World, fault: str) -> None:
    with world.station() as station:
        cycle(station, world)
        world.release("2026.7.9713", Build(fault=fault))
        cycle(station, world)
        (opened,) = everything(station)
        assert (opened.direction, opened.signature) == (Direction.BROKEN, "broken release")
        world.release("2026.8.10229")
        cycle(station, world)
        (ended_,) = everything(station)
        assert ended_.state is IncidentState.RESOLVED


def test_a_full_disk_is_nobodys_regression_and_the_run_goes_on_later(world: World) -> None:
    with world.station() as station:
        cycle(station, world)
        world.release("2026.7.9713")
        world.disk_full = True
        cycle(station, world)
        assert ended(station)[-1][:2] == ("2026.7.9713", RunState.INTERRUPTED)
        world.disk_full = False
        cycle(station, world)
        assert ended(station)[-1] == ("2026.7.9713", RunState.DONE, Verdict.UNCHANGED)
        assert everything(station) == []


def test_an_older_release_measured_later_neither_opens_nor_ends_anything(world: World) -> None:
    with world.station() as station:
        cycle(station, world)
        world.release("2026.7.9713", WORSE)
        cycle(station, world)
        world.release("2026.5.9290")
        cycle(station, world)
        assert actions(station) == [Action.OPENED]


def test_a_comparison_somebody_asked_for_moves_no_incident(world: World) -> None:
    with world.station() as station:
        world.release("2026.7.9713", WORSE)
        pipeline.discover(station)
        request = pipeline.RunRequest(
            check="made-up", release=f"{PROJECT}==2026.7.9713", against="2026.6.9294"
        )
        outcome = pipeline.run(station, request)
        assert outcome.judgement is not None
        assert outcome.judgement.verdict is Verdict.REGRESSED
        pipeline.tell(station)
        assert everything(station) == []


def test_a_limit_that_the_check_expects_alarms_from_the_first_run_on(tmp_path: Path) -> None:
    expecting = check(expect=Expectation(min_acceptance=0.7))
    world = World(tmp_path, checks=(expecting,))
    world.release("2026.6.9294", WORSE)
    with world.station() as station:
        cycle(station, world)
        (opened,) = everything(station)
        assert opened.direction is Direction.REGRESSED
        assert "acceptance rate" in opened.headline
        world.release("2026.7.9713")
        cycle(station, world)
        assert everything(station)[0].state is IncidentState.RESOLVED


def test_all_checks_of_a_release_are_told_of_together_or_after_a_deadline(tmp_path: Path) -> None:
    both = (check(), check(id="another", digest="b" * 64, estimate_minutes={"quick": 500.0}))
    world = World(tmp_path, checks=both)
    world.release("2026.6.9294")
    with world.station() as station:
        cycle(station, world)
    world.release("2026.7.9713", WORSE)
    with world.station(host=HostSettings(gpu_minutes_per_day=100)) as station:
        cycle(station, world)
        assert len(ended(station)) == 4
        assert everything(station) == []
        world.wait(hours=6)
        pipeline.tell(station)
        assert [item.check_id for item in everything(station)] == ["made-up"]


# ---------------------------------------------------------------------------------------------
# People


@pytest.fixture
def opened(world: World) -> World:
    with world.station() as station:
        cycle(station, world)
        world.release("2026.7.9713", WORSE)
        cycle(station, world)
    return world


def test_an_open_incident_is_told_again_ever_more_rarely_and_never_once_acknowledged(opened: World) -> None:
    with opened.station() as station:
        told = []
        for _ in range(24 * 16):
            before = len(actions(station))
            pipeline.tell(station)
            if len(actions(station)) > before:
                told.append(opened.now)
            opened.wait(hours=1)
        gaps = [round((b - a) / timedelta(days=1)) for a, b in pairwise(told)]
        assert gaps == [2, 4, 7]
        IncidentActions(station).acknowledge(1, "ann", "looking into it")
        opened.wait(days=30)
        pipeline.tell(station)
        assert actions(station)[-1] is Action.ACKNOWLEDGED


def test_a_snoozed_incident_wakes_when_its_time_is_over(opened: World) -> None:
    with opened.station() as station:
        until = opened.now + timedelta(days=2)
        IncidentActions(station).snooze(1, "ann", "next week's problem", until)
        opened.wait(days=1)
        pipeline.tell(station)
        assert everything(station)[0].state is IncidentState.SNOOZED
        opened.wait(days=2)
        pipeline.tell(station)
        assert (everything(station)[0].state, actions(station)[-1]) == (IncidentState.OPEN, Action.WOKEN)


def test_an_accepted_release_is_the_reference_of_a_new_epoch(opened: World) -> None:
    with opened.station() as station:
        IncidentActions(station).accept(1, "ann", "the new sampler is worth it")
        opened.release("2026.8.10229", WORSE)
        cycle(station, opened)
        assert ended(station)[-1] == ("2026.8.10229", RunState.DONE, Verdict.UNCHANGED)
        (accepted,) = everything(station)
        assert accepted.state is IncidentState.ACCEPTED
        with station.store.read() as db:
            newest = runs.recent(db)[0]
            epoch = epochs.get(db, newest.epoch_id or 0)
        assert newest.reference_run_id == accepted.latest_bad_run_id
        assert epoch is not None
        assert (epoch.number, epoch.who) == (2, "ann")
        assert "worth it" in epoch.reason


def test_every_decision_needs_an_incident_it_fits_and_a_reason(opened: World) -> None:
    with opened.station() as station:
        people = IncidentActions(station)
        with pytest.raises(UnknownNameError, match="reason"):
            people.accept(1, "ann", " ")
        with pytest.raises(UnknownNameError, match="no incident 7"):
            people.acknowledge(7, "ann")
        people.false_alarm(1, "ann", "the machine was busy")
        with pytest.raises(UnknownNameError, match="false alarm"):
            people.acknowledge(1, "ann")
        people.reopen(1, "ben", "it was not")
        assert everything(station)[0].state is IncidentState.OPEN
        assert actions(station) == [Action.OPENED, Action.FALSE_ALARM, Action.REOPENED]
