"""Unpacks an archive of somebody else's into an empty folder, and nothing outside of it.

An archive is a program that writes files. So every member is checked before it is written: regular files,
folders and links only, under a name that stays inside; what exists is never written over, nothing is written
through a link, and how much comes out is limited, because a few kilobytes can hold terabytes. Links are made
last, when there is nothing left to be written through them. All rights but those to read and to execute are
dropped.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from monitor.errors import ProvisionError

_CHUNK = 2**18
_MAX_READ = 2**24
"""Bytes asked for at once: chunks of files are smaller, and so is every sound header."""
_MAX_NAME = 1024
_MAX_LINK = 1024
_RATIO_COUNTS_FROM = 2**26
"""Bytes unpacked until which no ratio is looked at: zeros of a small file compress as well as a bomb's."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may come out of one archive."""

    members: int = 50_000
    total_bytes: int = 8 * 2**30
    ratio: float = 200.0
    """Bytes unpacked for each byte of the archive."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """One file or link that was unpacked."""

    path: str
    """Relative, with slashes."""
    size: int
    sha256: str
    """"" of a link."""
    link: str | None = None


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    kind: str
    """`file`, `folder`, `link`, `hard link`, or what else it is in words."""
    executable: bool
    target: str = ""
    content: IO[bytes] | None = None


class _HostileError(Exception):
    """What the archive holds is not unpacked."""


def unpack(archive: Path, into: Path, limits: Limits | None = None) -> tuple[Unpacked, ...]:
    """Unpack a tar (gzip or plain) or zip file into the folder `into`, made here, and say what came out.

    Raises:
        ProvisionError: the archive is damaged, holds something that is refused, or too much.
        FileExistsError: `into` exists. OSError: it cannot be written.

    """
    into.mkdir(parents=True)
    writer = _Writer(into.resolve(), archive.stat().st_size, limits or Limits())
    try:
        with archive.open("rb") as stream:
            members = _zip_members(stream) if zipfile.is_zipfile(stream) else _tar_members(archive)
            return writer.write(members)
    except _HostileError as error:
        raise _refused(archive, str(error)) from error
    except (
        gzip.BadGzipFile,
        zlib.error,
        tarfile.TarError,
        zipfile.BadZipFile,
        EOFError,
        ValueError,
        RuntimeError,  # zipfile, of a member that is encrypted
    ) as error:
        raise ProvisionError(
            f"{archive.name} is no whole archive ({error}).",
            kept="every complete environment; nothing of it was installed",
            advice="the next release is not affected",
        ) from error


def _refused(archive: Path, what: str) -> ProvisionError:
    return ProvisionError(
        f"{archive.name} is not unpacked: {what}.",
        kept="every complete environment; nothing of it was installed",
        advice="install nothing of this release before its makers have explained what it holds",
    )


class _Writer:
    def __init__(self, root: Path, archive_bytes: int, limits: Limits) -> None:
        self._root = root
        self._limits = limits
        self._most = min(limits.total_bytes, max(_RATIO_COUNTS_FROM, int(archive_bytes * limits.ratio)))
        self._members = 0
        self._written = 0
        self._found: dict[PurePosixPath, Unpacked] = {}
        self._links: dict[PurePosixPath, str] = {}

    def write(self, members: Iterable[_Member]) -> tuple[Unpacked, ...]:
        for member in members:
            self._members += 1
            if self._members > self._limits.members:
                raise _HostileError(f"it holds more than {self._limits.members} members")
            self._place(member)
        self._make_links()
        return tuple(self._found[path] for path in sorted(self._found))

    def _place(self, member: _Member) -> None:
        path = _safe_path(member.name)
        if member.kind == "folder":
            self._folder(path)
            return
        if not path.parts:
            raise _HostileError("a file of it has no name")
        if path in self._found or path in self._links:
            raise _HostileError(f"it holds {_shown(member.name)} twice")
        self._folder(path.parent)
        if member.kind == "file" and member.content is not None:
            self._file(path, member.content, executable=member.executable)
        elif member.kind == "link":
            self._links[path] = member.target
        elif member.kind == "hard link":
            self._hard_link(path, _safe_path(member.target))
        else:
            raise _HostileError(f"{_shown(member.name)} is {member.kind}")

    def _folder(self, path: PurePosixPath) -> None:
        """Make a folder and those above it. No link has been made yet, so none can be in the way."""
        here = self._root
        for part in path.parts:
            here = here / part
            try:
                here.mkdir(mode=0o755)
            except FileExistsError:
                if not stat.S_ISDIR(here.lstat().st_mode):
                    raise _HostileError(f"{_shown(str(path))} is a file and a folder") from None
        if PurePosixPath(*path.parts) in self._links or any(up in self._links for up in path.parents):
            raise _HostileError(f"{_shown(str(path))} is a link and a folder")

    def _file(self, path: PurePosixPath, content: IO[bytes], *, executable: bool) -> None:
        digest, size = hashlib.sha256(), 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            handle = os.open(self._root / path, flags, 0o755 if executable else 0o644)
        except FileExistsError:
            raise _HostileError(f"it holds {_shown(str(path))} twice") from None
        with open(handle, "wb") as out:  # noqa: PTH123  # of a descriptor
            while chunk := content.read(_CHUNK):
                size += len(chunk)
                self._written += len(chunk)
                if self._written > self._most:
                    raise _HostileError(f"more than {self._most} bytes come out of it")
                digest.update(chunk)
                out.write(chunk)
        self._found[path] = Unpacked(str(path), size, digest.hexdigest())

    def _hard_link(self, path: PurePosixPath, target: PurePosixPath) -> None:
        original = self._found.get(target)
        if original is None:
            raise _HostileError(f"{_shown(str(path))} is a link to no earlier file of it")
        os.link(self._root / target, self._root / path, follow_symlinks=False)
        self._found[path] = Unpacked(str(path), original.size, original.sha256)

    def _make_links(self) -> None:
        for path, target in self._links.items():
            if not target or len(target) > _MAX_LINK or "\0" in target or target.startswith("/"):
                raise _HostileError(f"{_shown(str(path))} is a link out of it")
            try:
                (self._root / path).symlink_to(target)
            except FileExistsError:
                raise _HostileError(f"{_shown(str(path))} is a link and a folder") from None
            self._found[path] = Unpacked(str(path), 0, "", link=target)
        for path in self._links:
            # Only now is it known what the links of a chain lead to.
            try:
                real = (self._root / path).resolve(strict=True)
            except (OSError, RuntimeError):
                raise _HostileError(f"{_shown(str(path))} is a link to nothing") from None
            if not real.is_relative_to(self._root):
                raise _HostileError(f"{_shown(str(path))} is a link out of it")


def _safe_path(name: str) -> PurePosixPath:
    if not name or len(name) > _MAX_NAME or "\\" in name or not name.isprintable():
        raise _HostileError(f"{_shown(name)} is no name for a file")
    if name.startswith("/") or ".." in name.split("/"):
        raise _HostileError(f"{_shown(name)} lies outside of it")
    return PurePosixPath(name)


def _shown(name: str) -> str:
    text = ascii(name)
    return text if len(text) <= 120 else f"{text[:120]}…"  # noqa: PLR2004


# ---------------------------------------------------------------------------------------------
# Tar


_TAR_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)


def _tar_members(archive: Path) -> Iterator[_Member]:
    with gzip.open(archive) as unzipped:
        try:
            unzipped.peek(1)
        except gzip.BadGzipFile:
            with archive.open("rb") as plain:
                yield from _members_of(plain)
            return
        yield from _members_of(cast("IO[bytes]", unzipped))


def _members_of(stream: IO[bytes]) -> Iterator[_Member]:
    # A header may claim to be as long as it likes, and would be read into memory whole.
    with tarfile.open(fileobj=cast("IO[bytes]", _Bounded(stream)), mode="r:", errorlevel=2) as tar:
        for info in tar:
            executable = bool(info.mode & 0o100)
            if info.type in _TAR_FILES and not info.issparse():
                yield _Member(info.name, "file", executable, content=tar.extractfile(info))
            elif info.isdir():
                yield _Member(info.name, "folder", executable)
            elif info.issym():
                yield _Member(info.name, "link", executable, target=info.linkname)
            elif info.islnk():
                yield _Member(info.name, "hard link", executable, target=info.linkname)
            else:
                yield _Member(info.name, "neither file, folder nor link", executable)


class _Bounded(io.RawIOBase):
    """A stream that refuses to be read in large pieces."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_READ:
            raise _HostileError("a header of it is of an absurd length")
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


# ---------------------------------------------------------------------------------------------
# Zip


def _zip_members(stream: IO[bytes]) -> Iterator[_Member]:
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            kind = stat.S_IFMT(mode)
            executable = bool(mode & 0o100)
            if info.is_dir():
                yield _Member(info.filename, "folder", executable)
            elif kind == stat.S_IFLNK:
                with archive.open(info) as content:
                    target = content.read(_MAX_LINK + 1).decode("utf-8")
                yield _Member(info.filename, "link", executable, target=target)
            elif kind in (0, stat.S_IFREG):
                with archive.open(info) as content:
                    yield _Member(info.filename, "file", executable, content=content)
            else:
                yield _Member(info.filename, "neither file, folder nor link", executable)
