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
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        # What an interrupted upgrade left behind may have lost its name.
        if "Name" in distribution.metadata and "Version" in distribution.metadata:
            # Of two with one name the first is the one that is imported.
            found.setdefault(distribution.metadata["Name"], distribution.version)
    return {
        "python_version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "packages": sorted(found.items()),
    }


if __name__ == "__main__":
    json.dump(collect(), sys.stdout)
