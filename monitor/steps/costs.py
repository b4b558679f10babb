"""Costs: what a million tokens cost to decode in a run, at the prices of the machine's owner."""

from __future__ import annotations

from sqlmodel import Session as Db

from monitor.domain import ArmSummary, Judgement, Role, SampleSet, Verdict
from monitor.judge.metrics import OVERALL
from monitor.settings_tables import HostSettings
from monitor.store import Subject
from monitor.store.queries import checks, sessions
from monitor.store.queries.runs import Run
from monitor.views.cost import Costs, Prices, costs


def prices_of(owner: HostSettings) -> Prices:
    """Return what the owner of a machine pays."""
    return Prices(owner.price_per_kwh, owner.price_per_gpu_hour, owner.currency)


def costs_of(db: Db, run: Run, judgement: Judgement | None, prices: Prices) -> Costs | None:
    """Return what both arms of a run cost, and those of its reference; None where that cannot be told."""
    if not prices.are_known or judgement is None or judgement.verdict is Verdict.INVALID:
        return None
    check = checks.get(db, run.check_digest)
    # Samples are many, and only energy is read from them.
    old, new = _judged(db, run) if prices.per_kwh is not None else (None, None)
    return costs(
        prices,
        check.concurrency if check is not None else 1,
        (_overall(judgement.reference_summary), old),
        (_overall(judgement.candidate_summary), new),
    )


def _judged(db: Db, run: Run) -> tuple[SampleSet | None, SampleSet | None]:
    """Return the pair that the verdict rests on: the confirming one where there is one."""
    old, new = (
        sessions.load(db, run.id, subject, Role.CONFIRM) for subject in (Subject.REFERENCE, Subject.CANDIDATE)
    )
    if old is not None and new is not None:
        return old, new
    return (
        sessions.compared_with(db, run.id, run.reference_run_id),
        sessions.load(db, run.id, Subject.CANDIDATE, Role.SCREEN),
    )


def _overall(summaries: tuple[ArmSummary, ...]) -> ArmSummary | None:
    return next((summary for summary in summaries if summary.workload == OVERALL), None)
