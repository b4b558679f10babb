"""Incidents: what an ended run does to them, what people do to them, and who is told of it.

Each transition and the messages about it are written in one transaction, so that neither is lost and none is
told twice. What follows what is drawn in `docs/alerts.md`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby

from sqlmodel import Session as Db

from monitor.alerts import losses, render
from monitor.alerts.render import Change
from monitor.domain import (
    LIVE_STATES,
    Action,
    Artifact,
    Basis,
    Bisection,
    Check,
    Direction,
    Incident,
    IncidentState,
    IncidentStep,
    Judgement,
    Message,
    MessageType,
    RunState,
    Signature,
    Verdict,
)
from monitor.judge.recovery import has_recovered
from monitor.steps import drift
from monitor.steps.advise import advise
from monitor.steps.costs import costs_of, prices_of
from monitor.steps.states import MONITOR
from monitor.steps.station import Station
from monitor.store.queries import bisections, incidents, judgements, outbox, queue, runs
from monitor.store.queries.runs import Run
from monitor.views.advice import said

SERVICE = "monitor"
"""Who does what nobody did by hand."""
_LONGEST_REMINDER = timedelta(days=7)


def key_of(run: Run, direction: Direction) -> str:
    """Return what makes two losses the same incident. The release is not part of it."""
    parts = (run.project, run.channel, run.host, run.check_id, str(run.epoch_id), direction.value)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


# ---------------------------------------------------------------------------------------------
# What a run does


def announce(station: Station) -> list[Message]:
    """Make known every run that has ended and was not made known, all runs of a release together.

    1. A release is told of when all its checks in the queue are done, or `announce_after_hours` after the
       first of them was.
    2. Each run opens an incident, moves one on, ends one, or does neither (`_transitions`).
    3. What changed goes out as one message for the release; and one for each run, to those who want these.
    """
    with station.store.read() as db:
        ended = queue.unannounced(db, station.host.machine_id)
    messages: list[Message] = []
    by_artifact = sorted(ended, key=lambda run: (run.artifact_id, run.finished_at or run.planned_at))
    for artifact_id, group in groupby(by_artifact, key=lambda run: run.artifact_id):
        of_release = list(group)
        if _is_told_now(station, artifact_id, of_release):
            messages += _announce_release(station, of_release)
    return messages


def _is_told_now(station: Station, artifact_id: int, ended: Sequence[Run]) -> bool:
    with station.store.read() as db:
        unfinished = queue.unfinished_of_artifact(db, station.host.machine_id, artifact_id)
    if not unfinished:
        return True
    first = min(run.finished_at or run.planned_at for run in ended)
    return station.clock() >= first + timedelta(hours=station.settings.schedule.announce_after_hours)


def _announce_release(station: Station, ended: Sequence[Run]) -> list[Message]:
    now = station.clock()
    written: list[Message] = []
    with station.store.write() as db:
        changes: list[Change] = []
        for planned in ended:
            run = runs.get(db, planned.id)
            if run is None or run.announced_at is not None:
                continue  # another process was quicker
            judgement = judgements.get(db, run.id)
            changes += _transitions(station, db, run, judgement)
            costs = costs_of(db, run, judgement, prices_of(station.settings.host))
            data = render.run_data(run, judgement, host=station.host, public_url=_url(station), costs=costs)
            written += _write(station, db, MessageType.RUN_FINISHED, data)
            queue.set_announced(db, run.id, now=now)
        if told := [change for change in changes if _is_news(change)]:
            written += _write_incidents(station, db, told)
    return written


def _transitions(station: Station, db: Db, run: Run, judgement: Judgement | None) -> list[Change]:
    """Return what a run does to the incidents of its series.

    - A release that does not install, start or answer is bad in the direction `broken`. A run that failed for
      the monitor's own reasons says nothing.
    - One that answers ends a `broken` incident of an earlier release, whatever its verdict.
    - A confirmed regression is bad in the direction `regressed`; so is a missed limit of a first measurement,
      which has nothing to be confirmed against.
    - A later release than the latest bad one that has back what was lost ends it.
    - A release that passes, but was measured in turns with the epoch's first good run and is behind it, is
      bad in the direction `drift`.
    - A comparison with a release that somebody named is nobody's news.
    """
    if run.against != runs.LAST_GOOD or run.epoch_id is None:
        return []
    if run.state is RunState.FAILED:
        return [] if run.stage == MONITOR else [_bad(station, db, run, judgement, Direction.BROKEN)]
    if run.state is not RunState.DONE or judgement is None:
        return []
    found = _end(station, db, run, judgement, Direction.BROKEN)
    reference = runs.get(db, run.reference_run_id) if run.reference_run_id else None
    if judgement.verdict is Verdict.REGRESSED and (reference is None or judgement.confirmed):
        found.append(_bad(station, db, run, judgement, Direction.REGRESSED))
    else:
        found += _end(station, db, run, judgement, Direction.REGRESSED)
    return found + _drift(station, db, run)


def _drift(station: Station, db: Db, run: Run) -> list[Change]:
    compared = judgements.get(db, run.id, Basis.FIRST)
    if compared is None:
        return []
    if compared.verdict is not Verdict.REGRESSED:
        return _end(station, db, run, compared, Direction.DRIFT) if compared.confirmed is not False else []
    # The first that is told of was measured in turns; what goes on is seen in stored sessions.
    known = incidents.live(db, key_of(run, Direction.DRIFT)) is not None
    return [_bad(station, db, run, compared, Direction.DRIFT)] if known or compared.confirmed else []


def _bad(station: Station, db: Db, run: Run, judgement: Judgement | None, direction: Direction) -> Change:
    now, key = station.clock(), key_of(run, direction)
    live = incidents.live(db, key)
    headline = judgement.headline if judgement and direction is not Direction.BROKEN else run.reason
    if live is None:
        signature = Signature.BROKEN_RELEASE if direction is Direction.BROKEN else None
        if signature is None and judgement is not None:
            signature = judgement.signature
        incident = Incident(
            id=0,
            key=key,
            project=run.project,
            channel=run.channel,
            machine_id=run.host,
            check_id=run.check_id,
            epoch_id=run.epoch_id or 0,
            direction=direction,
            state=IncidentState.OPEN,
            signature=signature.value if signature else None,
            headline=headline,
            opened_at=now,
            changed_at=now,
            ended_at=None,
            first_bad_run_id=run.id,
            latest_bad_run_id=run.id,
            worst_run_id=run.id,
            fixed_by_run_id=None,
            snoozed_until=None,
            reminders=0,
            remind_at=now + _first_reminder(station),
        )
        step = _step(Action.OPENED, None, IncidentState.OPEN, headline, _evidence(db, run, direction), now)
        return _change(station, db, incidents.add(db, incident, step), step, run, judgement)
    first, latest, worst = (
        _run(db, number) for number in (live.first_bad_run_id, live.latest_bad_run_id, live.worst_run_id)
    )
    is_worse = losses.is_worse(db, run, judgement, live, worst)
    action = Action.WORSE if is_worse else Action.SEEN_AGAIN
    target = IncidentState.OPEN if is_worse and live.state is IncidentState.SNOOZED else live.state
    later = run.place >= latest.place
    changed = replace(
        live,
        state=target,
        headline=headline if is_worse else live.headline,
        changed_at=now,
        first_bad_run_id=run.id if run.place < first.place else live.first_bad_run_id,
        latest_bad_run_id=run.id if later else live.latest_bad_run_id,
        worst_run_id=run.id if is_worse else live.worst_run_id,
        reminders=0 if later else live.reminders,
        remind_at=now + _first_reminder(station) if target is IncidentState.OPEN else live.remind_at,
    )
    step = _step(action, live.state, target, headline, _evidence(db, run, direction), now)
    return _change(station, db, incidents.change(db, changed, step), step, run, judgement)


def _end(station: Station, db: Db, run: Run, judgement: Judgement, direction: Direction) -> list[Change]:
    live = incidents.live(db, key_of(run, direction))
    if live is None or run.place <= _run(db, live.latest_bad_run_id).place:
        return []
    lost = losses.judged(db, live, live.latest_bad_run_id)
    if direction is not Direction.BROKEN and (lost is None or not has_recovered(lost, judgement)):
        return []
    now = station.clock()
    what = "installs, starts and answers again" if direction is Direction.BROKEN else "has back what was lost"
    why = f"{run.project} {run.version} {what}"
    ended = replace(
        live,
        state=IncidentState.RESOLVED,
        changed_at=now,
        ended_at=now,
        fixed_by_run_id=run.id,
        remind_at=None,
        snoozed_until=None,
    )
    step = _step(Action.RESOLVED, live.state, IncidentState.RESOLVED, why, _evidence(db, run, direction), now)
    return [_change(station, db, incidents.change(db, ended, step), step, run, judgement)]


def _is_news(change: Change) -> bool:
    """Say whether people are told: not again of the same release or drift, and not of what they snoozed."""
    if change.step.action is Action.SEEN_AGAIN:
        if change.incident.direction is Direction.DRIFT:
            return False
        new_release = change.incident.latest_bad_run_id == change.run.id
        return new_release and change.incident.state is not IncidentState.SNOOZED
    return True


# ---------------------------------------------------------------------------------------------
# What time does


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
            again = min(_first_reminder(station) * 2 ** min(reminders, 10), _LONGEST_REMINDER)
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
            step = _step(action, incident.state, IncidentState.OPEN, why, (incident.latest_bad_run_id,), now)
            kept = incidents.change(db, changed, step)
            bad = _run(db, incident.latest_bad_run_id)
            written += _write_incidents(
                station, db, [_change(station, db, kept, step, bad, losses.judged(db, kept, bad.id))]
            )
    return written


# ---------------------------------------------------------------------------------------------
# What a bisection does


def of_loss(station: Station, db: Db, check: Check, bad: Artifact) -> int | None:
    """Return the incident that goes on about the loss of a release, if there is one."""
    for incident in incidents.live_of_series(
        db, machine_id=station.host.machine_id, project=bad.project, check_id=check.id
    ):
        named = {incident.first_bad_run_id, incident.latest_bad_run_id, incident.worst_run_id}
        if incident.direction is Direction.REGRESSED and any(
            _run(db, number).artifact_sha256 == bad.sha256 for number in named
        ):
            return incident.id
    return None


def bisected(station: Station, db: Db, found: Bisection) -> list[Message]:
    """Put what a bisection has found on its incident, in the caller's transaction, and tell of it once.

    Nobody is told when there was nothing between the ends, after the incident has ended, or while it is
    snoozed; its log and its page have the result all the same.
    """
    incident = incidents.get(db, found.incident_id) if found.incident_id is not None else None
    if incident is None:
        return []
    now, bad = station.clock(), found.first_bad
    first = _run(db, bad.run_id if bad.run_id is not None else incident.first_bad_run_id)
    changed = replace(incident, changed_at=now)
    runs_of_ends = (first.id, *([found.last_good.run_id] if found.last_good.run_id is not None else []))
    step = _step(Action.BISECTED, incident.state, incident.state, found.reason, runs_of_ends, now)
    kept = incidents.change(db, changed, step)
    if len(found.visits) == len((found.last_good, found.first_bad)) or kept.state not in _TOLD:
        return []
    judgement = judgements.numbered(db, bad.judgement_id) if bad.judgement_id is not None else None
    return _write_incidents(station, db, [_change(station, db, kept, step, first, judgement)])


_TOLD = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)


# ---------------------------------------------------------------------------------------------
# Writing


def write_change(station: Station, db: Db, incident: Incident, step: IncidentStep) -> list[Message]:
    """Write the message about one change of an incident, in the caller's transaction."""
    bad = _run(db, incident.latest_bad_run_id)
    return _write_incidents(
        station, db, [_change(station, db, incident, step, bad, losses.judged(db, incident, bad.id))]
    )


