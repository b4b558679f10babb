"""Commands beside the service: it measures, they follow; never two at once, whoever came first."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from monitor import daemon, orders, pipeline
from monitor.cli import app, follow
from monitor.daemon import Daemon
from monitor.domain import BisectionState, RunState
from monitor.steps.gate import gate
from monitor.steps.station import Station
from monitor.store.queries import bisections, runs
from standins.engine import until
from standins.lengths import VERSION as SWEPT
from standins.lengths import lengths_world, opened
from standins.searches import GOOD, WORSE_HEAD, publish, small_world, version
from standins.service import CHECK, PROJECT, World


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "_TICK_S", 0.05)
    monkeypatch.setattr(follow, "LOOK_AGAIN_S", 0.05)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return small_world(tmp_path)


class _Sessions:
    """Who measured, session by session."""

    def __init__(self, world: World) -> None:
        self.threads: list[threading.Thread] = []
        world.on_session = lambda _: self.threads.append(threading.current_thread())


@pytest.fixture
def by(world: World) -> _Sessions:
    return _Sessions(world)


@pytest.fixture
def station(world: World) -> Iterator[Station]:
    with world.station(assignments=()) as found:
        yield found


def beside_service(station: Station, command: Callable[[], Result]) -> Result:
    """Run the service in this thread, as it is, and a command beside it; with its end the service ends."""
    results: list[Result] = []
    main, before = threading.main_thread().ident, signal.getsignal(signal.SIGTERM)
    assert main is not None

    def ask() -> None:
        try:
            until(lambda: signal.getsignal(signal.SIGTERM) is not before)
            results.append(command())
        finally:
            if signal.getsignal(signal.SIGTERM) is not before:
                signal.pthread_kill(main, signal.SIGTERM)

    asking = threading.Thread(target=ask)
    asking.start()
    Daemon(station).run()
    asking.join()
    (result,) = results
    return result


def command(station: Station, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Callable[[], Result]:
    monkeypatch.setattr(Station, "open", lambda *_: nullcontext(station))
    return lambda: CliRunner().invoke(app, arguments)


SEARCH = ("bisect", CHECK, "--good", version(0), "--bad", version(7), "--project", PROJECT)


def ask_gate(number: int) -> tuple[str, ...]:
    return ("gate", f"{PROJECT}=={version(number)}", "--check", CHECK, "--wait")


# ---------------------------------------------------------------------------------------------
# The service is there first


@pytest.mark.parametrize(("build", "code"), [(GOOD, 0), (WORSE_HEAD, 3)])
def test_a_gate_that_waits_lets_the_service_measure(  # noqa: PLR0917  # fixtures
    world: World, station: Station, by: _Sessions, monkeypatch: pytest.MonkeyPatch, build: Any, code: int
) -> None:
    world.release(version(0))
    pipeline.discover(station)
    pipeline.run(station, pipeline.RunRequest(CHECK, f"{PROJECT}=={version(0)}"))
    by.threads.clear()
    world.release(version(1), build)

    told = beside_service(station, command(station, monkeypatch, *ask_gate(1)))

    assert told.exit_code == code, told.output
    assert "run 2 is" in told.stderr
    assert set(by.threads) == {threading.main_thread()}, "the service measures"
    with station.store.read() as db:
        assert [run.version for run in runs.recent(db)] == [version(1), version(0)]


def test_a_gate_that_waits_tries_again_what_the_monitor_failed_at(
    world: World, station: Station, by: _Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.release(version(0))
    world.release(version(1))
    pipeline.discover(station)
    pipeline.run(station, pipeline.RunRequest(CHECK, f"{PROJECT}=={version(0)}"))
    orders.enqueue(station, pipeline.RunRequest(CHECK, f"{PROJECT}=={version(1)}"))
    world.disk_full = True
    while gate(station, f"{PROJECT}=={version(1)}", [CHECK]).checks[0].state is not RunState.FAILED:
        pipeline.work(station)
        world.wait(hours=9)
    world.disk_full = False

    told = beside_service(station, command(station, monkeypatch, *ask_gate(1)))

    assert told.exit_code == 0, told.output
    assert by.threads


def test_a_bisection_is_made_by_the_service_and_shown_by_the_command(
    world: World, station: Station, by: _Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(world, 8, first_bad=3)

    told = beside_service(station, command(station, monkeypatch, *SEARCH))

    assert told.exit_code == 0, told.output
    assert f"{version(3)}: bad" in told.stderr
    assert set(by.threads) == {threading.main_thread()}, "the service measures"


def test_a_sweep_is_made_by_the_service_and_shown_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = lengths_world(tmp_path)
    by = _Sessions(lengths)
    with opened(lengths, assignments=()) as station:
        pipeline.discover(station)
        words = ("sweep", CHECK, "--release", f"{PROJECT}=={SWEPT}", "--json")
        told = beside_service(station, command(station, monkeypatch, *words))
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["chosen"]["draft_length"] == 3
    assert set(by.threads) == {threading.main_thread()}, "the service measures"


# ---------------------------------------------------------------------------------------------
# The service comes later


class _Service:
    """A service that begins when it is told to, in a thread of its own."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._over = threading.Event()
        self._on_duty = threading.Event()
        self.followed = threading.Event()
        """Nothing is measured before."""
        self.thread = threading.Thread(target=self._serve)

    def begin(self) -> None:
        self.thread.start()
        assert self._on_duty.wait(60)

    def end(self) -> None:
        self._over.set()
        self.thread.join()

    def _serve(self) -> None:
        with self._station.on_duty("daemon"):
            self._on_duty.set()
            while not self._over.wait(0.02):
                if self.followed.is_set():
                    pipeline.work(self._station)


