"""Runs llama.cpp's HTTP server out of the `xllamacpp` package, inside the environment under test.

    python xllamacpp_server.py ORDER.json

The order names the parameters to set, each with the places where builds keep it, and a file to report to.
Builds differ in what they know, so a parameter that is missing is reported, and is an error only where the
order says that the arm means nothing without it. The report is one JSON object: `address`, `set`, `missing`.
It is written when the server listens; this process then waits to be ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import xllamacpp


def apply(params: Any, parameter: dict[str, Any]) -> tuple[str, Any] | None:
    """Set one parameter at the first place this build has; return (place, value read back) or None."""
    for place in parameter["places"]:
        *owners, name = place.split(".")
        target = params
        for owner in owners:
            target = getattr(target, owner, None)
        if target is None or not hasattr(target, name):
            continue
        value = parameter["value"]
        if "choice" in parameter:
            kind, wanted = parameter["choice"]
            value = getattr(getattr(xllamacpp, kind, None), wanted, None)
            if value is None:
                return None
        if isinstance(getattr(target, name), list) and not isinstance(value, list):
            value = [value]
        setattr(target, name, value)
        return place, getattr(target, name)
    return None


def main() -> None:
    """Set the parameters, start the server, report, wait."""
    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    # Through the module, not by name: a stand-in release may replace them.
    params = xllamacpp.CommonParams()
    applied: dict[str, Any] = {}
    missing: list[str] = []
    for parameter in order["parameters"]:
        done = apply(params, parameter)
        if done is not None:
            applied[done[0]] = done[1]
        elif parameter["required"]:
            sys.exit(f"this build of xllamacpp has no {' or '.join(parameter['places'])}")
        else:
            missing.append(parameter["places"][0])
    server = xllamacpp.Server(params)
    report = {"address": server.listening_address, "set": applied, "missing": missing}
    target = Path(order["report"])
    part = target.with_suffix(".part")
    part.write_text(json.dumps(report, default=str), encoding="utf-8")
    os.replace(part, target)  # noqa: PTH105  # the reader never sees half of it
    # Builds before the autumn of 2026 swallow SIGTERM; there is nothing to tidy up that would take longer.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
