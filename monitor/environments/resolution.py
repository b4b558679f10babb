"""What uv resolved: every package with the one file that installs here and its sha256.

Read from a lock file in the standard form: https://packaging.python.org/en/latest/specifications/pylock-toml/
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import BuildTag, InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion

from monitor.errors import ProvisionError


@dataclass(frozen=True, slots=True)
class Pin:
    """One package of a resolution, held to one file."""

    name: str
    version: str | None
    sha256: str
    url: str | None = None
    """Where it is installed from, when not looked up in the index by its version."""

    @property
    def requirement(self) -> str:
        """The line of a requirements file that installs this file and no other."""
        # The fragment keeps uv's cache from answering with what stood at the address before.
        what = (
            f"{self.name} @ {self.url}#sha256={self.sha256}" if self.url else f"{self.name}=={self.version}"
        )
        return f"{what} --hash=sha256:{self.sha256}"


def read(lock: Path, python_version: str) -> list[Pin]:
    """Return the packages of the lock file `lock`, each with the wheel that fits a CPython here best.

    `python_version` is that of the environment, such as 3.11.7.

    Raises:
        ProvisionError: a package has no wheel, no sha256, or is no published file at all.

    """
    try:
        document = tomllib.loads(lock.read_text(encoding="utf-8"))
        ranks = _ranks(python_version)
        return [_pin(package, lock.parent, ranks) for package in document.get("packages", [])]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ProvisionError(
            "uv's resolution cannot be read.",
            advice="this uv may be too new or too old; install the one the requirements name",
        ) from error


def pin_of(pins: Sequence[Pin], project: str) -> Pin | None:
    """Return the pin of `project`, or None."""
    wanted = canonicalize_name(project)
    return next((pin for pin in pins if canonicalize_name(pin.name) == wanted), None)


def _pin(package: Mapping[str, Any], folder: Path, ranks: Mapping[Tag, int]) -> Pin:
    name, version = str(package["name"]), package.get("version")
    if "archive" in package:
        archive = package["archive"]
        url = archive.get("url") or (folder / archive["path"]).absolute().as_uri()
        return Pin(name, version, _sha256(archive, name), url)
    wheels = package.get("wheels") or []
    if not wheels:
        raise ProvisionError(
            f"{name} {version or ''} is needed and has no wheel for this machine.",
            advice="nothing is built from source; look for a version of it with a wheel",
        )
    # A package may offer the same for several ages of the system's library; uv installs the best fit.
    best = wheels[0] if len(wheels) == 1 else max(wheels, key=lambda wheel: _fit(wheel, ranks))
    return Pin(name, str(version), _sha256(best, name))


def _ranks(python_version: str) -> dict[Tag, int]:
    """Return tag → rank, higher for what fits better."""
    pair = tuple(int(part) for part in python_version.split(".")[:2])
    interpreter = "cp" + "".join(map(str, pair))
    tags = [*cpython_tags(pair), *compatible_tags(pair, interpreter)]
    return {tag: -number for number, tag in reversed(list(enumerate(tags)))}


def _fit(wheel: Mapping[str, Any], ranks: Mapping[Tag, int]) -> tuple[bool, int, BuildTag]:
    place = str(wheel.get("name") or wheel.get("url") or wheel.get("path") or "")
    try:
        _, _, build, tags = parse_wheel_filename(unquote(place.rpartition("/")[2]))
    except (InvalidWheelFilename, InvalidVersion):
        return False, 0, ()
    rank = max((ranks[tag] for tag in tags if tag in ranks), default=None)
    return rank is not None, rank or 0, build


def _sha256(file: Mapping[str, Any], name: str) -> str:
    found = (file.get("hashes") or {}).get("sha256")
    if isinstance(found, str):
        return found
    raise ProvisionError(
        f"The index gives no sha256 for {name}, which is needed.",
        advice="only files with a known hash are installed; use an index that gives hashes",
    )
