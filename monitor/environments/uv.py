"""Makes environments of wheels with uv: resolved, hashes recorded, then installed as recorded."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from packaging.utils import canonicalize_name

from monitor.addresses import with_credentials_of
from monitor.domain import Artifact, Environment, Package, Packaging
from monitor.environments import collect, leftout, record, resolution
from monitor.environments.base import Order
from monitor.environments.command import UvCommand, run_bound
from monitor.environments.resolution import Pin
from monitor.errors import ArtifactChangedError, MonitorError, ProvisionError, SourceError
from monitor.index_address import index_url_of
from monitor.net import Http
from monitor.settings_tables import UvSettings

_RESOLVE_S = 1800.0  # reading metadata, and the artifact itself
_INSTALL_S = 7200.0  # vLLM brings several GB
_ASK_S = 120.0
_MAX_ARTIFACT_BYTES = 8 * 2**30
_BACKEND = re.compile(r"(?:^|\.)(cu\d{2,3}|cpu)$")
_WHEELS_ONLY = ("--only-binary", ":all:")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The wheel to install."""

    project: str
    url: str
    sha256: str
    further: tuple[str, ...] = ()
    """Requirements that are installed with it."""


class WheelBuilder:
    """Makes environments of wheels; a `Builder` (see `monitor/environments/base.py`)."""

    packaging = Packaging.WHEEL
    deadline_s = _RESOLVE_S + _INSTALL_S

    def __init__(self, uv: UvSettings, http: Http | None = None) -> None:
        self._settings = uv
        self._http = http

    def key(self, artifact: Artifact) -> str:
        """Return the name of the artifact's environment on the configured Python."""
        backend = self._torch_backend(artifact)
        return record.key_of(artifact, f"{self.python_name}-{backend}" if backend else self.python_name)

    def build(self, order: Order) -> Environment:
        """Install the wheel and what it needs; raises as `Builder.build` does."""
        artifact = order.artifact
        return self.install(order, Wanted(artifact.project, artifact.url, artifact.sha256))

    def install(self, order: Order, wanted: Wanted) -> Environment:
        """Install a wheel and its dependencies, each held to the one file that was resolved.

        Without a network uv's cache is tried. Raises as `Builder.build` does.
        """
        uv = UvCommand(self._settings, order.source)
        order.tell(f"making a Python {self.python_version} environment")
        uv.run(
            ["venv", "--no-project", "--relocatable", "--python", str(self.base_python), str(order.folder)],
            folder=order.folder.parent,
            deadline_s=_ASK_S,
        )
        try:
            pins = self._install(uv, order, wanted)
        except (SourceError, ArtifactChangedError) as error:
            # A second, independent look: an index may list a file before all of its servers have it, and
            # before anybody hears of a changed file it should have been seen twice.
            pins = self._install(uv, order, replace(wanted, url=self._brought(order, wanted, error)))
        for name in ("asked.txt", "without.txt", "artifact"):
            leftover = order.folder / name
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
        order.tell("looking at what was installed")
        return self._collected(order, pins)

    def _install(self, uv: UvCommand, order: Order, wanted: Wanted) -> list[Pin]:
        artifact, building, tell = order.artifact, order.folder, order.tell
        asked, lock, pinned = (building / name for name in ("asked.txt", "pylock.toml", "requirements.txt"))
        # With the sha256 in the address uv's cache does not answer with what stood there before.
        lines = [f"{wanted.project} @ {wanted.url}#sha256={wanted.sha256}", *wanted.further]
        asked.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        python = ["--python", str(record.python_in(building))]
        tell(f"resolving {artifact.project} {artifact.version}")
        resolve = [
            *("pip", "compile", "--quiet", "--format", "pylock.toml", *_WHEELS_ONLY, *python),
            *(*uv.find_links(), *self._torch(artifact), "--output-file", str(lock), str(asked)),
        ]
        if left_out := leftout.overrides(artifact.project):
            without = building / "without.txt"
            without.write_text(left_out, encoding="utf-8")
            resolve += ["--overrides", str(without)]
        offline = _online_then_offline(uv, resolve, building, _RESOLVE_S)
        pins = resolution.read(lock, self.python_version)
        if not _holds(pins, wanted):
            raise _other_content(artifact, resolution.pin_of(pins, wanted.project))
        pinned.write_text("".join(f"{pin.requirement}\n" for pin in pins), encoding="utf-8")
        tell(f"installing {len(pins)} package{'s' if len(pins) > 1 else ''}")
        install = [
            *("pip", "install", "--require-hashes", "--no-deps", "--compile-bytecode", *_WHEELS_ONLY),
            *(*python, *uv.find_links(), *self._torch(artifact), "--requirement", str(pinned)),
        ]
        _online_then_offline(uv, install, building, _INSTALL_S, offline=offline)
        return pins

    def _torch(self, artifact: Artifact) -> list[str]:
        """Return the option by which uv takes PyTorch from the index of one CUDA version."""
        backend = self._torch_backend(artifact)
        return ["--torch-backend", backend] if backend else []

    def _torch_backend(self, artifact: Artifact) -> str | None:
        """Return what the artifact was built for, where its version says that, else what is configured.

        vLLM's wheels for another CUDA than its default one have it at the end of their local version
        (`0.33.1rc1.dev7+g1a2b3c4d5.cu129`): beside another PyTorch their kernels do not load.
        """
        local = artifact.version.partition("+")[2]
        found = _BACKEND.search(local)
        return found[1] if found else self._settings.torch_backend

    def _brought(self, order: Order, wanted: Wanted, error: MonitorError) -> str:
        artifact = order.artifact
        if self._http is None or wanted.url.startswith("file:") or not _concerns(artifact, error):
            raise error
        order.tell(f"fetching {artifact.filename} once more, apart from uv")
        try:
            target = self._http.download(
                with_credentials_of(artifact.url, index_url_of(order.source)),
                order.folder / "artifact" / artifact.filename,
                sha256=artifact.sha256,
                max_bytes=artifact.size or _MAX_ARTIFACT_BYTES,
                deadline_s=_RESOLVE_S,
            )
        except SourceError:
            raise error from None
        return target.as_uri()

    @staticmethod
    def _collected(order: Order, pins: Sequence[Pin]) -> Environment:
        python = record.python_in(order.folder)
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
            key=order.key,
            artifact=order.artifact,
            path=order.folder,
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
    def python_name(self) -> str:
        """That Python in the names of environments, such as py3.11; raises as `python_version` does."""
        return f"py{'.'.join(self.python_version.split('.')[:2])}"

    @property
    def base_python(self) -> Path:
        """The interpreter that environments are made of; raises as `python_version` does."""
        return self._python_and_version[0]

    @cached_property
    def _python_and_version(self) -> tuple[Path, str]:
        if self._settings.python is None:
            base = getattr(sys, "_base_executable", sys.executable)
            return Path(base), ".".join(str(part) for part in sys.version_info[:3])
        try:
            said = UvCommand(self._settings).run(
                ["python", "find", "--no-project", self._settings.python],
                folder=Path("/"),
                deadline_s=_ASK_S,
            )
        except ProvisionError as error:
            raise ProvisionError(
                f"The Python {self._settings.python!r} that `uv.python` names is not on this machine.",
                advice=f"install it (`uv python install {self._settings.python}`), or name another",
            ) from error
        python = Path(said.strip())
        return python, str(_ask_python(python, Path(collect.__file__))["python_version"])


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


def _holds(pins: Sequence[Pin], wanted: Wanted) -> bool:
    pin = resolution.pin_of(pins, wanted.project)
    return pin is not None and pin.sha256 == wanted.sha256


def _other_content(artifact: Artifact, pin: Pin | None) -> MonitorError:
    found = pin.sha256[:12] if pin else "no such file"
    return ArtifactChangedError(
        f"{artifact.filename} came with another content: sha256 {found}, its source promised "
        f"{artifact.sha256[:12]}.",
        kept="every complete environment and every earlier result; nothing was installed",
        advice="install nothing from this source before its owner has explained the change",
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
