"""Watches an engine that its owner runs: each change of what runs there is a release.

How to look is the caller's (`monitor/steps/attached.py`); here is what a look means as releases, and how the
versions that are told in different words become one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from monitor.domain import Fingerprint, Release
from monitor.domain.attached import SCHEME
from monitor.errors import SourceError, SourceLiedError
from monitor.releases.projects import PROJECTS
from monitor.settings_tables import SourceSettings

_SHOWN = 200  # characters of a line in which a version was found
_BUILD = (
    re.compile(r"^b(\d+)(?:-\w+)?$"),  # /props of llama.cpp
    re.compile(r"\(build:? (\d+)\b"),  # `--version` of llama.cpp, since about September 2026
    re.compile(r"^version: (\d+) \("),  # and before
)
_WORD = re.compile(r"\bversion[:=]?\s+v?(\S+)", re.IGNORECASE)


class AttachedSource:
    """What runs now, as the only release; a `Source` (see `monitor/releases/base.py`)."""

    def __init__(self, settings: SourceSettings, look: Callable[[], Fingerprint]) -> None:
        self.project = settings.project
        self.channel: str = settings.channel
        self.since = None
        self._look = look

    @property
    def address(self) -> str:
        """The project: servers may move to other ports and stay the same source."""
        return f"{SCHEME}{self.project}"

    def poll(self) -> tuple[Release, ...]:
        """Return what runs now; what ran before is no longer listed, for it cannot be had any more.

        Raises:
            SourceError: a server, command or package list could not be read, or they contradict each other
                in a way that passes, as in the middle of an upgrade.
            SourceLiedError: nothing that was said holds a version.

        """
        found = self._look()
        return (Release(self.project, found.artifact.version, self.channel, (found.artifact,)),)


# ---------------------------------------------------------------------------------------------
# Versions


@dataclass(frozen=True, slots=True)
class Told:
    """A version, and the line in which it was told."""

    version: str
    """As PEP 440 writes it, without its local part; of llama.cpp the build."""
    line: str


def version_in(text: str) -> Told | None:
    """Return the version that a program or server told of itself, None when there is none in `text`.

    A build number of llama.cpp is preferred to everything else, then a line that is a version, then what
    follows the word `version`, and last a word of the last line: programs log before they answer.
    """
    lines = [" ".join(line.split())[:_SHOWN] for line in text.splitlines() if line.strip()]
    for pattern in _BUILD:
        for line in lines:
            if found := pattern.search(line):
                return Told(str(int(found[1])), line)
    for line in lines:
        if version := _public(line):
            return Told(version, line)
    for line in lines:
        if (found := _WORD.search(line)) and (version := _public(found[1])):
            return Told(version, line)
    words = lines[-1].split() if lines else []
    return next(
        (Told(version, lines[-1]) for word in words if "." in word and (version := _public(word))), None
    )


def agreed(
    project: str, *, servers: Mapping[str, str], command: str | None = None, package: str | None = None
) -> tuple[str, tuple[str, ...]]:
    """Return the version of what runs, and all the words it was told in.

    Args:
        project: the source's.
        servers: address → what the server says its version is; those that do not say are not in it.
        command: what the version command printed.
        package: version of the installed distribution called like the project.

    Raises:
        SourceError: they contradict each other; an upgrade may be under way, or a restart outstanding.
        SourceLiedError: none of them tells a version.

    """
    told = {f"the server at {address}": _needed(text, address) for address, text in servers.items()}
    if command is not None:
        told["the version command"] = _needed(command, "the version command")
    installed = _public(package) if package else None
    upstream = PROJECTS[project].upstream if project in PROJECTS else ""
    # Packagings of llama.cpp number themselves; what vLLM's package is called, its server says too.
    if installed and upstream == "vllm":
        told["the package list"] = Told(installed, f"{project} {package}")
    # Two builds of one version, told apart by a commit, are two builds.
    builds = {told[f"the server at {address}"].line for address in servers}
    if len(builds) > 1 or len({one.version for one in told.values()}) > 1:
        said = "; ".join(f"{who} says {one.line}" for who, one in told.items())
        raise SourceError(
            f"What runs of {project} is not one version: {said}.",
            kept="what was known of it; nothing is measured",
            advice="end the upgrade, and restart the servers that run the old version",
        )
    words = sorted({one.line for one in told.values()})
    if installed and upstream != "vllm":
        return installed, (*words, f"{project} {package}")
    if not told:
        raise SourceLiedError(
            f"Nothing tells which version of {project} runs.",
            kept="what was known of it",
            advice="give the source a `version_command`, or `python` when it is a package of that name",
        )
    return next(iter(told.values())).version, tuple(words)


def _needed(text: str, who: str) -> Told:
    found = version_in(text)
    if found is None:
        raise SourceLiedError(
            f"No version can be read in what {who} says: {text.strip()[:_SHOWN]!a}.",
            kept="what was known of it",
            advice="give the source a `version_command` that prints the version alone",
        )
    return found


def _public(text: str) -> str | None:
    try:
        return Version(text.strip().rstrip(",;")).public
    except InvalidVersion:
        return None
