"""Bisect: the same steps over the releases between a good and a bad one, until the first bad one is known.

    between → good end → bad end → (middle → provision → measure ⇄ judge → answer)* → single commits → tell

Which releases those are is fixed when a bisection begins, and what each said is stored, so that one which was
killed goes on where it was. When all have answered, the commits between the last two come in one by one, as
long as there are wheels of them (`monitor/steps/single_commits.py`). Every visited release is a run in the
queue; of one bisection at most one at a time. `docs/bisect.md` tells it to people.
"""

from __future__ import annotations

import shutil
from statistics import fmean

from monitor.alerts import bisections as telling
from monitor.domain import (
    LIVE_STATES,
    Artifact,
    Bisection,
    BisectionState,
    Check,
    Direction,
    Judgement,
    RunState,
    Tier,
    Verdict,
    Visit,
    is_attached,
)
from monitor.errors import HostError, MonitorError, SourceError, UnknownNameError
from monitor.steps import plan, single_commits
from monitor.steps.between import between
from monitor.steps.borrow import borrowed
from monitor.steps.gpu import make_ready
from monitor.steps.measure import Bench, Build
from monitor.steps.provision import provision, require_arms, weights
from monitor.steps.states import (
    begin_attempt,
    end_attempt,
    ending_as_told,
    enter,
    settle_attempt,
)
from monitor.steps.station import Station
from monitor.steps.tidy import tidy
from monitor.steps.visit import compared, shown
from monitor.steps.way import Way, good_run, loss_of_bad_end
from monitor.store import Subject
from monitor.store.queries import artifacts, bisections, incidents, judgements, runs
from monitor.store.queries.runs import Run
from monitor.store.transitions import ENDED
from monitor.views import bisected

LAST_IN_QUEUE = -10
"""Priority of a search that nobody asked for: new releases go first."""
AUTOMATIC = "incident"
"""Who asks for a search after a confirmed regression."""


# ---------------------------------------------------------------------------------------------
# Beginning and moving on


def begin(
    station: Station,
    check: Check,
    good: Artifact,
    bad: Artifact,
    *,
    tier: Tier = Tier.QUICK,
    requested_by: str = "command line",
    priority: int = plan.ASKED,
    incident_id: int | None = None,
    again: bool = False,
) -> Bisection:
    """Return the search between two releases: the one that goes on or has found it, else one begun now.

    Raises:
        UnknownNameError: when the good release does not stand before the bad one, or one is attached.

    """
    stops = between(station, good, bad)
    with station.store.write() as db:
        for known in bisections.listed(db, machine_id=station.host.machine_id):
            ends = (known.visits[0].artifact_sha256, known.visits[-1].artifact_sha256)
            if (known.check_digest, known.tier, ends) != (check.digest, tier, (good.sha256, bad.sha256)):
                continue
            if known.state is BisectionState.RUNNING or (known.state is BisectionState.FOUND and not again):
                return known
        return bisections.create(
            db,
            check=check,
            machine_id=station.host.machine_id,
            tier=tier,
            requested_by=requested_by,
            priority=priority,
            incident_id=incident_id or telling.of_loss(station, db, check, bad),
            stops=stops,
            now=station.clock(),
        )


def advance(station: Station, bisection_id: int, *, queued: bool, reading: bool = True) -> Run | None:
    """Take in what has been answered, and return the run to carry out next, None once the search is over.

    With `queued` the run stands in the queue. It may be called at any time and by any process: what was
    planned or answered already stays. Without `reading`, None is returned too where a commit would have to be
    looked up and its wheel read, which takes minutes.

    Raises:
        UnknownNameError, HostError: when the check can no longer be run here.
        SourceError, ArtifactChangedError, DiskFullError: when the next commit could not be looked up or read;
            the search is as it was.

    """
    while True:
        with station.store.read() as db:
            found = bisections.get(db, bisection_id)
        if found is None or found.state is not BisectionState.RUNNING:
            return None
        check = plan.runnable_check(station, found.check_id, found.project)
        if check.digest != found.check_digest:
            _end(station, found, BisectionState.CANCELLED, "the check was changed since it began")
            return None
        way = Way(station, found, check)
        visit = way.due()
        if visit is None:
            if not reading and single_commits.may_go_on(station, found):
                return None
            if _goes_on_with_commits(station, found):
                continue
            state = BisectionState.NARROWED if found.suspects else BisectionState.FOUND
            _end(station, found, state, bisected.result(found, single_commits.line(station, found)))
            return None
        run = way.run_of(visit, queued=queued)
        if run.state not in ENDED:
            _note(station, found, "")
            return run
        pointless = way.take_in(visit, run)
        if pointless is not None:
            _end(station, found, BisectionState.NO_LOSS, pointless)
            return None


