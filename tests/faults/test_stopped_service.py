"""The service is killed, stopped, stopped twice and started twice: machine and results go back in order."""

from __future__ import annotations

import signal
import time

import pytest
from killing import Yard, begun_sessions, store_of, wait_until

from acceptance.command import engines_of
from monitor.domain import Role, RunState, Session
from monitor.planted.wheels import Fault
from monitor.steps.states import MONITOR
from monitor.store import Subject
from monitor.store.queries import incidents, sessions

AT_ONCE_S = 3.0


def in_the_middle(yard: Yard) -> bool:
    """Say whether a session is at work that has answers, after one that is complete."""
    return bool(complete(yard)) and any(
        path.read_text().count("\n") > 1 for path in begun_sessions(yard.house)
    )


def complete(yard: Yard) -> tuple[Session, ...]:
    """Return the stored sessions of the newest run."""
    with store_of(yard.house) as store, store.read() as db:
        found = sessions.load(db, 2, Subject.CANDIDATE, Role.SCREEN)
    return found.sessions if found else ()


def is_done(yard: Yard, version: str) -> bool:
    run = yard.run_of(version)
    return run is not None and run.state is RunState.DONE and run.announced_at is not None


def test_a_killed_service_gives_the_machine_back_at_its_next_start(yard: Yard) -> None:
    yard.put_back()
    with yard.told() as webhook, yard.owner("note before", "note after") as notes:
        worse = yard.publish(Fault.WORSE_HEAD)
        with yard.serving() as first:
            wait_until(lambda: begun_sessions(yard.house), "a session")
            first.process.kill()
            first.process.wait()
        yard.deserted()
        assert notes() == ["before"]
        with yard.serving() as second:
            wait_until(lambda: is_done(yard, worse) and webhook.messages, "the end of the run")
            wait_until(lambda: len(notes()) == 4, "the end of the work")
            assert second.stop() == 0
        assert notes() == ["before", "after", "before", "after"]
        yard.converged_on_the_loss(worse, webhook)


def test_a_round_killed_right_after_the_owner_stopped_his_server_starts_it_again(yard: Yard) -> None:
    yard.put_back()
    with yard.told() as webhook, yard.owner("note before", "note after") as notes:
        worse = yard.publish(Fault.WORSE_HEAD)
        yard.kill_at("machine borrowed")
        assert notes() == ["before"]
        yard.until_done()
        assert notes() == ["before", "after", "before", "after"]
        yard.converged_on_the_loss(worse, webhook)


def test_a_stopped_service_ends_its_engine_and_the_next_start_goes_on_from_complete_sessions(
    yard: Yard,
) -> None:
    yard.put_back()
    with yard.told() as webhook:
        worse = yard.publish(Fault.WORSE_HEAD)
        with yard.serving() as service:
            wait_until(lambda: in_the_middle(yard), "a session in the middle")
            assert service.stop() == 0
        assert engines_of(yard.house) == []
        kept, run = complete(yard), yard.run_of(worse)
        assert run is not None
        assert (run.state, run.reason) == (RunState.INTERRUPTED, "the monitor was stopped")
        assert begun_sessions(yard.house) == []
        yard.until_done()
        assert complete(yard)[: len(kept)] == kept
        yard.converged_on_the_loss(worse, webhook)


def test_the_second_signal_ends_the_service_at_once(yard: Yard) -> None:
    yard.put_back()
    with yard.told() as webhook, yard.owner("note before", "note begun; sleep 8; note after") as notes:
        worse = yard.publish(Fault.WORSE_HEAD)
        with yard.serving() as service:
            wait_until(lambda: begun_sessions(yard.house), "a session")
            service.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "begun" in notes(), "the owner's command")
            assert service.process.poll() is None
            second_s = time.monotonic()
            assert service.stop() == 128 + signal.SIGTERM
            assert time.monotonic() - second_s < AT_ONCE_S
        yard.deserted()
        yard.until_done()
        # The command that was cut is run again before anything else.
        assert notes().count("begun") == 3
        yard.converged_on_the_loss(worse, webhook)


def test_a_second_service_on_the_same_state_is_refused_and_names_the_first(yard: Yard) -> None:
    yard.put_back()
    with yard.serving() as service:
        wait_until(lambda: service.said("pages at"), "the pages")
        wait_until(lambda: (yard.house.state / "daemon.lock").stat().st_size, "the first on duty")
        second = yard.house.run("serve", code=1)
        assert f"has a daemon already: process {service.process.pid} (daemon with pages at" in second.stderr
        assert service.process.poll() is None
        assert service.stop() == 0
    yard.nothing_is_left()


def test_a_run_that_kills_the_monitor_each_time_ends_as_failed_and_nobody_is_told_of_it(yard: Yard) -> None:
    yard.put_back()
    with yard.told() as webhook:
        worse = yard.publish(Fault.WORSE_HEAD)
        for _ in range(5):
            yard.kill_at("engine started")
        yard.until_done()
        yard.nothing_is_left()
        run = yard.every_release_is_accounted_for([yard.quiet, worse])[worse]
        assert (run.state, run.stage, run.attempts) == (RunState.FAILED, MONITOR, 5)
        assert "interrupted 5 times without one complete session" in run.reason
        with store_of(yard.house) as store, store.read() as db:
            assert incidents.in_state(db) == []
        assert webhook.posts == []


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_service_stops_in_order(yard: Yard, signal_number: signal.Signals) -> None:
    yard.put_back()
    with yard.serving() as service:
        wait_until(lambda: service.said("pages at"), "the pages")
        service.process.send_signal(signal_number)
        assert service.process.wait(timeout=30) == 0
    yard.nothing_is_left()
