"""The JSON API under /api/v1: the facts of the pages as documents, and the same changes as POSTs.

Reading needs no token. Changes need `Authorization: Bearer TOKEN`; cookies are not looked at here, so no web
page can make a browser change anything. `/api/v1/openapi.json` describes every document.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints

from monitor import sample_file
from monitor.domain import BisectionState, Header, IncidentState, Metric, RunState, Sample, Session
from monitor.errors import UnknownNameError
from monitor.steps.gate import Gate, gate
from monitor.steps.publish import sample_sets
from monitor.web.errors import ErrorDocument, Forbidden, Unauthorised, changing
from monitor.web.facts.advice import AdviceList, SweepList, advice_list, sweep_list
from monitor.web.facts.bisections import BisectionFacts, BisectionList, bisection, bisection_list
from monitor.web.facts.comparison import ComparisonFacts, comparison
from monitor.web.facts.incidents import (
    IncidentFacts,
    IncidentList,
    UpstreamFacts,
    incident,
    incident_list,
    upstream_facts,
)
from monitor.web.facts.overview import Overview, overview
from monitor.web.facts.release import ReleaseFacts, release_facts
from monitor.web.facts.releases import Progress, ReleaseList, release_list
from monitor.web.facts.run import RunFacts, run_facts
from monitor.web.facts.run_lines import PAGE, RunList, run_list
from monitor.web.facts.series import SeriesFacts, series
from monitor.web.facts.status import Status, status
from monitor.web.site import Site, SiteOf

_Responses = dict[int | str, dict[str, Any]]
_NOT_FOUND: _Responses = {404: {"model": ErrorDocument}}
_CHANGES: _Responses = {
    401: {"model": ErrorDocument},
    403: {"model": ErrorDocument},
    404: {"model": ErrorDocument},
    409: {"model": ErrorDocument},
}
_UNFIT = 422
router = APIRouter(prefix="/api/v1")

Id = Annotated[int, Path(ge=1, le=2**53)]
_bearer = HTTPBearer(auto_error=False, description="The token of `web.token`; without one nothing changes.")


def _changer(
    site: SiteOf, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> None:
    if not site.access.can_change:
        raise Forbidden("This service is read-only: no `web.token` is configured.")
    if credentials is None or not site.access.is_token(credentials.credentials.strip()):
        raise Unauthorised("A change needs the header `Authorization: Bearer TOKEN` with the right token.")


_CHANGER = [Depends(_changer)]


# ---------------------------------------------------------------------------------------------
# Reading


@router.get("/overview")
def get_overview(site: SiteOf) -> Overview:
    """Return how every followed project stands with every check of it."""
    return overview(site.station)


@router.get("/advice", responses=_NOT_FOUND)
def get_advice(site: SiteOf, check: str | None = None) -> AdviceList:
    """Return which release to run of every followed project, by each of its checks or by one."""
    return advice_list(site.station, check)


@router.get("/sweeps")
def get_sweeps(site: SiteOf, check: str | None = None) -> SweepList:
    """Return what sweeps of draft lengths have found, newest first."""
    return sweep_list(site.station, check)


@router.get("/releases")
def get_releases(site: SiteOf, project: str | None = None, progress: Progress | None = None) -> ReleaseList:
    """Return the known releases, newest first, with what became of them."""
    return release_list(site.station, project=project, progress=progress)


@router.get("/releases/{project}/{version}", responses=_NOT_FOUND)
def get_release(site: SiteOf, project: str, version: str) -> ReleaseFacts:
    """Return one release: its files, its runs and its notes."""
    return release_facts(site.station, project, version)


@router.get("/runs")
def get_runs(
    *,
    site: SiteOf,
    project: str | None = None,
    check: str | None = None,
    state: RunState | None = None,
    before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = PAGE,
) -> RunList:
    """Return the runs of this host, newest first."""
    return run_list(site.station, project=project, check=check, state=state, before=before, limit=limit)


@router.get("/runs/{run_id}", responses=_NOT_FOUND)
def get_run(site: SiteOf, run_id: Id) -> RunFacts:
    """Return one run with its judgement."""
    return run_facts(site.station, run_id)


class SamplePart(StrEnum):
    """Which of a run's measurements."""

    CANDIDATE = "candidate"
    REFERENCE = "reference"
    CONFIRM_CANDIDATE = "confirm-candidate"
    CONFIRM_REFERENCE = "confirm-reference"
    ONWARD = "onward"


