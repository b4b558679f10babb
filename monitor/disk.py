"""A disk without room: how the system says so, and what is raised where a file cannot be written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from monitor.errors import DiskFullError, HostError, MonitorError


def says_full(error: OSError) -> bool:
    """Say whether it was for want of room, on the disk or in its user's share of it."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}


def no_room() -> OSError:
    """Return what a write would have raised, where a full disk shows in another way."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def cannot_write(error: OSError, place: Path) -> MonitorError:
    """Return what to raise for an OSError while writing at `place`: DiskFullError or HostError."""
    if says_full(error):
        what = f"No room left while writing {place}."
        return DiskFullError(what, kept="everything else", advice="make room on that disk, then try again")
    return HostError(
        f"{place} cannot be written: {error.strerror or error}.",
        kept="everything else",
        advice="look at the folder's owner and mode",
    )
