"""What `doctor` says of the GPU: what is there and fit, or what a machine would need for the GPU checks."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitor.cli import compile_needs, output
from monitor.cli.findings import Finding, State
from monitor.errors import GpuFaultError, ProvisionError

if TYPE_CHECKING:
    from monitor.domain import Check, Host
    from monitor.settings import Settings

NEEDS = "for the GPU checks"
DRIVERS = {13: 580, 12: 525}
"""Major version of CUDA → the oldest driver branch that runs programs built for it, by NVIDIA's table of
CUDA toolkits and drivers. Wheels bring CUDA's libraries, and no compiler that engines find."""
_ENVIRONMENT_BYTES = 12 * 2**30
"""About what a vLLM for CUDA takes; later ones share most of it with the first by hard links."""
_CDI = (Path("/etc/cdi"), Path("/var/run/cdi"))
"""Where descriptions of devices for containers lie."""


def present(gpu: dict[str, Any]) -> Iterator[Finding]:
    """Yield what is said of a GPU that is there."""
    facts = f"{gpu['name']}, {output.gib(gpu['memory_bytes'])}, driver {gpu.get('driver')}"
    more = f"; {gpu['count']} of them, {gpu.get('uuid')} is used" if gpu.get("count", 1) > 1 else ""
    yield Finding("machine", "gpu", State.FINE, facts + more)
    if gpu.get("mig"):
        advice = "switch it off: nvidia-smi -mig 0"
        yield Finding(
            "machine", "gpu mode", State.WARNING, "MIG is on: nothing is measured on a part", advice
        )
    if gpu.get("ecc_uncorrected"):
        text = f"{gpu['ecc_uncorrected']} memory errors that ECC could not correct"
        yield Finding("machine", "gpu memory", State.WARNING, text, "reset the GPU, or restart the machine")
    if gpu.get("persistence") is False:
        text = "persistence mode is off: the driver starts anew for each engine"
        yield Finding("machine", "gpu mode", State.NOTE, text, "as root: nvidia-smi -pm 1")
    yield from _driver(gpu.get("driver"))
    yield from _desktop(str(gpu.get("uuid")))


def needed(settings: Settings, host: Host, checks: Iterable[Check]) -> Iterator[Finding]:
    """Yield what this machine has and lacks of what the checks for a GPU need."""
    from monitor import host as hosts  # noqa: PLC0415

    wanted = [check for check in checks if check.requires.wants_gpu]
    if not wanted:
        return
    real = [check for check in wanted if check.model.kind != "synthetic"]
    if host.gpu is None:
        least, most = _memory(real or wanted)
        memory = output.gib(most) if least == most else f"{output.gib(least)} to {output.gib(most)}"
        kinds = sorted({need for check in real or wanted if (need := check.requires.compute_capability)})
        kind = f", compute capability {' or '.join(kinds)} and newer" if kinds else ""
        small = (
            ""
            if len(real) in {0, len(wanted)}
            else f"; {output.gib(_memory(wanted)[0])} for synthetic models"
        )
        yield Finding(NEEDS, "gpu", State.NOTE, f"an NVIDIA GPU with {memory} of memory{kind}{small}")
        newest, branch = max(DRIVERS), DRIVERS[max(DRIVERS)]
        text = f"the NVIDIA driver {branch} or newer for engines built for CUDA {newest}"
        older = ", ".join(f"{DRIVERS[cuda]} for CUDA {cuda}" for cuda in sorted(DRIVERS)[:-1])
        yield Finding(NEEDS, "driver", State.NOTE, f"{text} ({older})")
    free = hosts.free_disk(settings.state)
    models = {spec.name: spec for check in wanted for spec in check.models}
    weights = sum({_pair(check): check.requires.disk_bytes for check in real}.values())
    room = weights + _ENVIRONMENT_BYTES
    yield Finding(
        NEEDS,
        "disk",
        State.FINE if free >= room else State.NOTE,
        f"{output.gib(room)} for all weights and a first vLLM; {output.gib(free)} are free",
    )
    hub = [spec for spec in models.values() if spec.kind == "huggingface"]
    if hub:
        has = settings.models.token is not None
        names = ", ".join(sorted({str(spec.repository) for spec in hub}))
        text = (
            f"models.token is {'set' if has else 'not set'}; the hub asks for one where a licence is accepted"
        )
        yield Finding(NEEDS, "token", State.FINE if has else State.NOTE, f"{text}: {names}")
    yield from compile_needs.examine(settings, host, NEEDS)
    yield from _containers()


