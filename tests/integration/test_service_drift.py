"""Slow drift on a made-up machine: small steps that each pass are told of once, and together."""

from __future__ import annotations

import copy
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from monitor.alerts import slack
from monitor.alerts.actions import IncidentActions
from monitor.domain import Action, Basis, Direction, IncidentState, MessageType, Metric, Verdict
from monitor.pipeline import Station
from monitor.steps.publish import sample_sets
from monitor.steps.upstream import is_for_upstream, upstream
from monitor.store.queries import judgements, outbox, runs
from standins.drifting import FIRST, GOOD, STEP, begun, live_through, slower
from standins.messages import readable
from standins.service import World, check
from standins.service_reading import actions, everything

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "messages.schema.json").read_text())


def told(station: Station, kind: MessageType) -> list[dict]:
    with station.store.read() as db:
        return [message.data for message in outbox.messages(db) if message.type is kind]


@pytest.fixture(scope="module")
def ten_steps(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return a world in which ten releases each took 0.6 % longer for a step than the one before."""
    # With an engine that the text for upstream can say how to start.
    served = replace(check(), engine="xllamacpp")
    world = World(tmp_path_factory.mktemp("drift"), checks=(served,))
    with world.station() as station:
        begun(station, world)
        live_through(station, world, [slower(STEP**n) for n in range(1, 11)])
    return world


@pytest.fixture
def drifted(ten_steps: World, tmp_path: Path) -> World:
    """Return a copy of that world, to go on in."""
    shutil.copytree(ten_steps.folder, tmp_path, dirs_exist_ok=True)
    return replace(copy.deepcopy(ten_steps), folder=tmp_path)


def test_ten_small_steps_are_one_drift_and_no_release_is_blamed(drifted: World) -> None:
    with drifted.station() as station:
        (drift,) = everything(station)
        assert (drift.direction, drift.state) == (Direction.DRIFT, IncidentState.OPEN)
        with station.store.read() as db:
            verdicts = [judgements.verdict_of(db, run.id) for run in runs.recent(db)]
            compared = judgements.get(db, drift.first_bad_run_id, Basis.FIRST)
            noticed = runs.get(db, drift.first_bad_run_id)
        assert Verdict.REGRESSED not in verdicts
        assert compared is not None
        assert noticed is not None
        # It rests on fresh sessions of both in turns, which are exported with the run.
        assert compared.confirmed
        exported = sample_sets(station, noticed.id)
        assert exported["drift-first"].header.version == FIRST
        assert exported["drift-candidate"].header.version == noticed.version
        (message,) = told(station, MessageType.INCIDENT_OPENED)
        (item,) = message["incidents"]
        assert item["runs"]["evidence"] == [drift.first_bad_run_id, 1]
        assert item["reference_version"] == item["drift"]["since_version"] == FIRST
        assert item["drift"]["metric"] == "step_time"
        assert item["drift"]["points"][-1]["version"] == noticed.version
        assert len(item["drift"]["points"]) == item["drift"]["releases"] + 1
        assert item["drift"]["points"][0] == {"version": FIRST, "change_percent": 0.0}
        assert "Slow drift" in message["title"]
        assert f"than in {FIRST}" in message["headline"]
        assert "No release did it alone" in message["headline"]
        # It grows with each release, but is told again only when it has doubled.
        assert told(station, MessageType.INCIDENT_UPDATED) == []
        with station.store.read() as db:
            (sent,) = [m for m in outbox.messages(db) if m.type is MessageType.INCIDENT_OPENED]
    body = {"type": sent.type.value, "timestamp": sent.created_at.isoformat(), "data": sent.data}
    jsonschema.validate(body, SCHEMA)
    shown = readable(slack.payload(sent))
    assert f"Step time with MTP, change since {FIRST}" in shown
    assert "bisect" in shown


def test_upstream_is_told_of_a_drift_from_the_first_good_release_to_the_last(drifted: World) -> None:
    with drifted.station() as station:
        (drift,) = everything(station)
        assert is_for_upstream(station, drift.id)
        with station.store.read() as db:
            noticed = runs.get(db, drift.first_bad_run_id)
            compared = judgements.get(db, drift.first_bad_run_id, Basis.FIRST)
        assert noticed is not None
        assert compared is not None
        text = upstream(station, drift.id)
    assert f"slow drift in xllamacpp {noticed.version} since {FIRST}: step time with MTP" in text.title
    (series,) = re.findall(r"## Release by release\n\n(.*?)\n\n## ", text.body, re.DOTALL)
    listed = re.findall(r"(?m)^\| `(.*?)` \| (\S+)", series)
    assert listed[0] == (FIRST, "–")
    assert [version for version, _ in listed] == [f"2026.6.{n}" for n in range(100, 101 + len(listed) - 1)]
    assert listed[-1][0] == noticed.version
    # Every figure is of the first and the last one, measured in turns.
    step = next(row for row in compared.effects if row.metric is Metric.STEP_TIME and row.workload == "all")
    assert f"| {step.change_percent:+.1f} % |" in text.body
    assert "confirming reference" in text.body
    assert "side by side on one day" in text.body
    for name, version in (("good", FIRST), ("bad", noticed.version)):
        assert f"--python {name}/bin/python xllamacpp=={version}" in text.script
    assert "a bisection" not in text.body
    assert any("The loss is one of time" in part for part in text.body.split("\n\n"))


def test_a_drift_ends_when_the_loss_is_gone(drifted: World) -> None:
    with drifted.station() as station:
        live_through(station, drifted, [slower(STEP)], number=200)
        (drift,) = everything(station)
        assert drift.state is IncidentState.RESOLVED
        assert actions(station)[-1] is Action.RESOLVED
        (message,) = told(station, MessageType.INCIDENT_RESOLVED)
    assert f"what releases since {FIRST} had lost bit by bit" in message["headline"]


def test_a_person_accepts_a_drift_and_later_ones_are_held_against_the_new_reference(drifted: World) -> None:
    with drifted.station() as station:
        (drift,) = everything(station)
        IncidentActions(station).accept(drift.id, "Ada", "the new sampler is worth it")
        live_through(station, drifted, [slower(STEP**10)] * 3, number=200)
        assert [item.state for item in everything(station)] == [IncidentState.ACCEPTED]


def test_one_large_step_is_an_incident_of_that_release_and_no_drift(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.station() as station:
        begun(station, world)
        live_through(station, world, [GOOD] * 2 + [slower(1.05)] * 4)
        (lost,) = everything(station)
        assert lost.direction is Direction.REGRESSED
        assert actions(station)[0] is Action.OPENED
