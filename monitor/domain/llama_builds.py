"""Builds of llama.cpp: the number in `bNNNN` counts the commits of its main branch, so it orders them all."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from monitor.domain.releases import Package

BUILD_PACKAGE = "llama.cpp build"
"""Under this name an environment records, beside its packages, which build of llama.cpp is in it."""

_NUMBER = re.compile(r"b(\d+)")
_VERSION_FORMS = (
    re.compile(r"version:\s*(?P<build>\d+)\s*\((?P<commit>[0-9a-f]{7,40}|unknown)\)"),
    # Since the autumn of 2026 the number stands behind a version of its own.
    re.compile(r"version:\s*\S+\s*\(build\s+(?P<build>\d+),\s*commit\s+(?P<commit>[0-9a-f]{7,40}|unknown)\)"),
)


@dataclass(frozen=True, slots=True)
class LlamaBuild:
    """One state of llama.cpp, as far as it is known."""

    number: int | None
    commit: str | None
    """Hexadecimal, 7 to 40 digits."""

    def __str__(self) -> str:
        """Return it as llama.cpp writes it in `build_info`."""
        known = [f"b{self.number}" if self.number is not None else "", self.commit or ""]
        return "-".join(part for part in known if part) or "unknown"


_VENDORED: dict[str, LlamaBuild] = {
    "0.3.23": LlamaBuild(9102, "7d442abf5"),
    "0.3.24": LlamaBuild(9445, "af6528e6d"),
    "0.3.25": LlamaBuild(None, "210a6570c"),
    "0.3.26": LlamaBuild(None, "7c158fbb4"),
    "0.3.27": LlamaBuild(None, "465b1f0e7"),
    "0.3.28": LlamaBuild(9553, "9e3b928fd"),
    "0.3.29": LlamaBuild(9625, "f05cf4676"),
    "0.3.30": LlamaBuild(9665, "e3a74b299"),
    "0.3.31": LlamaBuild(9733, "f449e0553"),
    "0.3.32": LlamaBuild(9837, "b3fed31b9"),
    "0.3.33": LlamaBuild(9874, "78d2f5246"),
    "0.3.34": LlamaBuild(9976, "e3546c794"),
    "0.3.35": LlamaBuild(10454, "4df29be4f"),
    "0.3.36": LlamaBuild(11312, "0c1e57098"),
}
"""Version of llama-cpp-python → the build in its source archive.

The commits are those of its changelog; the numbers those of the tags on these commits at ggml-org/llama.cpp.
"""


def vendored(version: str, commit: str | None = None) -> LlamaBuild:
    """Return the build that a version of llama-cpp-python holds; `commit` is what its archive says itself."""
    known = _VENDORED.get(version, LlamaBuild(None, None))
    if commit is None or _same(commit, known.commit):
        return known
    number = next((item.number for item in _VENDORED.values() if _same(commit, item.commit)), None)
    return LlamaBuild(number, commit)


def _same(commit: str, known: str | None) -> bool:
    """Say whether two commits are one; they are written with as many digits as their writer liked."""
    return known is not None and (commit.startswith(known) or known.startswith(commit))


def said_by_version(text: str) -> LlamaBuild | None:
    """Return the build in what `llama-server --version` prints, None when it says none.

    Build 0 is one that was compiled without its number.
    """
    for form in _VERSION_FORMS:
        if found := form.search(text):
            commit = found["commit"]
            return LlamaBuild(int(found["build"]) or None, None if commit == "unknown" else commit)
    return None


def build_number_in(packages: Iterable[Package]) -> int | None:
    """Return the number of the build that an environment recorded, None where it is not known."""
    said = next((package.version for package in packages if package.name == BUILD_PACKAGE), "")
    found = _NUMBER.match(said)
    return int(found[1]) if found else None