@router.get(
    "/runs/{run_id}/samples",
    responses={200: {"content": {"application/jsonl": {}}, "description": "A sample file."}, **_NOT_FOUND},
    response_class=StreamingResponse,
)
def get_samples(site: SiteOf, run_id: Id, part: SamplePart = SamplePart.CANDIDATE) -> StreamingResponse:
    """Return what was measured as a sample file (docs/samples.md), which `mtp-monitor judge` reads."""
    sets = sample_sets(site.station, run_id)
    if part not in sets:
        raise UnknownNameError(f"Run {run_id} has no part {part}.", advice=f"it has: {', '.join(sets)}")
    found = sets[part]
    values: tuple[Header | Session | Sample, ...] = (found.header, *found.sessions, *found.samples)
    return StreamingResponse(
        (sample_file.to_line(value) + "\n" for value in values),
        media_type="application/jsonl",
        headers={"content-disposition": f'attachment; filename="run-{run_id}-{part}.jsonl"'},
    )


@router.get("/compare", responses=_NOT_FOUND)
def get_comparison(
    site: SiteOf,
    reference: Annotated[int, Query(ge=1, le=2**53)],
    candidate: Annotated[int, Query(ge=1, le=2**53)],
) -> ComparisonFacts:
    """Return two runs of one series side by side."""
    return comparison(site.station, reference=reference, candidate=candidate)


@router.get("/series", responses=_NOT_FOUND)
def get_series(
    *,
    site: SiteOf,
    project: str | None = None,
    check: str | None = None,
    digest: str | None = None,
    host: str | None = None,
    metric: Metric = Metric.SPEEDUP,
    workload: str = "all",
) -> SeriesFacts:
    """Return one metric of a check over the releases of a project; by default the first assigned."""
    return series(
        site.station,
        project=project,
        check=check,
        digest=digest,
        host=host,
        metric=metric,
        workload=workload,
    )


@router.get("/incidents")
def get_incidents(site: SiteOf, state: IncidentState | None = None) -> IncidentList:
    """Return the incidents, the one that changed last first."""
    return incident_list(site.station, state)


@router.get("/incidents/{incident_id}", responses=_NOT_FOUND)
def get_incident(site: SiteOf, incident_id: Id) -> IncidentFacts:
    """Return one incident with its log and evidence."""
    return incident(site.station, incident_id)


@router.get("/incidents/{incident_id}/upstream", responses=_NOT_FOUND)
def get_upstream(site: SiteOf, incident_id: Id) -> UpstreamFacts:
    """Return a ready text for the project's tracker: title, Markdown, and the commands that reproduce it."""
    return upstream_facts(site.station, incident_id)


@router.get("/bisections")
def get_bisections(site: SiteOf, state: BisectionState | None = None) -> BisectionList:
    """Return the searches for first bad releases on this host, newest first."""
    return bisection_list(site.station, state)


@router.get("/bisections/{bisection_id}", responses=_NOT_FOUND)
def get_bisection(site: SiteOf, bisection_id: Id) -> BisectionFacts:
    """Return one search with every release on its way."""
    return bisection(site.station, bisection_id)


@router.get("/gate", responses=_NOT_FOUND)
def get_gate(
    site: SiteOf,
    release: Annotated[str, Query(max_length=300, examples=["vllm==0.29.1"])],
    check: Annotated[list[str] | None, Query()] = None,
) -> Gate:
    """Return whether a release is safe to upgrade to on this host, from stored results alone."""
    return gate(site.station, release, check or ())


@router.get("/status")
def get_status(site: SiteOf) -> Status:
    """Return the state of the service itself."""
    return status(site.station)


