"""The compilers of this machine, and what llama.cpp is compiled with by them.

Everything that makes another program of the same source is part of the `recipe`: whoever changes a flag or
upgrades a compiler gets another environment, and is not told of a regression that is his own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor import settings as settings_module
from monitor.domain import Package
from monitor.environments.command import UvCommand, answer_of
from monitor.errors import HostError
from monitor.proc import one_line
from monitor.settings_tables import BuildSettings, SourceSettings, UvSettings

_ASK_S = 60.0
_INSTALL_S = 900.0
_MAX_BYTES = 2**16
_OLDEST_CMAKE = (3, 24)
"""Knows `native` as a CUDA architecture."""
_CUDA_PLACES = ("/usr/local/cuda/bin/nvcc", "/opt/cuda/bin/nvcc")

_OPTIONS: tuple[str, ...] = (
    "-DCMAKE_BUILD_TYPE=Release",
    # One file a library, found beside the program: a wheel holds no links, and two copies of one library
    # in a process would be two libraries.
    "-DBUILD_SHARED_LIBS=ON",
    "-DCMAKE_PLATFORM_NO_VERSIONED_SONAME=ON",
    "-DCMAKE_BUILD_WITH_INSTALL_RPATH=ON",
    "-DCMAKE_INSTALL_RPATH=$ORIGIN",
    "-DGGML_CCACHE=OFF",
    "-DLLAMA_BUILD_COMMON=ON",
    "-DLLAMA_BUILD_TOOLS=ON",
    "-DLLAMA_BUILD_SERVER=ON",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    # With either of these the build fetches the pages of the server from the network.
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_CURL=OFF",
)
"""Options of llama.cpp's build (its `CMakeLists.txt`); what a version does not know, cmake passes over."""
_CUDA_OPTIONS = ("-DGGML_CUDA=ON", "-DCMAKE_CUDA_ARCHITECTURES=native")
_RECORDED = "cmake -D"
"""How the name of an option begins among the packages of an environment."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One compiler and what it says it is, in one line."""

    path: Path
    version: str


@dataclass(frozen=True, slots=True)
class Toolchain:
    """What compiles here, and how."""

    c: Tool
    cxx: Tool
    cuda: Tool | None
    options: tuple[str, ...]
    cpu: str
    """Model and abilities of the CPU, which the program is compiled for."""

    @property
    def recipe(self) -> str:
        """Eight hexadecimal digits that change with whatever makes another program of the same source."""
        value = [
            self.options,
            self.c.version,
            self.cxx.version,
            self.cuda.version if self.cuda else None,
            self.cpu,
        ]
        return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:8]

    @property
    def definitions(self) -> list[str]:
        """Arguments of cmake."""
        chosen = [f"-DCMAKE_C_COMPILER={self.c.path}", f"-DCMAKE_CXX_COMPILER={self.cxx.path}"]
        if self.cuda is not None:
            chosen.append(f"-DCMAKE_CUDA_COMPILER={self.cuda.path}")
        return [*chosen, *self.options]

    @property
    def packages(self) -> list[Package]:
        """What belongs beside the packages of an environment, because it can move a measurement as well."""
        cuda = [Package("CUDA compiler", self.cuda.version)] if self.cuda else []
        return [
            Package("C++ compiler", self.cxx.version),
            *cuda,
            # One by one, so that a difference names the option that was changed.
            *(Package(f"cmake {name}", value) for name, value in _values(self.options).items()),
        ]


def recorded_options(packages: Iterable[Package]) -> dict[str, str]:
    """Return name → value of the options that an environment was compiled with, by its packages."""
    return {
        package.name.removeprefix(_RECORDED): package.version
        for package in packages
        if package.name.startswith(_RECORDED)
    }


def added_options(packages: Iterable[Package]) -> dict[str, str]:
    """Return the recorded options beside those that every build here gets: for a GPU, or its owner's."""
    usual = _values(_OPTIONS)
    found = recorded_options(packages)
    return {name: value for name, value in found.items() if usual.get(f"-D{name}") != value}


def _values(options: Iterable[str]) -> dict[str, str]:
    """Return name → value of arguments of cmake; of one that is given twice cmake takes the last."""
    parts = (option.partition("=") for option in options)
    return {name.partition(":")[0]: value for name, _, value in parts}


