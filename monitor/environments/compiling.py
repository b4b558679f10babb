"""Runs the programs that compile: supervised like an engine, so that none of them outlives the monitor."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from monitor import disk, proc
from monitor.errors import HostError, MonitorError, ProvisionError

COMPILE_S = 6 * 3600.0
_STOP_S = 5.0
_LOOK_S = 1.0
_SHARE = 10  # percent between two reports
_SHOWN_LINES = 30
_STEP = re.compile(r"^\[(\d+)/(\d+)\]", re.MULTILINE)

# In the words of gcc, clang, ld, nvcc, cmake and ninja.
_ERROR = re.compile(r"\berror\b|CMake Error|undefined reference", re.IGNORECASE)
_NO_ROOM = re.compile(r"No space left on device|Disk quota exceeded")
_NO_TOOLKIT = re.compile(
    r"CUDA::\w+\s+but the target was not found|Could NOT find CUDAToolkit|CUDA Toolkit not found"
)
_NO_MEMORY = re.compile(r"Killed signal terminated program|virtual memory exhausted|Cannot allocate memory")


def run(
    argv: Sequence[str],
    what: str,
    *,
    folder: Path,
    log: Path,
    on_percent: Callable[[int], None] = lambda _: None,
) -> None:
    """Run cmake or ninja in `folder` to its end; `what` is compiled, and `on_percent` told how far it is.

    Raises:
        ProvisionError: it fails, with what the compiler said.
        OSError: no room (ENOSPC). HostError: no memory, no whole CUDA toolkit, or no end in sight.

    """
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    environment = proc.engine_environment(scratch, extra={})
    until = time.monotonic() + COMPILE_S
    told = 0
    with proc.Supervised(argv, environment=environment, folder=folder, log=log) as process:
        while (ending := process.wait(_LOOK_S)) is None:
            if time.monotonic() > until:
                process.stop(_STOP_S)
                raise HostError(
                    f"{what} was not compiled after {COMPILE_S / 3600:g} hours.",
                    kept="what was compiled; the next attempt goes on from there",
                    advice="give it more cores (`build.jobs`)",
                    permanent=False,
                )
            percent = _percent(log) // _SHARE * _SHARE
            if percent > told:
                told = percent
                on_percent(percent)
    if ending.code != 0:
        raise _failure(what, f"{Path(argv[0]).name}: {ending}", log)


def _failure(what: str, ending: str, log: Path) -> MonitorError | OSError:
    said = proc.tail(log, lines=2000, max_bytes=2**18)
    if _NO_ROOM.search(said):
        return disk.no_room()
    if _NO_MEMORY.search(said):
        return HostError(
            f"There was too little memory to compile {what}.",
            kept="what was compiled; the next attempt goes on from there",
            advice="let fewer compilers run at once (`build.jobs`)",
            permanent=False,
        )
    words = "\n".join(_telling(said.splitlines()))
    if _NO_TOOLKIT.search(said):
        return HostError(
            f"The CUDA toolkit of this machine is not complete enough to compile {what}.\n{words}",
            kept="every complete environment",
            advice="install the whole toolkit (with cuBLAS), or set `build.cuda = false`",
        )
    return ProvisionError(
        f"{what} does not compile here ({ending}).\n{words}",
        kept="every complete environment",
        advice="the lines above are the compiler's; the next release is not affected",
    )


def _telling(lines: Sequence[str]) -> Sequence[str]:
    """Return the lines from the first error on, without what ninja says of files that compile meanwhile."""
    lines = [line for line in lines if line.strip() and not _STEP.match(line)]
    first = next((number for number, line in enumerate(lines) if _ERROR.search(line)), None)
    return lines[-_SHOWN_LINES:] if first is None else lines[first : first + _SHOWN_LINES]


def _percent(log: Path) -> int:
    found = _STEP.findall(proc.tail(log, lines=20))
    return int(found[-1][0]) * 100 // max(1, int(found[-1][1])) if found else 0
