"""How much of the machine others took while a session was measured.

On a host without a GPU the engine's speed is what other processes leave it, and nothing in an answer tells
that from a slower release. The kernel does: the busy time of the CPUs this process may use, less what the
engine and the monitor used themselves, is other people's work. Stolen time is theirs as well.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import psutil

FACT = "load.others"
"""Fact of a session: the share of its CPUs' time that others took, 0 to 1."""
MEMORY_FACT = "memory.engine_bytes"
"""Fact of a session: memory of the machine that the engine's processes held after the last answer."""
_LEAST_S = 0.2  # the kernel counts in hundredths of a second


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds since some fixed time: of all work, and of the engine and the monitor alone."""

    at_s: float
    cpus: int
    busy_s: float
    own_s: float

    def others_since(self, before: Usage) -> float | None:
        """Return the share of the CPUs that others took, None where the stretch is too short to tell."""
        available_s = (self.at_s - before.at_s) * self.cpus
        if self.cpus != before.cpus or available_s < _LEAST_S:
            return None
        others_s = (self.busy_s - before.busy_s) - (self.own_s - before.own_s)
        return min(1.0, max(0.0, others_s / available_s))


def read(engine_pid: int | None) -> Usage | None:
    """Return what has been used so far; None where it cannot be told from the engine's own work.

    That is so for an engine that runs already (`engine_pid` is None), for one that has just ended, and where
    the kernel does not count.
    """
    if engine_pid is None:
        return None
    try:
        allowed = os.sched_getaffinity(0)
        times = [cpu for number, cpu in enumerate(psutil.cpu_times(percpu=True)) if number in allowed]
        root = psutil.Process(engine_pid)
        tree = [root, *root.children(recursive=True)]
        own_s = sum(_used_s(process) for process in tree) + _used_s(psutil.Process(), with_ended=False)
    except (psutil.Error, OSError):
        return None
    busy_s = sum(cpu.user + cpu.nice + cpu.system + cpu.irq + cpu.softirq + cpu.steal for cpu in times)
    return Usage(time.monotonic(), len(times), busy_s, own_s) if busy_s > 0 else None


def memory_bytes(engine_pid: int | None) -> int | None:
    """Return the memory of the engine and what it started, pages that several share counted once.

    None for an engine that runs already or has ended, and where the kernel does not tell.
    """
    if engine_pid is None:
        return None
    try:
        root = psutil.Process(engine_pid)
        return sum(int(process.memory_full_info().pss) for process in (root, *root.children(recursive=True)))
    except (psutil.Error, OSError, AttributeError):
        return None


def _used_s(process: psutil.Process, *, with_ended: bool = True) -> float:
    """Return a process's CPU seconds, and those of its children that have ended."""
    used = process.cpu_times()
    ended_s = used.children_user + used.children_system if with_ended else 0.0
    return float(used.user + used.system + ended_s)