@dataclass(frozen=True, slots=True)
class BuildTools:
    """Programs that drive the compilers; they do not change what comes out."""

    cmake: Path
    ninja: Path
    versions: tuple[Package, ...]


def look(settings: BuildSettings) -> Toolchain:
    """Return the compilers of this machine and the options that follow from it and the configuration.

    Raises:
        HostError: one that is needed is missing or does not run.

    """
    cuda = None
    if settings.cuda if settings.cuda is not None else settings_module.gpu_present():
        cuda = _compiler(_nvcc(), "a CUDA compiler (nvcc)", "install the CUDA toolkit, or set `build.cuda`")
    added = _CUDA_OPTIONS if cuda else ()
    return Toolchain(
        c=_compiler(shutil.which("cc"), "a C compiler (cc)", "install gcc"),
        cxx=_compiler(shutil.which("c++"), "a C++ compiler (c++)", "install g++"),
        cuda=cuda,
        options=(*_OPTIONS, *added, *settings.cmake_options),
        cpu=_cpu(),
    )


def tools(folder: Path, uv: UvSettings, source: SourceSettings) -> BuildTools:
    """Return cmake and ninja: this machine's, else from the index that `source` uses, kept in `folder`.

    Raises:
        SourceError, ProvisionError, DiskFullError: they are not here, and could not be had.

    """
    cmake, ninja = shutil.which("cmake"), shutil.which("ninja")
    if cmake is None or ninja is None or _number(_version(Path(cmake))) < _OLDEST_CMAKE:
        if not (folder / "bin" / "ninja").exists():
            _fetch(folder, uv, source)
        cmake, ninja = str(folder / "bin" / "cmake"), str(folder / "bin" / "ninja")
    versions = [
        Package(f"{name} program", _version(Path(path)))
        for name, path in (("cmake", cmake), ("ninja", ninja))
    ]
    return BuildTools(Path(cmake), Path(ninja), tuple(versions))


def _fetch(folder: Path, uv: UvSettings, source: SourceSettings) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = UvCommand(uv, source)
    own = getattr(sys, "_base_executable", sys.executable)
    command.run(
        ["venv", "--no-project", "--python", own, str(folder)], folder=folder.parent, deadline_s=_ASK_S
    )
    python = str(folder / "bin" / "python")
    wanted = ["--only-binary", ":all:", "cmake", "ninja"]
    command.run(["pip", "install", "--python", python, *wanted], folder=folder.parent, deadline_s=_INSTALL_S)


def _nvcc() -> str | None:
    homes = [f"{home}/bin/nvcc" for name in ("CUDA_HOME", "CUDA_PATH") if (home := os.environ.get(name))]
    return next((found for place in (*homes, "nvcc", *_CUDA_PLACES) if (found := shutil.which(place))), None)


def _compiler(path: str | None, what: str, advice: str) -> Tool:
    if path is None:
        raise HostError(
            f"Nothing can be compiled here: there is no {what.removeprefix('a ')}.",
            kept="everything",
            advice=advice,
        )
    return Tool(Path(path), _version(Path(path)))


def _version(program: Path) -> str:
    """Return what identifies a program: of its `--version` the line with a number, cut to 120 characters."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
    code, out, error = answer_of(
        [str(program), "--version"], environment, Path("/"), deadline_s=_ASK_S, max_bytes=_MAX_BYTES
    )
    lines = [line for line in out.splitlines() if re.search(r"\d\.\d", line)]
    if code != 0 or not lines:
        raise HostError(
            f"{program} does not run: {one_line(error or out) or f'status {code}'}.",
            advice="repair it, or install it again",
        )
    # nvcc names its release in one line and its build in the last; elsewhere the first says all.
    return one_line(next((line for line in lines if "release" in line), lines[0]), 120)


def _number(version: str) -> tuple[int, ...]:
    found = re.search(r"\d+(\.\d+)+", version)
    return tuple(int(part) for part in found[0].split(".")) if found else (0,)


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    wanted: Sequence[str] = ("model name", "flags", "CPU implementer", "CPU part", "Features")
    first = text.partition("\n\n")[0].splitlines()
    return "\n".join(line for line in first if line.partition("\t")[0].partition(":")[0].strip() in wanted)
