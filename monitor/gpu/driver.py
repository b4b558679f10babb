"""The driver's side of one GPU: answers, "does not know" as None, and what means that it is broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from monitor.errors import GpuFaultError

# Errors of NVML's own list (nvmlReturn_t) after which nothing this GPU does can be believed.
_BROKEN = {
    "NVML_ERROR_GPU_IS_LOST": "the GPU has fallen off the bus",
    "NVML_ERROR_RESET_REQUIRED": "the GPU needs a reset before it can be used again",
    "NVML_ERROR_IRQ_ISSUE": "the kernel found an interrupt problem with the GPU",
    "NVML_ERROR_GPU_NOT_FOUND": "the driver does not find the GPU any more",
    "NVML_ERROR_DRIVER_NOT_LOADED": "the driver is not loaded",
    "NVML_ERROR_LIB_RM_VERSION_MISMATCH": "driver and library are of different versions: was it upgraded?",
}
ADVICE = (
    "look at nvidia-smi and the kernel log (dmesg, Xid); a lost GPU usually needs a restart of the machine"
)


class Card:
    """One GPU, as long as the driver is open."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle
        self._broken = {getattr(nvml, name): text for name, text in _BROKEN.items()}

    def ask(self, question: str, *arguments: Any) -> Any:
        """Return NVML's answer to `nvmlDevice<question>`, None where this card or driver does not know.

        Raises:
            GpuFaultError: when the answer is that the GPU is lost or otherwise broken.

        """
        try:
            answer = getattr(self._nvml, f"nvmlDevice{question}")(self._handle, *arguments)
        except self._nvml.NVMLError as error:
            if error.value in self._broken:
                raise _fault(self._broken[error.value]) from error
            return None
        return answer.decode() if isinstance(answer, bytes) else answer

    def system(self, question: str) -> Any:
        """Return the answer to `nvmlSystem<question>`, None where the driver does not know."""
        try:
            answer = getattr(self._nvml, f"nvmlSystem{question}")()
        except self._nvml.NVMLError:
            return None
        return answer.decode() if isinstance(answer, bytes) else answer

    def constant(self, name: str) -> Any:
        """Return `NVML_<name>`."""
        return getattr(self._nvml, f"NVML_{name}")


@contextmanager
def opened() -> Iterator[Any]:
    """Yield the NVML library with a driver behind it, or None where there is no driver.

    NVML counts: each opening is closed again, and several may be open at once.
    """
    import pynvml  # noqa: PLC0415  # some versions look for the driver on import

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def cards(nvml: Any) -> list[Card]:
    """Return the GPUs in the driver's order, which is that of the PCI bus.

    Raises:
        GpuFaultError: when the driver answers, but not about its GPUs.

    """
    try:
        return [Card(nvml, nvml.nvmlDeviceGetHandleByIndex(i)) for i in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError as error:
        raise _fault(f"the driver answers, but not about its GPUs: {error}") from error


@contextmanager
def opened_card(uuid: str) -> Iterator[Card]:
    """Yield the GPU of that UUID.

    Raises:
        GpuFaultError: when it is not there: another GPU must not be measured in its place.

    """
    with opened() as nvml:
        if nvml is None:
            raise _fault("the driver does not answer")
        found = [card for card in cards(nvml) if card.ask("GetUUID") == uuid]
        if not found:
            raise _fault(f"{uuid} is not there; another GPU is not measured in its place")
        yield found[0]


def _fault(what: str) -> GpuFaultError:
    return GpuFaultError(f"The GPU cannot be used: {what}.", kept="the complete sessions", advice=ADVICE)
