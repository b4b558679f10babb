"""Advice as the API gives it: which release to run, check by check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from monitor.checks import loader
from monitor.domain import Sweep
from monitor.steps.advise import advise_all
from monitor.steps.station import Station
from monitor.store.queries import sweeps
from monitor.views.advice import Advised, said


@dataclass(frozen=True, slots=True, kw_only=True)
class AdviceList:
    """What to run of every followed project, as each of its checks sees it."""

    schema: Literal["mtp-monitor/api/advice/1"] = "mtp-monitor/api/advice/1"
    host: str
    advice: list[Advised]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepList:
    """What sweeps of draft lengths and options have found on this host, newest first."""

    schema: Literal["mtp-monitor/api/sweeps/1"] = "mtp-monitor/api/sweeps/1"
    sweeps: list[Sweep]


def sweep_list(station: Station, check: str | None = None) -> SweepList:
    """Return the sweeps of all checks or of one."""
    with station.store.read() as db:
        found = sweeps.listed(db, station.host.machine_id)
    return SweepList(sweeps=[one for one in found if check in (None, one.check_id)])


def advice_list(station: Station, check: str | None = None) -> AdviceList:
    """Return the advice of all checks or of one.

    Raises:
        UnknownNameError: when there is no such check and none was measured.

    """
    with station.store.read() as db:
        found = advise_all(station, db, check)
    if check is not None and not found:
        loader.pick(check, station.checks)
    return AdviceList(host=station.host.name, advice=[said(one) for one in found])
