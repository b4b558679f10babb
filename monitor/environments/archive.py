"""Makes environments of release archives: programs that llama.cpp's makers built, unpacked and looked at.

An archive for CUDA comes with a second one, `cudart-…`, that holds the libraries of NVIDIA it was built with;
it is had from the same release and its files are put beside the program, where the loader looks first.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Collection
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from monitor import settings as settings_module
from monitor.addresses import with_credentials_of
from monitor.domain import Artifact, Environment, Package, Packaging
from monitor.domain.llama_builds import BUILD_PACKAGE, LlamaBuild
from monitor.environments import files, programs, record
from monitor.environments.base import Order
from monitor.environments.unpack import Limits, Unpacked, unpack
from monitor.errors import ProvisionError, SourceError
from monitor.index_address import index_url_of
from monitor.net import Http

_FETCH_S = 3600.0
_MAX_ARCHIVE_BYTES = 4 * 2**30
_LIMITS = Limits(members=5_000, total_bytes=12 * 2**30)
_PROGRAMS, _LIBRARIES = "programs", "libraries"
_NUMBER = re.compile(r"llama-b(\d+)-bin-")
_CUDA = re.compile(r"-cuda-?\d+(\.\d+)*")


class ArchiveBuilder:
    """Makes environments of archives; a `Builder` (see `monitor/environments/base.py`)."""

    packaging = Packaging.ARCHIVE
    deadline_s = 3 * _FETCH_S

    def __init__(self, http: Http | None = None, hosts: Collection[str] | None = None) -> None:
        """Take where archives of GitHub may come from, also when a redirect leads on; None: anywhere."""
        self._http, self._hosts = http, hosts

    def key(self, artifact: Artifact) -> str:
        """Return the name of the artifact's environment on this kind of machine."""
        return record.key_of(artifact, platform.machine())

    def build(self, order: Order) -> Environment:
        """Fetch, unpack and look at the archive and what belongs to it; raises as `Builder.build` does."""
        artifact, folder = order.artifact, order.folder
        folder.mkdir(parents=True)
        found = self._unpacked(order, artifact, _PROGRAMS)
        server = programs.find(folder / _PROGRAMS, programs.SERVER)
        packages = [Package(artifact.project, artifact.version, artifact.sha256)]
        for other in _belonging(order):
            found += self._unpacked(order, other, _LIBRARIES)
            found += _put_beside(folder, server)
            packages.append(Package(other.filename, artifact.version, other.sha256))
        place = programs.link(folder, server)
        found.append(_listed_link(folder, place))
        order.tell("looking at what was unpacked")
        build = programs.build_of(place)
        _check_number(artifact, build)
        if _CUDA.search(artifact.filename) and settings_module.gpu_present():
            programs.check_cuda(place)
        files.write(folder, found)
        return Environment(
            key=order.key,
            artifact=artifact,
            path=folder,
            python=None,
            python_version="",
            packages=(*packages, Package(BUILD_PACKAGE, str(build))),
            built_at=datetime.now(UTC),
        )

    def _unpacked(self, order: Order, artifact: Artifact, name: str) -> list[Unpacked]:
        order.tell(f"fetching {artifact.filename}")
        http = self._http or Http()
        archive = http.download(
            _address(order, artifact),
            order.folder / "download" / artifact.filename,
            sha256=artifact.sha256,
            max_bytes=artifact.size or _MAX_ARCHIVE_BYTES,
            deadline_s=_FETCH_S,
            hosts=self._hosts if order.source.kind == "github" else None,
        )
        order.tell(f"unpacking {artifact.filename}")
        found = unpack(archive, order.folder / name, _LIMITS)
        archive.unlink()
        archive.parent.rmdir()
        return [_below(name, item) for item in found]


def _address(order: Order, artifact: Artifact) -> str:
    if order.source.kind != "package-index":
        return artifact.url
    return with_credentials_of(artifact.url, index_url_of(order.source))


def _belonging(order: Order) -> list[Artifact]:
    """Return the archives that are put beside the programs: what the source names, else what CUDA needs.

    Raises:
        SourceError: the release does not have it (yet).

    """
    filename = order.artifact.filename
    wanted = order.source.beside or ((f"cudart-{filename}",) if _CUDA.search(filename) else ())
    found: dict[str, Artifact] = {}
    for other in order.beside:
        fits = any(fnmatchcase(other.filename, pattern) for pattern in wanted)
        if fits and _toolkit(other.filename) == _toolkit(filename):
            found.setdefault(other.filename, other)
    if wanted and not found:
        raise SourceError(
            f"{' or '.join(wanted)}, which {filename} needs, is not in its release.",
            kept="every complete environment",
            advice="it may still be uploaded; it will be tried again",
        )
    return list(found.values())


def _toolkit(filename: str) -> str:
    """Return the part of a name that says which CUDA it is for: a release has files for several."""
    found = _CUDA.search(filename)
    return found[0] if found else ""


def _put_beside(folder: Path, server: Path) -> list[Unpacked]:
    """Link each library into the program's folder, unless it brought one of that name itself."""
    made = []
    for library in sorted((folder / _LIBRARIES).rglob("lib*.so*")):
        place = server.parent / library.name
        if not place.exists():
            place.symlink_to(os.path.relpath(library, place.parent))
            made.append(_listed_link(folder, place))
    return made


def _check_number(artifact: Artifact, build: LlamaBuild) -> None:
    named = _NUMBER.match(artifact.filename)
    if named and build.number is not None and build.number != int(named[1]):
        raise ProvisionError(
            f"{artifact.filename} holds build {build}, not b{named[1]}.",
            kept="every complete environment",
            advice="install nothing of this release before its makers have explained the difference",
        )


def _below(name: str, item: Unpacked) -> Unpacked:
    return Unpacked(f"{name}/{item.path}", item.size, item.sha256, item.link)


def _listed_link(folder: Path, place: Path) -> Unpacked:
    return Unpacked(place.relative_to(folder).as_posix(), 0, "", link=str(place.readlink()))
