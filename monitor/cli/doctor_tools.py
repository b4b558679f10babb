"""The part of `mtp-monitor doctor` that looks at the programs the monitor builds environments with."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING

from monitor.cli.findings import Finding, State
from monitor.domain import is_compiled
from monitor.errors import MonitorError

if TYPE_CHECKING:
    from monitor.settings import Settings

UV_DEADLINE_S = 20.0


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield what was found of Python, uv and, where releases need them, compilers and a container tool."""
    from monitor.environments.uv import WheelBuilder  # noqa: PLC0415

    topic = "tools"
    yield Finding(topic, "monitor", State.FINE, f"mtp-monitor on Python {platform.python_version()}")
    uv = _uv()
    version = _answer([uv, "--version"]) if uv else None
    if uv is None or version is None:
        text = "not found" if uv is None else f"{uv} does not run"
        yield Finding(topic, "uv", State.STOPS, text, "install mtp-monitor again; uv comes with it")
        return
    yield Finding(topic, "uv", State.FINE, f"{version} ({uv})")
    try:
        version = WheelBuilder(settings.uv).python_version
    except MonitorError as error:
        yield Finding(topic, "python", State.STOPS, error.what, error.advice)
    else:
        own = f" ({settings.uv.python})" if settings.uv.python else ", the monitor's own"
        yield Finding(topic, "python", State.FINE, f"environments use Python {version}{own}")
    compiled = [source.project for source in settings.sources if is_compiled(source.project)]
    if compiled:
        yield _compilers(settings, compiled)
    imaged = [source.project for source in settings.sources if source.kind == "registry"]
    if imaged:
        yield _container_tool(imaged)


def _compilers(settings: Settings, projects: list[str]) -> Finding:
    from monitor.environments import toolchain  # noqa: PLC0415

    try:
        found = toolchain.look(settings.build)
    except MonitorError as error:
        text = f"{error.what} {' and '.join(projects)} cannot be measured."
        return Finding("tools", "compilers", State.WARNING, text, error.advice)
    cuda = f"; {found.cuda.version}" if found.cuda else ""
    return Finding("tools", "compilers", State.FINE, f"{found.cxx.version}{cuda}")


def _container_tool(projects: list[str]) -> Finding:
    from monitor.environments.container_tool import ContainerTool  # noqa: PLC0415

    try:
        tool = ContainerTool.find()
    except MonitorError as error:
        text = f"{error.what} Images of {' and '.join(projects)} cannot be measured."
        return Finding("tools", "containers", State.WARNING, text, error.advice)
    return Finding("tools", "containers", State.FINE, f"{tool.name} {tool.version} ({tool.program})")


def _uv() -> str | None:
    from uv import find_uv_bin  # noqa: PLC0415

    try:
        return str(find_uv_bin())
    except FileNotFoundError:
        return None


def _answer(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=UV_DEADLINE_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