def _write_incidents(station: Station, db: Db, changes: Sequence[Change]) -> list[Message]:
    actions = {change.step.action for change in changes}
    data = render.incident_data(changes, host=station.host, public_url=_url(station))
    if actions & {Action.OPENED, Action.REOPENED}:
        return _write(station, db, MessageType.INCIDENT_OPENED, data)
    if actions <= {Action.RESOLVED, Action.ACCEPTED, Action.FALSE_ALARM}:
        told = outbox.told_of_incidents(db, [change.incident.id for change in changes])
        return _write(station, db, MessageType.INCIDENT_RESOLVED, data, only=told)
    if actions == {Action.ACKNOWLEDGED}:
        return _write(station, db, MessageType.INCIDENT_ACKNOWLEDGED, data)
    return _write(station, db, MessageType.INCIDENT_UPDATED, data)


def _write(
    station: Station,
    db: Db,
    kind: MessageType,
    data: dict[str, object],
    *,
    only: Iterable[str] | None = None,
) -> list[Message]:
    wanting = [item.name for item in station.settings.destinations if kind in item.events]
    if only is not None:
        told = set(only)
        wanting = [name for name in wanting if name in told]
    # An incident's message is kept even when nobody is told: the log of what was said is complete.
    if not wanting and not kind.value.startswith("incident."):
        return []
    return [outbox.write(db, kind, data, wanting, now=station.clock())]


