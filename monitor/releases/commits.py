"""The commits between two releases, where their versions say which commits they are."""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from monitor.releases.projects import PROJECTS, build_number

_REPOSITORIES = {"llama.cpp": "ggml-org/llama.cpp", "vllm": "vllm-project/vllm"}
"""Upstream engine → its repository on GitHub."""
_COMMIT = re.compile(r"g?([0-9a-f]{7,40})")


@dataclass(frozen=True, slots=True)
class CommitRange:
    """The commits after one release, up to and with another."""

    first: str
    """Tag or commit of the earlier release, which the range does not contain."""
    last: str
    url: str
    """GitHub's comparison of the two."""

    def __str__(self) -> str:
        return f"{self.first}..{self.last}"


def commits_between(project: str, earlier: str, later: str) -> CommitRange | None:
    """Return the upstream's commits between two versions of a project; None where versions do not say.

    A package of llama.cpp is named after its build, which is a tag upstream (`b11549`). vLLM tags its
    versions (`v0.29.0`), and a wheel of one commit has that in its local version (`…+g1a2b3c4d5`).
    """
    known = PROJECTS.get(project)
    repository = _REPOSITORIES.get(known.upstream) if known else None
    ends = [_commit(project, known.upstream if known else "", version) for version in (earlier, later)]
    if repository is None or ends[0] is None or ends[1] is None or ends[0] == ends[1]:
        return None
    return CommitRange(ends[0], ends[1], f"https://github.com/{repository}/compare/{ends[0]}...{ends[1]}")


def _commit(project: str, upstream: str, version: str) -> str | None:
    if upstream == "llama.cpp":
        build = build_number(project, version)
        return None if build is None else f"b{build}"
    try:
        parsed = Version(version)
    except InvalidVersion:
        return None
    if parsed.local:
        commits = [part for part in re.split(r"[._-]", parsed.local) if _COMMIT.fullmatch(part)]
        return commits[0].removeprefix("g") if commits else None
    return None if parsed.is_devrelease else f"v{version}"
