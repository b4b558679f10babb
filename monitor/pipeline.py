"""From a release to a judged report, in the order it happens.

    discover → settle → plan → provision → measure ⇄ judge → confirm → publish

Each step is one module of `monitor/steps/`; this one only tells the story: which step follows which, which
state the run is in meanwhile, and what becomes of it when a step fails. `docs/run_lifecycle.md` draws the
states.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlmodel import Session as Db

from monitor.domain import Artifact, Check, Environment, Judgement, Role, RunState, SampleSet, Verdict
from monitor.errors import EngineError, MonitorError, ProvisionError, UnknownNameError
from monitor.judge.verdict import judge
from monitor.steps import plan as planning
from monitor.steps.confirm import confirm
from monitor.steps.discover import discover, listing, measurable
from monitor.steps.measure import Bench, Build, measure, screen_slots
from monitor.steps.plan import RunRequest
from monitor.steps.provision import provision, weights
from monitor.steps.publish import publish
from monitor.steps.station import Station
from monitor.steps.tidy import tidy
from monitor.store import Subject
from monitor.store.queries import judgements, runs, sessions
from monitor.store.queries.runs import Run

__all__ = ["RunOutcome", "RunRequest", "Station", "discover", "listing", "measurable", "publish", "run"]


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """A run that has come to an end, with its judgement unless the release could not be measured."""

    run: Run
    artifact: Artifact
    judgement: Judgement | None
    reused: bool
    """Nothing was measured: the result was there already."""


def run(station: Station, request: RunRequest) -> RunOutcome:
    """Take one release through one check: the whole story of this tool.

    A run that was cut short goes on where it stopped. A finished one is returned as it is, unless the request
    asks for it again or against another reference.

    Raises:
        UnknownNameError: for a check or release that is not known.
        HostError: when this machine cannot run the check, or is measuring already.
        SourceError, ModelError, DiskFullError: when something around the release is missing; the run is
            interrupted, keeps what it measured and goes on when asked again.

    A release that does not install, start or answer raises nothing: its run ends as `failed`.
    """
    project, *_ = planning.split_spec(request.release)
    check = planning.runnable_check(station, request.check, project)
    artifact = planning.resolve(station, request.release)
    reference = _reference(station, request, check, artifact)
    planned = planning.plan(station, request, check, artifact)
    if _is_answered(planned, request, reference):
        with station.store.read() as db:
            return RunOutcome(planned, artifact, judgements.get(db, planned.id), reused=True)
    with station.measuring(f"{check.id} on {artifact.project} {artifact.version}"):
        _carry_out(station, request, _Job(check, artifact, planned, reference))
    with station.store.read() as db:
        ended = runs.get(db, planned.id) or planned
        return RunOutcome(ended, artifact, judgements.get(db, planned.id), reused=False)


@dataclass(frozen=True, slots=True)
class _Job:
    check: Check
    artifact: Artifact
    run: Run
    reference: Run | None


def _is_answered(planned: Run, request: RunRequest, reference: Run | None) -> bool:
    """Say whether the stored result is what was asked for: judged, and against the named reference."""
    if planned.state not in (RunState.DONE, RunState.INVALID):
        return False
    named = request.against != planning.LAST_GOOD
    return not named or (reference is not None and planned.reference_run_id == reference.id)


def _reference(station: Station, request: RunRequest, check: Check, artifact: Artifact) -> Run | None:
    """Return the run to judge against, measuring it first when it was named and never measured."""
    wanted = planning.reference_request(request, artifact)
    if wanted is None:
        return planning.last_good(station, check, artifact)
    if planning.resolve(station, wanted.release).sha256 == artifact.sha256:
        raise UnknownNameError(
            f"{request.against} is the release itself.", advice="name another with --against, or leave it out"
        )
    measured = run(station, wanted).run
    if measured.state is not RunState.DONE:
        raise MonitorError(
            f"The reference {measured.project} {measured.version} cannot be compared with: its run is "
            f"{measured.state} ({measured.reason}).",
            kept="what was measured of it",
            advice="name another with --against",
        )
    return measured


def _carry_out(station: Station, request: RunRequest, job: _Job) -> None:
    tidy(station)
    with _ending_as_told(station, job.run):
        _enter(station, job.run, RunState.PROVISIONING)
        environment = provision(station, job.artifact)
        bench = Bench(station, job.run, job.check, weights(station, job.check), request.tier)
        _begin_attempt(station, job.run, environment, job.reference)
        candidate = Build(Subject.CANDIDATE, environment, bench.header(environment))

        judgement = _screen(bench, candidate, job.reference)

        if judgement.verdict is Verdict.REGRESSED and job.reference is not None and request.confirm:
            judgement = _confirm(bench, candidate, job.reference)

        _finish(bench, judgement)


def _screen(bench: Bench, candidate: Build, reference: Run | None) -> Judgement:
    """Measure ⇄ judge: block after block, until what gates is decided or the last block is done."""
    policy = bench.policy()
    stored = _samples_of(bench.station, reference)
    found: list[Judgement] = []

    def decided(blocks: int) -> bool:
        if stored is None:  # a reference needs its sessions whatever they say
            return blocks >= policy.blocks_reference
        if blocks < policy.blocks_min:
            return False
        _enter(bench.station, bench.run, RunState.JUDGING)
        found.append(_judged(bench, stored))
        if found[-1].verdict is Verdict.REGRESSED or not found[-1].undecided:
            return True
        _enter(bench.station, bench.run, RunState.MEASURING)
        return False

    _enter(bench.station, bench.run, RunState.MEASURING)
    most = policy.blocks_reference if stored is None else policy.blocks_max
    measure(bench, screen_slots(most), (candidate,), decided)
    _enter(bench.station, bench.run, RunState.JUDGING)
    return found[-1] if found else _judged(bench, stored)


def _judged(bench: Bench, reference: SampleSet | None) -> Judgement:
    candidate = bench.stored(Subject.CANDIDATE, Role.SCREEN)
    if candidate is None:
        raise RuntimeError("judging begins when sessions are stored")
    bench.station.progress.stage("judging")
    return judge(reference, candidate)


def _confirm(bench: Bench, candidate: Build, reference: Run) -> Judgement:
    """Measure the old release again, beside the new one, in its own environment."""
    station = bench.station
    _enter(station, bench.run, RunState.CONFIRMING)
    stored, screened = _samples_of(station, reference), bench.stored(Subject.CANDIDATE, Role.SCREEN)
    if stored is None or screened is None:
        raise RuntimeError("a suspicion rests on stored sessions of both releases")
    spec = f"{reference.project}=={reference.version}@{reference.artifact_sha256}"
    old = provision(station, planning.resolve(station, spec))
    return confirm(bench, Build(Subject.REFERENCE, old, bench.header(old)), candidate, stored, screened)


def _finish(bench: Bench, judgement: Judgement) -> None:
    station = bench.station
    ended = RunState.INVALID if judgement.verdict is Verdict.INVALID else RunState.DONE
    with station.store.write() as db:
        judgements.save(db, bench.run.id, judgement, now=station.clock())
        runs.set_state(db, bench.run.id, ended, reason=judgement.headline, now=station.clock())
        _end_attempt(db, station, bench.run, ended)
    # The spool held the sessions until they were safe; now the store has all of them.
    shutil.rmtree(station.settings.spool_dir / f"run-{bench.run.id}", ignore_errors=True)


# ---------------------------------------------------------------------------------------------
# States


@contextmanager
def _ending_as_told(station: Station, planned: Run) -> Iterator[None]:
    """Leave the run in the state its end deserves: the release's fault is `failed`, ours is `interrupted`."""
    try:
        yield
    except (ProvisionError, EngineError) as error:
        reason = error.reason if isinstance(error, EngineError) else "does not install"
        _end(station, planned, RunState.FAILED, f"{reason}: {error}", permanent=error.permanent)
    except BaseException as error:
        what = error.what if isinstance(error, MonitorError) else type(error).__name__
        _end(station, planned, RunState.INTERRUPTED, what, permanent=False)
        raise


