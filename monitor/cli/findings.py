"""What an examination of the machine finds, one thing at a time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What a finding means for the monitor."""

    FINE = "fine"
    NOTE = "note"
    WARNING = "warning"
    """Something will not work, and the rest will."""
    STOPS = "stops"
    """The monitor cannot do its work."""


MARKS = {
    State.FINE: ("✓", "green"),
    State.NOTE: ("–", "dim"),
    State.WARNING: ("!", "yellow"),
    State.STOPS: ("✗", "bold red"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    name: str
    state: State
    text: str
    advice: str = ""
