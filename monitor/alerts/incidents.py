"""Incidents: what a run that has ended does to them, and who is told of it.

Each transition and the messages about it are written in one transaction, so that neither is lost and none is
told twice. What follows what is drawn in `docs/alerts.md`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import groupby

from sqlmodel import Session as Db

from monitor.alerts import losses, messages, reminders, render
from monitor.alerts.render import Change
from monitor.domain import (
    Action,
    Basis,
    Direction,
    Incident,
    IncidentState,
    Judgement,
    Message,
    MessageType,
    RunState,
    Signature,
    Verdict,
)
from monitor.judge.recovery import has_recovered
from monitor.steps import drift
from monitor.steps.costs import costs_of, prices_of
from monitor.steps.states import MONITOR
from monitor.steps.station import Station
from monitor.store.queries import incidents, judgements, queue, runs
from monitor.store.queries.runs import Run


def key_of(run: Run, direction: Direction) -> str:
    """Return what makes two losses the same incident. The release is not part of it."""
    parts = (run.project, run.channel, run.host, run.check_id, str(run.epoch_id), direction.value)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def announce(station: Station) -> list[Message]:
    """Make known every run that has ended and was not made known, all runs of a release together.

    1. A release is told of when all its checks in the queue are done, or `announce_after_hours` after the
       first of them was.
    2. Each run opens an incident, moves one on, ends one, or does neither (`_transitions`).
    3. What changed goes out as one message for the release; and one for each run, to those who want these.
    """
    with station.store.read() as db:
        ended = queue.unannounced(db, station.host.machine_id)
    written: list[Message] = []
    by_artifact = sorted(ended, key=lambda run: (run.artifact_id, run.finished_at or run.planned_at))
    for artifact_id, group in groupby(by_artifact, key=lambda run: run.artifact_id):
        of_release = list(group)
        if _is_told_now(station, artifact_id, of_release):
            written += _announce_release(station, of_release)
    return written


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
            data = render.run_data(
                run, judgement, host=station.host, public_url=station.settings.web.public_url, costs=costs
            )
            written += messages.write(station, db, MessageType.RUN_FINISHED, data)
            queue.set_announced(db, run.id, now=now)
        if told := [change for change in changes if _is_news(change)]:
            written += messages.write_incidents(station, db, told)
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
            remind_at=now + reminders.first_after(station),
        )
        step = messages.own_step(
            Action.OPENED, None, IncidentState.OPEN, headline, _evidence(db, run, direction), now
        )
        return messages.change_of(station, db, incidents.add(db, incident, step), step, run, judgement)
    first, latest, worst = (
        messages.run_of(db, number)
        for number in (live.first_bad_run_id, live.latest_bad_run_id, live.worst_run_id)
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
        remind_at=now + reminders.first_after(station) if target is IncidentState.OPEN else live.remind_at,
    )
    step = messages.own_step(action, live.state, target, headline, _evidence(db, run, direction), now)
    return messages.change_of(station, db, incidents.change(db, changed, step), step, run, judgement)


def _end(station: Station, db: Db, run: Run, judgement: Judgement, direction: Direction) -> list[Change]:
    live = incidents.live(db, key_of(run, direction))
    if live is None or run.place <= messages.run_of(db, live.latest_bad_run_id).place:
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
    step = messages.own_step(
        Action.RESOLVED, live.state, IncidentState.RESOLVED, why, _evidence(db, run, direction), now
    )
    return [messages.change_of(station, db, incidents.change(db, ended, step), step, run, judgement)]


def _is_news(change: Change) -> bool:
    """Say whether people are told: not again of the same release or drift, and not of what they snoozed."""
    if change.step.action is Action.SEEN_AGAIN:
        if change.incident.direction is Direction.DRIFT:
            return False
        new_release = change.incident.latest_bad_run_id == change.run.id
        return new_release and change.incident.state is not IncidentState.SNOOZED
    return True


def _evidence(db: Db, run: Run, direction: Direction) -> tuple[int, ...]:
    first = drift.first_good(db, run) if direction is Direction.DRIFT else None
    other = run.reference_run_id if first is None else first.id
    return (run.id,) if other is None else (run.id, other)
