"""Upstream: gathers what a project's tracker is told of a confirmed loss."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from sqlmodel import Session as Db

from monitor.domain import (
    Artifact,
    Basis,
    Direction,
    Environment,
    Incident,
    Judgement,
    Role,
    Verdict,
    is_attached,
)
from monitor.errors import UnknownNameError
from monitor.judge.drift import Creep
from monitor.steps import drift
from monitor.steps.publish import run_view
from monitor.steps.station import Station
from monitor.store import Subject
from monitor.store.queries import artifacts, bisections, environments, incidents, judgements, runs, sessions
from monitor.store.queries.runs import Run
from monitor.views.models import RunView
from monitor.views.upstream.installing import is_public
from monitor.views.upstream.parts import BAD, GOOD, Side
from monitor.views.upstream.text import UpstreamText, UpstreamView, upstream_text


def is_for_upstream(station: Station, incident_id: int) -> bool:
    """Say whether an incident has a text for upstream."""
    try:
        _gathered(station, incident_id)
    except UnknownNameError:
        return False
    return True


def upstream(station: Station, incident_id: int) -> UpstreamText:
    """Return the text about the release that brought an incident, or about what has drifted away.

    Raises:
        UnknownNameError: when there is no such incident, or its loss is none that upstream could look into:
            not confirmed against another release, or about a release that does not run.

    """
    return upstream_text(_gathered(station, incident_id))


@dataclass(frozen=True, slots=True)
class _Compared:
    """Which runs the text is about."""

    bad: Run
    good: Run
    judgement: Judgement
    creep: Creep | None = None


def _gathered(station: Station, incident_id: int) -> UpstreamView:
    with station.store.read() as db:
        incident = incidents.get(db, incident_id)
        if incident is None:
            raise UnknownNameError(
                f"There is no incident {incident_id}.", advice="`mtp-monitor incidents list --all` shows them"
            )
        compared = _compared(db, incident)
        if compared is None:
            raise _nothing_to_tell(incident)
        built = [environments.of_run(db, run.id) for run in (compared.good, compared.bad)]
        bisection = bisections.of_incident(db, incident_id)
    view = run_view(station, compared.bad.id)
    if compared.creep is not None:
        view = _since_first(station, view, compared)
    if view.artifact is None or view.reference_artifact is None or built[0] is None or built[1] is None:
        raise _nothing_to_tell(incident)
    return UpstreamView(
        view=view,
        good=_side(station, GOOD, view.reference_artifact, built[0]),
        bad=_side(station, BAD, view.artifact, built[1]),
        judgement=compared.judgement,
        bisection=bisection,
        monitor_version=importlib.metadata.version("mtp-monitor"),
        creep=compared.creep,
    )


def _compared(db: Db, incident: Incident) -> _Compared | None:
    """Return what an incident's loss was found between, None where it was between no two releases."""
    if incident.direction is Direction.DRIFT:
        return _drifted(db, incident)
    bad = runs.get(db, incident.first_bad_run_id)
    good = runs.get(db, bad.reference_run_id) if bad is not None and bad.reference_run_id else None
    judgement = judgements.get(db, incident.first_bad_run_id)
    if incident.direction is not Direction.REGRESSED or bad is None or good is None or judgement is None:
        return None
    return _Compared(bad, good, judgement) if judgement.verdict is Verdict.REGRESSED else None


def _drifted(db: Db, incident: Incident) -> _Compared | None:
    """Return the newest release that was measured in turns with the epoch's first good one, and that one."""
    numbers = (incident.latest_bad_run_id, incident.worst_run_id, incident.first_bad_run_id)
    for number in sorted(set(numbers), reverse=True):
        bad, judgement = runs.get(db, number), judgements.get(db, number, Basis.FIRST)
        if bad is None or judgement is None or not judgement.confirmed:
            continue
        good, creep = drift.first_good(db, bad), drift.series_of(db, bad, judgement)
        compared = judgement.reference
        if judgement.verdict is not Verdict.REGRESSED or good is None or creep is None or compared is None:
            continue
        if compared.artifact_sha256 == good.artifact_sha256:
            return _Compared(bad, good, judgement, creep)
    return None


def _since_first(station: Station, view: RunView, compared: _Compared) -> RunView:
    """Return the view of a run as compared with the epoch's first good one, not with its reference."""
    good, bad = compared.good, compared.bad
    with station.store.read() as db:
        return replace(
            view,
            judgement=compared.judgement,
            reference_version=good.version,
            reference_artifact=artifacts.with_content(db, good.artifact_sha256),
            reference_environment=environments.of_run(db, good.id),
            reference_samples=sessions.load(db, good.id, Subject.CANDIDATE, Role.SCREEN),
            confirm_reference=sessions.load(db, bad.id, Subject.FIRST, Role.DRIFT),
            confirm_candidate=sessions.load(db, bad.id, Subject.CANDIDATE, Role.DRIFT),
        )


def _nothing_to_tell(incident: Incident) -> UnknownNameError:
    return UnknownNameError(
        f"Incident {incident.id} has no loss that was measured against another release.",
        advice="only a confirmed loss has a text; a release that does not run has its log (`report`)",
    )


def _side(station: Station, name: str, artifact: Artifact, environment: Environment) -> Side:
    """Return one release, with what of its address anybody can reach."""
    source = None if is_attached(artifact) else station.settings.source_for(artifact)
    index_url = source.index_url if source is not None else None
    folder_or_page = source is not None and any(_is_from(artifact, link) for link in source.find_links)
    remote = urlsplit(artifact.url).scheme in {"http", "https"}
    published = remote and not folder_or_page and (index_url is None or is_public(index_url))
    return Side(name, artifact, environment, index_url if is_public(index_url) else None, published)


def _is_from(artifact: Artifact, link: str) -> bool:
    """Say whether a file lies in a folder, or beside a page, that only this configuration names."""
    return artifact.url.startswith(link.rstrip("/")) and bool(link)
