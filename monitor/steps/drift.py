"""Drift: a release that passed, compared with the epoch's first good run where the series has crept away.

`monitor/judge/drift.py` has the rule. This module finds the series in the store, says what is to be measured
in turns before anybody is told, and keeps people from being told of the same drift twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlmodel import Session as Db

from monitor.domain import (
    LIVE_STATES,
    Basis,
    Direction,
    Incident,
    IncidentState,
    Judgement,
    Role,
    RunState,
    Verdict,
)
from monitor.judge import drift
from monitor.judge.drift import Creep
from monitor.judge.policy import JudgingPolicy
from monitor.judge.recovery import has_recovered
from monitor.judge.verdict import judge
from monitor.steps.measure import Bench
from monitor.store import Subject
from monitor.store.queries import epochs, incidents, judgements, runs, sessions
from monitor.store.queries.runs import Run

WORSE = 2.0
"""A drift that people know of is told again when it has grown by this factor."""
_PAUSE = 5
"""Releases for which a drift that fresh sessions did not show is not looked for again: it was the machine."""
_PASSES = (Verdict.UNCHANGED, Verdict.IMPROVED, Verdict.INCONCLUSIVE)


@dataclass(frozen=True, slots=True)
class SinceFirst:
    """A release against the epoch's first good run, by stored sessions of both."""

    first: Run
    judgement: Judgement
    against_reference: Judgement
    creeps: tuple[Creep, ...]
    asks: bool
    """People would be told, so both are measured in turns first."""


def compare(bench: Bench, judgement: Judgement) -> SinceFirst | None:
    """Return the comparison with the epoch's first good run; None where nothing has crept away from it.

    While a drift goes on every release is compared, to see when the loss is gone.
    """
    with bench.station.store.read() as db:
        looked = _look(db, bench, judgement)
        if looked is None:
            return None
        old = sessions.load(db, looked.first.id, Subject.CANDIDATE, *sessions.AS_REFERENCE)
    new = bench.stored(Subject.CANDIDATE, Role.SCREEN)
    if old is None or new is None:
        return None
    found = judge(old, new)
    lost = looked.lost
    if looked.goes_on:
        recovered = lost is not None and has_recovered(lost, found)
        return SinceFirst(looked.first, found, judgement, looked.creeps, recovered)
    behind = tuple(drift.is_behind(judgement, found, looked.creeps))
    # What people have called a false alarm or dealt with is told again only when there is much more of it.
    known = lost is not None and drift.size_of(found) < WORSE * drift.size_of(lost)
    return SinceFirst(looked.first, found, judgement, behind, asks=True) if behind and not known else None


@dataclass(frozen=True, slots=True)
class _Looked:
    """What the series says, before samples are read."""

    first: Run
    creeps: tuple[Creep, ...]
    lost: Judgement | None
    """What people know of: against the first good run, where it was worst."""
    goes_on: bool


def _look(db: Db, bench: Bench, judgement: Judgement) -> _Looked | None:
    run = runs.get(db, bench.run.id)
    first = first_good(db, run) if run is not None and judgement.verdict in _PASSES else None
    if run is None or first is None or run.place <= first.place or first.tier is not run.tier:
        return None
    known = _known(db, run)
    goes_on = known is not None and known.state in LIVE_STATES
    if first.id == run.reference_run_id and not goes_on:
        return None
    earlier = history(db, run, first)
    creeps = tuple(drift.crept([*earlier.values(), judgement], bench.policy()))
    if not goes_on and (not creeps or _was_refuted(db, list(earlier))):
        return None
    lost = judgements.get(db, known.worst_run_id, Basis.FIRST) if known is not None else None
    return _Looked(first, creeps, lost, goes_on)


def told(found: SinceFirst, judged: Judgement) -> Judgement:
    """Return a judgement against the first good run in words of its own.

    One that was confirmed although the drift is not in it is no drift: the machine or a lucky start was.
    """
    behind = drift.is_behind(found.against_reference, judged, found.creeps)
    if behind:
        return replace(judged, headline=drift.sentence(behind[0], judged))
    if judged.confirmed is None or judged.verdict is not Verdict.REGRESSED:
        return judged
    return replace(judged, verdict=Verdict.INCONCLUSIVE, confirmed=False)


def forget_another(bench: Bench, first: Run) -> None:
    """Discard sessions in turns with a run that is no longer the epoch's first good one."""
    stored = bench.stored(Subject.FIRST, Role.DRIFT)
    if stored is not None and stored.header.artifact_sha256 != first.artifact_sha256:
        with bench.station.store.write() as db:
            sessions.discard(db, bench.run.id, Role.DRIFT)


def first_good(db: Db, run: Run) -> Run | None:
    """Return where an epoch began: the run that a person accepted, else that of the earliest good release."""
    if run.epoch_id is None:
        return None
    epoch = epochs.get(db, run.epoch_id)
    if epoch is not None and epoch.reference_run_id is not None:
        return runs.get(db, epoch.reference_run_id)
    return runs.first_good(db, epoch_id=run.epoch_id)


def history(db: Db, run: Run, first: Run) -> dict[int, Judgement]:
    """Return run → judgement of the releases from the epoch's first good one up to `run`, without it."""
    alike = [
        other
        for other in runs.of_epoch(db, run.epoch_id or 0)
        if other.state is RunState.DONE
        and other.against == runs.LAST_GOOD
        and other.tier is run.tier
        and first.place < other.place < run.place
    ]
    newest = {other.place: other for other in alike}
    ordered = [first, *sorted(newest.values(), key=lambda other: other.place)]
    judged = judgements.several(db, [other.id for other in ordered])
    return {other.id: judged[other.id] for other in ordered if other.id in judged}


def series_of(db: Db, run: Run, against_first: Judgement) -> Creep | None:
    """Return the series of the metric that was lost most since the epoch's first good run, up to `run`."""
    first, own = first_good(db, run), judgements.get(db, run.id)
    if first is None or own is None:
        return None
    judged = [*history(db, run, first).values(), own]
    policy = JudgingPolicy().with_overrides(own.candidate.judging)
    found = [creep for metric in drift.FIELDS if (creep := drift.creep_of(judged, metric, policy))]
    return max(found, key=lambda creep: drift.lost(against_first, creep.metric), default=None)


def _known(db: Db, run: Run) -> Incident | None:
    """Return the newest drift of the run's epoch that people know of, unless a release took it back."""
    found = incidents.newest(
        db,
        machine_id=run.host,
        project=run.project,
        check_id=run.check_id,
        epoch_id=run.epoch_id or 0,
        direction=Direction.DRIFT,
    )
    taken_back = found is not None and (
        found.state is IncidentState.RESOLVED and found.fixed_by_run_id is not None
    )
    return None if taken_back else found


def _was_refuted(db: Db, earlier: list[int]) -> bool:
    recent = judgements.several(db, earlier[-_PAUSE:], Basis.FIRST)
    return any(judged.confirmed is False for judged in recent.values())
