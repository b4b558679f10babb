"""What `doctor` says of the programs of this machine with which engines compile kernels when they start."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from monitor.cli.findings import Finding, State
from monitor.errors import MonitorError

if TYPE_CHECKING:
    from monitor.domain import Host
    from monitor.settings import Settings

_OLDEST_FOR_BLACKWELL = (12, 9)
"""Of the CUDA toolkit: FlashInfer refuses to compile for compute capability 12 with an older one."""
_BLACKWELL = 12
_COMPILERS = (("gcc", "clang"), ("g++", "clang++"))
"""What Triton looks for, and what nvcc leaves to another: each in this order."""
_ASK_S = 20.0
_WHERE = "import sysconfig; print(sysconfig.get_paths()['include'])"
_VLLM = "vLLM from a wheel"


def examine(settings: Settings, host: Host, topic: str) -> Iterator[Finding]:
    """Yield which of compilers and headers are here, and what does not work without them."""
    from monitor.gpu import toolkit  # noqa: PLC0415

    # Without a GPU nothing is missing yet.
    lacking = State.NOTE if host.gpu is None else State.WARNING
    c, cxx = (
        next((name for name in names if shutil.which(name, path=toolkit.SYSTEM_PATH)), None)
        for names in _COMPILERS
    )
    if c is None:
        text = f"no gcc or clang: {_VLLM} ends at its start, where Triton compiles"
        yield Finding(topic, "compiler", lacking, text, "install gcc and g++")
    elif cxx is None:
        text = f"{c}, and no g++: Triton can compile, nvcc cannot"
        yield Finding(topic, "compiler", lacking, text, "install g++")
    else:
        yield Finding(topic, "compiler", State.FINE, f"{c} and {cxx}: Triton can compile")
    yield from _headers(settings, topic, lacking)
    yield _toolkit(host, topic, lacking)


def _headers(settings: Settings, topic: str, lacking: State) -> Iterator[Finding]:
    from monitor.environments.uv import WheelBuilder  # noqa: PLC0415

    try:
        python = WheelBuilder(settings.uv).base_python
        done = subprocess.run(
            [str(python), "-I", "-c", _WHERE],
            capture_output=True,
            text=True,
            timeout=_ASK_S,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (MonitorError, OSError, subprocess.SubprocessError):
        return  # said of Python itself
    header = Path(done.stdout.strip()) / "Python.h"
    if header.is_file():
        yield Finding(topic, "headers", State.FINE, f"{header}")
    else:
        text = f"no {header}: {_VLLM} ends at its start, where Triton compiles"
        advice = "install that Python's headers (python3-dev), or name one that uv brings with `uv.python`"
        yield Finding(topic, "headers", lacking, text, advice)


def _toolkit(host: Host, topic: str, lacking: State) -> Finding:
    from monitor.gpu import toolkit  # noqa: PLC0415

    compiler = toolkit.nvcc()
    if compiler is None:
        text = (
            f"no nvcc: {_VLLM} does without FlashInfer, or ends with 'Could not find nvcc', by its version; "
            "llama-cpp-python is not compiled for the GPU"
        )
        advice = "install the CUDA toolkit (13.0, as vLLM's wheels) in /usr/local/cuda, or set CUDA_HOME"
        return Finding(topic, "nvcc", lacking, text, advice)
    release = toolkit.release(compiler)
    if release is None:
        return Finding(topic, "nvcc", lacking, f"{compiler} does not run", "install the CUDA toolkit again")
    capability = str((host.gpu or {}).get("compute_capability") or "")
    if _number(capability)[:1] == (_BLACKWELL,) and _number(release)[:2] < _OLDEST_FOR_BLACKWELL:
        text = f"{release} at {compiler} is too old for this GPU: {_VLLM} can end at its start"
        return Finding(topic, "nvcc", State.WARNING, text, "install 12.9 or newer, best 13.0, or remove it")
    return Finding(topic, "nvcc", State.FINE, f"{release} at {compiler}: FlashInfer can compile its kernels")


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))
