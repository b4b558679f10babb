"""Builds, finds and removes environments with uv: resolved, hashes recorded, then installed as recorded."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from packaging.utils import canonicalize_name

from monitor import host
from monitor.domain import Artifact, Environment, Package
from monitor.environments import collect, record, resolution
from monitor.environments.command import UvCommand, run_bound
from monitor.environments.resolution import Pin
from monitor.errors import ArtifactChangedError, MonitorError, ProvisionError, SourceError
from monitor.index_address import index_url_of
from monitor.net import Http, disk_error, with_credentials_of
from monitor.settings_tables import SourceSettings, UvSettings

_RESOLVE_S = 1800.0  # reading metadata, and the artifact itself
_INSTALL_S = 7200.0  # vLLM brings several GB
_ASK_S = 120.0
_WAIT_FOR_OTHER_S = _RESOLVE_S + _INSTALL_S
_MAX_ARTIFACT_BYTES = 8 * 2**30
_WHEELS_ONLY = ("--only-binary", ":all:")
_BUILDING, _REMOVING, _LOCK = ".building-", ".removing-", ".lock-"

Step = Callable[[str], None]


class UvEnvironments:
    """The environments in one folder. Several processes may use it at once."""

    def __init__(self, root: Path, *, uv: UvSettings, http: Http | None = None) -> None:
        self._root = root
        self._settings = uv
        self._http = http

    # -----------------------------------------------------------------------------------------
    # What is there

    def find(self, artifact: Artifact) -> Environment | None:
        """Return the complete environment of `artifact`, or None."""
        found = record.read(self._root / self._key(artifact))
        return replace(found, reused=True) if found else None

    def all(self) -> list[Environment]:
        """Return every complete environment, by key."""
        if not self._root.is_dir():
            return []
        folders = sorted(path for path in self._root.iterdir() if not path.name.startswith("."))
        return [replace(found, reused=True) for path in folders if (found := record.read(path))]

    def remove(self, key: str) -> None:
        """Remove an environment; one that is not there is no error."""
        with self._locked(key):
            self._discard(self._root / key)

    def sweep(self) -> list[Path]:
        """Remove what builders that are gone left half done, and return it."""
        removed = []
        for path in sorted(self._root.glob(".*-*")) if self._root.is_dir() else []:
            for prefix in (_BUILDING, _REMOVING):
                if not path.name.startswith(prefix):
                    continue
                with suppress(BlockingIOError), self._locked(path.name.removeprefix(prefix), wait_s=0):
                    shutil.rmtree(path, ignore_errors=True)
                    removed.append(path)
        return removed

    # -----------------------------------------------------------------------------------------
    # Building

    def provision(
        self, artifact: Artifact, source: SourceSettings, *, on_step: Step | None = None
    ) -> Environment:
        """Return the environment of `artifact`, built when it is not there yet.

        Its dependencies come from `source`, each held to the one file that was resolved. Without a
        network uv's cache is tried. `on_step` is told in words what is being done.

        Raises:
            ProvisionError: the artifact does not install here.
            SourceError: something could not be fetched, and is not in uv's cache either.
            ArtifactChangedError: a file came with another sha256 than its source listed.
            DiskFullError: no room; the half-built environment is removed.

        """
        tell = on_step or (lambda _: None)
        if found := self.find(artifact):
            return found
        if not artifact.filename.endswith(".whl"):
            raise ProvisionError(
                f"{artifact.filename} is no wheel, and nothing is built from source.",
                advice="choose a release that offers a wheel for this machine",
            )
        key = self._key(artifact)
        with self._locked(key):
            if found := self.find(artifact):
                return found
            building = self._root / f"{_BUILDING}{key}"
            try:
                return self._build(artifact, source, building, key, tell)
            except OSError as error:
                raise disk_error(error, building) from error
            except ProvisionError as error:
                # Whatever words it failed with: on a full disk that is not the release's fault.
                if host.is_full(self._root):
                    raise disk_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), building) from error
                raise
            finally:
                shutil.rmtree(building, ignore_errors=True)

    def _build(
        self, artifact: Artifact, source: SourceSettings, building: Path, key: str, tell: Step
    ) -> Environment:
        uv = UvCommand(self._settings, source)
        shutil.rmtree(building, ignore_errors=True)
        tell(f"making a Python {self.python_version} environment")
        uv.run(
            ["venv", "--no-project", "--relocatable", "--python", str(self._python), str(building)],
            folder=self._root,
            deadline_s=_ASK_S,
        )
        try:
            pins = self._install(uv, artifact, artifact.url, building, tell)
        except (SourceError, ArtifactChangedError) as error:
            # A second, independent look: an index may list a file before all of its servers have it, and
            # before anybody hears of a changed file it should have been seen twice.
            again = self._brought(artifact, source, building, error, tell)
            pins = self._install(uv, artifact, again, building, tell)
        for leftover in (building / "asked.txt", building / "artifact"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
        tell("looking at what was installed")
        environment = self._collected(artifact, building, key, pins)
        record.write(building, environment)
        final = self._root / key
        self._discard(final)  # incomplete, or `find` had returned it
        building.replace(final)
        return replace(environment, path=final, python=record.python_in(final))

    def _install(self, uv: UvCommand, artifact: Artifact, url: str, building: Path, tell: Step) -> list[Pin]:
        asked, lock, pinned = (building / name for name in ("asked.txt", "pylock.toml", "requirements.txt"))
        # With the sha256 in the address uv's cache does not answer with what stood there before.
        asked.write_text(f"{artifact.project} @ {url}#sha256={artifact.sha256}\n", encoding="utf-8")
        python = ["--python", str(record.python_in(building))]
        tell(f"resolving {artifact.project} {artifact.version}")
        resolve = [
            *("pip", "compile", "--quiet", "--format", "pylock.toml", *_WHEELS_ONLY, *python),
            *(*uv.find_links(), "--output-file", str(lock), str(asked)),
        ]
        offline = _online_then_offline(uv, resolve, building, _RESOLVE_S)
        pins = resolution.read(lock)
        if not _holds(pins, artifact):
            raise _other_content(artifact, resolution.pin_of(pins, artifact.project))
        pinned.write_text("".join(f"{pin.requirement}\n" for pin in pins), encoding="utf-8")
        tell(f"installing {len(pins)} package{'s' if len(pins) > 1 else ''}")
        install = [
            *("pip", "install", "--require-hashes", "--no-deps", "--compile-bytecode", *_WHEELS_ONLY),
            *(*python, *uv.find_links(), "--requirement", str(pinned)),
        ]
        _online_then_offline(uv, install, building, _INSTALL_S, offline=offline)
        return pins

    def _brought(
        self, artifact: Artifact, source: SourceSettings, building: Path, error: MonitorError, tell: Step
    ) -> str:
        if self._http is None or artifact.url.startswith("file:") or not _concerns(artifact, error):
            raise error
        tell(f"fetching {artifact.filename} once more, apart from uv")
        try:
            target = self._http.download(
                with_credentials_of(artifact.url, index_url_of(source)),
                building / "artifact" / artifact.filename,
                sha256=artifact.sha256,
                max_bytes=artifact.size or _MAX_ARTIFACT_BYTES,
                deadline_s=_RESOLVE_S,
            )
        except SourceError:
            raise error from None
        return target.as_uri()

    def _collected(self, artifact: Artifact, building: Path, key: str, pins: Sequence[Pin]) -> Environment:
        python = record.python_in(building)
        found = _ask_python(python, Path(collect.__file__))
        hashes = {str(canonicalize_name(pin.name)): pin.sha256 for pin in pins}
        installed = {str(canonicalize_name(name)): (name, version) for name, version in found["packages"]}
        if installed.keys() != hashes.keys():
            odd = ", ".join(sorted(installed.keys() ^ hashes.keys()))
            raise ProvisionError(
                f"What was installed is not what was resolved; it differs in {odd}.",
                kept="every complete environment",
                advice="report it: this should not happen",
            )
        return Environment(
            key=key,
            artifact=artifact,
            path=building,
            python=python,
            python_version=found["python_version"],
            packages=tuple(
                Package(name, version, hashes[canonical])
                for canonical, (name, version) in sorted(installed.items())
            ),
            built_at=datetime.now(UTC),
        )

    # -----------------------------------------------------------------------------------------
    # Which Python

    @property
    def python_version(self) -> str:
        """The full version of the Python that environments get, such as 3.11.7.

        Raises:
            ProvisionError: the configured Python is not there.

        """
        return self._python_and_version[1]

    @property
    def _python(self) -> Path:
        return self._python_and_version[0]

    @cached_property
    def _python_and_version(self) -> tuple[Path, str]:
        if self._settings.python is None:
            base = getattr(sys, "_base_executable", sys.executable)
            return Path(base), ".".join(str(part) for part in sys.version_info[:3])
        self._root.mkdir(parents=True, exist_ok=True)
        try:
            said = UvCommand(self._settings).run(
                ["python", "find", "--no-project", self._settings.python],
                folder=self._root,
                deadline_s=_ASK_S,
            )
        except ProvisionError as error:
            raise ProvisionError(
                f"The Python {self._settings.python!r} that `uv.python` names is not on this machine.",
                advice=f"install it (`uv python install {self._settings.python}`), or name another",
            ) from error
        python = Path(said.strip())
        return python, str(_ask_python(python, Path(collect.__file__))["python_version"])

    # -----------------------------------------------------------------------------------------
    # The folder

    def _key(self, artifact: Artifact) -> str:
        return record.key_of(artifact, self.python_version)

    def _discard(self, folder: Path) -> None:
        """Move away first: an environment that is half removed must not look complete."""
        if not folder.exists():
            return
        removing = self._root / f"{_REMOVING}{folder.name}"
        shutil.rmtree(removing, ignore_errors=True)
        folder.replace(removing)
        shutil.rmtree(removing, ignore_errors=True)

    @contextmanager
    def _locked(self, key: str, *, wait_s: float = _WAIT_FOR_OTHER_S) -> Iterator[None]:
        """Hold the key against other builders; the system lets go of it when its holder dies.

        Raises:
            BlockingIOError: it is held, and `wait_s` is 0.
            ProvisionError: it is still held after `wait_s` seconds.

        """
        path = self._root / f"{_LOCK}{key}"
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise disk_error(error, path) from error
        until = time.monotonic() + wait_s
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if wait_s == 0:
                        raise
                    if time.monotonic() > until:
                        raise _held(key) from None
                    time.sleep(0.2)
            yield
        finally:
            os.close(handle)


def _online_then_offline(
    uv: UvCommand, arguments: Sequence[str], folder: Path, deadline_s: float, *, offline: bool = False
) -> bool:
    """Run uv, on its cache alone when the network fails or `offline` says it did; return which it was."""
    try:
        uv.run(arguments, folder=folder, deadline_s=deadline_s, offline=offline)
    except SourceError as error:
        if offline:
            raise
        try:
            uv.run(arguments, folder=folder, deadline_s=deadline_s, offline=True)
        except (SourceError, ProvisionError):
            # What is missing in the cache says less than why the network did not help.
            raise error from None
        return True
    return offline


def _concerns(artifact: Artifact, error: MonitorError) -> bool:
    """Say whether uv stumbled over the artifact itself, not over something that it needs."""
    return artifact.filename in unquote(error.what)


def _holds(pins: Sequence[Pin], artifact: Artifact) -> bool:
    pin = resolution.pin_of(pins, artifact.project)
    return pin is not None and pin.sha256 == artifact.sha256


def _other_content(artifact: Artifact, pin: Pin | None) -> MonitorError:
    found = pin.sha256[:12] if pin else "no such file"
    return ArtifactChangedError(
        f"{artifact.filename} came with another content: sha256 {found}, its source promised "
        f"{artifact.sha256[:12]}.",
        kept="every complete environment and every earlier result; nothing was installed",
        advice="install nothing from this source before its owner has explained the change",
    )


def _held(key: str) -> ProvisionError:
    return ProvisionError(
        f"The environment {key} is being built by another process, which does not end.",
        advice="end that process, then try again",
        permanent=False,
    )


def _ask_python(python: Path, script: Path) -> dict[str, Any]:
    code, out, error = run_bound(
        [str(python), "-I", "-B", str(script)], {"PATH": os.defpath}, script.parent, _ASK_S
    )
    try:
        if code == 0:
            answer: dict[str, Any] = json.loads(out)
            return answer
    except ValueError:
        pass
    raise ProvisionError(
        f"{python} does not run: {error.strip()[-500:] or f'status {code}'}.",
        advice="look whether the Python the environments are built with is complete",
    )
