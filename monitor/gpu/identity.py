"""What a GPU is: the facts that decide what may be compared, and the limits it works within."""

from __future__ import annotations

from typing import Any

from monitor.gpu.driver import Card, cards, opened

_BITS_PER_BYTE = 8
_TRANSFERS_PER_CLOCK = 2  # the memory transfers on both edges of the clock that NVML tells


def read_gpus() -> tuple[dict[str, Any], ...]:
    """Return the facts of every GPU that the NVIDIA driver shows, in its order; empty without a driver.

    Raises:
        GpuFaultError: when the driver answers, but not about its GPUs.

    """
    with opened() as nvml:
        return () if nvml is None else tuple(facts(card, index) for index, card in enumerate(cards(nvml)))


def facts(card: Card, index: int) -> dict[str, Any]:
    """Return what one GPU is. Unknown is None: not every card knows everything.

    Raises:
        GpuFaultError: when the GPU is lost, or does not even know its name or memory.

    """
    capability = card.ask("GetCudaComputeCapability")
    memory = card.ask("GetMemoryInfo")
    limits = card.ask("GetPowerManagementLimitConstraints")
    mig, ecc, pci = card.ask("GetMigMode"), card.ask("GetEccMode"), card.ask("GetPciInfo")
    memory_clock = card.ask("GetMaxClockInfo", card.constant("CLOCK_MEM"))
    bus_width = card.ask("GetMemoryBusWidth")
    persistence = card.ask("GetPersistenceMode")
    return {
        "index": index,
        "name": card.ask("GetName") or "unknown GPU",
        "uuid": card.ask("GetUUID"),
        "memory_bytes": int(memory.total) if memory is not None else 0,
        "driver": card.system("GetDriverVersion"),
        "cuda_driver": card.system("GetCudaDriverVersion"),
        "vbios": card.ask("GetVbiosVersion"),
        "pci": _text(pci.busId) if pci is not None else None,
        "compute_capability": f"{capability[0]}.{capability[1]}" if capability else None,
        "power_limit_w": _watts(card.ask("GetPowerManagementLimit")),
        "power_limit_default_w": _watts(card.ask("GetPowerManagementDefaultLimit")),
        "power_limits_w": [_watts(limit) for limit in limits] if limits else None,
        "max_sm_clock_mhz": card.ask("GetMaxClockInfo", card.constant("CLOCK_SM")),
        "max_memory_clock_mhz": memory_clock,
        "memory_bus_bits": bus_width,
        "bandwidth_bytes_per_s": bandwidth(memory_clock, bus_width),
        "persistence": bool(persistence) if persistence is not None else None,
        "mig": bool(mig[0]) if mig is not None else None,
        "ecc": bool(ecc[0]) if ecc is not None else None,
        "ecc_uncorrected": uncorrected_errors(card),
    }


def uncorrected_errors(card: Card) -> int | None:
    """Return the memory errors since the driver was loaded that ECC could not correct."""
    return _errors(card, "MEMORY_ERROR_TYPE_UNCORRECTED")


def corrected_errors(card: Card) -> int | None:
    """Return the memory errors since the driver was loaded that ECC has corrected."""
    return _errors(card, "MEMORY_ERROR_TYPE_CORRECTED")


def bandwidth(memory_clock_mhz: int | None, bus_bits: int | None) -> float | None:
    """Return what the memory can move at most, in bytes per second: 2 × highest clock × width / 8.

    That is the nominal 1792 GB/s for the 14001 MHz and 512 bits of an RTX PRO 6000 Blackwell. At work its
    memory runs at 13365 MHz (1711 GB/s); the limit of a guard has to be one that nothing can pass.
    """
    if not memory_clock_mhz or not bus_bits:
        return None
    return _TRANSFERS_PER_CLOCK * memory_clock_mhz * 1e6 * bus_bits / _BITS_PER_BYTE


def roofline(gpu: dict[str, Any] | None, step_bytes: int | None) -> float | None:
    """Return the most steps per second at one stream: a step reads `step_bytes` of weights at least."""
    top = (gpu or {}).get("bandwidth_bytes_per_s")
    return float(top) / step_bytes if top and step_bytes else None


def _errors(card: Card, kind: str) -> int | None:
    found = card.ask("GetTotalEccErrors", card.constant(kind), card.constant("VOLATILE_ECC"))
    return int(found) if found is not None else None


def _watts(milliwatts: int | None) -> float | None:
    return milliwatts / 1000 if milliwatts is not None else None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
