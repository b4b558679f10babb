"""Says which file of a release is installed on this machine; what counts depends on the kind of source.

| kind | file | the better one |
| --- | --- | --- |
| `package-index` | a wheel; a source archive that is compiled here | by its tags, then its build tag |
| `github` | an asset that fits a pattern | of the first pattern; of one pattern by the numbers in its name |
| `registry` | the image | – |
| `commit-wheels` | a wheel | by its tags |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import compatible_tags, cpython_tags, platform_tags
from packaging.utils import (
    InvalidWheelFilename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from monitor.domain import Artifact, Packaging, packaging_of
from monitor.releases.assets import AssetPatterns, patterns_for
from monitor.settings_tables import SourceSettings


class Fit(Protocol):
    """Tells the files of a release apart, for one source on one machine."""

    nothing: str
    """Why there is nothing to choose from when a release has no files, in words."""

    def rank(self, artifact: Artifact) -> tuple[Any, ...] | None:
        """Return a key that is higher for the better of two files, None for one not installed here."""

    def awaited(self, best: Artifact, files: Sequence[Artifact]) -> list[Artifact]:
        """Return the files that must have come before the release counts as complete."""

    def why_none(self, files: Sequence[Artifact]) -> str:
        """Return in words why none of the files is installed here."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides which file is installed."""

    python_version: str
    platforms: Sequence[str] | None
    """Platform tags from best to worst; None: this machine's."""
    driver: str | None
    """Version of the GPU's driver; None without a GPU."""


def fit_of(
    settings: SourceSettings,
    *,
    python_version: str,
    platforms: Sequence[str] | None = None,
    driver: str | None = None,
) -> Fit:
    """Return what tells the files of a source's releases apart on a machine."""
    return _FITS[settings.kind](settings, Machine(python_version, platforms, driver))


class _PackageFit:
    """Which wheel installs here best; where there is none, a source archive that can be compiled."""

    nothing = "no file with a sha256 is listed"

    def __init__(self, settings: SourceSettings, machine: Machine) -> None:
        self.python = Version(machine.python_version)
        self._wanted = settings.wanted
        pair = self.python.release[:2]
        on = list(machine.platforms) if machine.platforms is not None else list(platform_tags())
        interpreter = "cp" + "".join(str(part) for part in pair)
        tags = [*cpython_tags(pair, platforms=on), *compatible_tags(pair, interpreter, on)]
        # The first place counts: a tag may be generated twice.
        self._rank = {tag: -number for number, tag in reversed(list(enumerate(tags)))}
        self._last = -len(tags)

    def rank(self, artifact: Artifact) -> tuple[Any, ...] | None:
        if not self._named(artifact) or not self._runs(artifact.requires_python):
            return None
        return self._tags(artifact)

    def awaited(self, best: Artifact, files: Sequence[Artifact]) -> list[Artifact]:
        # Patterns name what a release is complete with; without any, what installs here is what counts.
        del best
        return [
            item
            for item in files
            if item.yanked is None and (self._named(item) if self._wanted else self.rank(item) is not None)
        ]

    def why_none(self, files: Sequence[Artifact]) -> str:
        named = [item for item in files if self._named(item)]
        if not named:
            return f"no file name fits {', '.join(self._wanted)}"
        if not any(item.filename.endswith(".whl") for item in named):
            return "source only, and nothing that is compiled here"
        limits = {item.requires_python for item in named if self._tags(item)}
        if limits:
            return f"needs Python {' or '.join(sorted(str(limit) for limit in limits))}, not {self.python}"
        return f"no wheel for this machine among {len(files)} files"

    def _named(self, artifact: Artifact) -> bool:
        return not self._wanted or any(fnmatchcase(artifact.filename, pattern) for pattern in self._wanted)

    def _tags(self, artifact: Artifact) -> tuple[Any, ...] | None:
        try:
            _, _, build, tags = parse_wheel_filename(artifact.filename)
        except (InvalidWheelFilename, InvalidVersion):
            return self._source(artifact)
        rank = max((self._rank[tag] for tag in tags if tag in self._rank), default=None)
        return None if rank is None else (rank, build, artifact.filename)

    def _source(self, artifact: Artifact) -> tuple[Any, ...] | None:
        return (self._last, (), artifact.filename) if packaging_of(artifact) is Packaging.SOURCE else None

    def _runs(self, requires_python: str | None) -> bool:
        """Say whether the Python is new enough; a limit nobody can read is none, as pip has it."""
        try:
            return SpecifierSet(requires_python or "").contains(self.python, prereleases=True)
        except InvalidSpecifier:
            return True


class _AssetFit:
    """Which asset of a GitHub release is unpacked here."""

    def __init__(self, settings: SourceSettings, machine: Machine) -> None:
        self._patterns: AssetPatterns = patterns_for(settings, driver=machine.driver)
        self.nothing = f"no complete file fits {', '.join(self._patterns.wanted)}"

    def rank(self, artifact: Artifact) -> tuple[Any, ...] | None:
        return self._patterns.rank(artifact.filename)

    def awaited(self, best: Artifact, files: Sequence[Artifact]) -> list[Artifact]:
        beside = self._patterns.beside_of(best.filename, [item.filename for item in files])
        return [best, *(item for item in files if item.filename in beside)]

    def why_none(self, files: Sequence[Artifact]) -> str:
        return f"{self.nothing} among {len(files)} files"


class _ImageFit:
    """The image of a version: there is one."""

    nothing = "no image with a digest is listed"

    def __init__(self, _settings: SourceSettings, _machine: Machine) -> None:
        """Take what all take; an image is one for all machines."""

    def rank(self, artifact: Artifact) -> tuple[Any, ...] | None:
        return (artifact.filename,)

    def awaited(self, best: Artifact, _files: Sequence[Artifact]) -> list[Artifact]:
        return [best]

    def why_none(self, _files: Sequence[Artifact]) -> str:
        return self.nothing


_FITS: dict[str, Callable[[SourceSettings, Machine], Fit]] = {
    "package-index": _PackageFit,
    "github": _AssetFit,
    "registry": _ImageFit,
    "commit-wheels": _PackageFit,
}
"""Kind of a source → what tells its files apart. What is attached runs already: nothing is chosen."""
