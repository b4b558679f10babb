"""How both releases are installed by hand: the step of the script that makes their two folders."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from monitor.domain import Check, Packaging, packaging_of
from monitor.domain.llama_builds import BUILD_PACKAGE
from monitor.engines.llama_cpp_python import LlamaCppPythonEngine
from monitor.environments.toolchain import added_options, recorded_options
from monitor.views.packages import PackageRow, package_rows
from monitor.views.upstream.parts import GOOD, Side, Step, plain

SOURCE = "source"
"""Folder, in that of a release, into which a source archive is unpacked."""
PUBLIC_HOSTS = ("github.com", "wheels.vllm.ai", "ghcr.io")
"""Hosts that a text may name: anybody can reach them. Others may be an owner's own."""

_MOST_PINNED = 12_000
"""Characters of installing that still leave room for the rest of an issue."""
_WHEELS = 'WHEELS="${WHEELS:-$PWD}"  # the folder in which the files named below lie'
_PIP = (
    # uv has no command that fetches a file and leaves it at that.
    "uv venv --quiet --allow-existing tools",
    "uv pip install --quiet --python tools/bin/python pip",
)


def install_step(check: Check, good: Side, bad: Side, notes: list[str]) -> Step:
    """Return the step that installs both; what its sender has to see to is added to `notes`."""
    rows = package_rows(good.environment, bad.environment)
    local = [side for side in (good, bad) if not side.published]
    compiled = [side for side in (good, bad) if packaging_of(side.artifact) is Packaging.SOURCE]
    before = [_WHEELS] if local else []
    if any(side.published for side in compiled):
        before += _PIP
    lines = [line for side in (good, bad) for line in _install(check, side, _differing(side, rows), notes)]
    many = sum(map(len, lines)) > _MOST_PINNED
    if many:
        lines = [line for side in (good, bad) for line in _install(check, side, (), notes)]
        notes.append("The packages that differ are too many to be pinned in the text.")
    words = "Each in an environment of its own"
    words += ", with the packages that differ pinned." if len(rows) > 1 and not many else "."
    if compiled:
        words += " They are compiled: that needs a C++ compiler and cmake, and takes a while."
    for side in local:
        name = side.artifact.filename
        notes.append(
            f"{name} is on no public index: attach it, or say where others get it. Here it lies at "
            f"{_place(side.artifact.url)}."
        )
        words += f" `{plain(name)}` is on no public index: it has to lie in `$WHEELS`."
    return Step("Both releases", words, "\n".join([*before, *lines]))


def is_public(url: str | None) -> bool:
    """Say whether a text may name an address, because anybody can reach it."""
    return url is not None and (urlsplit(url).hostname or "") in PUBLIC_HOSTS


def _place(url: str) -> str:
    parts = urlsplit(url)
    return unquote(parts.path) if parts.scheme == "file" else url


def _differing(side: Side, rows: Iterable[PackageRow]) -> list[str]:
    """Return requirements for the packages of a release that the other one has not, or has otherwise."""
    packages = [row.reference if side.name == GOOD else row.candidate for row in rows]
    return [
        f"{package.name}=={package.version}"
        for package in packages
        if package is not None and package.is_distribution and not _is_own(side, package.name)
    ]


def _is_own(side: Side, name: str) -> bool:
    own = side.artifact.project.lower().replace("_", "-")
    return name.lower().replace("_", "-") == own


def _install(check: Check, side: Side, pins: Iterable[str], notes: list[str]) -> list[str]:
    packaging = packaging_of(side.artifact)
    if packaging is Packaging.ARCHIVE:
        return _unpacked(side)
    if packaging is Packaging.SOURCE:
        return _python_compiled(side, notes) if _is_python(check) else _server_compiled(side, notes)
    return _installed(side, pins)


def _is_python(check: Check) -> bool:
    return check.engine == LlamaCppPythonEngine.name


# ---------------------------------------------------------------------------------------------
# Wheels and archives of programs


