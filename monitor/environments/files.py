"""The files of an environment: listed with their hashes when it is made, looked at again when it is used."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from monitor.environments.unpack import Unpacked

LIST = "files.json"
_ADAPTER = TypeAdapter(tuple[Unpacked, ...])


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write(folder: Path, found: Sequence[Unpacked]) -> None:
    """List what belongs in `folder`, by paths relative to it."""
    (folder / LIST).write_bytes(_ADAPTER.dump_json(tuple(found), indent=1))


def are_there(folder: Path) -> bool:
    """Say whether every listed file is there in its length; of a folder without a list nothing is missing."""
    try:
        listed = _ADAPTER.validate_json((folder / LIST).read_bytes())
        return all(_is_there(folder / item.path, item) for item in listed)
    except FileNotFoundError:
        return True
    except (OSError, ValidationError):
        return False


def altered(folder: Path) -> list[str]:
    """Return the listed files whose content is another one by now, reading all of them; [] without a list."""
    try:
        listed = _ADAPTER.validate_json((folder / LIST).read_bytes())
    except FileNotFoundError:
        return []
    return [
        item.path
        for item in listed
        if item.link is None
        and (not _is_there(folder / item.path, item) or sha256_of(folder / item.path) != item.sha256)
    ]


def _is_there(path: Path, item: Unpacked) -> bool:
    if item.link is not None:
        return path.is_symlink() and path.exists()
    return path.is_file() and path.stat().st_size == item.size
