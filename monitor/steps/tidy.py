"""Tidy: what a killed monitor left behind, gone before anything is measured."""

from __future__ import annotations

import shutil

from monitor import proc
from monitor.steps.station import Station
from monitor.store.queries import runs
from monitor.store.transitions import ENDED


def tidy(station: Station) -> None:
    """End stray engines; remove half-built environments, dead sessions' folders and spools of ended runs.

    Called with the measuring lock held, so nothing of it can belong to a living monitor.
    """
    proc.sweep_strays()
    station.environments.sweep()
    shutil.rmtree(station.settings.state / "scratch", ignore_errors=True)
    _drop_spools(station)


def _drop_spools(station: Station) -> None:
    """Remove the spools of runs that have ended; whatever was complete in them is in the store."""
    for folder in station.settings.spool_dir.glob("run-*"):
        number = folder.name.removeprefix("run-")
        if not number.isdigit():
            continue
        with station.store.read() as db:
            run = runs.get(db, int(number))
        if run is not None and run.state in ENDED:
            shutil.rmtree(folder, ignore_errors=True)
