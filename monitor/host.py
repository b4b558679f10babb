"""This machine, as far as it decides what may be compared and what can be run.

Without an NVIDIA driver there simply is no GPU. Nothing here changes the machine. Sizes are in bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import secrets
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from monitor.domain import Host, Requirements
from monitor.errors import GpuFaultError, HostError
from monitor.gpu import toolkit
from monitor.gpu.identity import read_gpus

GIB = 2**30
QUIET_LOAD_PER_CORE = 0.25
"""One-minute load average for each core above which times are likely to be disturbed."""


def describe(state: Path, *, name: str | None = None, gpu: str | None = None, root: Path = Path("/")) -> Host:
    """Return what identifies this machine; the GPU of the UUID `gpu` stands for it, else the first one.

    `machine_id` is a hash of the system's own, which should not be published; a machine without one
    (many containers) gets a random one, kept in `state`. `root` is where /proc and /etc are looked for.

    Raises:
        HostError: when an id has to be kept and `state` cannot be written.
        GpuFaultError: when the driver has lost a GPU, or the one that is meant is not there.

    """
    measured = _chosen(read_gpus(), gpu)
    cpu = _cpu_model(root)
    cores = len(os.sched_getaffinity(0))
    return Host(
        name=name or socket.gethostname(),
        machine_id=machine_id(state, root=root),
        hardware_class=hardware_class(measured, cpu, cores),
        boot_id=boot_id(root),
        cpu=cpu,
        cores=cores,
        memory_bytes=psutil.virtual_memory().total,
        gpu=measured,
        kernel=platform.release(),
    )


def boot_id(root: Path = Path("/")) -> str:
    """Return what changes with every start of the machine."""
    return _line(root / "proc/sys/kernel/random/boot_id")


def hardware_class(gpu: dict[str, Any] | None, cpu: str, cores: int) -> str:
    """Return the GPU's model and variant as the driver names it, else `cpu-<model>-<cores>`."""
    if gpu is not None:
        return str(gpu["name"])
    slug = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm|c)\)", "", cpu.lower())).strip("-")
    return f"cpu-{slug or 'unknown'}-{cores}"


def satisfies(host: Host, requires: Requirements, *, free_disk_bytes: int | None = None) -> list[str]:
    """Return why a check with these requirements is not runnable on `host`; empty when it is."""
    reasons = []
    if requires.wants_gpu and host.gpu is None:
        wanted = f" with {_gib(requires.gpu_memory_bytes)} of memory" if requires.gpu_memory_bytes else ""
        reasons.append(f"needs an NVIDIA GPU{wanted}; this machine has none")
    elif requires.wants_gpu and host.gpu is not None:
        reasons += _gpu_reasons(host.gpu, requires)
    if requires.memory_bytes > host.memory_bytes:
        reasons.append(
            f"needs {_gib(requires.memory_bytes)} of memory; this machine has {_gib(host.memory_bytes)}"
        )
    if free_disk_bytes is not None and requires.disk_bytes > free_disk_bytes:
        reasons.append(f"needs {_gib(requires.disk_bytes)} of free disk; there are {_gib(free_disk_bytes)}")
    return reasons


def free_disk(path: Path) -> int:
    """Return the bytes free for us on the disk that `path` lies on or would lie on."""
    there = path.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    return shutil.disk_usage(there).free


def is_full(path: Path) -> bool:
    """Say whether the disk that `path` lies on has no room worth the name, so that anything may fail."""
    return free_disk(path) < _NO_ROOM_BYTES


_NO_ROOM_BYTES = 2**20


def is_quiet() -> tuple[bool, str]:
    """Say whether the machine idles, with a sentence for people; a load average only hints at it."""
    load = os.getloadavg()[0]
    cores = len(os.sched_getaffinity(0))
    if load <= QUIET_LOAD_PER_CORE * cores:
        return True, f"load average {load:.2f} on {cores} cores: quiet"
    return False, f"load average {load:.2f} on {cores} cores: something else is running, times will scatter"


# ---------------------------------------------------------------------------------------------
# GPU


def _chosen(gpus: Sequence[dict[str, Any]], uuid: str | None) -> dict[str, Any] | None:
    beside = {"count": len(gpus), "nvcc": toolkit.identity()} if gpus else {}
    if uuid is None:
        return gpus[0] | beside if gpus else None
    for gpu in gpus:
        if gpu["uuid"] == uuid:
            return gpu | beside
    there = ", ".join(f"{gpu['uuid']} ({gpu['name']})" for gpu in gpus) or "no GPU"
    raise GpuFaultError(
        f"The GPU {uuid} of `host.gpu` is not there; the driver shows {there}.",
        advice="put it back, or name another in the configuration: its results make a series of their own",
    )


def _gpu_reasons(gpu: dict[str, Any], requires: Requirements) -> list[str]:
    reasons = []
    if gpu["memory_bytes"] < requires.gpu_memory_bytes:
        reasons.append(
            f"needs a GPU with {_gib(requires.gpu_memory_bytes)} of memory; "
            f"{gpu['name']} has {_gib(gpu['memory_bytes'])}"
        )
    wanted, has = requires.compute_capability, gpu.get("compute_capability")
    if wanted and (has is None or _capability(has) < _capability(wanted)):
        reasons.append(f"needs compute capability {wanted} or newer; {gpu['name']} has {has or 'told none'}")
    return reasons


def _capability(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


# ---------------------------------------------------------------------------------------------
# What the system tells


def machine_id(state: Path, *, root: Path = Path("/")) -> str:
    """Return the id under which this machine's results are kept.

    Raises:
        HostError: when the machine has none of its own and `state` cannot be written.

    """
    own = _line(root / "etc/machine-id")
    if not re.fullmatch(r"[0-9a-f]{32}", own):
        own = _kept_id(state)
    return hashlib.sha256(f"mtp-monitor:{own}".encode()).hexdigest()[:32]


def _kept_id(state: Path) -> str:
    file = state / "host_id"
    if kept := _line(file):
        return kept
    fresh = secrets.token_hex(16)
    try:
        state.mkdir(parents=True, exist_ok=True)
        # Two processes may come here at once: the first to link its file decides for both.
        beside = state / f".host_id.{os.getpid()}"
        beside.write_text(fresh + "\n", encoding="ascii")
        with contextlib.suppress(FileExistsError):
            os.link(beside, file)
        beside.unlink()
    except OSError as error:
        raise HostError(
            f"This machine has no id of its own, and none can be kept in {file}: {error.strerror}.",
            advice="name a state folder that may be written to",
        ) from error
    return _line(file)


def _cpu_model(root: Path) -> str:
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^(?:model name|Model|Processor)\s*:\s*(.+)$", text, re.MULTILINE)
    return " ".join(found[1].split()) if found else platform.machine()


def _line(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _gib(size: int) -> str:
    return f"{size / GIB:.0f} GiB" if size >= 10 * GIB else f"{size / GIB:.1f} GiB"
