"""Is an upgrade safe here? Quiet, bad, broken, unknown and unmeasured releases, by all ways of asking."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from monitor import pipeline
from monitor.alerts.actions import IncidentActions
from monitor.checks.lock import ModelLock
from monitor.cli import app
from monitor.domain import RunState
from monitor.errors import UnknownNameError
from monitor.steps.gate import Safety, gate
from monitor.steps.station import Station
from monitor.store.queries import incidents, queue, runs
from monitor.web.app import create_app
from standins.searches import BROKEN, GOOD, WORSE_HEAD, small_world, version
from standins.service import CHECK, PROJECT, World

FIRST, QUIET, WORSE, BREAKS, NEW = (version(number) for number in range(5))


def spec(release: str) -> str:
    return f"{PROJECT}=={release}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return a machine on which the service has measured four releases, and not yet the fifth."""
    made = small_world(tmp_path_factory.mktemp("gate"))
    with made.station() as station:
        for release, build in ((FIRST, GOOD), (QUIET, GOOD), (WORSE, WORSE_HEAD), (BREAKS, BROKEN)):
            made.release(release, build)
            pipeline.cycle(station)
            made.wait(hours=1)
        made.release(NEW)
        pipeline.discover(station)
    return made


@pytest.fixture
def station(world: World) -> Iterator[Station]:
    with world.station() as found:
        yield found


def ask(station: Station, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    """Run the command on the made-up machine."""
    monkeypatch.setattr(Station, "open", lambda *_: nullcontext(station))
    return CliRunner().invoke(app, ["gate", *arguments])


@pytest.mark.parametrize(
    ("release", "safety", "code", "said"),
    [
        (QUIET, Safety.SAFE, 0, "No change"),
        (WORSE, Safety.REGRESSED, 3, "Acceptance dropped"),
        (BREAKS, Safety.BROKEN, 5, "does not start"),
        (NEW, Safety.UNDECIDED, 4, "not measured"),
        # It is the reference itself: there is nothing that it could be worse than.
        (FIRST, Safety.UNDECIDED, 4, "nothing to compare it with"),
    ],
)
def test_every_way_of_asking_gives_one_answer(
    *, station: Station, monkeypatch: pytest.MonkeyPatch, release: str, safety: Safety, code: int, said: str
) -> None:
    found = gate(station, spec(release))
    assert (found.safety, found.code) == (safety, code)
    assert said in found.reason
    told = ask(station, monkeypatch, spec(release), "--json")
    assert told.exit_code == code, told.output
    document = json.loads(told.stdout)
    assert document["schema"] == "mtp-monitor/gate/1"
    client = TestClient(create_app(station, actions=IncidentActions(station)), base_url="http://localhost")
    answer = client.get("/api/v1/gate", params={"release": spec(release), "check": CHECK})
    assert answer.status_code == 200
    assert answer.json() == document
    shown = ask(station, monkeypatch, spec(release))
    assert shown.exit_code == code
    assert said in " ".join(shown.stdout.split())


def test_an_answer_holds_while_weights_are_measured_that_a_person_accepted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelLock, "generation", lambda *_: 2)
    world = small_world(tmp_path)
    with world.station() as station:
        for release, build in ((FIRST, GOOD), (QUIET, GOOD), (WORSE, WORSE_HEAD)):
            world.release(release, build)
            pipeline.cycle(station)
            world.wait(hours=1)
        assert gate(station, spec(QUIET)).safety is Safety.SAFE
        assert gate(station, spec(WORSE)).safety is Safety.REGRESSED
        IncidentActions(station).accept(1, "anna", "wanted")
        found = gate(station, spec(WORSE))
        assert (found.safety, found.reason) == (Safety.SAFE, "anna accepted it as the reference: wanted")
        world.release(NEW, WORSE_HEAD)
        pipeline.cycle(station)
        assert gate(station, spec(NEW)).safety is Safety.SAFE, "compared with the accepted one"


def test_what_is_not_known_is_an_error_of_whoever_asks(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = TestClient(create_app(station, actions=IncidentActions(station)), base_url="http://localhost")
    for release, check in ((spec("1.0"), CHECK), (spec(QUIET), "no-such-check"), ("vllm==1.0", CHECK)):
        told = ask(station, monkeypatch, release, "--check", check)
        assert told.exit_code == 2, told.output
        assert told.stdout == ""
        assert client.get("/api/v1/gate", params={"release": release, "check": check}).status_code == 404
    assert client.get("/api/v1/gate", params={"release": "nothing"}).status_code == 404


def test_asking_measures_nothing_and_waiting_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = small_world(tmp_path)
    world.release(FIRST)
    with world.station() as station:
        pipeline.cycle(station)
        world.release(WORSE, WORSE_HEAD)
        before = len(world.sessions)
        # Not even the sources had told of it.
        told = ask(station, monkeypatch, spec(WORSE))
        assert told.exit_code == 4
        assert "--wait" in told.stderr
        assert len(world.sessions) == before
        assert ask(station, monkeypatch, spec(WORSE), "--wait").exit_code == 3
        measured = len(world.sessions)
        assert measured > before
        assert ask(station, monkeypatch, spec(WORSE), "--wait").exit_code == 3
        assert len(world.sessions) == measured


def test_beside_a_daemon_what_is_missing_is_put_in_its_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = small_world(tmp_path)
    world.release(FIRST)
    world.release(QUIET)
    with world.station() as station:
        pipeline.discover(station)
        monkeypatch.setattr(Station, "daemon", lambda _: "process 1 (daemon)")
        told = ask(station, monkeypatch, spec(QUIET))
        assert told.exit_code == 4
        assert "in the daemon's queue: run 1" in told.stderr
        with station.store.read() as db:
            (waiting,) = queue.waiting(db, station.host.machine_id)
        assert (waiting.version, waiting.state) == (QUIET, RunState.PLANNED)


def test_a_changed_machine_and_what_people_decided_are_minded(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    with world.station() as station:
        for release, build in ((FIRST, GOOD), (QUIET, GOOD), (WORSE, WORSE_HEAD)):
            world.release(release, build)
            pipeline.cycle(station)
            world.wait(hours=1)
        with station.store.read() as db:
            (incident,) = incidents.in_state(db)
        IncidentActions(station).false_alarm(incident.id, "ann", "the fan was dead")
        assert "ann called its loss a false alarm: the fan was dead" in gate(station, spec(WORSE)).reason
        IncidentActions(station).reopen(incident.id, "ann", "it was not")
        assert gate(station, spec(WORSE)).safety is Safety.REGRESSED
        IncidentActions(station).accept(incident.id, "ben", "worth it")
        assert gate(station, spec(WORSE)).safety is Safety.SAFE
        # Judged in an epoch that is over.
        assert gate(station, spec(QUIET)).safety is Safety.UNDECIDED
    world.driver = "590.2"
    with world.station() as station:
        found = gate(station, spec(WORSE))
        assert found.safety is Safety.SAFE
        assert found.checks[0].run is not None
        with station.store.read() as db:
            assert runs.get(db, found.checks[0].run) is not None


def test_a_project_without_a_check_cannot_be_asked_about(world: World) -> None:
    with world.station(assignments=()) as station, pytest.raises(UnknownNameError):
        gate(station, spec(QUIET), ["no-such-check"])
