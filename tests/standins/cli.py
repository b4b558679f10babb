"""What a command line's answer is read with, and the machine and the secret that it is asked about."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Call = Callable[..., Any]
GPU = {
    "index": 0,
    "name": "NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
    "uuid": "GPU-1",
    "memory_bytes": 96 * 2**30,
    "driver": "580.1",
    "compute_capability": "12.0",
}
SECRET = "hunter2canary"
"""Never to be shown."""


def documented(done: Any) -> dict[str, Any]:
    """Return the one document on stdout."""
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout))