def _goes_on_with_commits(station: Station, found: Bisection) -> bool:
    try:
        return single_commits.go_on(station, found)
    except SourceError as error:
        _note(station, found, error.what)
        raise SourceError(
            f"Bisection {found.id} needs the commits between {found.last_good.version} and "
            f"{found.first_bad.version}, and waits: {error.what}",
            kept="what it knows; it goes on where it is",
            advice="; ".join(filter(None, (error.advice, "`[bisect] commits = false` ends it without them"))),
            retry_after_s=error.retry_after_s,
        ) from error


def move_on(station: Station, *, reading: bool = True) -> bool:
    """Let every search of this host take its next step, and begin those that nobody has to ask for.

    Without `reading` no wheel is looked up or read; returned is whether one would have to be.
    """
    is_left = False
    with station.store.read() as db:
        going_on = bisections.running(db, station.host.machine_id)
    for found in going_on:
        if _is_pointless(station, found):
            _end(station, found, BisectionState.CANCELLED, "the incident has ended")
            continue
        if single_commits.is_paused(station, found):
            continue
        try:
            run = advance(station, found.id, queued=True, reading=reading)
            is_left = is_left or (run is None and _goes_on(station, found.id))
        except SourceError:
            continue  # it is noted, and is tried again after a while
        except MonitorError as error:
            _note(station, found, error.what)
    if station.settings.bisect.automatic:
        _begin_after_incidents(station)
    return is_left


def _goes_on(station: Station, bisection_id: int) -> bool:
    with station.store.read() as db:
        found = bisections.get(db, bisection_id)
    return found is not None and found.state is BisectionState.RUNNING


def _note(station: Station, found: Bisection, why: str) -> None:
    """Keep why a search does not move on, "" once it does."""
    if found.reason != why:
        with station.store.write() as db:
            bisections.note(db, found.id, why)


def cancel(station: Station, bisection_id: int, who: str) -> Bisection:
    """Call a search off; its run that waits in the queue is called off too.

    Raises:
        UnknownNameError: when there is no such search, or it has ended.

    """
    with station.store.read() as db:
        found = bisections.get(db, bisection_id)
    if found is None or found.state is not BisectionState.RUNNING:
        state = "not known" if found is None else found.state
        raise UnknownNameError(f"Bisection {bisection_id} is {state}.", kept="it as it is")
    _end(station, found, BisectionState.CANCELLED, f"called off by {who}")
    with station.store.read() as db:
        return bisections.get(db, bisection_id) or found


def _is_pointless(station: Station, found: Bisection) -> bool:
    if found.requested_by != AUTOMATIC or found.incident_id is None:
        return False
    with station.store.read() as db:
        incident = incidents.get(db, found.incident_id)
    return incident is None or incident.state not in LIVE_STATES


def _begin_after_incidents(station: Station) -> None:
    with station.store.read() as db:
        live = incidents.in_state(db, LIVE_STATES)
    for incident in live:
        if incident.direction is not Direction.REGRESSED or incident.machine_id != station.host.machine_id:
            continue
        with station.store.read() as db:
            if bisections.of_incident(db, incident.id) is not None:
                continue
            bad = runs.get(db, incident.first_bad_run_id)
            good = runs.get(db, bad.reference_run_id) if bad and bad.reference_run_id else None
            ends = [artifacts.with_content(db, run.artifact_sha256) if run else None for run in (good, bad)]
        if bad is None or ends[0] is None or ends[1] is None or any(is_attached(end) for end in ends if end):
            continue
        try:
            check = plan.runnable_check(station, incident.check_id, incident.project)
            if check.digest == bad.check_digest:
                begun = begin(
                    station,
                    check,
                    ends[0],
                    ends[1],
                    tier=bad.tier,
                    requested_by=AUTOMATIC,
                    priority=LAST_IN_QUEUE,
                    incident_id=incident.id,
                )
                advance(station, begun.id, queued=True, reading=False)
        except MonitorError as error:  # a check that was taken away; an order of versions nobody meant
            station.progress.stage(f"no bisection of incident {incident.id}: {error.what}")


