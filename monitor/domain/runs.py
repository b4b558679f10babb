"""Runs, and the host they happen on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class RunState(StrEnum):
    """Where a run stands; `docs/run_lifecycle.md` draws the transitions."""

    PLANNED = "planned"
    PROVISIONING = "provisioning"
    MEASURING = "measuring"
    JUDGING = "judging"
    CONFIRMING = "confirming"
    DONE = "done"
    FAILED = "failed"
    INVALID = "invalid"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Host:
    """One machine with its accelerator, as far as it decides what may be compared."""

    name: str
    machine_id: str
    hardware_class: str
    boot_id: str
    cpu: str
    cores: int
    memory_bytes: int
    gpu: dict[str, Any] | None = None
    kernel: str = ""

    @property
    def driver(self) -> str | None:
        """The version of the GPU's driver ("" when it does not say); None without a GPU."""
        return None if self.gpu is None else str(self.gpu.get("driver") or "")


@dataclass(frozen=True, slots=True)
class Epoch:
    """A stretch of one series in which host, driver, check digest and accepted reference stay the same."""

    id: int
    machine_id: str
    project: str
    check_digest: str
    number: int
    conditions: dict[str, Any]
    reference_run_id: int | None
    """The run a person accepted; None where the last good run of the epoch is the reference."""
    reason: str
    who: str
    began_at: datetime
