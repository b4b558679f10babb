"""From a release to people who know, in the order it happens.

    discover → settle → plan → provision → measure ⇄ judge → confirm → announce → publish

Each step is one module of `monitor/steps/` (or of `monitor/alerts/`); this one only tells the story: which
step follows which, which state the run is in meanwhile, and what becomes of it when a step fails.
`docs/run_lifecycle.md` draws the states.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from sqlmodel import Session as Db

from monitor import bisect as bisecting
from monitor import sweep as sweeping
from monitor.alerts.deliver import deliver
from monitor.alerts.discovered import write_discovered
from monitor.alerts.incidents import announce
from monitor.alerts.quarantine import notice_quarantine
from monitor.alerts.reminders import remind
from monitor.alerts.stale import notice_silence
from monitor.dispatch.base import Dispatcher
from monitor.dispatch.local import LocalDispatcher, held_onward
from monitor.domain import (
    Artifact,
    Basis,
    Check,
    Direction,
    Judgement,
    Role,
    RunState,
    Tier,
    Verdict,
    is_attached,
)
from monitor.errors import MonitorError, UnknownNameError
from monitor.judge.recovery import has_recovered
from monitor.steps import calibrate as calibrating
from monitor.steps import discover as discovering
from monitor.steps import drift, earlier, epochs, onward, predecessor
from monitor.steps import plan as planning
from monitor.steps.borrow import borrowed
from monitor.steps.confirm import Unconfirmable, confirm, confirm_alone, unconfirmed
from monitor.steps.discover import Poll, is_due, listing, measurable
from monitor.steps.gpu import make_ready
from monitor.steps.measure import Bench, Build
from monitor.steps.news import plan_news
from monitor.steps.notes import read_notes
from monitor.steps.plan import RunRequest
from monitor.steps.provision import provision, require_arms, weights
from monitor.steps.publish import publish
from monitor.steps.recover import is_left, recover
from monitor.steps.screen import screen
from monitor.steps.states import (
    begin_attempt,
    end_attempt,
    ended_already,
    ending_as_told,
    enter,
    settle_attempt,
)
from monitor.steps.station import Station
from monitor.steps.tidy import tidy
from monitor.store import Subject
from monitor.store.queries import incidents, judgements, runs, sessions
from monitor.store.queries.runs import Run

__all__ = [
    "Poll",
    "RunOutcome",
    "RunRequest",
    "Station",
    "announce",
    "cycle",
    "discover",
    "execute",
    "is_left",
    "is_work_due",
    "listing",
    "look",
    "measurable",
    "named",
    "publish",
    "recover",
    "run",
    "tell",
    "work",
    "work_off",
]


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """A run that has come to an end, with its judgement unless the release could not be measured."""

    run: Run
    artifact: Artifact
    judgement: Judgement | None
    reused: bool
    """Nothing was measured: the result was there already."""
    measured_on: int | None = None
    """To how many blocks it was measured after its verdict; None where it was not."""

    @classmethod
    def of(cls, db: Db, run: Run, artifact: Artifact, *, reused: bool = False) -> RunOutcome:
        """Return what is stored of a run that has ended."""
        return cls(run, artifact, judgements.get(db, run.id), reused, sessions.measured_on(db, run.id))


# ---------------------------------------------------------------------------------------------
# The service: look, work, tell


def cycle(station: Station) -> list[Poll]:
    """Do one whole round, from the sources to the people; every part of it can be killed and done again."""
    recover(station)
    polls = look(station)
    work(station)
    tell(station)
    return polls


def discover(station: Station, project: str | None = None, *, only_due: bool = False) -> list[Poll]:
    """Ask the sources what exists, and write who wants to hear of it; see `steps.discover.discover`."""
    found = partial(write_discovered, station)
    return discovering.discover(station, project, only_due=only_due, found=found)


def look(station: Station, *, only_due: bool = False) -> list[Poll]:
    """Discover, settle and plan: ask the sources what exists and put what is news in the queue.

    Raises:
        ArtifactChangedError: when a file kept its name and changed its content; everything else was done.

    """
    if only_due and not is_due(station):
        return []
    station.look_at_host()
    try:
        polls = discover(station, only_due=only_due)
    finally:
        # A file whose content changed stops its own installation, not the other sources' releases.
        plan_news(station)
    read_notes(station)
    calibrating.plan_scheduled(station)
    return polls


def work(station: Station, dispatcher: Dispatcher | None = None) -> int:
    """Carry out the queue, as far as hours and budgets allow, telling of each release when it is done."""
    dispatcher = dispatcher or LocalDispatcher(station)
    bisecting.move_on(station)
    if dispatcher.next() is None:
        return 0
    with borrowed(station):
        return dispatcher.work(lambda queued: work_off(station, queued))


def is_work_due(station: Station) -> bool:
    """Say whether a run may be begun now, or a search has to read what it visits next.

    Bisections take their next step first.
    """
    is_left = bisecting.move_on(station, reading=False)
    return is_left or LocalDispatcher(station).next() is not None


def tell(station: Station) -> None:
    """Announce what has ended, remind of what goes on, and deliver what is due."""
    announce(station)
    remind(station)
    notice_silence(station)
    notice_quarantine(station)
    deliver(
        station.store,
        station.settings.destinations,
        allow_private_hosts=station.settings.allow_private_hosts,
        clock=station.clock,
        host=station.host,
        public_url=station.settings.web.public_url,
    )


def work_off(station: Station, queued: Run) -> None:
    """Carry out one run of the queue, make its end known, and let what rests on it go on.

    Raises:
        MonitorError: as `run`; the run keeps what it measured and goes on later.

    """
    if bisecting.is_step(station, queued):
        bisecting.visit(station, queued)
    elif sweeping.is_sweep(queued):
        sweeping.carry_out(station, queued)
    else:
        request = planning.request_of(queued)
        check = planning.runnable_check(station, request.check, queued.project)
        artifact = planning.resolve(station, request.release)
        execute(station, request, check, artifact, planning.take_up(station, check, queued))
    announce(station)
    bisecting.move_on(station)


# ---------------------------------------------------------------------------------------------
# One run


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
    check, artifact = named(station, request)
    return execute(station, request, check, artifact, planning.plan(station, request, check, artifact))


def named(station: Station, request: RunRequest) -> tuple[Check, Artifact]:
    """Return the check and the artifact that a request names.

    Raises:
        UnknownNameError: for a check or release that is not known.
        HostError: when this machine cannot run the check.

    """
    project, *_ = planning.split_spec(request.release)
    check = planning.runnable_check(station, request.check, project)
    return check, planning.resolve(station, request.release)


def execute(
    station: Station, request: RunRequest, check: Check, artifact: Artifact, planned: Run
) -> RunOutcome:
    """Carry out a planned run, unless its result is there; raises as `run` does."""
    reference = _reference(station, request, artifact, planned)
    if _is_answered(planned, request, reference):
        with station.store.read() as db:
            return RunOutcome.of(db, planned, artifact, reused=True)
    with station.measuring(f"{check.id} on {artifact.project} {artifact.version}"), borrowed(station):
        _carry_out(station, request, _Job(check, artifact, planned, reference))
    with station.store.read() as db:
        return RunOutcome.of(db, runs.get(db, planned.id) or planned, artifact)


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


def _reference(station: Station, request: RunRequest, artifact: Artifact, planned: Run) -> Run | None:
    """Return the run to judge against, measuring it first where that is needed.

    By default it is the epoch's reference. In a new epoch (another driver or kernel) the last one is measured
    again first, unless it was attached. A named one that was never measured is measured now.
    """
    if request.against == planning.ITSELF:
        return planning.earlier_of_itself(station, planned)
    wanted = planning.reference_request(request, artifact)
    if wanted is None:
        old = epochs.to_measure_again(station, planned)
        if old is not None and is_attached(artifact):
            # It is gone. The driver is part of what is attached: a change of it is compared like others.
            return old
        if old is not None:
            run(station, planning.again_in_new_epoch(old))
        return epochs.reference_of(station, planned)
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
    if ended_already(station, job.run) and request.against == planning.LAST_GOOD:
        return
    make_ready(station, job.check)
    with ending_as_told(station, job.run):
        enter(station, job.run, RunState.PROVISIONING)
        begin_attempt(station, job.run)
        environment = provision(station, job.artifact)
        require_arms(job.check, environment)
        bench = Bench(station, job.run, job.check, weights(station, job.check), request.tier)
        settle_attempt(station, job.run, environment, job.reference)
        candidate = Build(Subject.CANDIDATE, environment, bench.header(environment))

        judgement = screen(bench, candidate, job.reference, whole=request.against == planning.ITSELF)

        if job.reference is not None and request.confirm and _would_be_told(station, job, judgement):
            judgement = _confirm(bench, candidate, job.reference, judgement)

        since_first = _since_first(bench, candidate, judgement) if request.confirm else None
        verdicts = {
            Basis.REFERENCE: judgement,
            Basis.PREDECESSOR: predecessor.compare(bench),
            Basis.FIRST: since_first,
        }

        if request.against == planning.LAST_GOOD and onward.is_wanted(bench, candidate, judgement):
            onward.measure_on(bench, candidate, verdicts, lambda: held_onward(station, job.run))

        _finish(bench, judgement, verdicts)
    if request.against == planning.ITSELF:
        calibrating.refresh(station, job.check, job.run)


def _would_be_told(station: Station, job: _Job, judgement: Judgement) -> bool:
    """Say whether people would be told of this: a loss, or the end of one that they were told of."""
    if judgement.verdict is Verdict.REGRESSED:
        return True
    with station.store.read() as db:
        live = incidents.live_of_series(
            db, machine_id=station.host.machine_id, project=job.artifact.project, check_id=job.check.id
        )
        return any(
            incident.epoch_id == job.run.epoch_id
            and incident.direction is not Direction.DRIFT
            and (bad := runs.get(db, incident.latest_bad_run_id)) is not None
            and job.run.place > bad.place
            and (lost := judgements.get(db, bad.id)) is not None
            and has_recovered(lost, judgement)
            for incident in live
        )


def _confirm(bench: Bench, candidate: Build, reference: Run, suspicion: Judgement) -> Judgement:
    """Measure the old release again, beside the new one, in its own environment and on all prompts."""
    station = bench.station
    enter(station, bench.run, RunState.CONFIRMING)
    stored, screened = earlier.compared_with(bench, reference), bench.stored(Subject.CANDIDATE, Role.SCREEN)
    if stored is None or screened is None:
        raise RuntimeError("a suspicion rests on stored sessions of both releases")
    if is_attached(candidate.environment.artifact):
        return confirm_alone(bench, candidate, stored, screened)
    full = replace(bench, tier=Tier.FULL)
    try:
        old = earlier.old_build(full, reference)
        return confirm(full, old, candidate, stored, screened)
    except Unconfirmable as obstacle:
        return unconfirmed(suspicion, str(obstacle))


def _since_first(bench: Bench, candidate: Build, judgement: Judgement) -> Judgement | None:
    """Compare with the epoch's first good run, where the series has crept away from it; None elsewhere."""
    found = drift.compare(bench, judgement)
    if found is None:
        return None
    if not found.asks:
        return drift.told(found, found.judgement)
    enter(bench.station, bench.run, RunState.CONFIRMING)
    drift.forget_another(bench, found.first)
    stored, screened = (
        earlier.samples_of(bench.station, found.first),
        bench.stored(Subject.CANDIDATE, Role.SCREEN),
    )
    if stored is None or screened is None:
        raise RuntimeError("a drift is found in stored sessions of both releases")
    if is_attached(candidate.environment.artifact):
        return drift.told(found, confirm_alone(bench, candidate, stored, screened, Role.DRIFT))
    full = replace(bench, tier=Tier.FULL)
    try:
        old = earlier.old_build(full, found.first, Subject.FIRST)
        return drift.told(found, confirm(full, old, candidate, stored, screened, Role.DRIFT))
    except Unconfirmable as obstacle:
        return unconfirmed(found.judgement, str(obstacle))


def _finish(bench: Bench, judgement: Judgement, verdicts: Mapping[Basis, Judgement | None]) -> None:
    station = bench.station
    ended = RunState.INVALID if judgement.verdict is Verdict.INVALID else RunState.DONE
    with station.store.write() as db:
        judgements.save_all(db, bench.run.id, verdicts, now=station.clock())
        runs.set_state(db, bench.run.id, ended, reason=judgement.headline, now=station.clock())
        end_attempt(db, station, bench.run, ended)
    # The spool held the sessions until they were safe; now the store has all of them.
    shutil.rmtree(station.settings.spool_dir / f"run-{bench.run.id}", ignore_errors=True)
