"""Runs inside an environment and prints, as one JSON document, what is really installed there.

It imports nothing of the monitor: the environment's Python has only what the release brought.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys


def collect() -> dict[str, object]:
    """Return the Python's version and every distribution it finds, as (name, version)."""
    found = sorted(
        (distribution.metadata["Name"], distribution.version)
        for distribution in importlib.metadata.distributions()
    )
    return {
        "python_version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "packages": found,
    }


if __name__ == "__main__":
    json.dump(collect(), sys.stdout)
