"""What the launchers of `launchers/` report from inside the environment under test; it is untrusted."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from monitor.engines.answers import refuse
from monitor.engines.base import Setup

ORDER, REPORT = "order.json", "report.json"
"""Files in the scratch folder: what a launcher is to do, and what it says when it listens."""
_MAX_REPORT = 2**20


def report(setup: Setup) -> dict[str, Any] | None:
    """Return the report, None before it is written.

    Raises:
        EngineReplyError: when it is no JSON object.

    """
    path = setup.scratch / REPORT
    try:
        with path.open(encoding="utf-8") as file:
            found = json.loads(file.read(_MAX_REPORT))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise refuse(f"its launcher reports something unreadable ({error})") from error
    if not isinstance(found, dict):
        raise refuse("its launcher reports something that is no object")
    return found


def address(setup: Setup) -> str | None:
    """Return where the server listens, None before it is reported.

    Raises:
        EngineReplyError: when that is no port of the loopback interface.

    """
    said = report(setup)
    if said is None:
        return None
    told = said.get("address")
    parts = urlsplit(told if isinstance(told, str) else "")
    try:
        sound = parts.scheme == "http" and parts.hostname == "127.0.0.1" and parts.port is not None
    except ValueError:
        sound = False
    if not sound:
        raise refuse(f"it says it listens at {told!a}")
    return f"http://127.0.0.1:{parts.port}"
