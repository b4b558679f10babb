"""The pages that are read. Each is one function: facts from `facts/`, shown by `templates/pages/`.

What a page shows is in its address, so that a link shows the same to everybody.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from markupsafe import Markup

from monitor.domain import BisectionState, Metric, RunState
from monitor.domain.incidents import LIVE_STATES, IncidentState
from monitor.judge.metrics import OVERALL
from monitor.steps.publish import run_view
from monitor.steps.upstream import is_for_upstream
from monitor.views import report, series_chart, words
from monitor.views.models import ReportView, RunView
from monitor.views.run_section import EffectRow, RunSection, run_section
from monitor.web.facts.bisections import bisection
from monitor.web.facts.comparison import compared_view, comparison
from monitor.web.facts.incidents import IncidentFacts, incident, incident_list, upstream_facts
from monitor.web.facts.overview import Standing, overview
from monitor.web.facts.release import release_facts
from monitor.web.facts.releases import Progress, release_list
from monitor.web.facts.run import has_log, run_facts, run_log
from monitor.web.facts.run_lines import RunLine, run_list
from monitor.web.facts.series import SeriesFacts, histories, series
from monitor.web.facts.status import status
from monitor.web.page import render
from monitor.web.site import Site, SiteOf

router = APIRouter(include_in_schema=False)

Id = Annotated[int, Path(ge=1, le=2**53)]
_REFRESH_S = 20
"""A page that shows work under way loads itself anew after so many seconds."""
_WORKING = (RunState.PROVISIONING, RunState.MEASURING, RunState.JUDGING, RunState.CONFIRMING)
SNOOZES = {"24": "1 day", "72": "3 days", "168": "1 week", "336": "2 weeks"}
"""Hours → how the form calls them."""


@router.get("/")
def get_overview(site: SiteOf, request: Request) -> HTMLResponse:
    """Show how things stand."""
    facts = overview(site.station)
    sparks = {
        number: series_chart.spark(
            f"spark-{number}",
            one.points,
            Metric.SPEEDUP,
            title=f"Speedup of {one.project}, {one.check_title}",
        )
        for number, one in enumerate(facts.standings)
    }
    return render(
        request,
        "overview.html",
        facts=facts,
        sparks=sparks,
        sorted_standings=sorted(enumerate(facts.standings), key=lambda pair: _urgency(pair[1])),
        refresh_s=_REFRESH_S if facts.working else None,
    )


def _urgency(standing: Standing) -> int:
    return 0 if standing.incidents else 1


@router.get("/releases")
def get_releases(
    site: SiteOf, request: Request, project: str = "", state: Progress | None = None
) -> HTMLResponse:
    """Show every release, how far it has come, and why."""
    facts = release_list(site.station, project=project, progress=state)
    return render(
        request,
        "releases.html",
        facts=facts,
        project=project,
        state=state,
        states=list(Progress),
        projects=_projects(site),
    )


@router.get("/releases/{project}/{version}")
def get_release(site: SiteOf, request: Request, project: str, version: str) -> HTMLResponse:
    """Show one release: its files, its runs and its notes."""
    return render(request, "release.html", facts=release_facts(site.station, project, version))


@router.get("/runs")
def get_runs(
    *,
    site: SiteOf,
    request: Request,
    project: str = "",
    check: str = "",
    state: RunState | None = None,
    before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
) -> HTMLResponse:
    """Show every run, newest first."""
    facts = run_list(site.station, project=project, check=check, state=state, before=before)
    return render(
        request,
        "runs.html",
        facts=facts,
        project=project,
        check=check,
        state=state,
        before=before,
        states=list(RunState),
        projects=_projects(site),
        checks=sorted(site.station.checks),
    )


@router.get("/runs/{run_id}")
def get_run(site: SiteOf, request: Request, run_id: Id) -> HTMLResponse:
    """Show one run: what the report shows of it, its way through the states, and what to do with it."""
    facts = run_facts(site.station, run_id)
    view = run_view(site.station, run_id)
    return render(
        request,
        "run.html",
        facts=facts,
        run=run_section(view),
        parts=_parts(view),
        has_log=has_log(site.station, run_id),
        refresh_s=_REFRESH_S if facts.run.state in _WORKING else None,
    )


def _parts(view: RunView) -> list[str]:
    measured = {
        "candidate": view.candidate_samples,
        "reference": view.reference_samples,
        "confirm-candidate": view.confirm_candidate,
        "confirm-reference": view.confirm_reference,
        "onward": view.onward_samples,
    }
    return [name for name, samples in measured.items() if samples is not None]


@router.get("/runs/{run_id}/report.html")
def get_report(site: SiteOf, run_id: Id) -> Response:
    """Return the run as one file that can be sent to somebody."""
    document = report.render(
        ReportView(
            title="MTP monitor report",
            generated_at=site.station.clock(),
            monitor_version=importlib.metadata.version("mtp-monitor"),
            host=site.station.host,
            releases=(),
            runs=(run_view(site.station, run_id),),
            notes=(),
        )
    )
    # It brings its own style, which this service's policy would not let a browser show: it is saved.
    headers = {"content-disposition": f'attachment; filename="mtp-monitor-run-{run_id}.html"'}
    return Response(document, media_type="text/html; charset=utf-8", headers=headers)


@router.get("/runs/{run_id}/log.txt")
def get_log(site: SiteOf, run_id: Id) -> PlainTextResponse:
    """Return the end of the newest engine log."""
    return PlainTextResponse(run_log(site.station, run_id))


# ---------------------------------------------------------------------------------------------
# Comparing


SHOWN = {"all": "Everything", "moved": "What moved", "gating": "What decides the verdict"}
"""Value of `show` in the address → what it shows."""


_EACH = "each"
"""Value of `workload` in the address that leaves none out."""


@router.get("/compare")
def get_comparison(
    *,
    site: SiteOf,
    request: Request,
    reference: Annotated[int | None, Query(ge=1, le=2**53)] = None,
    candidate: Annotated[int | None, Query(ge=1, le=2**53)] = None,
    show: str = "all",
    workload: str = OVERALL,
) -> HTMLResponse:
    """Show two runs side by side; without two numbers, the form that asks for them."""
    asked: dict[str, Any] = {
        "reference": reference,
        "candidate": candidate,
        "show": show if show in SHOWN else "all",
        "workload": workload,
        "shows": SHOWN,
        "recent": run_list(site.station).runs,
    }
    if reference is None or candidate is None:
        return render(request, "compare.html", facts=None, **asked)
    facts = comparison(site.station, reference=reference, candidate=candidate)
    section = run_section(compared_view(site.station, facts))
    rows = [
        row
        for row in _rows(section)
        if _is_shown(row, asked["show"]) and workload in {_EACH, row.effect.workload}
    ]
    return render(
        request,
        "compare.html",
        facts=facts,
        run=section,
        rows=rows,
        total=len(_rows(section)),
        workloads=list(dict.fromkeys(row.effect.workload for row in _rows(section))),
        histories=_histories(site, facts.candidate, rows),
        **asked,
    )


def _rows(section: RunSection) -> tuple[EffectRow, ...]:
    return (*section.gating, *section.shown, *section.by_workload)


def _is_shown(row: EffectRow, show: str) -> bool:
    if show == "moved":
        return row.effect.verdict in {"regressed", "improved"}
    return row.effect.gates if show == "gating" else True


def _histories(site: Site, line: RunLine, rows: list[EffectRow]) -> dict[str, Markup | None]:
    """Return `metric:workload` → the chart of its series, for the rows that have one."""
    found = histories(site.station, line, [(row.effect.metric, row.effect.workload) for row in rows])
    return {
        f"{metric}:{workload}": series_chart.series_chart(
            f"history-{metric}-{workload}",
            points,
            metric,
            title=f"{words.METRICS[metric]} of {workload} over the releases",
        )
        for (metric, workload), points in found.items()
    }


# ---------------------------------------------------------------------------------------------
# Series, incidents, status


@router.get("/series")
def get_series(
    *,
    site: SiteOf,
    request: Request,
    project: str = "",
    check: str = "",
    digest: str = "",
    host: str = "",
    metric: Metric = Metric.SPEEDUP,
    workload: str = OVERALL,
) -> HTMLResponse:
    """Show one metric over the releases, as a chart with a table below."""
    facts = series(
        site.station,
        project=project,
        check=check,
        digest=digest,
        host=host,
        metric=metric,
        workload=workload,
    )
    return render(request, "series.html", facts=facts, chart=_chart(facts))


def _chart(facts: SeriesFacts) -> Markup | None:
    title = f"{facts.metric} of {facts.check_title} over the releases of {facts.key.project}"
    return series_chart.series_chart("series", facts.points, facts.metric, title=title)


@router.get("/incidents")
def get_incidents(site: SiteOf, request: Request, state: IncidentState | None = None) -> HTMLResponse:
    """Show every incident, the one that changed last first."""
    facts = incident_list(site.station, state)
    return render(
        request,
        "incidents.html",
        facts=facts,
        state=state,
        states=list(IncidentState),
        titles={name: check.title for name, check in site.station.checks.items()},
    )


@router.get("/incidents/{incident_id}")
def get_incident(site: SiteOf, request: Request, incident_id: Id) -> HTMLResponse:
    """Show one incident: where it stands, what moved, what happened, and what can be done."""
    facts = incident(site.station, incident_id)
    one, now = facts.incident, site.station.clock()
    shown = facts.drift and series(
        site.station, project=one.project, check=one.check_id, host=one.machine_id, metric=facts.drift.metric
    )
    return render(
        request,
        "incident.html",
        facts=facts,
        live=one.state in LIVE_STATES,
        for_upstream=is_for_upstream(site.station, incident_id),
        section=_worst_section(site, facts) if facts.worst is not None else None,
        chart=_chart(shown) if shown else None,
        snoozes={hours: (name, now + timedelta(hours=int(hours))) for hours, name in SNOOZES.items()},
    )


def _worst_section(site: Site, facts: IncidentFacts) -> RunSection:
    """Return the worst run as the incident saw it: slow drift is against the epoch's first good run."""
    view = run_view(site.station, facts.incident.worst_run_id)
    if facts.drift is None:
        return run_section(view)
    return run_section(replace(view, judgement=facts.worst, reference_version=facts.drift.versions[0]))


