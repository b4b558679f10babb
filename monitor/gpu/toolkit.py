"""The CUDA toolkit of this machine, with whose `nvcc` an engine compiles kernels while it starts.

Wheels bring CUDA's libraries. Of FlashInfer's kernels those for sampling come as source, and where vLLM looks
for `nvcc` depends on its version: up to 0.31 on PATH alone, later in /usr/local/cuda as well. So that two
releases are measured with the same kernels, a toolkit that is here is put on PATH for all of them, and which
it is belongs to what is recorded.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where every engine finds programs."""
PLACE = Path("/usr/local/cuda")
"""Where NVIDIA's packages put it, or a link to it."""
_ASK_S = 20.0


def folders() -> tuple[Path, ...]:
    """Return the folder of programs of the toolkit that engines are to use: `CUDA_HOME`'s, else the usual."""
    named = os.environ.get("CUDA_HOME")
    homes = (*([Path(named)] if named else []), PLACE)
    found = (home / "bin" for home in homes if home.is_absolute() and (home / "bin" / "nvcc").is_file())
    return tuple(found)[:1]


def nvcc() -> Path | None:
    """Return the `nvcc` that an engine measured on a GPU finds; None when there is none."""
    found = shutil.which("nvcc", path=":".join([*map(str, folders()), SYSTEM_PATH]))
    return Path(found) if found else None


def release(compiler: Path) -> str | None:
    """Return what a compiler says it is, such as `13.0.88`; None when it does not say."""
    try:
        return _release(compiler, compiler.stat().st_mtime_ns)
    except OSError:
        return None


@cache
def _release(compiler: Path, _changed: int) -> str | None:
    try:
        done = subprocess.run(
            [str(compiler), "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ASK_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env={"PATH": SYSTEM_PATH, "LANG": "C.UTF-8"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\bV(\d+(?:\.\d+){1,3})\b", done.stdout)
    return found[1] if found and done.returncode == 0 else None


def identity() -> str | None:
    """Return what identifies the compiler that engines find: its release, else where it is."""
    compiler = nvcc()
    return None if compiler is None else release(compiler) or str(compiler)
