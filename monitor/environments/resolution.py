"""What uv resolved: every package with the one file that installs here and its sha256.

Read from a lock file in the standard form: https://packaging.python.org/en/latest/specifications/pylock-toml/
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

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


def read(lock: Path) -> list[Pin]:
    """Return the packages of the lock file `lock`.

    Raises:
        ProvisionError: a package has no wheel, no sha256, or is no published file at all.

    """
    try:
        document = tomllib.loads(lock.read_text(encoding="utf-8"))
        return [_pin(package, lock.parent) for package in document.get("packages", [])]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ProvisionError(
            "uv's resolution cannot be read.",
            advice="this uv may be too new or too old; install the one the requirements name",
        ) from error


def pin_of(pins: Sequence[Pin], project: str) -> Pin | None:
    """Return the pin of `project`, or None."""
    wanted = canonicalize_name(project)
    return next((pin for pin in pins if canonicalize_name(pin.name) == wanted), None)


def _pin(package: Mapping[str, Any], folder: Path) -> Pin:
    name, version = str(package["name"]), package.get("version")
    if "archive" in package:
        archive = package["archive"]
        url = archive.get("url") or (folder / archive["path"]).absolute().as_uri()
        return Pin(name, version, _sha256(archive, name), url)
    wheels = package.get("wheels") or []
    if len(wheels) != 1:
        raise ProvisionError(
            f"{name} {version or ''} is needed and has {len(wheels)} wheels for this machine, not one.",
            advice="nothing is built from source; look for a version of it with a wheel",
        )
    return Pin(name, str(version), _sha256(wheels[0], name))


def _sha256(file: Mapping[str, Any], name: str) -> str:
    found = (file.get("hashes") or {}).get("sha256")
    if isinstance(found, str):
        return found
    raise ProvisionError(
        f"The index gives no sha256 for {name}, which is needed.",
        advice="only files with a known hash are installed; use an index that gives hashes",
    )
