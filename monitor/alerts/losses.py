"""Losses: what an incident's runs lost, by the comparison that the incident rests on."""

from __future__ import annotations

from sqlmodel import Session as Db

from monitor.domain import Basis, Direction, Incident, Judgement, Verdict
from monitor.judge.drift import size_of
from monitor.steps import drift
from monitor.store.queries import judgements
from monitor.store.queries.runs import Run

_BASES = {Direction.DRIFT: Basis.FIRST}
"""What an incident's runs were compared with, where that is not the reference."""


def is_worse(db: Db, run: Run, judgement: Judgement | None, live: Incident, worst: Run) -> bool:
    """Say whether a run has lost more than the worst of a live incident so far, and so is news."""
    before = judged(db, live, worst.id)
    if live.direction is Direction.DRIFT:
        # It grows by its nature; people hear of it again when it has become another matter.
        if judgement is None or before is None:
            return False
        return size_of(judgement) >= drift.WORSE * size_of(before)
    return _loss(judgement) > _loss(before) and _is_new_loss(db, run)


def judged(db: Db, incident: Incident, run_id: int) -> Judgement | None:
    """Return what a run of an incident was found to have lost; None where it does not run."""
    return judgements.get(db, run_id, _BASES.get(incident.direction, Basis.REFERENCE))


def _loss(judgement: Judgement | None) -> float:
    """Return how much slower mtp serves than the reference did, as a log; 0 where that is not known."""
    if judgement is None:
        return 0.0
    rates = [
        row.change_log for row in judgement.effects if row.workload == "all" and row.metric == "mtp_rate"
    ]
    return -rates[0] if rates and rates[0] is not None else 0.0


def _is_new_loss(db: Db, run: Run) -> bool:
    """Say whether the release lost something that the one before it still had."""
    compared = judgements.get(db, run.id, Basis.PREDECESSOR)
    return compared is not None and compared.verdict is Verdict.REGRESSED