def test_a_service_that_is_started_meanwhile_goes_on_with_a_bisection(
    world: World, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(world, 8, first_bad=3)
    service, threads = _Service(station), []
    still_there = follow.still_there

    def followed(*what: Any) -> None:
        service.followed.set()
        still_there(*what)

    def note(_: str) -> None:
        threads.append(threading.current_thread())
        if len(threads) == 5:
            service.begin()

    world.on_session = note
    monkeypatch.setattr(follow, "still_there", followed)
    try:
        told = command(station, monkeypatch, *SEARCH)()
    finally:
        service.end()

    assert told.exit_code == 0, told.output
    changes = [
        thread for place, thread in enumerate(threads) if not place or thread is not threads[place - 1]
    ]
    assert changes == [threading.main_thread(), service.thread], "handed over once"
    with station.store.read() as db:
        (search,) = bisections.listed(db, machine_id=station.host.machine_id)
    assert (search.state, search.first_bad.version) == (BisectionState.FOUND, version(3))
    # Each answer is said once, whoever found it.
    assert told.stderr.count(f"{version(3)}: bad") == 1


def test_a_service_that_was_quicker_is_followed(
    world: World, station: Station, by: _Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not there when the command looked, and measures when the command begins to."""
    world.release(version(0))
    pipeline.discover(station)
    service = _Service(station)
    looked = Station.daemon
    looks: list[str | None] = []

    def late(self: Station) -> str | None:
        looks.append(None if not looks else looked(self))
        return looks[-1]

    monkeypatch.setattr(Station, "daemon", late)
    asked = command(station, monkeypatch, "run", CHECK, "--release", f"{PROJECT}=={version(0)}")
    with station.measuring("what the service does"):
        service.followed.set()
        service.begin()
        results: list[Result] = []
        asking = threading.Thread(target=lambda: results.append(asked()))
        asking.start()
        until(lambda: len(looks) > 2)  # it follows
    world.wait(minutes=1)  # the service may have been told to look again a little later
    asking.join()
    service.end()

    assert [result.exit_code for result in results] == [0], results[0].output
    assert set(by.threads) == {service.thread}


def test_beside_a_command_that_measures_another_one_is_refused(
    world: World, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.release(version(0))
    pipeline.discover(station)
    with station.measuring("another command"):
        told = command(station, monkeypatch, "run", CHECK, "--release", f"{PROJECT}=={version(0)}")()
    assert told.exit_code == 1
    assert "being measured on by process" in told.stderr
    assert world.sessions == []
