"""Writes a wheel: https://packaging.python.org/en/latest/specifications/binary-distribution-format/."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from packaging.tags import platform_tags
from packaging.utils import canonicalize_name

_DATE = (1980, 1, 1, 0, 0, 0)
_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a wheel."""

    name: str
    """Where it is installed: in site-packages, or below the environment itself when it is `data`."""
    path: Path
    data: bool = False


def write(folder: Path, metadata: str, entries: Iterable[Entry]) -> Path:
    """Write a wheel for any Python 3 on this platform into `folder` and return it.

    `metadata` is its METADATA, which names project and version. Files are stored as they are: they are read
    again in a moment.
    """
    headers = HeaderParser().parsestr(metadata)
    name = canonicalize_name(headers["Name"]).replace("-", "_")
    stem = f"{name}-{headers['Version'].replace('-', '_')}"
    tag = f"py3-none-{_platform()}"
    target = folder / f"{stem}-{tag}.whl"
    wheel = f"Wheel-Version: 1.0\nGenerator: mtp-monitor\nRoot-Is-Purelib: false\nTag: {tag}\n"
    rows: list[tuple[str, str, int | str]] = []
    with zipfile.ZipFile(target, "w") as out:
        for entry in entries:
            inside = f"{stem}.data/data/{entry.name}" if entry.data else entry.name
            rows.append(_copy(out, inside, entry.path))
        for file, text in (("METADATA", metadata), ("WHEEL", wheel)):
            rows.append(_put(out, f"{stem}.dist-info/{file}", text.encode()))
        record = io.StringIO()
        csv.writer(record, lineterminator="\n").writerows([*rows, (f"{stem}.dist-info/RECORD", "", "")])
        _put(out, f"{stem}.dist-info/RECORD", record.getvalue().encode())
    return target


def _platform() -> str:
    """Return the tag that promises nothing of other machines, such as `linux_x86_64`."""
    return next(tag for tag in platform_tags() if tag.startswith("linux_"))


def _copy(out: zipfile.ZipFile, name: str, path: Path) -> tuple[str, str, int]:
    info = zipfile.ZipInfo(name, _DATE)
    info.external_attr = (0o100755 if os.access(path, os.X_OK) else 0o100644) << 16
    info.file_size = path.stat().st_size
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream, out.open(info, "w") as inside:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            inside.write(chunk)
    return name, _encoded(digest.digest()), size


def _put(out: zipfile.ZipFile, name: str, content: bytes) -> tuple[str, str, int]:
    info = zipfile.ZipInfo(name, _DATE)
    info.external_attr = 0o100644 << 16
    out.writestr(info, content)
    return name, _encoded(hashlib.sha256(content).digest()), len(content)


def _encoded(digest: bytes) -> str:
    return f"sha256={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
