"""One look at a working GPU, and what a stretch of looks says in figures and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import psutil

from monitor.gpu.driver import Card
from monitor.gpu.identity import corrected_errors, uncorrected_errors

# `nvmlClocksEventReasons` of the driver's nvml.h.
FLAGGED = {0x04: "power cap", 0x20: "software thermal slowdown"}
"""Reasons for lower clocks that belong to how a card is set up and cooled: told, and no more."""
CONTAMINATING = {0x08: "hardware slowdown", 0x40: "hardware thermal slowdown", 0x80: "power brake"}
"""Reasons under which times say nothing about what runs on the GPU."""
_TRACE_POINTS = 80
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """What the driver said at one moment; None is what this card does not tell."""

    at_s: float
    """On the monotonic clock."""
    sm_clock_mhz: int | None
    memory_clock_mhz: int | None
    p_state: int | None
    """0 is the fastest."""
    temperature_c: int | None
    power_w: float | None
    utilisation_percent: int | None
    memory_used_bytes: int | None
    reasons: int
    """Why the clocks are not higher, as bits."""
    processes: tuple[int, ...]
    """Ids of those that compute on the GPU, as far as this process may see them."""
    graphics: tuple[int, ...]
    """Ids of those that only draw on it: a desktop and its windows."""
    energy_j: float | None
    """Used since the driver was loaded."""
    ecc_corrected: int | None
    ecc_uncorrected: int | None

    @property
    def contaminated_by(self) -> tuple[str, ...]:
        """What makes times of this moment worthless."""
        return tuple(text for bit, text in CONTAMINATING.items() if self.reasons & bit)


def read(card: Card, at_s: float) -> Reading:
    """Look once; about a millisecond.

    Raises:
        GpuFaultError: when the GPU is lost.

    """
    memory, use = card.ask("GetMemoryInfo"), card.ask("GetUtilizationRates")
    power_mw, energy_mj = card.ask("GetPowerUsage"), card.ask("GetTotalEnergyConsumption")
    computing = _pids(card, "GetComputeRunningProcesses")
    return Reading(
        at_s=at_s,
        sm_clock_mhz=card.ask("GetClockInfo", card.constant("CLOCK_SM")),
        memory_clock_mhz=card.ask("GetClockInfo", card.constant("CLOCK_MEM")),
        p_state=card.ask("GetPerformanceState"),
        temperature_c=card.ask("GetTemperature", card.constant("TEMPERATURE_GPU")),
        power_w=power_mw / 1000 if power_mw is not None else None,
        utilisation_percent=int(use.gpu) if use is not None else None,
        memory_used_bytes=int(memory.used) if memory is not None else None,
        reasons=int(card.ask("GetCurrentClocksEventReasons") or 0),
        processes=tuple(sorted(computing)),
        # One that does both is in both lists.
        graphics=tuple(sorted(_pids(card, "GetGraphicsRunningProcesses") - computing)),
        energy_j=energy_mj / 1000 if energy_mj is not None else None,
        ecc_corrected=corrected_errors(card),
        ecc_uncorrected=uncorrected_errors(card),
    )


def names(pids: Sequence[int]) -> str:
    """Return processes in words for people, three of them at most."""
    more = len(pids) - _NAMED
    return ", ".join(_name(pid) for pid in pids[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _name(pid: int) -> str:
    try:
        return f"process {pid} ({psutil.Process(pid).name()})"
    except psutil.Error:
        return f"process {pid}"


def _pids(card: Card, question: str) -> set[int]:
    return {int(one.pid) for one in card.ask(question) or ()}


_FIGURES = ("sm_clock_mhz", "memory_clock_mhz", "temperature_c", "power_w", "utilisation_percent")


def summary(readings: Sequence[Reading]) -> dict[str, Any]:
    """Return a stretch in plain values: lowest, median and highest of each figure, and shares of flags."""
    found: dict[str, Any] = {"readings": len(readings)}
    for name in _FIGURES:
        values = [value for one in readings if (value := getattr(one, name)) is not None]
        if values:
            found[name] = [min(values), median(values), max(values)]
    if states := sorted({one.p_state for one in readings if one.p_state is not None}):
        found["p_states"] = states
    flags = {
        text: round(sum(bool(one.reasons & bit) for one in readings) / len(readings), 3)
        for bit, text in {**FLAGGED, **CONTAMINATING}.items()
        if any(one.reasons & bit for one in readings)
    }
    if drawing := max(len(one.graphics) for one in readings):
        found["graphics"] = drawing
    return found | ({"flags": flags} if flags else {})


def trace(readings: Sequence[Reading]) -> list[list[float | None]]:
    """Return [seconds, SM clock, memory clock, °C, W] of at most 80 readings, evenly picked."""
    if not readings:
        return []
    stride = max(1, -(-len(readings) // _TRACE_POINTS))
    first = readings[0].at_s
    return [
        [
            round(one.at_s - first, 1),
            one.sm_clock_mhz,
            one.memory_clock_mhz,
            one.temperature_c,
            one.power_w,
        ]
        for one in readings[::stride]
    ]
