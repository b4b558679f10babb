"""One series: a metric of a check over the releases of a project."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sqlmodel import Session as Db

from monitor.domain import Direction, Epoch, Metric, Sweep
from monitor.errors import UnknownNameError
from monitor.judge.metrics import OVERALL
from monitor.steps.advise import advise, followed
from monitor.steps.station import Station
from monitor.store.queries import epochs, hosts, incidents, judgements, runs, sweeps
from monitor.store.queries import series as series_queries
from monitor.views.advice import Advised, said
from monitor.views.series import CHOICES, SeriesPoint, series_points, workloads_of
from monitor.web.facts.run_lines import RunLine


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesKey:
    """What names a series."""

    project: str
    check: str
    check_digest: str
    machine_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFacts:
    """The values of one metric of one workload over the releases, in their order."""

    schema: Literal["mtp-monitor/api/series/1"] = "mtp-monitor/api/series/1"
    key: SeriesKey
    check_title: str
    host: str
    metric: Metric
    workload: str
    """`all` for the overall row."""
    metrics: list[Metric]
    """What can be asked for as `metric`."""
    workloads: list[str]
    others: list[SeriesKey]
    """The other series there are: further projects and checks, hosts, and digests the check had before."""
    epochs: list[Epoch]
    points: list[SeriesPoint]
    advice: Advised | None
    """Which release to run, when the series is the check's present one on this host."""
    sweep: Sweep | None
    """The newest one of the check and project on that host."""


def series(  # each argument is one part of the address
    station: Station,
    *,
    project: str | None = None,
    check: str | None = None,
    digest: str | None = None,
    host: str | None = None,
    metric: Metric = Metric.SPEEDUP,
    workload: str = OVERALL,
) -> SeriesFacts:
    """Return one series; without project or check the first that is assigned and has a run.

    Args:
        station: where to look.
        project: only series of this project.
        check: only series of this check.
        digest: beginning of the check's digest; without it the newest.
        host: machine id; without it this host.
        metric: what is drawn.
        workload: `all` or the name of a workload.

    Raises:
        UnknownNameError: when there is no such series, or it has no such metric.

    """
    if metric not in CHOICES:
        raise UnknownNameError(
            f"There is no series of {metric.value}.", advice=f"there are: {', '.join(CHOICES)}"
        )
    with station.store.read() as db:
        known = series_queries.all_of(db)
        fitting = [
            one
            for one in known
            if one.machine_id == (host or station.host.machine_id)
            and project in (None, "", one.project)
            and check in (None, "", one.check_id)
            and one.check_digest.startswith(digest or "")
        ]
        fitting.sort(key=lambda one: _assigned(station, one))
        if not fitting:
            raise UnknownNameError(
                "No run was made in such a series.",
                advice="the overview links to those that exist; the first run begins a series",
            )
        chosen = fitting[0]
        key = {
            "machine_id": chosen.machine_id,
            "project": chosen.project,
            "check_digest": chosen.check_digest,
        }
        found = [run for run in runs.of_series(db, **key) if run.against == runs.LAST_GOOD]
        judged = judgements.several(db, [run.id for run in found])
        stretches = epochs.all_of(db, **key)
        noticed = {
            one.first_bad_run_id: one.id
            for one in incidents.of_epochs(db, [epoch.id for epoch in stretches], Direction.DRIFT)
        }
        machine = hosts.get(db, chosen.machine_id)
        advice = _advice(station, db, chosen)
        sweep = sweeps.newest(db, chosen.machine_id, project=chosen.project, check_digest=chosen.check_digest)
    definition = station.checks.get(chosen.check_id)
    return SeriesFacts(
        key=_key(chosen),
        check_title=definition.title if definition is not None else chosen.check_id,
        host=machine.name if machine is not None else chosen.machine_id,
        metric=metric,
        workload=workload,
        metrics=list(CHOICES),
        workloads=workloads_of(judged.values()),
        others=[_key(one) for one in known if one != chosen],
        epochs=stretches,
        points=series_points(found, judged, stretches, metric, workload, drifts=noticed),
        advice=advice,
        sweep=sweep,
    )


def _advice(station: Station, db: Db, chosen: series_queries.Series) -> Advised | None:
    key = (chosen.project, chosen.check_id, chosen.check_digest)
    if chosen.machine_id != station.host.machine_id or key not in followed(station, db):
        return None
    found = advise(station, db, *key)
    return said(found) if found is not None else None


def histories(
    station: Station, of: RunLine, wanted: Iterable[tuple[Metric, str]]
) -> dict[tuple[Metric, str], list[SeriesPoint]]:
    """Return (metric, workload) → the series that a run is part of; metrics without one are left out."""
    key = {"machine_id": of.machine_id, "project": of.project, "check_digest": of.check_digest}
    with station.store.read() as db:
        found = [run for run in runs.of_series(db, **key) if run.against == runs.LAST_GOOD]
        judged = judgements.several(db, [run.id for run in found])
        stretches = epochs.all_of(db, **key)
    return {
        (metric, workload): series_points(found, judged, stretches, metric, workload)
        for metric, workload in wanted
        if metric in CHOICES
    }


def _assigned(station: Station, one: series_queries.Series) -> int:
    """Return the place of a series among what is assigned; what is no more comes last, the newest first."""
    order = [
        (project, check)
        for project in dict.fromkeys(source.project for source in station.settings.sources)
        for check in station.settings.checks_of(project)
    ]
    name = (one.project, one.check_id)
    return order.index(name) if name in order else len(order)


def _key(one: series_queries.Series) -> SeriesKey:
    return SeriesKey(
        project=one.project,
        check=one.check_id,
        check_digest=one.check_digest,
        machine_id=one.machine_id,
    )
