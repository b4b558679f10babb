"""The state of the service itself: queue, sources, destinations, parts, errors, budget and precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlmodel import Session as Db

from monitor.domain import LIVE_STATES, BisectionState, DeliveryState, IncidentState, MessageType, RunState
from monitor.steps.gpu import GpuState, state
from monitor.steps.station import Station
from monitor.store.queries import incidents, outbox, queue, runs
from monitor.web.facts.bisections import BisectionFacts, bisection_list
from monitor.web.facts.health import Health, health
from monitor.web.facts.run_lines import RunLine, run_lines
from monitor.web.facts.sources import SourceLine, source_lines

_ERRORS_SHOWN = 8
_DEAD_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationLine:
    """One destination; its address is a secret and is not shown."""

    name: str
    kind: str
    """`slack`, `webhook`, or empty for one that is no longer configured."""
    last_delivered_at: datetime | None
    pending: int
    dead: int
    last_error: str
    """Of the delivery that waits or was given up last; empty when there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A delivery that was given up. Replayed, it keeps its message id."""

    id: int
    message_id: str
    type: MessageType
    destination: str
    created_at: datetime
    attempts: int
    last_error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Measuring time, in minutes."""

    used_today: float
    """In the last 24 hours."""
    per_day: float | None
    per_release: float | None
    window: str | None
    """Local hours in which measuring may start; null: always."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """How far this service's own alerts could be relied on."""

    alerts: int
    """Incidents ever opened, each after a confirmation."""
    going_on: int
    real: int
    """Resolved by a later release or a person, or accepted as the new reference."""
    false_alarms: int
    share: float | None
    """real / (real + false alarms); null before any has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The state of the service itself."""

    schema: Literal["mtp-monitor/api/status/1"] = "mtp-monitor/api/status/1"
    health: Health
    working: list[RunLine]
    waiting: list[RunLine]
    """In the order of their turn."""
    bisections: list[BisectionFacts]
    """Those that go on."""
    sources: list[SourceLine]
    destinations: list[DestinationLine]
    dead_letters: list[DeadLetter]
    errors: list[RunLine]
    """The newest runs that failed, are invalid or were interrupted."""
    gpu: GpuState | None
    """Null on a machine without one."""
    budget: Budget
    precision: Precision
    run_counts: dict[RunState, int]
    store: str
    now: datetime


def status(station: Station) -> Status:
    """Return the state of the service."""
    here, now = station.host.machine_id, station.clock()
    host, wellness, gpu = station.settings.host, health(station), state(station)
    searches = bisection_list(station, BisectionState.RUNNING).bisections
    with station.store.read() as db:
        bad = (RunState.FAILED, RunState.INVALID, RunState.INTERRUPTED)
        dead = outbox.deliveries(db, state=DeliveryState.DEAD, limit=_DEAD_SHOWN)
        return Status(
            health=wellness,
            working=run_lines(station, db, queue.working(db, here)),
            waiting=run_lines(station, db, queue.waiting(db, here)),
            bisections=searches,
            sources=source_lines(station, db),
            destinations=_destinations(station, db),
            dead_letters=[
                DeadLetter(
                    id=one.id,
                    message_id=one.message.id,
                    type=one.message.type,
                    destination=one.destination,
                    created_at=one.message.created_at,
                    attempts=one.attempts,
                    last_error=one.last_error,
                )
                for one in dead
            ],
            errors=run_lines(station, db, runs.listed(db, machine_id=here, states=bad, limit=_ERRORS_SHOWN)),
            gpu=gpu,
            budget=Budget(
                used_today=queue.minutes_used(db, here, since=now - timedelta(days=1), now=now),
                per_day=host.gpu_minutes_per_day,
                per_release=host.gpu_minutes_per_release,
                window=host.window,
            ),
            precision=precision(incidents.counts(db)),
            run_counts=runs.counts(db, here),
            store=station.store.place,
            now=now,
        )


def precision(counts: Mapping[IncidentState, int]) -> Precision:
    """Return how many alerts there were and how many of them people called false."""
    real = counts[IncidentState.RESOLVED] + counts[IncidentState.ACCEPTED]
    false_alarms = counts[IncidentState.FALSE_ALARM]
    ended = real + false_alarms
    return Precision(
        alerts=sum(counts.values()),
        going_on=sum(counts[state] for state in LIVE_STATES),
        real=real,
        false_alarms=false_alarms,
        share=real / ended if ended else None,
    )


def _destinations(station: Station, db: Db) -> list[DestinationLine]:
    standing = outbox.standing(db)
    kinds = {one.name: one.kind for one in station.settings.destinations}
    # What was written for a destination that is gone from the configuration still waits for somebody.
    left = {
        name: ""
        for (name, state), _ in standing.items()
        if name not in kinds and state is not DeliveryState.DELIVERED
    }
    return [_destination(db, name, kind, standing) for name, kind in {**kinds, **left}.items()]


def _destination(
    db: Db, name: str, kind: str, standing: Mapping[tuple[str, DeliveryState], int]
) -> DestinationLine:
    last = outbox.deliveries(db, state=DeliveryState.DELIVERED, destination=name, limit=1)
    troubled = [
        one
        for state in (DeliveryState.PENDING, DeliveryState.DEAD)
        for one in outbox.deliveries(db, state=state, destination=name, limit=1)
        if one.last_error
    ]
    return DestinationLine(
        name=name,
        kind=kind,
        last_delivered_at=last[0].delivered_at if last else None,
        pending=standing.get((name, DeliveryState.PENDING), 0),
        dead=standing.get((name, DeliveryState.DEAD), 0),
        last_error=troubled[0].last_error if troubled else "",
    )
