"""What tests on a real GPU share: they are skipped, with the reason, where there is none."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.errors import GpuFaultError
from monitor.gpu.identity import read_gpus


@pytest.fixture(scope="session")
def gpu() -> dict[str, Any]:
    try:
        found = read_gpus()
    except GpuFaultError as fault:
        pytest.skip(fault.what)
    if not found:
        pytest.skip("needs an NVIDIA GPU with its driver; this machine has none")
    return found[0]
