"""Which files of a GitHub release a machine needs: patterns, because names move and configuration may follow.

| machine | wanted, the first that fits decides | unpacked beside |
| --- | --- | --- |
| without a GPU | the CPU build for its processor | – |
| with a GPU | the CUDA build that its driver runs, newest toolkit first | its `cudart-…` |
"""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from monitor.settings_tables import SourceSettings

_PROCESSORS = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
"""What Python calls a processor → what file names call it."""
_CUDA = (("13", 580), ("12", 525))
"""CUDA's major version → the oldest driver that runs it, newest first.

https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
"""


@dataclass(frozen=True, slots=True)
class AssetPatterns:
    """File name patterns of what is installed and of what is unpacked beside it."""

    wanted: tuple[str, ...]
    beside: tuple[str, ...]

    def rank(self, filename: str) -> tuple[int, list[tuple[bool, int, str]]] | None:
        """Return a key that is higher for the better of two files, None for a file that is not wanted."""
        for place, pattern in enumerate(self.wanted):
            if fnmatchcase(filename, pattern):
                return -place, natural(filename)
        return None

    def belongs(self, filename: str) -> bool:
        """Say whether a file is wanted at all, itself or beside another."""
        return any(fnmatchcase(filename, pattern) for pattern in (*self.wanted, *self.beside))

    def beside_of(self, filename: str, files: Sequence[str]) -> tuple[str, ...]:
        """Return those of `files` that are unpacked beside `filename`.

        With several toolkits in one release each has its own: `cudart-` and the whole name of what it serves.
        """
        found = [name for name in files if any(fnmatchcase(name, pattern) for pattern in self.beside)]
        own = [name for name in found if name.endswith(filename)]
        return tuple(own or [name for name in found if self.rank(name) is None])


def patterns_for(
    settings: SourceSettings, *, driver: str | None, machine: str | None = None
) -> AssetPatterns:
    """Return the patterns of a source: its own, else those for this machine.

    `driver` is the version of the GPU's driver, None without a GPU; `machine` the processor (default: this
    machine's).
    """
    wanted, beside = _for_machine(driver, machine or platform.machine())
    if settings.wanted:
        # What is chosen by hand brings nothing along that was not chosen as well, but its own runtime.
        beside = tuple(f"cudart-{pattern}" for pattern in settings.wanted)
    return AssetPatterns(settings.wanted or wanted, settings.beside or beside)


def _for_machine(driver: str | None, machine: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    processor = _PROCESSORS.get(machine.lower(), machine.lower())
    if driver is None:
        return (f"llama-b*-bin-ubuntu-{processor}.tar.gz",), ()
    number = int(found[0]) if (found := re.match(r"\d+", driver)) else 0
    kinds = [major for major, oldest in _CUDA if number >= oldest] or [_CUDA[-1][0]]
    wanted = tuple(f"llama-b*-bin-ubuntu-cuda-{major}.*-{processor}.tar.gz" for major in kinds)
    return wanted, tuple(f"cudart-{pattern}" for pattern in wanted)


def natural(text: str) -> list[tuple[bool, int, str]]:
    """Return a key that sorts numbers in a text by their value: 12.10 after 12.8."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", text)]
