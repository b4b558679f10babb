"""Release archives of llama.cpp and source archives of llama-cpp-python, small enough to test with.

What is in them really runs and really compiles; it only serves no model.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from monitor.domain import Artifact

SAYS = '#!/bin/sh\ncase "$1" in --version) echo "{version}" >&2;; --list-devices) echo "{devices}";; esac\n'


def packed(members: Mapping[str, bytes | str], *, executable: tuple[str, ...] = ()) -> bytes:
    """Return a gzipped tar file of name → content; a text that begins with `->` is a link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            data = content.encode() if isinstance(content, str) else content
            if isinstance(content, str) and content.startswith("->"):
                info.type, info.linkname, data = tarfile.SYMTYPE, content[2:], b""
            info.size = len(data)
            info.mode = 0o755 if name in executable else 0o644
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def server_script(version: str, devices: str = "") -> str:
    return SAYS.format(version=version, devices=devices)


def llama_archive(build: int, version: str | None = None, **more: bytes | str) -> bytes:
    """Return what `llama-bN-bin-ubuntu-x64.tar.gz` looks like."""
    top = f"llama-b{build}"
    says = version if version is not None else f"version: 0.5.0-dev (build {build}, commit 0c1e57098)"
    members: dict[str, bytes | str] = {
        f"{top}/llama-server": server_script(says, "CUDA0: a GPU"),
        f"{top}/libllama.so": "->libllama.so.0",
        f"{top}/libllama.so.0": b"\x7fELF",
        **{f"{top}/{name}": content for name, content in more.items()},
    }
    return packed(members, executable=(f"{top}/llama-server",))


def artifact_at(
    path: Path, content: bytes, *, project: str = "llama.cpp", version: str = "11312"
) -> Artifact:
    """Write a file and return the artifact that is had from there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return Artifact(
        project=project,
        version=version,
        filename=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        url=path.as_uri(),
        size=len(content),
    )


# ---------------------------------------------------------------------------------------------
# Source archives


_CMAKE = """\
cmake_minimum_required(VERSION 3.18)
project("llama.cpp" CXX)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
add_library(llama llama.cpp)
set_target_properties(llama PROPERTIES VERSION 0.5.0 SOVERSION 0)
add_executable(llama-server server.cpp)
target_compile_definitions(llama-server PRIVATE BUILD=${LLAMA_BUILD_NUMBER} COMMIT="${LLAMA_BUILD_COMMIT}")
target_link_libraries(llama-server llama)
"""
_LLAMA = "int llama_answer() { return 42; }\n"
_SERVER = """\
#include <cstdio>
int llama_answer();
int main() {
    fprintf(stderr, "version: 0.5.0-dev (build %d, commit %s)\\n", BUILD, COMMIT);
    return llama_answer() == 42 ? 0 : 1;
}
"""
_PACKAGE = """\
import ctypes
import pathlib
library = ctypes.CDLL(str(pathlib.Path(__file__).parent / "lib" / "libllama.so"))
"""
_EXAMPLE = """\
# /// script
# requires-python = ">=3.8"
# dependencies = [
#   {asked},
# ]
# ///
print("serving")
"""


def llama_sdist(
    version: str,
    *,
    cmake: str = "",
    llama: str = _LLAMA,
    server: str = _SERVER,
    example: str = '"llama-cpp-python"',
) -> bytes:
    """Return a source archive with a llama.cpp that compiles in a moment; `cmake` is appended to its own."""
    top = f"llama_cpp_python-{version}"
    return packed(
        {
            f"{top}/PKG-INFO": f"Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: {version}\n",
            f"{top}/CHANGELOG.md": f"## [{version}]\n\n- feat: update llama.cpp to o/llama.cpp@0c1e57098\n\n"
            "## [0.1]\n\n- feat: update llama.cpp to o/llama.cpp@1111111\n",
            f"{top}/llama_cpp/__init__.py": _PACKAGE,
            f"{top}/examples/server/server.py": _EXAMPLE.format(asked=example),
            f"{top}/vendor/llama.cpp/CMakeLists.txt": _CMAKE + cmake,
            f"{top}/vendor/llama.cpp/llama.cpp": llama,
            f"{top}/vendor/llama.cpp/server.cpp": server,
        }
    )
