"""Actions: what people do to incidents. Each is a transition in the log, with who did it and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from monitor.alerts.messages import write_change
from monitor.domain import LIVE_STATES, Action, Incident, IncidentState, IncidentStep
from monitor.errors import UnknownNameError
from monitor.steps import epochs as conditions
from monitor.steps.station import Station
from monitor.store.queries import epochs, incidents, outbox, runs

_ENDED = (IncidentState.RESOLVED, IncidentState.ACCEPTED, IncidentState.FALSE_ALARM)


class IncidentActions:
    """What the command line and the pages offer to do."""

    def __init__(self, station: Station) -> None:
        self._station = station

    def acknowledge(self, incident_id: int, who: str, why: str = "") -> Incident:
        """Say that somebody looks into it: no more reminders, but news of it is still told."""
        return self._move(
            incident_id,
            Action.ACKNOWLEDGED,
            IncidentState.ACKNOWLEDGED,
            who,
            why,
            allowed=(IncidentState.OPEN, IncidentState.SNOOZED),
        )

    def snooze(self, incident_id: int, who: str, why: str, until: datetime) -> Incident:
        """Keep it quiet until a moment, or until it gets worse."""
        if until <= self._station.clock():
            raise UnknownNameError(
                f"{until.isoformat()} is over already.", advice="name a moment in the future"
            )
        return self._move(
            incident_id,
            Action.SNOOZED,
            IncidentState.SNOOZED,
            who,
            why,
            allowed=LIVE_STATES,
            until=until,
        )

    def resolve(self, incident_id: int, who: str, why: str) -> Incident:
        """End it by hand, although no release was measured that took the loss back."""
        return self._move(
            incident_id, Action.RESOLVED, IncidentState.RESOLVED, who, _reason(why), allowed=LIVE_STATES
        )

    def false_alarm(self, incident_id: int, who: str, why: str) -> Incident:
        """End it as a mistake of the monitor's, which counts it against its own precision."""
        return self._move(
            incident_id,
            Action.FALSE_ALARM,
            IncidentState.FALSE_ALARM,
            who,
            _reason(why),
            allowed=(*LIVE_STATES, IncidentState.RESOLVED),
        )

    def accept(self, incident_id: int, who: str, why: str) -> Incident:
        """Take the latest bad release as the new reference: an epoch begins, judged against that run.

        Raises:
            UnknownNameError: when the incident has ended, is of a release that does not run at all, or no
                reason is given.

        """
        why = _reason(why)
        with self._station.store.read() as db:
            incident = self._existing(incidents.get(db, incident_id), incident_id)
            bad = runs.get(db, incident.latest_bad_run_id)
        if bad is None or bad.state != "done":
            raise UnknownNameError(
                f"Incident {incident_id} is of a release that does not run: it cannot be a reference.",
                advice="acknowledge it, or resolve it",
            )
        return self._move(
            incident_id,
            Action.ACCEPTED,
            IncidentState.ACCEPTED,
            who,
            why,
            allowed=LIVE_STATES,
            reference_run_id=bad.id,
        )

    def reopen(self, incident_id: int, who: str, why: str) -> Incident:
        """Take the end of an incident back."""
        return self._move(incident_id, Action.REOPENED, IncidentState.OPEN, who, _reason(why), allowed=_ENDED)

    def replay(self, delivery_id: int) -> None:
        """Send a message that was given up once more, under the id it had.

        Raises:
            StoreError: when there is no such delivery, or it was not given up.

        """
        with self._station.store.write() as db:
            outbox.replay(db, delivery_id, now=self._station.clock())

    def _move(
        self,
        incident_id: int,
        action: Action,
        target: IncidentState,
        who: str,
        why: str,
        *,
        allowed: tuple[IncidentState, ...],
        until: datetime | None = None,
        reference_run_id: int | None = None,
    ) -> Incident:
        station, now = self._station, self._station.clock()
        ended = target in _ENDED
        with station.store.write() as db:
            incident = self._existing(incidents.get(db, incident_id), incident_id)
            if incident.state not in allowed:
                raise UnknownNameError(
                    f"Incident {incident_id} is {incident.state}: it cannot be {action} now.",
                    kept="the incident as it is",
                )
            other = incidents.live(db, incident.key)
            if target in LIVE_STATES and other is not None and other.id != incident_id:
                raise UnknownNameError(
                    f"Incident {other.id} is about the same and goes on.", advice="look at that one"
                )
            changed = replace(
                incident,
                state=target,
                changed_at=now,
                ended_at=now if ended else None,
                fixed_by_run_id=incident.fixed_by_run_id if ended else None,
                snoozed_until=until,
                remind_at=now if target is IncidentState.OPEN else None,
            )
            step = IncidentStep(action, incident.state, target, who, why, (incident.latest_bad_run_id,), now)
            kept = incidents.change(db, changed, step)
            if reference_run_id is not None:
                old = epochs.get(db, incident.epoch_id)
                if old is None:
                    raise AssertionError(f"epoch {incident.epoch_id} is gone")
                check = station.checks.get(incident.check_id)
                epochs.begin(
                    db,
                    machine_id=old.machine_id,
                    project=old.project,
                    check_digest=old.check_digest,
                    # A check that was taken away is not measured any more.
                    conditions=conditions.conditions_here(station, check) if check else old.conditions,
                    reason=f"{conditions.ACCEPTED}{why}",
                    who=who,
                    now=now,
                    reference_run_id=reference_run_id,
                )
            if action is not Action.SNOOZED:
                write_change(station, db, kept, step)
        return kept

    @staticmethod
    def _existing(incident: Incident | None, incident_id: int) -> Incident:
        if incident is None:
            raise UnknownNameError(
                f"There is no incident {incident_id}.", advice="`mtp-monitor incidents list` shows them"
            )
        return incident


def _reason(why: str) -> str:
    if not why.strip():
        raise UnknownNameError(
            "A reason is needed: it is all that is left when somebody asks later.", advice="give one"
        )
    return why.strip()
