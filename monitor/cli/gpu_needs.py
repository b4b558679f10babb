"""What `doctor` says of the GPU: what is there and fit, or what a machine would need for the GPU checks."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from monitor.cli import output
from monitor.cli.findings import Finding, State
from monitor.errors import GpuFaultError

if TYPE_CHECKING:
    from monitor.domain import Check, Host
    from monitor.settings import Settings

NEEDS = "for the GPU checks"
DRIVERS = {13: 580, 12: 525}
"""Major version of CUDA → the oldest driver branch that runs programs built for it, by NVIDIA's table of
CUDA toolkits and drivers. Wheels and images bring their own CUDA: only the driver has to be the machine's."""
_ENVIRONMENT_BYTES = 12 * 2**30
"""About what a vLLM for CUDA takes; later ones share most of it with the first by hard links."""
_CLI_DEADLINE_S = 10.0


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
    if host.gpu is None:
        least = min(check.requires.gpu_memory_bytes for check in wanted)
        most = max(check.requires.gpu_memory_bytes for check in wanted)
        memory = output.gib(most) if least == most else f"{output.gib(least)} to {output.gib(most)}"
        kinds = sorted({need for check in wanted if (need := check.requires.compute_capability)})
        kind = f", compute capability {' or '.join(kinds)} and newer" if kinds else ""
        yield Finding(NEEDS, "gpu", State.NOTE, f"an NVIDIA GPU with {memory} of memory{kind}")
        newest, branch = max(DRIVERS), DRIVERS[max(DRIVERS)]
        text = f"the NVIDIA driver {branch} or newer for engines built for CUDA {newest}"
        older = ", ".join(f"{DRIVERS[cuda]} for CUDA {cuda}" for cuda in sorted(DRIVERS)[:-1])
        yield Finding(NEEDS, "driver", State.NOTE, f"{text} ({older}); no CUDA toolkit: engines bring theirs")
    free = hosts.free_disk(settings.state)
    models = {spec.name: spec for check in wanted for spec in check.models}
    weights = sum({_pair(check): check.requires.disk_bytes for check in wanted}.values())
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
    yield _containers()


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


def _containers() -> Finding:
    for tool in ("docker", "podman"):
        path = shutil.which(tool)
        if path is None:
            continue
        try:
            done = subprocess.run(
                [path, "version", "--format", "{{.Server.Version}}"],
                capture_output=True,
                text=True,
                timeout=_CLI_DEADLINE_S,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.SubprocessError):
            continue
        if done.returncode == 0:
            text = f"{tool} {done.stdout.strip()}: releases can be measured from their images as well"
            return Finding(NEEDS, "containers", State.FINE, text)
        text = f"{tool} is installed and its service does not answer; needed only for container images"
        return Finding(NEEDS, "containers", State.NOTE, text)
    text = "neither docker nor podman; needed only for container images"
    return Finding(NEEDS, "containers", State.NOTE, text)


def _pair(check: Check) -> tuple[str, ...]:
    return tuple(spec.name for spec in check.models)
