"""Upstream: gathers what a project's tracker is told of a confirmed loss."""

from __future__ import annotations

import importlib.metadata
from urllib.parse import urlsplit

from monitor.domain import Artifact, Direction, Environment, Incident, Verdict, is_attached
from monitor.errors import UnknownNameError
from monitor.steps.publish import run_view
from monitor.steps.station import Station
from monitor.store.queries import bisections, environments, incidents, judgements, runs
from monitor.views.upstream.commands import BAD, GOOD, Side, is_public
from monitor.views.upstream.text import UpstreamText, UpstreamView, upstream_text


def is_for_upstream(station: Station, incident_id: int) -> bool:
    """Say whether an incident has a text for upstream."""
    try:
        _gathered(station, incident_id)
    except UnknownNameError:
        return False
    return True


def upstream(station: Station, incident_id: int) -> UpstreamText:
    """Return the text about the release that brought an incident.

    Raises:
        UnknownNameError: when there is no such incident, or its loss is none that upstream could look into:
            not confirmed against another release, or about a release that does not run.

    """
    return upstream_text(_gathered(station, incident_id))


def _gathered(station: Station, incident_id: int) -> UpstreamView:
    with station.store.read() as db:
        incident = incidents.get(db, incident_id)
        if incident is None:
            raise UnknownNameError(
                f"There is no incident {incident_id}.", advice="`mtp-monitor incidents list --all` shows them"
            )
        run = runs.get(db, incident.first_bad_run_id)
        judgement = judgements.get(db, incident.first_bad_run_id)
        if (
            run is None
            or run.reference_run_id is None
            or incident.direction is not Direction.REGRESSED
            or judgement is None
            or judgement.verdict is not Verdict.REGRESSED
        ):
            raise _nothing_to_tell(incident)
        built = [environments.of_run(db, number) for number in (run.reference_run_id, run.id)]
        bisection = bisections.of_incident(db, incident_id)
    view = run_view(station, run.id)
    if view.artifact is None or view.reference_artifact is None or built[0] is None or built[1] is None:
        raise _nothing_to_tell(incident)
    return UpstreamView(
        view=view,
        good=_side(station, GOOD, view.reference_artifact, built[0]),
        bad=_side(station, BAD, view.artifact, built[1]),
        judgement=judgement,
        bisection=bisection,
        monitor_version=importlib.metadata.version("mtp-monitor"),
    )


def _nothing_to_tell(incident: Incident) -> UnknownNameError:
    return UnknownNameError(
        f"Incident {incident.id} has no loss that was measured against another release.",
        advice="only a confirmed regression has a text; a release that does not run has its log (`report`)",
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