@router.get("/incidents/{incident_id}/upstream")
def get_upstream(site: SiteOf, request: Request, incident_id: Id) -> HTMLResponse:
    """Show the text for the project's tracker, to be copied."""
    return render(
        request, "upstream.html", facts=upstream_facts(site.station, incident_id), incident_id=incident_id
    )


@router.get("/incidents/{incident_id}/upstream.md")
def get_upstream_file(site: SiteOf, incident_id: Id) -> Response:
    """Return the body of that text as a file."""
    headers = {"content-disposition": f'attachment; filename="incident-{incident_id}.md"'}
    body = upstream_facts(site.station, incident_id).body
    return Response(body, media_type="text/markdown; charset=utf-8", headers=headers)


@router.get("/bisections/{bisection_id}")
def get_bisection(site: SiteOf, request: Request, bisection_id: Id) -> HTMLResponse:
    """Show one search: every release on its way, and what it said."""
    facts = bisection(site.station, bisection_id)
    return render(
        request,
        "bisection.html",
        facts=facts,
        refresh_s=_REFRESH_S if facts.state is BisectionState.RUNNING else None,
    )


@router.get("/status")
def get_status(site: SiteOf, request: Request) -> HTMLResponse:
    """Show the state of the service itself."""
    facts = status(site.station)
    return render(request, "status.html", facts=facts, refresh_s=_REFRESH_S if facts.working else None)


def _projects(site: Site) -> list[str]:
    return list(dict.fromkeys(source.project for source in site.station.settings.sources))
