"""One run with its judgement, its way through the states, and the end of its newest engine log."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from monitor.domain import Basis, Judgement
from monitor.errors import UnknownNameError
from monitor.steps.costs import costs_of, prices_of
from monitor.steps.station import Station
from monitor.store.queries import arms, incidents, judgements, runs, sessions
from monitor.store.queries.runs import Step
from monitor.views.cost import Costs
from monitor.views.text import plain_log
from monitor.web.facts.run_lines import RunLine, run_lines

_LOG_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """One run with everything that is said of it."""

    schema: Literal["mtp-monitor/api/run/1"] = "mtp-monitor/api/run/1"
    run: RunLine
    judgement: Judgement | None
    """Against its reference; null until there is one."""
    against_predecessor: Judgement | None
    """Against the release before it, made while an incident goes on."""
    against_first: Judgement | None
    """Against the epoch's first good run, made where the series has crept away from it."""
    measured_on: int | None
    """Blocks that it had once it was measured on after its verdict, as what later releases are compared with;
    null where it was not."""
    cost_of_a_million_tokens: Costs | None
    """At the owner's prices; null without one, or where it cannot be told."""
    history: list[Step]
    """Its transitions, oldest first; an arm that was left out is noted where it was."""
    left_out: dict[str, str]
    """Arm beside the judged ones that did not run → why."""
    incidents: list[int]
    """Ids of the incidents that rest on it."""


def run_facts(station: Station, run_id: int) -> RunFacts:
    """Return one run.

    Raises:
        UnknownNameError: when there is no such run.

    """
    with station.store.read() as db:
        run = runs.get(db, run_id)
        if run is None:
            raise UnknownNameError(
                f"There is no run {run_id}.", advice="the list of runs shows which there are"
            )
        judgement = judgements.get(db, run_id)
        return RunFacts(
            run=run_lines(station, db, [run])[0],
            judgement=judgement,
            against_predecessor=judgements.get(db, run_id, Basis.PREDECESSOR),
            against_first=judgements.get(db, run_id, Basis.FIRST),
            measured_on=sessions.measured_on(db, run_id),
            cost_of_a_million_tokens=costs_of(db, run, judgement, prices_of(station.settings.host)),
            history=runs.history(db, run_id),
            left_out={arm.value: why for arm, why in arms.left_out(db, run_id).items()},
            incidents=[one.id for one in incidents.of_run(db, run_id)],
        )


def has_log(station: Station, run_id: int) -> bool:
    """Say whether an engine log of the run is kept."""
    return _newest_log(station, run_id) is not None


def run_log(station: Station, run_id: int) -> str:
    """Return the end of the newest engine log of a run as plain text, at most 256 KiB of it.

    Raises:
        UnknownNameError: when there is none.

    """
    path = _newest_log(station, run_id)
    if path is None:
        raise UnknownNameError(
            f"No engine log of run {run_id} is kept.", advice="a run keeps logs once an engine was started"
        )
    with path.open("rb") as log:
        log.seek(0, os.SEEK_END)
        log.seek(max(0, log.tell() - _LOG_BYTES))
        return plain_log(log.read(_LOG_BYTES).decode("utf-8", errors="replace")) + "\n"


def _newest_log(station: Station, run_id: int) -> Path | None:
    folder = station.settings.logs_dir / f"run-{run_id}"
    return max(folder.glob("*.log"), key=lambda path: path.stat().st_mtime, default=None)
