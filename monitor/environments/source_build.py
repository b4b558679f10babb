"""Makes environments of source archives: compiled here, then installed like the wheel that came of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

from monitor.domain import Artifact, Environment, Package, Packaging
from monitor.domain.llama_builds import BUILD_PACKAGE
from monitor.environments import programs, record
from monitor.environments.base import Order
from monitor.environments.compiled import SourceCompiler
from monitor.environments.compiling import COMPILE_S
from monitor.environments.uv import Wanted, WheelBuilder
from monitor.errors import ProvisionError
from monitor.proc import one_line


class SourceBuilder:
    """Makes environments of source archives of llama-cpp-python; a `Builder` (see `base.py`)."""

    packaging = Packaging.SOURCE

    def __init__(self, compiler: SourceCompiler, wheels: WheelBuilder) -> None:
        self._compiler = compiler
        self._wheels = wheels

    @property
    def deadline_s(self) -> float:
        """How long compiling and installing may take, in seconds."""
        return COMPILE_S + self._wheels.deadline_s

    def key(self, artifact: Artifact) -> str:
        """Return the name of the environment: another compiler or flag is another environment."""
        return record.key_of(artifact, f"{self._wheels.python_name}-{self._compiler.recipe()}")

    def build(self, order: Order) -> Environment:
        """Compile the archive unless that was done before, and install the wheel; raises as `Builder.build`.

        The package is recorded with the sha256 of the archive: that of the wheel says when it was compiled,
        not what was.
        """
        compiled = self._compiler.wheel(order)
        wanted = Wanted(
            order.artifact.project,
            compiled.wheel.as_uri(),
            compiled.sha256,
            further=compiled.facts.example_requires,
        )
        environment = self._installed(order, wanted)
        server = _server_in(order.folder)
        programs.build_of(programs.link(order.folder, server))
        facts = {"seconds": compiled.facts.seconds, "build": str(compiled.facts.build)}
        (order.folder / "build.json").write_text(json.dumps(facts), encoding="utf-8")
        packages = [
            replace(package, sha256=order.artifact.sha256) if package.sha256 == compiled.sha256 else package
            for package in environment.packages
        ]
        build = Package(BUILD_PACKAGE, str(compiled.facts.build))
        return replace(environment, packages=(*packages, build, *compiled.facts.packages))

    def _installed(self, order: Order, wanted: Wanted) -> Environment:
        try:
            return self._wheels.install(order, wanted)
        except ProvisionError as error:
            if not wanted.further:
                raise
            # An example that cannot be had does not make the release one that does not install.
            order.tell(f"once more without what its example server asks for: {one_line(error.what)}")
            shutil.rmtree(order.folder, ignore_errors=True)
            return self._wheels.install(order, replace(wanted, further=()))


def _server_in(folder: Path) -> Path:
    """Return `llama-server` where the wheel has put it, beside the libraries that it needs."""
    return programs.find(folder / "lib", programs.SERVER)