def _enter(station: Station, planned: Run, state: RunState) -> None:
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


def _begin_attempt(station: Station, planned: Run, environment: Environment, reference: Run | None) -> None:
    """Count the attempt; after a reboot or in another environment the earlier sessions do not count."""
    with station.store.write() as db:
        before = runs.last_attempt(db, planned.id)
        same = before is not None and (before.boot_id, before.environment_key) == (
            station.host.boot_id,
            environment.key,
        )
        if before is not None and not same:
            sessions.discard(db, planned.id)
            shutil.rmtree(station.settings.spool_dir / f"run-{planned.id}", ignore_errors=True)
        if planned.reference_run_id not in (None, reference.id if reference else None):
            # They were measured in turns with another release.
            sessions.discard(db, planned.id, Role.CONFIRM)
        runs.set_environment(db, planned.id, environment.key)
        runs.set_reference(db, planned.id, reference.id if reference else None)
        runs.begin_attempt(
            db,
            planned.id,
            boot_id=station.host.boot_id,
            environment_key=environment.key,
            now=station.clock(),
        )


def _end(station: Station, planned: Run, state: RunState, reason: str, *, permanent: bool) -> None:
    with station.store.write() as db:
        runs.set_state(db, planned.id, state, reason=reason, permanent=permanent, now=station.clock())
        _end_attempt(db, station, planned, state)


def _end_attempt(db: Db, station: Station, planned: Run, state: RunState) -> None:
    attempt = runs.last_attempt(db, planned.id)
    if attempt is not None:
        runs.end_attempt(db, planned.id, attempt.number, outcome=state, now=station.clock())


def _samples_of(station: Station, reference: Run | None) -> SampleSet | None:
    """Return what the reference measured when it was a candidate itself."""
    if reference is None:
        return None
    with station.store.read() as db:
        return sessions.load(db, reference.id, Subject.CANDIDATE, Role.SCREEN)