def _change(  # noqa: PLR0917  # where, then what changed and by which run
    station: Station, db: Db, incident: Incident, step: IncidentStep, run: Run, judgement: Judgement | None
) -> Change:
    reference = runs.get(db, run.reference_run_id) if run.reference_run_id else None
    advice = advise(station, db, run.project, run.check_id, run.check_digest)
    version = reference.version if reference else None
    creep = None
    if incident.direction is Direction.DRIFT and judgement is not None:
        version = judgement.reference.version if judgement.reference else None
        creep = drift.series_of(db, run, judgement)
    return Change(
        incident=incident,
        step=step,
        run=run,
        judgement=judgement,
        reference_version=version,
        predecessor=judgements.get(db, run.id, Basis.PREDECESSOR) if creep is None else None,
        first_bad_version=_run(db, incident.first_bad_run_id).version,
        advice=said(advice) if advice is not None else None,
        creep=creep,
        bisection=bisections.of_incident(db, incident.id),
        costs=None
        if incident.direction is Direction.DRIFT
        else costs_of(db, run, judgement, prices_of(station.settings.host)),
    )


def _step(  # noqa: PLR0917  # the fields of a log entry, in the order people say them
    action: Action,
    source: IncidentState | None,
    target: IncidentState,
    why: str,
    run_ids: tuple[int, ...],
    at: datetime,
) -> IncidentStep:
    return IncidentStep(action, source, target, SERVICE, why, run_ids, at)


def _evidence(db: Db, run: Run, direction: Direction) -> tuple[int, ...]:
    first = drift.first_good(db, run) if direction is Direction.DRIFT else None
    other = run.reference_run_id if first is None else first.id
    return (run.id,) if other is None else (run.id, other)


def _run(db: Db, run_id: int) -> Run:
    found = runs.get(db, run_id)
    if found is None:
        raise AssertionError(f"run {run_id}, which an incident rests on, is gone")
    return found


def _first_reminder(station: Station) -> timedelta:
    return timedelta(hours=station.settings.schedule.remind_hours)


def _url(station: Station) -> str | None:
    return station.settings.web.public_url


__all__ = ["LIVE_STATES", "SERVICE", "announce", "key_of", "remind", "write_change"]
