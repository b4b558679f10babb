"""Sources as pages show them: when each was asked last, how that went, and when it is asked next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session as Db

from monitor.steps.station import Station
from monitor.store.queries import polls


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLine:
    """One followed stream of releases; dates are null before it was first asked."""

    project: str
    channel: str
    address: str
    asked_at: datetime | None
    answered_at: datetime | None
    """When it last answered with a listing."""
    due_at: datetime | None
    """When it is asked next."""
    error: str
    """Of the last look; empty when it answered."""
    failures: int
    """Looks in a row that brought nothing."""
    quota: str
    """What the source still allows to be asked, in words; empty where it sets no limit."""


def source_lines(station: Station, db: Db) -> list[SourceLine]:
    """Return every source of the configuration, in its order."""
    known = {(state.project, state.channel): state for state in polls.all_of(db)}
    lines = []
    for source in station.settings.sources:
        state = known.get((source.project, source.channel))
        lines.append(
            SourceLine(
                project=source.project,
                channel=source.channel,
                address=state.address if state is not None else "",
                asked_at=state.asked_at if state is not None else None,
                answered_at=state.answered_at if state is not None else None,
                due_at=state.due_at if state is not None else None,
                error=state.error if state is not None else "",
                failures=state.failures if state is not None else 0,
                quota=station.surroundings.github.quota_in_words() if source.kind == "github" else "",
            )
        )
    return lines
