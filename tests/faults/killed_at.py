"""Runs the real command in a process that kills itself at a named point of its work.

    python killed_at.py POINT -- watch --once

The process gets SIGKILL from itself, so nothing of it is cleaned up: no `finally`, no buffer, no lock. The
command ends as usual when it never comes by the point.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import signal
import sys
from typing import Any

from fault_points import OTHER_POINTS, POINTS, Point

from monitor.cli import main


def arm(point: Point) -> None:
    """Wrap the function of `point`, where it is looked up, so that the chosen call of it is the last."""
    module, _, attribute = point.where.partition(":")
    owner: Any = importlib.import_module(module)
    *path, name = attribute.split(".")
    for part in path:
        owner = getattr(owner, part)
    real = getattr(owner, name)
    calls = itertools.count(1)

    @functools.wraps(real)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        is_last = point.naming in repr((arguments, named)) and next(calls) == point.call
        if is_last and point.moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*arguments, **named)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, wrapped)


if __name__ == "__main__":
    chosen, _, *command = sys.argv[1:]
    arm((POINTS | OTHER_POINTS)[chosen])
    sys.argv = ["mtp-monitor", *command]
    main()