def _end(station: Station, found: Bisection, state: BisectionState, reason: str) -> None:
    """End a search, take its run out of the queue, and put a result on the incident, all at once."""
    now = station.clock()
    with station.store.write() as db:
        if not bisections.end(db, found.id, state, reason=reason, now=now):
            return
        for visit in found.visits:
            run = runs.get(db, visit.run_id) if visit.own_run and visit.run_id else None
            if run is not None and run.requested_by == plan.BISECTION and run.state in _WAITING:
                runs.set_state(db, run.id, RunState.CANCELLED, reason=reason, now=now)
        ended = bisections.get(db, found.id)
        if ended is not None and state in {BisectionState.FOUND, BisectionState.NARROWED}:
            telling.bisected(station, db, ended)


_WAITING = (RunState.PLANNED, RunState.INTERRUPTED)


# ---------------------------------------------------------------------------------------------
# One release


def is_step(station: Station, queued: Run) -> bool:
    """Say whether a run was made for a search; the good end alone is measured as any release."""
    with station.store.read() as db:
        return bisections.of_run(db, queued.id) is not None


def visit(station: Station, queued: Run) -> None:
    """Carry out the run of a release that is compared with the good end, as far as its answer needs.

    Raises:
        HostError: when the good end has to be measured first, or another process measures here.
        SourceError, ModelError, DiskFullError: when something around the release is missing; the run is
            interrupted and goes on later.

    """
    with station.store.read() as db:
        known = bisections.of_run(db, queued.id)
    if known is None:
        raise AssertionError(f"run {queued.id} belongs to no bisection")
    found, stop = known
    check = plan.runnable_check(station, found.check_id, found.project)
    run = plan.take_up(station, check, queued)
    good = good_run(station, found, check)
    if good is None:
        raise HostError(
            f"The good end {found.visits[0].version} has to be measured again first.", permanent=False
        )
    artifact = plan.resolve(station, f"{run.project}=={run.version}@{run.artifact_sha256}")
    with (
        station.measuring(f"bisection {found.id}: {check.id} on {artifact.project} {artifact.version}"),
        borrowed(station),
    ):
        tidy(station)
        make_ready(station, check)
        with ending_as_told(station, run):
            enter(station, run, RunState.PROVISIONING)
            begin_attempt(station, run)
            environment = provision(station, artifact)
            require_arms(check, environment)
            bench = Bench(station, run, check, weights(station, check), found.tier)
            settle_attempt(station, run, environment, good)
            candidate = Build(Subject.CANDIDATE, environment, bench.header(environment))
            judgement = (
                shown(bench, candidate, good)
                if stop.place == len(found.visits) - 1
                else compared(bench, candidate, good, loss_of_bad_end(station, found))
            )
            _keep(bench, found, stop, judgement)


def _keep(bench: Bench, found: Bisection, stop: Visit, judgement: Judgement) -> None:
    station, now = bench.station, bench.station.clock()
    ended = RunState.INVALID if judgement.verdict is Verdict.INVALID else RunState.DONE
    with station.store.write() as db:
        number = judgements.save(db, bench.run.id, judgement, now=now)
        bisections.set_judgement(db, found.id, stop.artifact_sha256, number)
        runs.set_state(db, bench.run.id, ended, reason=judgement.headline, now=now)
        end_attempt(db, station, bench.run, ended)
    shutil.rmtree(station.settings.spool_dir / f"run-{bench.run.id}", ignore_errors=True)


# ---------------------------------------------------------------------------------------------
# How long it takes


def minutes_left(station: Station, found: Bisection) -> float | None:
    """Return about how many minutes of measuring are left: as long as the steps so far took, on average.

    Before the first, what the check says of one session pair. None once the search is over.
    """
    if found.state is not BisectionState.RUNNING:
        return None
    took = []
    with station.store.read() as db:
        for visit in found.visits[1:-1]:
            run = runs.get(db, visit.run_id) if visit.own_run and visit.run_id else None
            if run is not None and run.started_at and run.finished_at:
                took.append((run.finished_at - run.started_at).total_seconds() / 60)
    check = station.checks.get(found.check_id)
    each = fmean(took) if took else (check.estimate_minutes.get(found.tier.value, 0.0) if check else 0.0)
    return each * steps_left(station, found)


def steps_left(station: Station, found: Bisection) -> int:
    """Return how many more steps it takes at most, as long as every release or commit answers."""
    if found.state is not BisectionState.RUNNING:
        return 0
    return bisected.steps_left(found, single_commits.left(station, found))


def standing(station: Station, found: Bisection) -> str:
    """Return in words how far a search is, or what it has found."""
    return bisected.standing(found, minutes_left(station, found), single_commits.left(station, found))
