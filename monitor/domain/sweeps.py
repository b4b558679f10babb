"""Sweeps: one release measured with several draft lengths and options, to find the best for this machine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from monitor.domain.advice import Worth


class Standing(StrEnum):
    """How a cell of a sweep stands to the best one."""

    BEST = "best"
    ALIKE = "alike"
    """Its rate is that of the best within the floor."""
    OPEN = "open"
    """Not told apart from the best by the sessions there are."""
    SLOWER = "slower"
    FAILED = "failed"
    """The engine does not start or answer with it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One way of speculating: a draft length and options. Its check has a digest of its own."""

    name: str
    """`n3`, or with options `n3,p-min=0.4`."""
    draft_length: int
    options: dict[str, str]
    check_id: str
    check_digest: str


@dataclass(frozen=True, slots=True)
class CellResult:
    """What was measured of one cell; figures are None where there are none."""

    cell: Cell
    standing: Standing
    sessions: int
    mtp_rate: float | None
    """Tokens per second."""
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None
    worth: Worth
    acceptance_rate: float | None
    acceptance_length: float | None
    step_time_s: float | None
    change_percent: float | None
    """Of its rate against the best cell's."""
    change_low: float | None
    change_high: float | None
    reason: str = ""
    """Why it failed."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep with what it found."""

    id: int
    """That of its run."""
    check_id: str
    check_digest: str
    """Of the check that was swept."""
    project: str
    version: str
    artifact_sha256: str
    machine_id: str
    current: int
    """The check's own draft length."""
    made_at: datetime
    blocks: int
    decided: bool
    """Every cell is told apart from the best, or is like it."""
    baseline_rate: float | None
    baseline_sessions: int
    """The baseline was measured once for all cells."""
    floor: float
    """Relative difference of rates within which cells are alike."""
    chosen: Cell | None
    """Of the best and those alike: what the check uses already, else what drafts least. None: all failed."""
    cells: tuple[CellResult, ...]
