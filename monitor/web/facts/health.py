"""Whether the service does its work: the truth behind `/healthz`, told in reasons.

Silence must never look like health: a part that has not shown itself for too long is a reason, and so is one
that never did.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import psutil

from monitor.errors import StoreError
from monitor.steps.station import Station
from monitor.store.queries import beats, runs
from monitor.store.queries.beats import Beat

PARTS = ("poll", "work", "deliver")
"""The parts of the service that should beat."""

DELIVER_LATE = timedelta(minutes=5)
WORK_LATE = timedelta(minutes=15)
"""Between two rounds of work; a round itself may take hours."""
WORK_STUCK = timedelta(hours=6)
"""A round of work in which no run moved on or began a session for so long hangs."""
POLLS_LATE = 3
"""Looks at the sources that may be missed in a row."""
FAILURES_BAD = 3
"""Rounds that may fail in a row: one can be the network's fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the service: when it last did its work, and what is wrong with it."""

    name: str
    begun_at: datetime | None
    ended_at: datetime | None
    """Null while it is at it."""
    error: str
    """Of its last round."""
    failures: int
    """Rounds in a row that failed."""
    wrong: str
    """Why it counts as not well; empty when it is well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether the store answers and every part of the service has beaten recently."""

    schema: Literal["mtp-monitor/api/health/1"] = "mtp-monitor/api/health/1"
    well: bool
    reasons: list[str]
    """What is wrong, one sentence each; empty when all is well."""
    parts: list[Part]
    checked_at: datetime


def health(station: Station) -> Health:
    """Look at the store and the beats of the parts; never raises for a store that does not answer."""
    now = station.clock()
    try:
        with station.store.read() as db:
            seen = {beat.part: beat for beat in beats.all_of(db)}
            progress = runs.last_progress(db, station.host.machine_id)
    except StoreError as error:
        return Health(
            well=False, reasons=[f"The store does not answer: {error.what}"], parts=[], checked_at=now
        )
    poll_late = max(DELIVER_LATE, POLLS_LATE * timedelta(minutes=station.settings.schedule.poll_minutes))
    parts = [
        _part("poll", seen.get("poll"), _silent(seen.get("poll"), poll_late, now)),
        _part("work", seen.get("work"), _idle(seen.get("work"), progress, now)),
        _part("deliver", seen.get("deliver"), _silent(seen.get("deliver"), DELIVER_LATE, now)),
    ]
    reasons = [f"`{part.name}` {part.wrong}." for part in parts if part.wrong]
    return Health(well=not reasons, reasons=reasons, parts=parts, checked_at=now)


def _part(name: str, beat: Beat | None, wrong: str) -> Part:
    if not wrong and beat is not None and beat.failures >= FAILURES_BAD:
        wrong = f"failed {beat.failures} times in a row: {beat.error}"
    return Part(
        name=name,
        begun_at=beat.begun_at if beat is not None else None,
        ended_at=beat.ended_at if beat is not None else None,
        error=beat.error if beat is not None else "",
        failures=beat.failures if beat is not None else 0,
        wrong=wrong,
    )


def _silent(beat: Beat | None, late: timedelta, now: datetime) -> str:
    """Say what is wrong with a part whose rounds are short."""
    if beat is None:
        return "has never run"
    shown = beat.ended_at or beat.begun_at
    if now - shown <= late:
        return ""
    return f"has not {'ended' if beat.ended_at is None else 'begun'} a round since {_clock(shown)}"


def _idle(beat: Beat | None, progress: datetime | None, now: datetime) -> str:
    """Say what is wrong with the part that measures, whose rounds may take hours."""
    if beat is None or beat.ended_at is not None:
        return _silent(beat, WORK_LATE, now)
    moved = max(beat.begun_at, progress) if progress is not None else beat.begun_at
    if now - moved > WORK_STUCK:
        return f"has made no progress since {_clock(moved)}"
    # A process that is gone may have been replaced by one that goes on with its run.
    if not psutil.pid_exists(beat.pid) and now - moved > WORK_LATE:
        return f"was left by process {beat.pid}, which is gone, and made no progress since {_clock(moved)}"
    return ""


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
