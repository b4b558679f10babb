"""Sweeps: what is asked for, and what was found about draft lengths and options, check by check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter
from sqlmodel import Session, col, select

from monitor.domain import Sweep
from monitor.store.models import OrderedSweep, StoredSweep

_SWEEP: TypeAdapter[Sweep] = TypeAdapter(Sweep)


@dataclass(frozen=True, slots=True)
class SweepOrder:
    """What a sweep is to measure."""

    check_id: str
    draft_lengths: tuple[int, ...]
    options: Mapping[str, Sequence[str]]
    """Name of an option → the values to try, as they were written."""


def keep_order(db: Session, run_id: int, order: SweepOrder) -> None:
    """Keep what the run of a sweep is to measure; the same run always measures the same."""
    if db.get(OrderedSweep, run_id) is None:
        options = {name: list(values) for name, values in order.options.items()}
        lengths = list(order.draft_lengths)
        db.add(OrderedSweep(run_id=run_id, check_id=order.check_id, draft_lengths=lengths, options=options))
        db.flush()


def order_of(db: Session, run_id: int) -> SweepOrder | None:
    """Return what the run of a sweep is to measure."""
    row = db.get(OrderedSweep, run_id)
    return None if row is None else SweepOrder(row.check_id, tuple(row.draft_lengths), row.options)


def save(db: Session, sweep: Sweep) -> None:
    """Keep what a sweep found, in place of what the same run found before."""
    row = db.get(StoredSweep, sweep.id) or StoredSweep(
        run_id=sweep.id,
        check_id=sweep.check_id,
        check_digest=sweep.check_digest,
        machine_id=sweep.machine_id,
        project=sweep.project,
        made_at=sweep.made_at,
        document={},
    )
    row.made_at, row.document = sweep.made_at, _SWEEP.dump_python(sweep, mode="json")
    db.add(row)
    db.flush()


def get(db: Session, run_id: int) -> Sweep | None:
    """Return the sweep of a run."""
    row = db.get(StoredSweep, run_id)
    return None if row is None else _SWEEP.validate_python(row.document)


def listed(
    db: Session, machine_id: str, *, project: str | None = None, check_digest: str | None = None
) -> list[Sweep]:
    """Return the sweeps of a host, newest first."""
    wanted = select(StoredSweep).where(StoredSweep.machine_id == machine_id)
    if project is not None:
        wanted = wanted.where(StoredSweep.project == project)
    if check_digest is not None:
        wanted = wanted.where(StoredSweep.check_digest == check_digest)
    newest_first = wanted.order_by(col(StoredSweep.made_at).desc(), col(StoredSweep.run_id).desc())
    return [_SWEEP.validate_python(row.document) for row in db.exec(newest_first)]


def newest(db: Session, machine_id: str, *, project: str, check_digest: str) -> Sweep | None:
    """Return the newest sweep of a check on a project's releases on a host."""
    return next(iter(listed(db, machine_id, project=project, check_digest=check_digest)), None)
