"""What every handler works with: the station it reads, the actions it may ask for, and who may ask."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Protocol

from fastapi import Depends, Request

from monitor import orders
from monitor.pipeline import RunRequest
from monitor.steps.station import Station
from monitor.web.security import Access, HostNames, WebSession


class Actions(Protocol):
    """What people may change through pages and API; `monitor/alerts/actions.py` carries it out.

    `who` and `why` go into the log of what they changed. Every action raises a MonitorError when its number
    does not exist or when it does not fit the state things are in by now; nothing is changed then.
    """

    def acknowledge(self, incident_id: int, who: str, why: str) -> object:
        """Note that somebody looks after the incident: it is not told again."""

    def snooze(self, incident_id: int, who: str, why: str, until: datetime) -> object:
        """Keep the incident quiet until a moment."""

    def resolve(self, incident_id: int, who: str, why: str) -> object:
        """End the incident as dealt with."""

    def accept(self, incident_id: int, who: str, why: str) -> object:
        """Make the bad release the new reference; begins an epoch and ends the incident."""

    def false_alarm(self, incident_id: int, who: str, why: str) -> object:
        """End the incident as an alert that should not have been; it counts against this service."""

    def reopen(self, incident_id: int, who: str, why: str) -> object:
        """Let an ended incident go on."""

    def replay(self, delivery_id: int) -> object:
        """Send a delivery that was given up once more, under the same message id."""


@dataclass(frozen=True, slots=True)
class Site:
    """One service as its pages and API see it."""

    station: Station
    actions: Actions
    access: Access
    names: HostNames

    def enqueue(self, check: str, release: str, who: str) -> int:
        """Put a run in the queue and return its number; `release` is PROJECT==VERSION[@sha256-prefix].

        Raises:
            UnknownNameError: for a check or release that is not known.
            HostError: when this machine cannot run the check.

        """
        request = RunRequest(check=check, release=release, requested_by=who)
        return orders.enqueue(self.station, request).id

    def session(self, request: Request) -> WebSession | None:
        """Return the session of who asks, if they logged in."""
        return self.access.session(request.cookies)


def site_of(request: Request) -> Site:
    """Return the site a request came to."""
    site: Site = request.app.state.site
    return site


SiteOf = Annotated[Site, Depends(site_of)]
