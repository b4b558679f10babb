"""Watching a GPU while a session is measured: clocks, heat, power, energy, memory, and what disturbed it.

A thread looks twice a second; one more look is taken at the beginning and end of every stretch of answers, so
that even a short answer has two. A look takes about a millisecond and waits for nothing of ours.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from monitor.errors import GpuFaultError
from monitor.gpu.driver import ADVICE, Card
from monitor.gpu.reading import Reading, read, summary, trace

EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Stretch:
    """What the GPU did between two moments."""

    energy_j: float | None = None
    contaminated_by: tuple[str, ...] = ()
    """Why the times of this stretch are worth nothing, in words; empty when they are."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What a whole session did to the GPU."""

    gpu_memory_bytes: int | None = None
    """Most memory in use, less what was in use before the engine started."""
    facts: dict[str, Any] | None = None
    """`Session.gpu`."""


class NoWatch:
    """In the place of a watch, where no GPU is measured on."""

    device: dict[str, str]

    def __init__(self) -> None:
        self.device = {}

    def attend(self, owns: Callable[[int], bool]) -> None:
        """Ignore whose processes are the engine's."""

    def mark(self) -> float:
        """Note the beginning of a stretch."""
        return 0.0

    def since(self, _mark: float) -> Stretch:
        """Return that nothing is known."""
        return Stretch()

    def between(self, _from_s: float, _to_s: float) -> Stretch:
        """Return that nothing is known."""
        return Stretch()

    def check(self) -> None:
        """Find nothing wrong."""

    def watched(self, _since: float) -> Watched:
        """Return that nothing is known."""
        return Watched()

    def close(self) -> None:
        """Do nothing."""


class Watch(NoWatch):
    """One GPU, from before the engine starts until it has ended."""

    def __init__(
        self,
        card: Card,
        *,
        index: int = 0,
        serving: bool = False,
        every_s: float | None = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look for the first time, and go on every `every_s` seconds (None: only when asked).

        `serving` says that the engine is on the card already, as a server that its owner runs.

        Raises:
            GpuFaultError: when the GPU is lost already.

        """
        # The driver numbers GPUs by their place on the PCI bus, CUDA by speed unless it is told to.
        self.device = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": str(index)}
        self._card, self._every_s, self._clock = card, every_s, clock
        self._owns: Callable[[int], bool] = lambda _: True
        self._fault: GpuFaultError | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._before = read(card, clock())
        self._serving = serving
        # The server's process cannot be told from others that are there; those that come later can.
        self._there = self._before.processes if serving else ()
        self._readings: list[Reading] = [self._before]
        self._thread = threading.Thread(target=self._go_on, name="gpu-watch", daemon=True)
        if every_s is not None:
            self._thread.start()

    def attend(self, owns: Callable[[int], bool]) -> None:
        """Take every process on the GPU that `owns` denies for somebody else's."""
        self._owns = owns

    @property
    def used_before_bytes(self) -> int | None:
        """Memory in use before the engine started."""
        return self._before.memory_used_bytes

    def mark(self) -> float:
        """Look, and return the moment as the beginning of a stretch."""
        return self._look().at_s

    def since(self, mark: float) -> Stretch:
        """Look, and return what happened since `mark`.

        Raises:
            GpuFaultError: when the GPU was lost or its memory erred.

        """
        self._look()
        return self._stretch(self._from(mark))

    def between(self, from_s: float, to_s: float) -> Stretch:
        """Return what earlier looks saw between two moments on the watch's clock; looks no more.

        The looks right before and right after belong to it: what they saw may have been there meanwhile.
        """
        with self._lock:
            seen = list(self._readings)
        begin = max((at for at, one in enumerate(seen) if one.at_s <= from_s), default=0)
        end = min((at for at, one in enumerate(seen) if one.at_s >= to_s), default=len(seen) - 1)
        return self._stretch(seen[begin : end + 1])

    def check(self) -> None:
        """Raise what is wrong with the GPU.

        Raises:
            GpuFaultError: when it was lost, or its memory erred since the watch began.

        """
        self._look()

    def watched(self, since: float) -> Watched:
        """Return what the session did, its figures from the moment `since` on."""
        with self._lock:
            everything = list(self._readings)
        measured = self._from(since)
        most = [
            one.memory_used_bytes
            for one in everything
            # What a server took that ran before the first look is not known.
            if one.memory_used_bytes is not None and not self._serving
        ]
        before, last = self._before, everything[-1]
        facts = summary(measured) | {"trace": trace(measured)}
        if last.ecc_corrected and last.ecc_corrected != before.ecc_corrected:
            facts["ecc_corrected"] = last.ecc_corrected - (before.ecc_corrected or 0)
        memory = max(most) - (before.memory_used_bytes or 0) if most else None
        return Watched(memory, facts)

    def close(self) -> None:
        """Stop looking."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    # -----------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        while not self._ended.wait(self._every_s):
            try:
                self._look()
            except GpuFaultError:
                return  # whoever measures is told when it asks

    def _look(self) -> Reading:
        if self._fault is not None:
            raise self._fault
        with self._lock:
            try:
                reading = read(self._card, self._clock())
            except GpuFaultError as fault:
                self._fault = fault
                raise
            self._readings.append(reading)
        erred = (reading.ecc_uncorrected or 0) - (self._before.ecc_uncorrected or 0)
        if erred > 0:
            self._fault = GpuFaultError(
                f"The GPU's memory had {erred} error{'s' if erred > 1 else ''} that ECC could not correct.",
                kept="the complete sessions",
                advice=ADVICE,
            )
            raise self._fault
        return reading

    def _stretch(self, readings: list[Reading]) -> Stretch:
        first, last = readings[0], readings[-1]
        reasons = dict.fromkeys(text for one in readings for text in one.contaminated_by)
        others = dict.fromkeys(pid for one in readings for pid in self._foreign(one))
        disturbed = (*reasons, *(f"process {pid} on the GPU" for pid in others))
        used = (
            last.energy_j - first.energy_j
            if last.energy_j is not None and first.energy_j is not None
            else None
        )
        return Stretch(used, disturbed)

    def _from(self, mark: float) -> list[Reading]:
        with self._lock:
            return [one for one in self._readings if one.at_s >= mark] or self._readings[-1:]

    def _foreign(self, reading: Reading) -> list[int]:
        own = [pid for pid in reading.processes if pid in self._there or self._owns(pid)]
        # Where not even the engine is seen, process ids are those of another namespace and say nothing.
        return [pid for pid in reading.processes if pid not in own] if own else []
