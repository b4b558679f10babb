"""Tidy: what a killed monitor left behind, gone before anything is measured."""

from __future__ import annotations

import shutil

from monitor import proc
from monitor.steps.station import Station
from monitor.store.queries import runs
from monitor.store.transitions import ENDED


def tidy(station: Station) -> None:
    """End stray engines; remove half-built environments, folders of dead sessions, ended spools, lone caches.

    Called with the measuring lock held, so nothing of it can belong to a living monitor.
    """
    proc.sweep_strays()
    station.environments.sweep()
    shutil.rmtree(station.settings.state / "scratch", ignore_errors=True)
    _drop_spools(station)
    _drop_caches(station)


def drop_spool(station: Station, run_id: int) -> None:
    """Remove what a run has in the spool, once it has ended: what is complete of it is in the store."""
    shutil.rmtree(station.settings.spool_dir / f"run-{run_id}", ignore_errors=True)


def _drop_spools(station: Station) -> None:
    for folder in station.settings.spool_dir.glob("run-*"):
        number = folder.name.removeprefix("run-")
        if not number.isdigit():
            continue
        with station.store.read() as db:
            run = runs.get(db, int(number))
        if run is not None and run.state in ENDED:
            drop_spool(station, run.id)


def _drop_caches(station: Station) -> None:
    """Remove what the compilers of environments that are gone have kept."""
    kept = {environment.key for environment in station.environments.all()}
    for folder in station.settings.caches_dir.glob("*"):
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)
