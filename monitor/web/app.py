"""The web application: pages, API, `/healthz` and `/metrics`, behind one perimeter.

Handlers are plain functions, so that reading the store happens in threads and blocks nobody.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import FileResponse

from monitor.steps.station import Station
from monitor.web import api, errors, forms, metrics, pages
from monitor.web.facts.health import Health, health
from monitor.web.head import HeadAsGet
from monitor.web.page import asset_file
from monitor.web.security import Access, HostNames, Perimeter
from monitor.web.site import Actions, Site, SiteOf

__all__ = ["Actions", "create_app"]

_DESCRIPTION = (
    "What mtp-monitor knows: releases, runs, verdicts, series and incidents of one host. Reading needs no "
    "token; changes need `Authorization: Bearer TOKEN`. Dates are in UTC, times in seconds, rates in tokens "
    "per second, shares as fractions."
)


def create_app(station: Station, *, actions: Actions, clock: Callable[[], datetime] | None = None) -> FastAPI:
    """Return the application of one station.

    Args:
        station: what is read; it stays the caller's to close, after the server has stopped.
        actions: what carries out the changes people ask for.
        clock: the present moment; default the station's.

    """
    # The interactive documentation would load its script from elsewhere; the document itself is served.
    app = FastAPI(
        title="mtp-monitor",
        description=_DESCRIPTION,
        version=importlib.metadata.version("mtp-monitor"),
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    seen = station if clock is None else replace(station, clock=clock)
    settings = station.settings.web
    names = HostNames(settings)
    app.state.site = Site(seen, actions, Access(settings), names)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Perimeter, names=names)
    errors.register(app)
    app.include_router(api.router)
    app.include_router(pages.router)
    app.include_router(forms.router)
    app.add_api_route("/healthz", get_health, responses={503: {"model": Health}})
    app.add_api_route("/metrics", get_metrics, response_class=Response, include_in_schema=False)
    app.add_api_route("/static/{name}", get_static, response_class=FileResponse, include_in_schema=False)
    return app


def get_health(site: SiteOf, response: Response) -> Health:
    """Say whether the service does its work: 200, or 503 with the reasons."""
    found = health(site.station)
    response.status_code = 200 if found.well else 503
    response.headers["cache-control"] = "no-store"
    return found


def get_metrics(site: SiteOf) -> Response:
    """Return the state of the service for Prometheus."""
    return Response(metrics.exposition(site.station), media_type=metrics.CONTENT_TYPE)


def get_static(name: str) -> FileResponse:
    """Return one style sheet, script or picture."""
    try:
        return FileResponse(asset_file(name), headers={"cache-control": "public, max-age=86400"})
    except KeyError:
        raise HTTPException(404) from None
