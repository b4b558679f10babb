"""Tidy: what a killed monitor left behind, gone before anything is measured."""

from __future__ import annotations

import shutil

from monitor import proc
from monitor.steps.station import Station


def tidy(station: Station) -> None:
    """End stray engines and remove half-built environments and private folders of dead sessions.

    Called with the measuring lock held, so nothing of it can belong to a living monitor.
    """
    proc.sweep_strays()
    station.environments.sweep()
    shutil.rmtree(station.settings.state / "scratch", ignore_errors=True)
