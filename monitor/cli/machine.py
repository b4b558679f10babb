"""Looks at this machine without leaving anything on it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monitor.domain import Host


def look(state: Path, name: str | None = None, gpu: str | None = None) -> Host:
    """Return what this machine is, for commands that only look.

    A machine without an id of its own is given one in the state folder when it first measures; until then
    the id here is a passing one.

    Raises:
        GpuFaultError: when a GPU is lost, or the one of the UUID `gpu` is not there.

    """
    from monitor.host import describe  # noqa: PLC0415  # psutil and NVML, which `--help` has no use for

    if (state / "host_id").is_file():
        return describe(state, name=name, gpu=gpu)
    with tempfile.TemporaryDirectory() as folder:
        return describe(Path(folder), name=name, gpu=gpu)
