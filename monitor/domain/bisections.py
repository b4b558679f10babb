"""Bisections: the search for the first bad release between a good and a bad one.

The releases between are fixed when it begins, in their order, so that a killed search goes on where it was
and new releases change nothing about it. Only when all of them have answered, single commits may come in
between the last good and the first bad one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from monitor.domain.checks import Tier


class Answer(StrEnum):
    """What a visited release said."""

    GOOD = "good"
    """It does not have the loss."""
    BAD = "bad"
    """It has the loss."""
    SKIPPED = "skipped"
    """It says nothing: it does not install or start, or could not be decided."""


class BisectionState(StrEnum):
    """How far a bisection has come."""

    RUNNING = "running"
    FOUND = "found"
    """The first bad release stands right after the last good one."""
    NARROWED = "narrowed"
    """Only releases that say nothing are left between the last good and the first bad one."""
    NO_LOSS = "no loss"
    """The bad end has no loss against the good end, or none of the ends can be measured."""
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Visit:
    """One release of a bisection, visited or not."""

    place: int
    """Among the releases in their order: 0 is the good end, the last one the bad end. It moves on when a
    commit comes in before it, so what is kept of a visit goes by its artifact."""
    version: str
    artifact_sha256: str
    channel: str
    last_resort: bool
    """Yanked, too old or too young: visited only when no other is left."""
    run_id: int | None
    """The run that answers, or will."""
    judgement_id: int | None
    """Against the good end; None as long as there is none, and of a release that does not run."""
    answer: Answer | None
    why: str
    """How the answer was reached, in words."""
    own_run: bool
    """The run was made for this bisection; otherwise a result that was there is enough."""
    answered_at: datetime | None
    commit: str | None = None
    """The upstream's commit it was built of, when it was looked up for this search; None: it was listed."""


@dataclass(frozen=True, slots=True)
class Bisection:
    """A search for the first bad release, with what it has learnt."""

    id: int
    check_id: str
    check_digest: str
    project: str
    machine_id: str
    tier: Tier
    requested_by: str
    priority: int
    """Of its runs in the queue."""
    incident_id: int | None
    """The incident whose loss is looked for."""
    state: BisectionState
    reason: str
    """The result in one sentence; while it runs, why it does not move on."""
    began_at: datetime
    ended_at: datetime | None
    visits: tuple[Visit, ...]
    """Every release from the good end to the bad end, in order of version; of commits, as they were made."""

    @property
    def last_good(self) -> Visit:
        """The release furthest on that is known to be good."""
        return max(
            (visit for visit in self.visits[:-1] if visit.answer is Answer.GOOD),
            key=lambda visit: visit.place,
            default=self.visits[0],
        )

    @property
    def first_bad(self) -> Visit:
        """The earliest release that is known to be bad."""
        return min(
            (visit for visit in self.visits[1:] if visit.answer is Answer.BAD),
            key=lambda visit: visit.place,
            default=self.visits[-1],
        )

    @property
    def suspects(self) -> tuple[Visit, ...]:
        """The releases between the last good and the first bad one, also those that said nothing."""
        return self.visits[self.last_good.place + 1 : self.first_bad.place]

    @property
    def next_visit(self) -> Visit | None:
        """The release to visit next: the middle one, or its nearest neighbour that may still answer.

        None when the first bad release is found, or nothing that may answer is left.
        """
        suspects = self.suspects
        left = [visit for visit in suspects if visit.answer is None]
        wanted = [visit for visit in left if not visit.last_resort] or left
        middle = (self.last_good.place + self.first_bad.place) / 2
        return min(wanted, key=lambda visit: (abs(visit.place - middle), visit.place), default=None)

    @property
    def steps(self) -> int:
        """How many releases between the ends have answered."""
        return sum(visit.answer is not None for visit in self.visits[1:-1])

    @property
    def steps_left(self) -> int:
        """How many more it takes at most, as long as every release answers."""
        left = sum(visit.answer is None for visit in self.suspects)
        return math.ceil(math.log2(left + 1))
