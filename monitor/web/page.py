"""How a page is made from a template: escaped, with navigation, session and the moment it shows."""

from __future__ import annotations

import hashlib
import importlib.metadata
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse

from monitor.resources import resource_dir
from monitor.views.templates import templates
from monitor.views.text import safe
from monitor.web.site import site_of

STATIC = Path(__file__).parent / "static"
NAVIGATION = (
    ("/", "Overview"),
    ("/releases", "Releases"),
    ("/runs", "Runs"),
    ("/series", "Series"),
    ("/incidents", "Incidents"),
    ("/status", "Status"),
)


def render(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """Return a page; what the template shows beside `context` comes from the request."""
    site = site_of(request)
    document = (
        templates()
        .get_template(f"pages/{template}")
        .render(
            **{"refresh_s": None} | context,
            navigation=NAVIGATION,
            path=request.url.path,
            here=link(request.url.path, **dict(request.query_params)),
            host=site.station.host,
            now=site.station.clock(),
            session=site.session(request),
            can_change=site.access.can_change,
            monitor_version=importlib.metadata.version("mtp-monitor"),
            link=link,
            asset=asset,
            iso=iso,
        )
    )
    # Forms carry the session's CSRF token, so no cache may keep a page for another reader.
    return HTMLResponse(safe(document), status, headers={"cache-control": "no-store"})


def link(path: str, **query: object) -> str:
    """Return a path of this service with its query; empty values are left out."""
    given = {name: str(value) for name, value in query.items() if value not in (None, "")}
    return f"{quote(path)}?{urlencode(given)}" if given else quote(path)


def iso(moment: datetime) -> str:
    """Return a moment as `<time datetime>` wants it."""
    return moment.isoformat(timespec="seconds")


@cache
def asset(name: str) -> str:
    """Return the path of a static file; it changes with the content, so that browsers may keep the file."""
    return f"/static/{name}?v={hashlib.sha256(asset_file(name).read_bytes()).hexdigest()[:12]}"


def asset_file(name: str) -> Path:
    """Return where a static file lies.

    Raises:
        KeyError: when there is no such file.

    """
    return {
        # One style sheet for report and pages; the pages' own adds to it.
        "report.css": resource_dir("templates") / "report" / "report.css",
        "pages.css": STATIC / "pages.css",
        "pages.js": STATIC / "pages.js",
        "icon.svg": STATIC / "icon.svg",
    }[name]
