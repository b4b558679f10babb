"""Incidents: what people are told about, and the messages that tell them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Direction(StrEnum):
    """What kind of trouble an incident is about; part of its identity."""

    REGRESSED = "regressed"
    """Slower, fewer drafts accepted, or another output."""
    BROKEN = "broken"
    """A release does not install, start or answer."""
    DRIFT = "drift"
    """Releases that each passed have together lost what one alone would be blamed for."""


class IncidentState(StrEnum):
    """Where an incident stands. A suspicion is no incident yet: it is a run in the state `confirming`."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    RESOLVED = "resolved"
    ACCEPTED = "accepted reference"
    FALSE_ALARM = "false alarm"


LIVE_STATES = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED, IncidentState.SNOOZED)
"""States in which an incident goes on; of one key at most one incident is in them."""


class Action(StrEnum):
    """What moved an incident, or was noted on it."""

    OPENED = "opened"
    SEEN_AGAIN = "seen again"
    """A newer release has it too."""
    WORSE = "got worse"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    WOKEN = "woken"
    REMINDED = "reminded"
    RESOLVED = "resolved"
    ACCEPTED = "accepted as the new reference"
    FALSE_ALARM = "called a false alarm"
    REOPENED = "opened again"
    BISECTED = "bisected"
    """A bisection has found where it began."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One loss of one check on one host, from the release that brought it to the one that took it back."""

    id: int
    key: str
    """sha256 of project, channel, host, check id, epoch and direction. The release is not in it."""
    project: str
    channel: str
    machine_id: str
    check_id: str
    epoch_id: int
    direction: Direction
    state: IncidentState
    signature: str | None
    headline: str
    """Of the run that is worst so far."""
    opened_at: datetime
    changed_at: datetime
    ended_at: datetime | None
    first_bad_run_id: int
    latest_bad_run_id: int
    worst_run_id: int
    fixed_by_run_id: int | None
    snoozed_until: datetime | None
    reminders: int
    """How often people were reminded since they were told last of something new."""
    remind_at: datetime | None
    """When they are reminded next; None once somebody has acknowledged or it has ended."""


@dataclass(frozen=True, slots=True)
class IncidentStep:
    """One transition or note of an incident; the log of them is only ever appended to."""

    action: Action
    source: IncidentState | None
    target: IncidentState
    who: str
    why: str
    run_ids: tuple[int, ...]
    """The evidence."""
    at: datetime


class MessageType(StrEnum):
    """Types of messages, as webhooks name them."""

    INCIDENT_OPENED = "incident.opened"
    INCIDENT_UPDATED = "incident.updated"
    INCIDENT_ACKNOWLEDGED = "incident.acknowledged"
    INCIDENT_RESOLVED = "incident.resolved"
    RUN_FINISHED = "run.finished"
    RELEASE_DISCOVERED = "release.discovered"
    SERVICE_STALE = "service.stale"
    GPU_QUARANTINED = "gpu.quarantined"
    GPU_RELEASED = "gpu.released"


class DeliveryState(StrEnum):
    """Where the delivery of a message to a destination stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    """Given up: refused for good, or tried too often. It can be replayed."""


@dataclass(frozen=True, slots=True)
class Message:
    """Something to tell, the same for all destinations; each kind of destination renders `data` its way."""

    id: str
    """`msg_…`, the same at every try: receivers drop what they know already."""
    type: MessageType
    created_at: datetime
    data: dict[str, Any]
    """JSON values; `docs/messages.schema.json` says which for each type."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on its way to one destination."""

    id: int
    message: Message
    destination: str
    """Name of the destination in the configuration."""
    state: DeliveryState
    attempts: int
    due_at: datetime
    """When it is tried next."""
    last_error: str
    delivered_at: datetime | None
