"""Whether a GPU may be measured on: sound, idle, nobody else's, and its memory as low as it gets.

The floor is the least memory in use while nothing computed on the GPU, since the driver was loaded. It is
kept in the state folder: memory that an engine leaves behind cannot be told from the driver's own.

A desktop on the card comes and goes with its own memory. Processes that only draw are no reason to wait, or
the monitor could never measure on a workstation; while they are there, memory may be further above the floor.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monitor.errors import GpuBusyError, GpuFaultError
from monitor.gpu.driver import Card
from monitor.gpu.reading import Reading, names, read

SLACK_BYTES = 256 * 2**20
"""A driver without any client needs a little more or less from time to time."""
DESKTOP_BYTES = 4 * 2**30
"""A desktop with a browser on large screens takes 1 to 3 GiB; a game, or a model drawn with, takes more."""
IDLE_PERCENT = 5
SETTLE_S = 20.0
"""How long memory and load of an ended process may take to go away."""
_PAUSE_S = 0.5


@dataclass(frozen=True)
class Readiness:
    """One GPU's fitness; `facts` are those it had when the machine was described."""

    card: Card
    facts: dict[str, Any]
    floor_file: Path
    boot_id: str
    settle_s: float = SETTLE_S
    clock: Callable[[], float] = field(default=time.monotonic)
    pause: Callable[[float], None] = field(default=time.sleep)

    def before(self) -> None:
        """Wait until the GPU may be measured on.

        Raises:
            GpuFaultError: when it is lost.
            GpuBusyError: when another process uses it, or its memory is in use, by whomever.

        """
        floor = self._floor()
        seen = self._settled(floor)
        if seen.processes:
            raise GpuBusyError(
                f"The GPU is used by {names(seen.processes)}.",
                kept="everything; the run waits",
                advice="stop it, or name the commands that do in `host.before` and `host.after`",
            )
        if held := self._held(seen, floor):
            # Not the GPU's fault as far as anybody knows: it ends when whoever holds the memory does.
            raise GpuBusyError(
                f"The GPU's memory is not free: {held}; {_holder(seen)}.",
                kept="everything; the run waits",
                advice=_ADVICE_DRAWN if seen.graphics else _ADVICE_UNSEEN,
            )
        if (seen.utilisation_percent or 0) > IDLE_PERCENT:
            raise GpuBusyError(
                f"The GPU is busy ({seen.utilisation_percent} %); {_holder(seen)}.",
                kept="everything; the run waits",
                advice="see nvidia-smi on the machine itself, outside any container",
            )
        self._lower(seen)

    def after(self, used_before: int | None = None) -> None:
        """Wait until the memory that an engine has used is free again: as much as before it started.

        Raises:
            GpuFaultError: when it does not come back, and no process that can be seen has it.

        """
        known = [one for one in (self._floor(), used_before) if one is not None]
        # What was in use before this engine started is not its own.
        floor = max(known, default=None)
        seen = self._settled(floor)
        held = self._held(seen, floor)
        if held and not seen.processes:
            raise GpuFaultError(
                f"The engine has ended, and its memory on the GPU did not come back: {held}.",
                kept="the complete sessions",
                advice=_ADVICE_HELD,
            )

    def _settled(self, floor: int | None) -> Reading:
        deadline = self.clock() + self.settle_s
        while True:
            seen = read(self.card, self.clock())
            idle = (seen.utilisation_percent or 0) <= IDLE_PERCENT
            if idle and not seen.processes and not self._held(seen, floor):
                return seen
            if self.clock() >= deadline:
                return seen
            self.pause(_PAUSE_S)

    def _held(self, seen: Reading, floor: int | None) -> str:
        used = seen.memory_used_bytes
        slack = SLACK_BYTES + (DESKTOP_BYTES if seen.graphics else 0)
        if used is None or floor is None or used <= floor + slack:
            return ""
        return f"{used / 2**30:.1f} GiB in use, where {floor / 2**30:.1f} GiB are when nothing runs"

    # The floor of another card, driver or boot says nothing.

    def _key(self) -> dict[str, Any]:
        return {"uuid": self.facts.get("uuid"), "driver": self.facts.get("driver"), "boot": self.boot_id}

    def _floor(self) -> int | None:
        try:
            kept = json.loads(self.floor_file.read_text(encoding="utf-8"))
            return int(kept.pop("bytes")) if kept.pop("key") == self._key() else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _lower(self, seen: Reading) -> None:
        floor = self._floor()
        used = seen.memory_used_bytes
        if used is None or (floor is not None and floor <= used):
            return
        # A floor that cannot be kept is learned again: measuring is not stopped by it.
        try:
            self.floor_file.write_text(json.dumps({"key": self._key(), "bytes": used}), encoding="utf-8")
        except OSError:
            return


def soundness(card: Card) -> str | None:
    """Return in words why nothing on this GPU can be believed or compared, None when all is well.

    Raises:
        GpuFaultError: when it is lost.

    """
    mig = card.ask("GetMigMode")
    if mig is not None and mig[0]:
        return "MIG is on, which leaves a process a part of the GPU only; switch it off (nvidia-smi -mig 0)"
    seen = read(card, 0.0)
    if seen.ecc_uncorrected:
        return f"its memory had {seen.ecc_uncorrected} errors that ECC could not correct since the last reset"
    _, _, pending, failed = card.ask("GetRemappedRows") or (0, 0, 0, 0)
    if pending or failed or card.ask("GetRetiredPagesPendingStatus"):
        return "its memory has faults that wait for a reset of the GPU to be mapped out"
    return None


_FIND = "find what holds it (fuser -v /dev/nvidia*)"
_AS_IT_IS = "if this is as free as it gets: mtp-monitor gpu release --reason TEXT"
_ADVICE_HELD = f"{_FIND}, or restart the machine; then mtp-monitor gpu release"
_ADVICE_UNSEEN = f"{_FIND}, or restart the machine; {_AS_IT_IS}"
_ADVICE_DRAWN = f"close what draws so much (a game, many windows); {_AS_IT_IS}"


def _holder(seen: Reading) -> str:
    if seen.graphics:
        return f"{names(seen.graphics)} {'draw' if len(seen.graphics) > 1 else 'draws'} on it"
    return "nobody that can be seen from here uses it"