def _memory(checks: Sequence[Check]) -> tuple[int, int]:
    """Return the least and the most memory of a GPU that one of the checks needs."""
    needs = [check.requires.gpu_memory_bytes for check in checks]
    return min(needs), max(needs)


def _desktop(uuid: str) -> Iterator[Finding]:
    from monitor.gpu.driver import opened_card  # noqa: PLC0415
    from monitor.gpu.reading import names, read  # noqa: PLC0415

    try:
        with opened_card(uuid) as card:
            seen = read(card, 0.0)
    except GpuFaultError:
        return  # said of it elsewhere
    if seen.graphics:
        in_use = f"{output.gib(seen.memory_used_bytes or 0)} in use"
        text = f"a desktop is on it: {names(seen.graphics)}; {in_use}"
        advice = "nothing waits for it; for the steadiest times log out, or put the screen on another card"
        yield Finding("machine", "gpu desktop", State.NOTE, text, advice)


def _driver(version: str | None) -> Iterator[Finding]:
    branch = int(version.partition(".")[0]) if version and version.partition(".")[0].isdigit() else None
    if branch is None:
        return
    newest = max(DRIVERS)
    if branch < DRIVERS[newest]:
        runs = max((cuda for cuda, least in DRIVERS.items() if least <= branch), default=None)
        text = f"{version} is older than {DRIVERS[newest]}, which engines built for CUDA {newest} need"
        advice = f"upgrade it; until then only builds for CUDA {runs} run" if runs else "upgrade it"
        yield Finding("machine", "driver", State.WARNING, text, advice)


def _containers() -> Iterator[Finding]:
    from monitor.environments.container_tool import ContainerTool  # noqa: PLC0415

    try:
        tool = ContainerTool.find()
    except ProvisionError as error:
        yield Finding(NEEDS, "containers", State.NOTE, f"needed only to measure images. {error.what}")
        return
    text = f"{tool.name} answers: releases can be measured from their images as well"
    yield Finding(NEEDS, "containers", State.FINE, text)
    yield _gpu_in_containers(tool.name)


def _gpu_in_containers(tool: str) -> Finding:
    """Say whether what gives a container the GPU is here, as far as files of this machine tell."""
    described = any(
        file.suffix in {".yaml", ".json"} and file.name.startswith("nvidia")
        for folder in _CDI
        if folder.is_dir()
        for file in folder.iterdir()
    )
    hook = shutil.which("nvidia-container-runtime-hook") or shutil.which("nvidia-container-runtime")
    if described or (tool == "docker" and hook):
        seen = "a CDI file of NVIDIA" if described else "the NVIDIA container toolkit"
        return Finding(NEEDS, "image gpu", State.FINE, f"{seen} is here, by which they get the GPU")
    if tool == "docker":
        text = "the NVIDIA container toolkit is not here: a container gets no GPU"
        advice = "install nvidia-container-toolkit, then: nvidia-ctk runtime configure --runtime=docker"
    else:
        text = "no CDI file of NVIDIA is here: a container gets no GPU"
        advice = "install nvidia-container-toolkit, then: nvidia-ctk cdi generate -o /etc/cdi/nvidia.yaml"
    return Finding(NEEDS, "image gpu", State.NOTE, text, advice)


def _pair(check: Check) -> tuple[str, ...]:
    return tuple(spec.name for spec in check.models)
