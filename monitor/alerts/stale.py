"""Stale: silence must never look like health, so people are told when the service has stopped noticing."""

from __future__ import annotations

import os
from datetime import timedelta

from monitor.alerts import messages, quarantine, render
from monitor.domain import Message, MessageType
from monitor.steps.station import Station
from monitor.store.queries import beats, polls, queue

PART = "stale"
"""Under this name the beats keep what was told last, so that a condition is told once."""


def reasons(station: Station) -> list[str]:
    """Return why the service may be blind, in sentences; nothing when all is well."""
    now = station.clock()
    limit = timedelta(hours=station.settings.schedule.stale_hours)
    found = []
    with station.store.read() as db:
        for source in polls.all_of(db):
            silent_since = source.answered_at or source.asked_at
            if source.error and now - silent_since > limit:
                found.append(f"the source of {source.project} has not answered since {_day(silent_since)}")
        for run in queue.waiting(db, station.host.machine_id):
            if now - run.planned_at > limit:
                why = f" ({run.waiting})" if run.waiting else ""
                since = _day(run.planned_at)
                found.append(f"{run.project} {run.version} has waited for {run.check_id} since {since}{why}")
        found += [
            f"the part {beat.part!r} has failed {beat.failures} times in a row"
            for beat in beats.all_of(db)
            if beat.failures >= _TOO_OFTEN and not beat.part.startswith((PART, quarantine.PART))
        ]
    return found


def notice_silence(station: Station) -> list[Message]:
    """Tell of staleness once when it begins; it can be told again after it has ended."""
    found, now = reasons(station), station.clock()
    with station.store.read() as db:
        before = next((beat for beat in beats.all_of(db) if beat.part == PART), None)
    was_stale = before is not None and bool(before.error)
    if bool(found) == was_stale:
        return []
    with station.store.write() as db:
        beats.begin(db, PART, pid=os.getpid(), now=now)
        beats.end(db, PART, pid=os.getpid(), error="; ".join(found), now=now)
        if not found:
            return []
        data = render.stale_data(found, host=station.host, public_url=station.settings.web.public_url)
        return messages.write(station, db, MessageType.SERVICE_STALE, data)


def _day(moment: object) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


_TOO_OFTEN = 5
