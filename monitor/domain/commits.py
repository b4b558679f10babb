"""What was changed in an engine between two of its releases, and where a search for one change stands."""

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
    base: Commit | None = None
    """The newest commit that both have."""

    @property
    def is_whole(self) -> bool:
        """Whether all of them are here."""
        return len(self.commits) == self.total


@dataclass(frozen=True, slots=True)
class CommitLine:
    """The commits that a search looks among, and how far it has come."""

    range: CommitRange
    good: int
    """Place of the last good one in `commits`, -1 as long as none of them is known to be good."""
    bad: int
    """Place of the first bad one."""
    visited: frozenset[int]

    @property
    def commits(self) -> tuple[Commit, ...]:
        """Oldest first, the last one being the bad release itself.

        Where that is on another branch than the good one, they begin with the commit that both have: the loss
        may be older than their branches.
        """
        return commits_of(self.range)

    @property
    def left(self) -> tuple[int, ...]:
        """Places of those that may still be visited."""
        return tuple(place for place in range(self.good + 1, self.bad) if place not in self.visited)

    @property
    def suspects(self) -> tuple[Commit, ...]:
        """Those of which one brought the loss; none when it is older than the branches."""
        begin = max(self.good + 1, len(self.commits) - len(self.range.commits))
        return self.commits[begin : self.bad + 1]


def commits_of(known: CommitRange) -> tuple[Commit, ...]:
    """Return the commits between two releases, with the one their branches have in common before them."""
    return known.commits if known.is_straight or known.base is None else (known.base, *known.commits)
