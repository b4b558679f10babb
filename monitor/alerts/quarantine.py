"""Quarantine: people are told once when a GPU is not measured on any more, and once when it is again.

Whoever finds a GPU at fault only writes the quarantine down; this looks at what was told last.
"""

from __future__ import annotations

import os

from sqlmodel import Session as Db

from monitor.alerts import messages, render
from monitor.domain import Message, MessageType
from monitor.steps.station import Station
from monitor.store.queries import beats, quarantines
from monitor.store.queries.quarantines import Quarantine

PART = "quarantine"
"""Under this name, with the machine's, the beats keep which quarantine was told last and goes on."""


def notice_quarantine(station: Station) -> list[Message]:
    """Tell of a quarantine that was not told yet, or of the end of the one that was told last."""
    with station.store.read() as db:
        if _news(station, db) is None:
            return []
    with station.store.write() as db:
        found = _news(station, db)
        if found is None:
            return []  # another process was quicker
        part, now = _part(station), station.clock()
        goes_on = found.released_at is None
        beats.begin(db, part, pid=os.getpid(), now=now)
        beats.end(db, part, pid=os.getpid(), error=str(found.id) if goes_on else "", now=now)
        kind = MessageType.GPU_QUARANTINED if goes_on else MessageType.GPU_RELEASED
        data = render.quarantine_data(found, host=station.host, public_url=station.settings.web.public_url)
        return messages.write(station, db, kind, data)


def _news(station: Station, db: Db) -> Quarantine | None:
    """Return the quarantine that people are to be told of now: that it began, or that it has ended."""
    told = next((beat.error for beat in beats.all_of(db) if beat.part == _part(station)), "")
    held = quarantines.current(db, station.host.machine_id)
    if held is not None:
        return held if told != str(held.id) else None
    return quarantines.get(db, int(told)) if told else None


def _part(station: Station) -> str:
    return f"{PART} of {station.host.machine_id}"