def _installed(side: Side, pins: Iterable[str]) -> list[str]:
    artifact = side.artifact
    wanted = [shlex.quote(f"{artifact.project}=={artifact.version}"), *map(shlex.quote, pins)]
    options = [f"--python {side.name}/bin/python"]
    if not side.published:
        options.append('--find-links "$WHEELS"')
    elif side.index_url is not None:
        options.append(f"--extra-index-url {shlex.quote(side.index_url)} --index-strategy unsafe-best-match")
    lines = []
    if not side.published:
        lines.append(
            f'echo "{artifact.sha256}  $WHEELS"/{shlex.quote(artifact.filename)} | sha256sum --check'
        )
    return [*lines, _venv(side), f"uv pip install --quiet {' '.join(options)} {' '.join(wanted)}"]


def _venv(side: Side) -> str:
    minor = ".".join(side.environment.python_version.split(".")[:2])
    return f"uv venv --quiet {f'--python {shlex.quote(minor)} ' if minor else ''}{side.name}"


def _unpacked(side: Side) -> list[str]:
    artifact = side.artifact
    name = shlex.quote(artifact.filename)
    get = f"curl -fsSL -o {name} {shlex.quote(artifact.url)}" if side.published else f'cp "$WHEELS"/{name} .'
    return [
        get,
        _checked(side),
        f"mkdir -p {side.name}/bin && tar -xf {name} -C {side.name}",
        f'ln -sf "$(find "$PWD/{side.name}" -name llama-server -type f | head -n 1)" {side.name}/bin/',
    ]


def _checked(side: Side) -> str:
    artifact = side.artifact
    return f"echo {shlex.quote(f'{artifact.sha256}  {artifact.filename}')} | sha256sum --check"


# ---------------------------------------------------------------------------------------------
# Source archives


def _source(side: Side) -> list[str]:
    """Return how a source archive is had and unpacked: the very file, for no index says what is in it."""
    artifact = side.artifact
    name, tree = shlex.quote(artifact.filename), f"{side.name}/{SOURCE}"
    wanted = shlex.quote(f"{artifact.project}=={artifact.version}")
    index = f" --extra-index-url {shlex.quote(side.index_url)}" if side.index_url is not None else ""
    fetched = (
        f"tools/bin/python -m pip download --quiet --no-deps --no-binary :all: --dest .{index} {wanted}"
        if side.published
        else f'cp "$WHEELS"/{name} .'
    )
    unpacked = f"mkdir -p {tree} && tar -xzf {name} -C {tree} --strip-components 1"
    return [fetched, _checked(side), unpacked]


def _python_compiled(side: Side, notes: list[str]) -> list[str]:
    """Return how the library is compiled into an environment, with what its example server asks for."""
    packages = side.environment.packages
    pins = [
        shlex.quote(f"{package.name}=={package.version}")
        for package in packages
        if package.is_distribution and not _is_own(side, package.name)
    ]
    options = _shown(added_options(packages), notes)
    build = f"CMAKE_ARGS={shlex.quote(shlex.join(options))} " if options else ""
    install = f"uv pip install --quiet --python {side.name}/bin/python ./{side.name}/{SOURCE}"
    return [_venv(side), *_source(side), " ".join([f"{build}{install}", *pins])]


def _server_compiled(side: Side, notes: list[str]) -> list[str]:
    """Return how llama.cpp's own server is compiled out of the archive."""
    packages = side.environment.packages
    build = next((package.version for package in packages if package.name == BUILD_PACKAGE), "")
    number, _, commit = build.removeprefix("b").partition("-")
    known = {"LLAMA_BUILD_NUMBER": number, "LLAMA_BUILD_COMMIT": commit} if number.isdigit() else {}
    options = _shown({**recorded_options(packages), **known}, notes)
    work = f"{side.name}/build"
    return [
        *_source(side),
        " ".join([f"cmake -S {side.name}/{SOURCE}/vendor/llama.cpp -B {work}", *map(shlex.quote, options)]),
        f"cmake --build {work} --config Release --target llama-server --parallel",
        f'mkdir -p {side.name}/bin && ln -sf "$PWD/{work}/bin/llama-server" {side.name}/bin/',
    ]


def _shown(options: dict[str, str], notes: list[str]) -> list[str]:
    """Return options of cmake without those that name a place of this machine."""
    private = [name for name, value in options.items() if any(p.startswith("/") for p in value.split(";"))]
    notes += [f"Left out of the build: {name}, which names a folder of yours." for name in private]
    return [f"-D{name}={value}" for name, value in options.items() if name not in private]
