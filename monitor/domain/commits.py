"""What was changed in an engine between two of its releases."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Commit:
    """One change; everything in it is untrusted."""

    sha: str
    title: str
    """The first line of its message."""
    author: str
    at: datetime | None
    page: str


@dataclass(frozen=True, slots=True)
class CommitRange:
    """The commits that one release has and an earlier one has not, oldest first."""

    old: str
    """Tag or commit it counts from, without it."""
    new: str
    """Tag or commit it counts to, with it."""
    commits: tuple[Commit, ...]
    total: int
    """More than there are in `commits` when they were too many to fetch."""
    page: str
    """Address of a page that shows them."""
    is_straight: bool = True
    """False when the later release is on another branch: what the earlier one has beyond is not here."""