# ---------------------------------------------------------------------------------------------
# Changing

Who = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Why = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class Reasoned(BaseModel):
    """Who changes something, and why."""

    model_config = ConfigDict(extra="forbid")

    who: Who
    why: Why


class Snooze(Reasoned):
    """Who wants quiet, why, and until when."""

    until: AwareDatetime


class RunOrder(BaseModel):
    """What is to be measured."""

    model_config = ConfigDict(extra="forbid")

    check: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    release: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    """PROJECT==VERSION[@sha256-prefix]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueued:
    """A run stands in the queue."""

    schema: Literal["mtp-monitor/api/enqueued/1"] = "mtp-monitor/api/enqueued/1"
    run: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A delivery is on its way again."""

    schema: Literal["mtp-monitor/api/replayed/1"] = "mtp-monitor/api/replayed/1"
    delivery: int


def _moved(site: Site, incident_id: int, move: Callable[[], object]) -> IncidentFacts:
    incident(site.station, incident_id)
    with changing():
        move()
    return incident(site.station, incident_id)


@router.post("/incidents/{incident_id}/acknowledge", dependencies=_CHANGER, responses=_CHANGES)
def post_acknowledge(site: SiteOf, incident_id: Id, body: Reasoned) -> IncidentFacts:
    """Note that somebody looks after it."""
    return _moved(site, incident_id, partial(site.actions.acknowledge, incident_id, body.who, body.why))


@router.post("/incidents/{incident_id}/snooze", dependencies=_CHANGER, responses=_CHANGES)
def post_snooze(site: SiteOf, incident_id: Id, body: Snooze) -> IncidentFacts:
    """Keep it quiet until a moment."""
    return _moved(
        site, incident_id, partial(site.actions.snooze, incident_id, body.who, body.why, body.until)
    )


@router.post("/incidents/{incident_id}/resolve", dependencies=_CHANGER, responses=_CHANGES)
def post_resolve(site: SiteOf, incident_id: Id, body: Reasoned) -> IncidentFacts:
    """End it as dealt with."""
    return _moved(site, incident_id, partial(site.actions.resolve, incident_id, body.who, body.why))


@router.post("/incidents/{incident_id}/accept", dependencies=_CHANGER, responses=_CHANGES)
def post_accept(site: SiteOf, incident_id: Id, body: Reasoned) -> IncidentFacts:
    """Make the bad release the new reference, which begins an epoch."""
    return _moved(site, incident_id, partial(site.actions.accept, incident_id, body.who, body.why))


@router.post("/incidents/{incident_id}/false-alarm", dependencies=_CHANGER, responses=_CHANGES)
def post_false_alarm(site: SiteOf, incident_id: Id, body: Reasoned) -> IncidentFacts:
    """End it as an alert that should not have been."""
    return _moved(site, incident_id, partial(site.actions.false_alarm, incident_id, body.who, body.why))


@router.post("/incidents/{incident_id}/reopen", dependencies=_CHANGER, responses=_CHANGES)
def post_reopen(site: SiteOf, incident_id: Id, body: Reasoned) -> IncidentFacts:
    """Let an ended one go on."""
    return _moved(site, incident_id, partial(site.actions.reopen, incident_id, body.who, body.why))


@router.post("/runs", status_code=202, dependencies=_CHANGER, responses=_CHANGES)
def post_run(site: SiteOf, body: RunOrder, response: Response) -> Enqueued:
    """Put a run in the queue."""
    with changing(_UNFIT):
        number = site.enqueue(body.check, body.release, "API")
    response.headers["location"] = f"/api/v1/runs/{number}"
    return Enqueued(run=number)


@router.post("/deliveries/{delivery_id}/replay", status_code=202, dependencies=_CHANGER, responses=_CHANGES)
def post_replay(site: SiteOf, delivery_id: Id) -> Replayed:
    """Send a delivery that was given up once more, under the same message id."""
    with changing():
        site.actions.replay(delivery_id)
    return Replayed(delivery=delivery_id)
