"""Reminders: what time does to an incident that nobody has acknowledged, or that somebody snoozed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from monitor.alerts import messages
from monitor.domain import Action, IncidentState, Message
from monitor.steps.station import Station
from monitor.store.queries import incidents

_LONGEST = timedelta(days=7)


def remind(station: Station) -> list[Message]:
    """Tell again of incidents that nobody has acknowledged, and wake those whose snooze is over.

    A reminder comes `remind_hours` after the last news, then after twice as long each time, up to a week.
    """
    written: list[Message] = []
    now = station.clock()
    with station.store.read() as db:
        waiting = incidents.in_state(db, (IncidentState.OPEN, IncidentState.SNOOZED))
    for found in waiting:
        due = found.snoozed_until if found.state is IncidentState.SNOOZED else found.remind_at
        if due is None or due > now or found.machine_id != station.host.machine_id:
            continue
        with station.store.write() as db:
            incident = incidents.get(db, found.id)
            if incident is None or incident.state is not found.state:
                continue
            reminders = incident.reminders + 1
            again = min(first_after(station) * 2 ** min(reminders, 10), _LONGEST)
            action = Action.WOKEN if incident.state is IncidentState.SNOOZED else Action.REMINDED
            changed = replace(
                incident,
                state=IncidentState.OPEN,
                snoozed_until=None,
                reminders=reminders,
                remind_at=now + again,
                changed_at=now,
            )
            days = (now - incident.opened_at) / timedelta(days=1)
            why = f"it goes on for {days:.0f} days and nobody has acknowledged it"
            step = messages.own_step(
                action, incident.state, IncidentState.OPEN, why, (incident.latest_bad_run_id,), now
            )
            kept = incidents.change(db, changed, step)
            written += messages.write_change(station, db, kept, step)
    return written


def first_after(station: Station) -> timedelta:
    """Return how long after news of an incident people hear of it again."""
    return timedelta(hours=station.settings.schedule.remind_hours)
