"""An NVIDIA driver with made-up cards behind the real `pynvml`: its constants and errors, not its library.

driver = nvml.install(monkeypatch); driver.cards[0].reasons = 0x40; driver.fail("*", "GPU_IS_LOST")

Every function that is replaced exists in the real library, takes its arguments and answers in its units, as
NVIDIA's NVML API reference says: milliwatts, millijoules, bytes, MHz, °C.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

GIB = 2**30
WORKSTATION = "NVIDIA RTX PRO 6000 Blackwell Workstation Edition"


@dataclass
class Card:
    """One made-up card. What a card does not support is None here, and an error for who asks."""

    name: str = WORKSTATION
    uuid: str = "GPU-5f1c0000-0000-0000-0000-000000000001"
    total_bytes: int = 96 * GIB
    used_bytes: int = GIB // 2
    processes: list[int] = field(default_factory=list)
    graphics: list[int] | None = field(default_factory=list)
    reasons: int = 0
    sm_clock: int = 2600
    memory_clock: int = 13365
    """While it computes; the highest, of which its name plate tells, is a little above."""
    max_memory_clock: int = 14001
    bus_width: int | None = 512
    temperature: int = 55
    power_mw: int | None = 450_000
    energy_mj: int | None = 1_000_000
    utilisation: int = 0
    p_state: int = 1
    mig: int | None = None
    ecc: int | None = 1
    uncorrected: int = 0
    corrected: int = 0
    persistence: int = 1
    pages_pending: int | None = None
    """Of cards that retire pages; newer ones remap rows."""
    rows: tuple[int, int, int, int] | None = (0, 0, 0, 0)
    """Remapped for corrected and uncorrected errors; whether one is pending, and whether one failed."""


@dataclass
class Driver:
    """What the driver says; functions can be made to fail, and something can happen at every look."""

    cards: list[Card] = field(default_factory=lambda: [Card()])
    version: str = "590.44.01"
    failing: dict[str, int] = field(default_factory=dict)
    on_look: Callable[[Card], None] | None = None
    """Called before a card's clocks are read."""
    opened: int = 0

    def fail(self, function: str, error: str) -> None:
        """Have a function raise `NVML_ERROR_<error>` from now on; `*` stands for all that ask a card."""
        self.failing[function] = getattr(pynvml, f"NVML_ERROR_{error}")

    def answer(self, name: str, *arguments: Any) -> Any:
        of_card = name.startswith("nvmlDevice") and name != "nvmlDeviceGetCount"
        code = self.failing.get(name) or (self.failing.get("*") if of_card else None)
        if code is not None:
            raise pynvml.NVMLError(code)
        if name == "nvmlInit":
            self.opened += 1
            return None
        if name == "nvmlShutdown":
            self.opened -= 1
            return None
        if not self.opened:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
        if name == "nvmlDeviceGetCurrentClocksEventReasons" and self.on_look is not None:
            self.on_look(arguments[0])
        found = _ANSWERS[name](self, *arguments)
        if found is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return found


def _ecc(_: Driver, card: Card, kind: int, counter: int) -> int | None:
    assert counter == pynvml.NVML_VOLATILE_ECC
    if not card.ecc:
        return None
    return card.uncorrected if kind == pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED else card.corrected


def _clock(_: Driver, card: Card, kind: int) -> int:
    return {pynvml.NVML_CLOCK_SM: card.sm_clock, pynvml.NVML_CLOCK_MEM: card.memory_clock}[kind]


_ANSWERS: dict[str, Callable[..., Any]] = {
    "nvmlInit": lambda _: None,
    "nvmlShutdown": lambda _: None,
    "nvmlSystemGetDriverVersion": lambda driver: driver.version,
    "nvmlSystemGetCudaDriverVersion": lambda _: 13010,
    "nvmlDeviceGetCount": lambda driver: len(driver.cards),
    "nvmlDeviceGetHandleByIndex": lambda driver, index: driver.cards[index],
    "nvmlDeviceGetName": lambda _, card: card.name,
    "nvmlDeviceGetUUID": lambda _, card: card.uuid,
    "nvmlDeviceGetMemoryInfo": lambda _, card: SimpleNamespace(
        total=card.total_bytes, used=card.used_bytes, free=card.total_bytes - card.used_bytes
    ),
    "nvmlDeviceGetVbiosVersion": lambda *_: "98.02.52.00.02",
    "nvmlDeviceGetPciInfo": lambda *_: SimpleNamespace(busId="00000000:01:00.0"),
    "nvmlDeviceGetCudaComputeCapability": lambda *_: (12, 0),
    "nvmlDeviceGetPowerManagementLimit": lambda *_: 600_000,
    "nvmlDeviceGetPowerManagementDefaultLimit": lambda *_: 600_000,
    "nvmlDeviceGetPowerManagementLimitConstraints": lambda *_: [150_000, 600_000],
    "nvmlDeviceGetMaxClockInfo": lambda _, card, kind: (
        3090 if kind == pynvml.NVML_CLOCK_SM else card.max_memory_clock
    ),
    "nvmlDeviceGetMemoryBusWidth": lambda _, card: card.bus_width,
    "nvmlDeviceGetPersistenceMode": lambda _, card: card.persistence,
    "nvmlDeviceGetMigMode": lambda _, card: None if card.mig is None else [card.mig, card.mig],
    "nvmlDeviceGetEccMode": lambda _, card: None if card.ecc is None else [card.ecc, card.ecc],
    "nvmlDeviceGetTotalEccErrors": _ecc,
    "nvmlDeviceGetRetiredPagesPendingStatus": lambda _, card: card.pages_pending,
    "nvmlDeviceGetRemappedRows": lambda _, card: card.rows,
    "nvmlDeviceGetClockInfo": _clock,
    "nvmlDeviceGetPerformanceState": lambda _, card: card.p_state,
    "nvmlDeviceGetTemperature": lambda _, card, _sensor: card.temperature,
    "nvmlDeviceGetPowerUsage": lambda _, card: card.power_mw,
    "nvmlDeviceGetTotalEnergyConsumption": lambda _, card: card.energy_mj,
    "nvmlDeviceGetUtilizationRates": lambda _, card: SimpleNamespace(gpu=card.utilisation, memory=0),
    "nvmlDeviceGetCurrentClocksEventReasons": lambda _, card: card.reasons,
    "nvmlDeviceGetComputeRunningProcesses": lambda _, card: [
        SimpleNamespace(pid=pid, usedGpuMemory=None) for pid in card.processes
    ],
    "nvmlDeviceGetGraphicsRunningProcesses": lambda _, card: (
        None
        if card.graphics is None
        else [SimpleNamespace(pid=pid, usedGpuMemory=None) for pid in card.graphics]
    ),
}


def install(monkeypatch: pytest.MonkeyPatch, *cards: Card) -> Driver:
    """Put a driver with these cards (one workstation card by default) behind `pynvml`."""
    driver = Driver(list(cards) or [Card()])
    for name, function in _ANSWERS.items():
        # As many arguments as the real function takes, or the stand-in would hide a wrong call.
        real = len(inspect.signature(getattr(pynvml, name)).parameters)
        own = inspect.signature(function).parameters.values()
        fixed = not any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in own)
        optional = {"nvmlDeviceGetMemoryInfo": 1, "nvmlInit": 0}.get(name, 0)
        assert not fixed or len(own) - 1 + optional == real, name

        def stand_in(*arguments: Any, _name: str = name) -> Any:
            return driver.answer(_name, *arguments)

        monkeypatch.setattr(pynvml, name, stand_in)
    return driver
