"""States: where a run stands, and the attempts at it. Every change of state of a run at work is made here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlmodel import Session as Db

from monitor.domain import Environment, Role, RunState
from monitor.errors import ArmMissingError, AttachedChangedError, EngineError, MonitorError, ProvisionError
from monitor.steps.station import Station
from monitor.steps.tidy import drop_spool
from monitor.store import Subject
from monitor.store.queries import judgements, releases, runs, sessions
from monitor.store.queries.runs import Run
from monitor.store.transitions import ENDED

INSTALL, ENGINE, MONITOR = "install", "engine", "monitor"
"""Stages a run can fail in. In the last one it is the monitor's or the machine's fault, not the release's."""


@contextmanager
def ending_as_told(station: Station, planned: Run) -> Iterator[None]:
    """Leave the run in the state its end deserves: the release's fault is `failed`, ours is `interrupted`.

    It is `skipped` when the release cannot serve an arm of the check, and `cancelled` when what was
    attached is no longer what was to be measured.
    """
    try:
        yield
    except (ProvisionError, EngineError) as error:
        stage, reason = ENGINE, error.reason if isinstance(error, EngineError) else ""
        if isinstance(error, ProvisionError):
            stage, reason = INSTALL, "does not install"
        _end(station, planned, RunState.FAILED, f"{reason}: {error}", stage=stage, permanent=error.permanent)
    except ArmMissingError as error:
        # Nothing is wrong with the release, and nothing to compare.
        _end(station, planned, RunState.SKIPPED, error.what, permanent=True)
    except AttachedChangedError as error:
        # What ran is gone, so there is nothing to try again, until somebody brings it back.
        _end(station, planned, RunState.CANCELLED, error.what, permanent=True)
        with station.store.write() as db:
            releases.forget_decision(db, planned.project, planned.version, planned.channel)
        raise
    except BaseException as error:
        what = error.what if isinstance(error, MonitorError) else type(error).__name__
        if isinstance(error, KeyboardInterrupt):
            what = "the monitor was stopped"
        _end(station, planned, RunState.INTERRUPTED, what, permanent=False)
        raise


def enter(station: Station, planned: Run, state: RunState) -> None:
    """Move a run to `state`, which may be the one it is in; what was left by a kill is interrupted first."""
    with station.store.write() as db:
        current = runs.get(db, planned.id)
        if current is None or current.state is state:
            return
        if state is RunState.PROVISIONING and current.state in _CUT_SHORT:
            # The monitor that held this run is gone: nobody else can hold the measuring lock.
            runs.set_state(
                db, planned.id, RunState.INTERRUPTED, reason="the monitor was killed", now=station.clock()
            )
        runs.set_state(db, planned.id, state, now=station.clock())


_CUT_SHORT = (RunState.PROVISIONING, RunState.MEASURING, RunState.JUDGING, RunState.CONFIRMING)


def begin_attempt(station: Station, planned: Run) -> None:
    """Count the attempt before its work begins, so that one which kills the monitor is counted too."""
    with station.store.write() as db:
        runs.begin_attempt(
            db, planned.id, boot_id=station.host.boot_id, environment_key=None, now=station.clock()
        )


def settle_attempt(station: Station, planned: Run, environment: Environment, reference: Run | None) -> None:
    """Note what the attempt rests on; after a reboot or in another environment, earlier sessions are void."""
    with station.store.write() as db:
        attempt = runs.last_attempt(db, planned.id)
        if attempt is None:
            raise RuntimeError("the attempt was begun a moment ago")
        before = runs.measured_before(db, planned.id, attempt.number)
        same = before is not None and (before.boot_id, before.environment_key) == (
            station.host.boot_id,
            environment.key,
        )
        if before is not None and not same:
            sessions.discard(db, planned.id)
            drop_spool(station, planned.id)
        if planned.reference_run_id not in (None, reference.id if reference else None):
            # They were measured in turns with another release.
            sessions.discard(db, planned.id, Role.CONFIRM)
            sessions.discard(db, planned.id, subject=Subject.REFERENCE)
        runs.set_environment(db, planned.id, environment.key)
        runs.set_reference(db, planned.id, reference.id if reference else None)
        runs.set_attempt_environment(db, planned.id, attempt.number, environment.key)


def _end(
    station: Station, planned: Run, state: RunState, reason: str, *, permanent: bool, stage: str = ""
) -> None:
    with station.store.write() as db:
        current = runs.get(db, planned.id)
        if current is not None and end_with_verdict(db, station, current):
            return
        runs.set_state(
            db, planned.id, state, stage=stage, reason=reason, permanent=permanent, now=station.clock()
        )
        end_attempt(db, station, planned, state)
    if state in ENDED:
        drop_spool(station, planned.id)


def ended_already(station: Station, planned: Run) -> bool:
    """End a run with the verdict that it has, if a killed monitor left it while it was measured on."""
    with station.store.write() as db:
        left = runs.get(db, planned.id)
        return left is not None and end_with_verdict(db, station, left)


def end_with_verdict(db: Db, station: Station, left: Run) -> bool:
    """End a run that was being measured on, with the verdict it has; False for any other run.

    What was cut is not taken up again: those sessions are optional, and waiting for a turn, for hours or for
    a budget could cost the run its verdict.
    """
    attempt = runs.last_attempt(db, left.id)
    if left.state not in _AFTER_A_LOOK or attempt is None:
        return False
    verdict = judgements.since(db, left.id, attempt.started_at)
    if verdict is None:
        return False
    if left.state is RunState.MEASURING:
        runs.set_state(db, left.id, RunState.JUDGING, now=station.clock())
    runs.set_state(db, left.id, RunState.DONE, reason=verdict.headline, now=station.clock())
    end_attempt(db, station, left, RunState.DONE)
    return True


_AFTER_A_LOOK = (RunState.MEASURING, RunState.JUDGING, RunState.CONFIRMING)


def end_attempt(db: Db, station: Station, planned: Run, state: RunState) -> None:
    """Note how the newest attempt at a run ended."""
    attempt = runs.last_attempt(db, planned.id)
    if attempt is not None:
        runs.end_attempt(db, planned.id, attempt.number, outcome=state, now=station.clock())
