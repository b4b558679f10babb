"""The GPU, around measuring: fit before, watched during, back at its floor after, else in quarantine.

Only checks that want a GPU are concerned; on a machine with a quarantined GPU those for the CPU go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitor.domain import Check
from monitor.engines.endpoint import EndpointEngine
from monitor.errors import GpuFaultError, UnknownNameError
from monitor.gpu.driver import ADVICE, Card, opened_card
from monitor.gpu.readiness import Readiness, soundness
from monitor.gpu.reading import Reading, read
from monitor.gpu.watch import NoWatch, Watch
from monitor.steps.station import Station
from monitor.store.queries import quarantines
from monitor.store.queries.quarantines import Quarantine


@dataclass(frozen=True, slots=True)
class GpuState:
    """The GPU of this machine at this moment."""

    facts: dict[str, Any]
    """What it is."""
    why_held: str
    """Why nothing is measured on it; empty when it may be."""
    quarantine: Quarantine | None
    now: Reading | None
    """None when it does not answer."""


def state(station: Station) -> GpuState | None:
    """Look at the GPU of this machine; None when it has none."""
    gpu = station.host.gpu
    if gpu is None:
        return None
    found = quarantined(station)
    wrong, now = _seen(str(gpu.get("uuid") or ""))
    why = f"in quarantine: {found.reason}" if found is not None else wrong
    return GpuState(gpu, why, found, now)


def held(station: Station, check: Check | None) -> str | None:
    """Say why a check's runs may not begin now: a quarantine, or a GPU that is not sound; else None."""
    gpu = _gpu(station, check)
    if gpu is None:
        return None
    if (quarantine := quarantined(station)) is not None:
        return f"the GPU is in quarantine: {quarantine.reason}"
    return _seen(gpu["uuid"])[0] or None


def make_ready(station: Station, check: Check) -> None:
    """Wait until the GPU that `check` is measured on is free; nothing is done for a check of the CPU.

    A server that its owner runs is on the card already, with its memory: then it only has to be sound.

    Raises:
        GpuFaultError: when it is in quarantine or is not sound.
        GpuBusyError: when somebody else uses it or its memory.

    """
    gpu = _gpu(station, check)
    if gpu is None:
        return
    if (quarantine := quarantined(station)) is not None:
        raise GpuFaultError(
            f"The GPU is in quarantine since {quarantine.began_at:%Y-%m-%d %H:%M} UTC: {quarantine.reason}",
            kept="everything; the runs wait",
            advice="see to it, then: mtp-monitor gpu release --reason TEXT",
        )
    with _in_quarantine_when_at_fault(station, gpu), opened_card(gpu["uuid"]) as card:
        wrong = soundness(card)
        if wrong is None and not _is_served(check):
            _readiness(station, card, gpu).before()
    # What its owner sees and changes himself needs no release: it holds the queue as long as it is so.
    if wrong is not None:
        raise GpuFaultError(f"The GPU cannot be measured on: {wrong}.", kept="everything", advice=ADVICE)


@contextmanager
def watching(station: Station, check: Check) -> Iterator[NoWatch]:
    """Yield a watch over the GPU for one session, and see afterwards that its memory is free again.

    The memory of a server that its owner runs stays, as it should.

    Raises:
        GpuFaultError: when the GPU is lost, errs or does not get its memory back; it is quarantined then.
        GpuBusyError: when somebody else uses it.

    """
    gpu = _gpu(station, check)
    if gpu is None:
        yield NoWatch()
        return
    make_ready(station, check)
    with _in_quarantine_when_at_fault(station, gpu), opened_card(gpu["uuid"]) as card:
        served = _is_served(check)
        watch = Watch(card, index=int(gpu.get("index", 0)), serving=served)
        try:
            yield watch
        except GpuFaultError:
            raise
        except Exception as error:
            # An engine on a lost GPU hangs or crashes: that is not the release's doing.
            _confirm_sound(watch, error)
            if served:
                raise
            with suppress(GpuFaultError), _in_quarantine_when_at_fault(station, gpu):
                _readiness(station, card, gpu).after(watch.used_before_bytes)
            raise
        else:
            watch.check()
            if not served:
                _readiness(station, card, gpu).after(watch.used_before_bytes)
        finally:
            watch.close()


def quarantined(station: Station) -> Quarantine | None:
    """Return the quarantine of this machine's GPU that goes on."""
    with station.store.read() as db:
        return quarantines.current(db, station.host.machine_id)


def release(station: Station, *, who: str, why: str) -> Quarantine | None:
    """Let the GPU be measured on again, with the memory in use at the next look as its floor.

    Returns the quarantine that this ends; None where runs only waited for memory to become free.

    Raises:
        UnknownNameError: when there is no quarantine, and no floor is known either.

    """
    floor = _floor_file(station)
    with station.store.write() as db:
        ended = quarantines.release(db, station.host.machine_id, who=who, why=why, now=station.clock())
    if ended is None and not floor.exists():
        raise UnknownNameError("The GPU is not in quarantine.", kept="everything as it was")
    # A person has said that it is fit as it is: the floor of before would only hold it again.
    floor.unlink(missing_ok=True)
    return ended


def _seen(uuid: str) -> tuple[str, Reading | None]:
    """Return why a GPU cannot be measured on ("": it can), and what it does now."""
    try:
        with opened_card(uuid) as card:
            wrong = soundness(card)
            return f"The GPU cannot be measured on: {wrong}." if wrong else "", read(card, 0.0)
    except GpuFaultError as fault:
        return fault.what, None


def _gpu(station: Station, check: Check | None) -> dict[str, Any] | None:
    gpu = station.host.gpu
    wanted = check is not None and check.requires.wants_gpu and gpu is not None and gpu.get("uuid")
    return gpu if wanted else None


def _is_served(check: Check) -> bool:
    """Say whether the engine is a server that runs already, and goes on running."""
    return check.engine == EndpointEngine.name


def _readiness(station: Station, card: Card, gpu: dict[str, Any]) -> Readiness:
    return Readiness(card, gpu, _floor_file(station), station.host.boot_id)


def _floor_file(station: Station) -> Path:
    return station.settings.state / "gpu_floor.json"


def _confirm_sound(watch: NoWatch, error: Exception) -> None:
    try:
        watch.check()
    except GpuFaultError as fault:
        raise fault from error


@contextmanager
def _in_quarantine_when_at_fault(station: Station, gpu: dict[str, Any]) -> Iterator[None]:
    try:
        yield
    except GpuFaultError as fault:
        with station.store.write() as db:
            quarantines.begin(
                db,
                station.host.machine_id,
                gpu=str(gpu["uuid"]),
                reason=fault.what,
                now=station.clock(),
            )
        raise
