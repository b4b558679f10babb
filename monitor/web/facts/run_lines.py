"""Runs as lists show them: each with the verdict on it and the figures that matter most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlmodel import Session as Db

from monitor.domain import ArmSummary, Judgement, RunState, Signature, Tier, Verdict
from monitor.judge.metrics import OVERALL
from monitor.planted.names import is_planted
from monitor.steps.station import Station
from monitor.store.queries import judgements, runs
from monitor.store.queries.runs import Run
from monitor.views import numbers
from monitor.views.series import verdict_of

PAGE = 50
"""Runs on one page of the list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """One run with its verdict; figures are overall ones, null where nothing was measured or believed."""

    id: int
    project: str
    version: str
    planted: bool
    artifact_sha256: str
    channel: str
    check: str
    check_title: str
    check_digest: str
    machine_id: str
    tier: Tier
    state: RunState
    stage: str
    reason: str
    attempts: int
    requested_by: str
    verdict: Verdict | None
    first: bool
    """There was nothing to compare it with."""
    signature: Signature | None
    confirmed: bool | None
    headline: str
    """The verdict in one sentence; of a run without one, why."""
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None
    acceptance_rate: float | None
    reference_run_id: int | None
    reference_version: str | None
    reference_speedup: float | None
    planned_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    due_at: datetime | None
    """Of a run in the queue: not before this moment."""
    waiting: str
    """Why it was not begun when its turn came last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunList:
    """The runs of this host, newest first."""

    schema: Literal["mtp-monitor/api/runs/1"] = "mtp-monitor/api/runs/1"
    runs: list[RunLine]
    next_before: int | None
    """Give it as `before` to go on; null at the end."""


def run_list(
    station: Station,
    *,
    project: str | None = None,
    check: str | None = None,
    state: RunState | None = None,
    before: int | None = None,
    limit: int = PAGE,
) -> RunList:
    """Return one page of the runs of this host."""
    with station.store.read() as db:
        found = runs.listed(
            db,
            machine_id=station.host.machine_id,
            project=project or None,
            check_id=check or None,
            states=[state] if state else None,
            before=before,
            limit=limit + 1,
        )
        lines = run_lines(station, db, found[:limit])
    return RunList(runs=lines, next_before=found[limit - 1].id if len(found) > limit else None)


def run_lines(station: Station, db: Db, found: Sequence[Run]) -> list[RunLine]:
    """Return a line for each run, in the order given."""
    judged = judgements.several(db, [run.id for run in found])
    return [run_line(station, run, judged) for run in found]


def run_line(station: Station, run: Run, judged: Mapping[int, Judgement]) -> RunLine:
    """Return one run as a line; `judged` holds its judgement if it has one."""
    judgement = judged.get(run.id)
    believed = judgement if judgement is not None and judgement.verdict is not Verdict.INVALID else None
    old = _overall(believed.reference_summary) if believed is not None else None
    new = _overall(believed.candidate_summary) if believed is not None else None
    check = station.checks.get(run.check_id)
    reference = judgement.reference if judgement is not None else None
    return RunLine(
        id=run.id,
        project=run.project,
        version=run.version,
        planted=is_planted(run.version),
        artifact_sha256=run.artifact_sha256,
        channel=run.channel,
        check=run.check_id,
        check_title=check.title if check is not None else run.check_id,
        check_digest=run.check_digest,
        machine_id=run.host,
        tier=run.tier,
        state=run.state,
        stage=run.stage,
        reason=run.reason,
        attempts=run.attempts,
        requested_by=run.requested_by,
        verdict=verdict_of(run, judgement),
        first=judgement is not None and reference is None,
        signature=judgement.signature if judgement is not None else None,
        confirmed=judgement.confirmed if judgement is not None else None,
        headline=judgement.headline if judgement is not None else run.reason,
        speedup=_known(new.speedup if new is not None else None),
        speedup_low=_known(new.speedup_low if new is not None else None),
        speedup_high=_known(new.speedup_high if new is not None else None),
        acceptance_rate=_known(new.acceptance_rate if new is not None else None),
        reference_run_id=run.reference_run_id,
        reference_version=reference.version if reference is not None else None,
        reference_speedup=_known(old.speedup if old is not None else None),
        planned_at=run.planned_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        due_at=run.due_at,
        waiting=run.waiting,
    )


def _overall(summaries: Sequence[ArmSummary]) -> ArmSummary | None:
    return next((summary for summary in summaries if summary.workload == OVERALL), None)


def _known(value: float | None) -> float | None:
    return value if numbers.known(value) else None
