"""Advice as the API gives it: which release to run, check by check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from monitor.checks import loader
from monitor.steps.advise import advise_all
from monitor.steps.station import Station
from monitor.views.advice import Advised, said


@dataclass(frozen=True, slots=True, kw_only=True)
class AdviceList:
    """What to run of every followed project, as each of its checks sees it."""

    schema: Literal["mtp-monitor/api/advice/1"] = "mtp-monitor/api/advice/1"
    host: str
    advice: list[Advised]


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
