"""Epochs: within which stretch a series' results compare, and what they are compared with."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session as Db

from monitor.checks.lock import ModelLock
from monitor.domain import Check, Epoch, Host
from monitor.steps.station import Station
from monitor.store.queries import checks, epochs, runs
from monitor.store.queries.runs import Run

_FIRST = "the first measurement of the series"
_MONITOR = "monitor"
ACCEPTED = "accepted as the reference: "
"""How the reason of an epoch begins that a person's acceptance began; theirs follows."""


def conditions(host: Host, weights: int = 1) -> dict[str, Any]:
    """Return what of a host decides that its results compare; when any of it changes, an epoch ends.

    `weights` counts the sets of model files that a person has accepted, from 1.
    """
    gpu = host.gpu or {}
    # What is not told cannot have changed, and a card of the same name is still another card.
    told = {
        "accepted weights": weights if weights > 1 else None,
        "GPU": gpu.get("uuid"),
        "GPU power limit": gpu.get("power_limit_w"),
        "GPU memory correction": gpu.get("ecc"),
        # What engines compile their kernels with when they start.
        "CUDA compiler": gpu.get("nvcc"),
    }
    return {
        "hardware class": host.hardware_class,
        "kernel": host.kernel,
        "GPU driver": gpu.get("driver"),
        **{name: value for name, value in told.items() if value is not None},
    }


def conditions_here(station: Station, check: Check) -> dict[str, Any]:
    """Return the `conditions` under which a check is measured here from now on."""
    lock = ModelLock(station.settings.state)
    return conditions(station.host, max(lock.generation(spec) for spec in check.models))


def current(station: Station, check: Check, project: str) -> Epoch:
    """Return the epoch a measurement made now belongs to, beginning one when the host has changed."""
    with station.store.write() as db:
        checks.save(db, check, now=station.clock())
        machine_id = station.host.machine_id
        found = epochs.current(db, machine_id=machine_id, project=project, check_digest=check.digest)
        now_here = conditions_here(station, check)
        if found is not None and found.conditions == now_here:
            return found
        return epochs.begin(
            db,
            machine_id=machine_id,
            project=project,
            check_digest=check.digest,
            conditions=now_here,
            reason=_FIRST if found is None else _difference(found.conditions, now_here),
            who=_MONITOR,
            now=station.clock(),
        )


def reference_of(station: Station, run: Run) -> Run | None:
    """Return the run that `run` is judged against by default.

    1. Of the epoch's runs that ended well, the one furthest on in the series before this run's release. A
       regression never ends well, so the reference does not move past it by itself.
    2. Else the run that a person accepted when the epoch began.
    """
    if run.epoch_id is None:
        return None
    with station.store.read() as db:
        found = runs.last_good(db, epoch_id=run.epoch_id, before=run)
        if found is not None:
            return found
        epoch = epochs.get(db, run.epoch_id)
        accepted = runs.get(db, epoch.reference_run_id) if epoch and epoch.reference_run_id else None
    return accepted if accepted is not None and accepted.artifact_id != run.artifact_id else None


def to_measure_again(station: Station, run: Run) -> Run | None:
    """Return the run whose release has to be measured anew before `run` can be judged in a new epoch.

    It is the reference of the epoch before: with another driver or kernel its numbers no longer compare.
    None when the epoch has a reference, or there was none before either.
    """
    if run.epoch_id is None or reference_of(station, run) is not None:
        return None
    with station.store.read() as db:
        epoch = epochs.get(db, run.epoch_id)
        if epoch is None or epoch.number == 1:
            return None
        earlier = epochs.all_of(
            db, machine_id=epoch.machine_id, project=epoch.project, check_digest=epoch.check_digest
        )
        return next(
            (old for item in reversed(earlier[:-1]) if (old := _reference(db, item, run)) is not None), None
        )


def _reference(db: Db, epoch: Epoch, run: Run) -> Run | None:
    found = runs.last_good(db, epoch_id=epoch.id, before=run)
    if found is None and epoch.reference_run_id is not None:
        found = runs.get(db, epoch.reference_run_id)
    return None if found is None or found.artifact_id == run.artifact_id else found


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    changed = [
        f"{name}: {old.get(name) or 'none'} → {new.get(name) or 'none'}"
        for name in new
        if old.get(name) != new.get(name)
    ]
    return "; ".join(changed)
