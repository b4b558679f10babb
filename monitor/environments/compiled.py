"""Compiles the llama.cpp inside a source archive of llama-cpp-python, once, and makes a wheel of the result.

The wheel holds what the project's own one would, its Python package and the libraries of llama.cpp, and
beside these `llama-server` from the same tree. So both ways of serving a release stand in one environment and
on one build.

What was compiled is kept, because it takes minutes on many cores and an hour on few. A build that was cut
goes on where it stopped: ninja knows what it finished. After a restart of the machine it begins anew, because
then nobody knows what had reached the disk.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from monitor import disk, host
from monitor.addresses import with_credentials_of
from monitor.domain import Package
from monitor.domain.llama_builds import LlamaBuild, vendored
from monitor.environments import compiling, programs, toolchain, wheel_file
from monitor.environments.base import Order
from monitor.environments.compiling import COMPILE_S
from monitor.environments.files import sha256_of
from monitor.environments.folder import Folder
from monitor.environments.source_tree import SourceTree
from monitor.environments.toolchain import BuildTools, Toolchain
from monitor.environments.unpack import Limits, unpack
from monitor.environments.wheel_file import Entry
from monitor.errors import ProvisionError
from monitor.index_address import index_url_of
from monitor.net import Http
from monitor.settings_tables import BuildSettings, UvSettings

_FETCH_S = 1800.0
_STALE_S = 7 * 86400.0
_MAX_ARCHIVE_BYTES = 2**30
_LIMITS = Limits(members=50_000, total_bytes=4 * 2**30)
_WORK, _FACTS, _LOG, _TOOLS = ".work-", "build.json", "build.log", ".tools"
_UNPACKED = "unpacked.json"


@dataclass(frozen=True, slots=True)
class Compiled:
    """The wheel that was made of a source archive."""

    wheel: Path
    sha256: str
    facts: CompiledFacts


@dataclass(frozen=True, slots=True)
class CompiledFacts:
    """How it was made; written beside the wheel."""

    wheel: str
    sha256: str
    build: LlamaBuild
    packages: tuple[Package, ...]
    seconds: float
    """The compilers were at work, over all attempts of which this one is the last."""
    resumed: bool
    example_requires: tuple[str, ...]
    """What the project's example server asks for, as requirements."""


_ADAPTER = TypeAdapter(CompiledFacts)


