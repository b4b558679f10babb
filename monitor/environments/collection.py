"""The environments of one state: found, built by whoever can, kept, removed.

Which builder makes an environment is decided by what the artifact's file is, and by nothing else; nobody
outside has to know how many kinds there are.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from monitor import disk, host
from monitor.domain import Artifact, Environment, packaging_of
from monitor.environments import container, files, record
from monitor.environments.archive import ArchiveBuilder
from monitor.environments.base import Builder, Order, Tell
from monitor.environments.compiled import SourceCompiler
from monitor.environments.container import ContainerBuilder
from monitor.environments.folder import Folder
from monitor.environments.source_build import SourceBuilder
from monitor.environments.uv import WheelBuilder
from monitor.errors import HostError, ProvisionError
from monitor.net import Http
from monitor.settings_tables import BuildSettings, SourceSettings, UvSettings


class Environments:
    """The environments in one folder. Several processes may use it at once."""

    def __init__(self, root: Path, builders: Sequence[Builder]) -> None:
        self._root = root
        self._folder = Folder(root)
        self._builders = {builder.packaging: builder for builder in builders}

    @classmethod
    def at(
        cls,
        root: Path,
        *,
        uv: UvSettings,
        http: Http | None = None,
        build: BuildSettings | None = None,
        builds: Path | None = None,
        archive_hosts: Collection[str] | None = None,
    ) -> Environments:
        """Return the environments at `root`, with a builder for every packaging the monitor knows.

        `builds` is the folder of what is compiled (default: beside `root`), `archive_hosts` the hosts that
        files of GitHub may come from (default: any).
        """
        wheels = WheelBuilder(uv, http)
        compiler = SourceCompiler(
            builds or root.with_name("builds"), build=build or BuildSettings(), uv=uv, http=http
        )
        return cls(
            root,
            [
                wheels,
                ArchiveBuilder(http, archive_hosts),
                SourceBuilder(compiler, wheels),
                ContainerBuilder(root),
            ],
        )

    # -----------------------------------------------------------------------------------------
    # What is there

    def find(self, artifact: Artifact) -> Environment | None:
        """Return the complete environment of `artifact`, or None."""
        try:
            key = self._builder(artifact).key(artifact)
        except (ProvisionError, HostError):
            return None
        return self._found(key)

    def all(self) -> list[Environment]:
        """Return every complete environment, by key."""
        return [found for name in self._folder.names() if (found := self._found(name))]

    def remove(self, key: str) -> None:
        """Remove an environment, once nobody builds it any more; one that is not there is no error."""
        container.forget(self._root / key)
        self._folder.remove(key, wait_s=max(builder.deadline_s for builder in self._builders.values()))

    def sweep(self) -> list[Path]:
        """Remove what builders that are gone left half done, and return it; and engines in containers."""
        for builder in self._builders.values():
            if isinstance(builder, ContainerBuilder):
                builder.sweep()
        return self._folder.sweep()

    def _found(self, key: str) -> Environment | None:
        found = record.read(self._root / key)
        return replace(found, reused=True) if found else None

    # -----------------------------------------------------------------------------------------
    # Building

    def provision(
        self,
        artifact: Artifact,
        source: SourceSettings,
        *,
        beside: Sequence[Artifact] = (),
        on_step: Tell | None = None,
    ) -> Environment:
        """Return the environment of `artifact`, built when it is not there yet.

        What it needs comes from `source` and from `beside`, the other files of its release. `on_step` is
        told in words what is being done.

        Raises:
            ProvisionError: the artifact does not install here.
            SourceError: something could not be fetched, and is in no cache either.
            ArtifactChangedError: a file came with another sha256 than its source listed.
            DiskFullError: no room; the half-built environment is removed.

        """
        builder = self._builder(artifact)
        key = builder.key(artifact)
        tell = on_step or (lambda _: None)
        if found := self._unaltered(key, tell):
            return found
        with self._folder.locked(key, wait_s=builder.deadline_s):
            if found := self._unaltered(key, tell):
                return found
            building = self._folder.aside(key)
            order = Order(artifact, source, key, building, tuple(beside), tell)
            try:
                shutil.rmtree(building, ignore_errors=True)
                environment = builder.build(order)
                record.write(building, environment)
                return record.placed(environment, self._folder.publish(key))
            except OSError as error:
                raise disk.cannot_write(error, building) from error
            except ProvisionError as error:
                # Whatever words it failed with: on a full disk that is not the release's fault.
                if host.is_full(self._root):
                    raise disk.cannot_write(disk.no_room(), building) from error
                raise
            finally:
                shutil.rmtree(building, ignore_errors=True)

    def _unaltered(self, key: str, tell: Tell) -> Environment | None:
        """Return the environment unless a file of it has another content by now: that is made again."""
        found = self._found(key)
        if found is None or not (altered := files.altered(self._root / key)):
            return found
        tell(f"{altered[0]} was altered since it was unpacked; the environment is made again")
        return None

    def _builder(self, artifact: Artifact) -> Builder:
        packaging = packaging_of(artifact)
        builder = self._builders.get(packaging) if packaging is not None else None
        if builder is None:
            raise ProvisionError(
                f"{artifact.filename} is no wheel, and nothing else that an environment is made of.",
                advice="choose a release that offers a file for this machine",
            )
        return builder