class SourceCompiler:
    """Compiles source archives into the folder `root`. Several processes may use it at once."""

    def __init__(self, root: Path, *, build: BuildSettings, uv: UvSettings, http: Http | None) -> None:
        self._root = root
        self._folder = Folder(root)
        self._build = build
        self._uv = uv
        self._http = http

    def recipe(self) -> str:
        """Return what the result depends on beside the archive; raises as `toolchain.look` does."""
        return toolchain.look(self._build).recipe

    def wheel(self, order: Order) -> Compiled:
        """Return the wheel of an archive, compiled when it is not there yet.

        Raises:
            ProvisionError: it does not compile, with the end of what the compiler said.
            HostError: compilers or memory are missing here.
            SourceError, ArtifactChangedError: the archive could not be had, or is another one.
            DiskFullError: no room.

        """
        chain = toolchain.look(self._build)
        artifact = order.artifact
        name = f"{artifact.project}-{artifact.version}-{artifact.sha256[:12]}-{chain.recipe}"
        if found := self._found(name):
            return found
        with self._folder.locked(name, wait_s=COMPILE_S):
            if found := self._found(name):
                return found
            self._drop_stale()
            work = self._root / f"{_WORK}{name}"
            building = self._folder.aside(name)
            shutil.rmtree(building, ignore_errors=True)
            try:
                self._make(order, chain, work, building)
                self._folder.publish(name)
            except OSError as error:
                # What was compiled so far may be what fills the disk.
                shutil.rmtree(work, ignore_errors=True)
                raise disk.cannot_write(error, work) from error
            except ProvisionError as error:
                # Whatever words it failed with: on a full disk that is not the release's fault.
                full = host.is_full(self._root)
                shutil.rmtree(work, ignore_errors=True)
                if full:
                    raise disk.cannot_write(disk.no_room(), work) from error
                raise
            finally:
                shutil.rmtree(building, ignore_errors=True)
            shutil.rmtree(work, ignore_errors=True)
        if found := self._found(name):
            return found
        raise RuntimeError("it was compiled a moment ago")

    def _found(self, name: str) -> Compiled | None:
        folder = self._root / name
        try:
            facts = _ADAPTER.validate_json((folder / _FACTS).read_bytes())
            wheel = folder / facts.wheel
            if sha256_of(wheel) == facts.sha256:
                return Compiled(wheel, facts.sha256, facts)
        except (OSError, ValidationError):
            pass
        return None

    def _drop_stale(self) -> None:
        """Remove what was begun long ago and never finished."""
        for path in self._root.glob(f"{_WORK}*"):
            if time.time() - path.stat().st_mtime > _STALE_S:
                shutil.rmtree(path, ignore_errors=True)

    # -----------------------------------------------------------------------------------------
    # Making

    def _make(self, order: Order, chain: Toolchain, work: Path, building: Path) -> None:
        with self._folder.locked(_TOOLS, wait_s=_FETCH_S):
            tools = toolchain.tools(self._root / _TOOLS, self._uv, order.source)
        source, resumed = self._unpacked(order, work)
        build = vendored(order.artifact.version, source.commit)
        job = _Job(chain, tools, source.llama_cpp, build, work)
        before_s = _seconds_before(work)
        begun = time.monotonic()
        try:
            self._compile(order, job)
        finally:
            (work / "seconds").write_text(f"{before_s + time.monotonic() - begun:.1f}", encoding="ascii")
        seconds = _seconds_before(work)
        order.tell(f"compiled in {seconds:.0f} s; making a wheel of it")
        said = programs.build_of(programs.find(job.out / "bin", programs.SERVER))
        building.mkdir(parents=True)
        entries = [*source.package(), *_built(job.out / "bin"), *source.example()]
        wheel = wheel_file.write(building, source.metadata, entries)
        facts = CompiledFacts(
            wheel=wheel.name,
            sha256=sha256_of(wheel),
            build=LlamaBuild(build.number or said.number, build.commit or said.commit),
            packages=(*chain.packages, *tools.versions),
            seconds=seconds,
            resumed=resumed,
            example_requires=source.example_requires,
        )
        (building / _FACTS).write_bytes(_ADAPTER.dump_json(facts, indent=1))
        shutil.copy2(work / _LOG, building / _LOG)

    def _unpacked(self, order: Order, work: Path) -> tuple[SourceTree, bool]:
        """Return the tree of the archive, and whether a cut build in it can go on."""
        stamp = {"boot": host.boot_id(), "sha256": order.artifact.sha256}
        source = work / "source"
        try:
            if json.loads((work / _UNPACKED).read_text(encoding="utf-8")) == stamp:
                return SourceTree.of(order.artifact, source), True
        except (OSError, ValueError):
            pass
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        order.tell(f"fetching {order.artifact.filename}")
        archive = self._archive(order, work)
        order.tell(f"unpacking {order.artifact.filename}")
        unpack(archive, source, _LIMITS)
        archive.unlink()
        (work / _UNPACKED).write_text(json.dumps(stamp), encoding="utf-8")
        return SourceTree.of(order.artifact, source), False

    def _archive(self, order: Order, work: Path) -> Path:
        artifact = order.artifact
        http = self._http or Http()
        return http.download(
            with_credentials_of(artifact.url, index_url_of(order.source)),
            work / artifact.filename,
            sha256=artifact.sha256,
            max_bytes=artifact.size or _MAX_ARCHIVE_BYTES,
            deadline_s=_FETCH_S,
        )

    def _compile(self, order: Order, job: _Job) -> None:
        jobs = self._build.jobs or len(os.sched_getaffinity(0))
        configure = [
            *(str(job.tools.cmake), "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={job.tools.ninja}"),
            *("-S", str(job.tree), "-B", str(job.out), *job.chain.definitions),
            # Without these it would ask the git repository that the state folder may lie in.
            f"-DLLAMA_BUILD_NUMBER={job.build.number or 0}",
            f"-DLLAMA_BUILD_COMMIT={job.build.commit or 'unknown'}",
        ]
        filename = order.artifact.filename
        order.tell(f"configuring llama.cpp {job.build} of {filename}")
        compiling.run(configure, filename, folder=job.work, log=job.work / _LOG)
        told = f"compiling llama-server of {filename}, {jobs} at once"
        order.tell(told)
        compiling.run(
            [str(job.tools.ninja), "-C", str(job.out), f"-j{jobs}", programs.SERVER],
            filename,
            folder=job.work,
            log=job.work / _LOG,
            on_percent=lambda percent: order.tell(f"{told}: {percent} %"),
        )


@dataclass(frozen=True, slots=True)
class _Job:
    chain: Toolchain
    tools: BuildTools
    tree: Path
    build: LlamaBuild
    work: Path

    @property
    def out(self) -> Path:
        return self.work / "out"


def _built(folder: Path) -> Iterator[Entry]:
    for path in sorted(folder.iterdir()):
        wanted = path.suffix == ".so" or path.name == programs.SERVER
        if wanted and path.is_file() and not path.is_symlink():
            yield Entry(f"llama_cpp/lib/{path.name}", path)


def _seconds_before(work: Path) -> float:
    try:
        return float((work / "seconds").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0.0
