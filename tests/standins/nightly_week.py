"""A week of llama.cpp's nightly builds in simulated time, looked at by the whole service.

16 builds a day that arrive out of order, one whose files come hours late and one whose never do, a pause that
GitHub asks for, an hour in which somebody else has used up the limit of this address, a build that is deleted
and one that is made again with other content, and two promotions.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from monitor import pipeline
from monitor.domain import ReleaseState, RunState, SkipReason
from monitor.errors import ArtifactChangedError
from monitor.settings import Assignment, ScheduleSettings, SourceSettings
from monitor.store.queries import artifacts, releases, runs
from monitor.store.queries.releases import ReleaseRow
from monitor.store.queries.runs import Run
from standins.github import Fault, GithubServer
from standins.service import CHECK, World, check

PROJECT = "llama.cpp"
FIRST, A_DAY, DAYS = 9400, 16, 7
EVERY = timedelta(hours=24) / A_DAY
LATE, NEVER = FIRST + 37, FIRST + 60
"""Whose files come five hours after the release, and whose never do."""
DELETED, MADE_AGAIN = FIRST + 20, FIRST + 50
OTHER = b"something else"
LIMIT = 60
"""What GitHub allows in an hour without a token."""


def files(build: int) -> dict[str, bytes]:
    names = [
        f"llama-b{build}-bin-ubuntu-x64.tar.gz",
        f"llama-b{build}-bin-ubuntu-cuda-12.8-x64.tar.gz",
        f"llama-b{build}-bin-ubuntu-cuda-13.4-x64.tar.gz",
        f"cudart-llama-b{build}-bin-ubuntu-cuda-12.8-x64.tar.gz",
        f"cudart-llama-b{build}-bin-ubuntu-cuda-13.4-x64.tar.gz",
    ]
    return {name: name.encode() for name in names}


@dataclass
class Week:
    world: World
    github: GithubServer
    every: timedelta
    """Between two looks."""
    events: list[tuple[datetime, str, int]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def happen(self) -> None:
        """Let everything happen whose time has come."""
        while self.events and self.events[0][0] <= self.world.now:
            _, what, build = self.events.pop(0)
            getattr(self, what)(build)

    def publish(self, build: int) -> None:
        begun = {} if build in {LATE, NEVER} else files(build)
        day = timedelta(days=(build - FIRST) / A_DAY)
        self.github.release(f"b{build}", files=begun, prerelease=True, created_at=self.begin + day)
        if build in {LATE, NEVER}:
            name = f"llama-b{build}-bin-ubuntu-cuda-13.4-x64.tar.gz"
            self.github.upload(f"b{build}", name, b"a part of it", state="open")

    def complete(self, build: int) -> None:
        for name, content in files(build).items():
            self.github.upload(f"b{build}", name, content)

    def promote(self, build: int) -> None:
        self.github.promote(f"v0.5.{build}", f"b{build}")

    def delete(self, build: int) -> None:
        self.github.delete(f"b{build}")

    def make_again(self, build: int) -> None:
        self.delete(build)
        other = dict.fromkeys(files(build), OTHER)
        self.github.release(f"b{build}", files=other, prerelease=True)

    def pause(self, _: int) -> None:
        self.github.faults.append(Fault.SECONDARY)

    def use_up(self, _: int) -> None:
        self.github.use_up()

    def plan(self, begin: datetime) -> None:
        self.begin = begin
        chance = random.Random(5)  # noqa: S311
        for number in range(DAYS * A_DAY):
            # Each build takes its own time: some overtake others by hours.
            at = begin + number * EVERY + timedelta(minutes=chance.uniform(0, 300))
            self.events.append((at, "publish", FIRST + number))
        published = {build: at for at, _, build in self.events}
        self.events += [
            (published[LATE] + timedelta(hours=5), "complete", LATE),
            (begin + timedelta(days=2, hours=5), "pause", 0),
            (begin + timedelta(days=3, hours=7), "use_up", 0),
            (begin + timedelta(days=4), "delete", DELETED),
            (begin + timedelta(days=5), "make_again", MADE_AGAIN),
            (begin + timedelta(days=3), "promote", FIRST + 30),
            (begin + timedelta(days=6), "promote", FIRST + 66),
        ]
        self.events.sort()

    def live(self) -> None:
        end = self.begin + timedelta(days=DAYS, hours=12)
        while self.world.now < end:
            # A restart every day: nothing of what matters is in the process.
            with self.world.station() as station:
                for _ in range(timedelta(days=1) // self.every):
                    self.happen()
                    try:
                        pipeline.look(station, only_due=True)
                    except ArtifactChangedError as error:
                        self.told.append(error.what)
                    pipeline.work(station)
                    self.world.now += self.every

    def stored(self) -> tuple[list[ReleaseRow], list[Run]]:
        with self.world.station() as station, station.store.read() as db:
            return releases.all_of(db, PROJECT), runs.recent(db, 1000)


@contextmanager
def lived(folder: Path, every: timedelta) -> Iterator[Week]:
    """Let the week pass, with a look at every so much of it."""
    world = World(folder, checks=(check(projects=(PROJECT,)),))
    with GithubServer(world.clock, limit=LIMIT) as github:
        source = {"project": PROJECT, "kind": "github", "settle_minutes": 30}
        world.settings = {
            "github": github.settings(),
            "sources": tuple(SourceSettings(**source, channel=channel) for channel in ("nightly", "stable")),
            "assignments": (Assignment(project=PROJECT, checks=(CHECK,)),),
            "schedule": ScheduleSettings(poll_minutes=every.total_seconds() / 60),
        }
        week = Week(world, github, every)
        week.plan(world.now)
        week.live()
        yield week


def nothing_is_lost(week: Week) -> None:
    rows, _ = week.stored()
    nightly = {int(row.release.version): row for row in rows if row.release.channel == "nightly"}
    assert list(nightly) == list(range(FIRST, FIRST + DAYS * A_DAY))
    assert {row.state for row in nightly.values()} == {ReleaseState.PLANNED, ReleaseState.SKIPPED}
    passed = {build: row for build, row in nightly.items() if row.state is ReleaseState.SKIPPED}
    assert all(row.detail for row in passed.values())
    others = {build: row.reason for build, row in passed.items() if row.reason is not SkipReason.COALESCED}
    assert others == {
        NEVER: SkipReason.INCOMPLETE,
        DELETED: SkipReason.WITHDRAWN,
        MADE_AGAIN: SkipReason.WITHDRAWN,  # of what it was nothing is left
    }
    assert nightly[LATE].reason is SkipReason.COALESCED
    # A bisection can install every build that was passed over, with what goes beside it.
    skipped = [row.release for row in passed.values() if row.reason is SkipReason.COALESCED]
    assert all(
        {f.filename for f in one.artifacts} == {name for name in files(int(one.version)) if "cuda" in name}
        for one in skipped
    )


def nothing_is_measured_twice(week: Week) -> None:
    rows, made = week.stored()
    assert {run.state for run in made} == {RunState.DONE}
    by_version = Counter(run.version for run in made)
    assert set(by_version.values()) == {1}
    planned = {row.release.version for row in rows if row.state is ReleaseState.PLANNED}
    assert set(by_version) == planned
    stable = [row.release.version for row in rows if row.release.channel == "stable"]
    assert stable == [str(FIRST + 30), str(FIRST + 66)]
    nightly = [run for run in made if run.channel == "nightly"]
    assert len(nightly) in {DAYS, DAYS + 1}
    moments = sorted(run.planned_at for run in nightly)
    assert all(b - a >= timedelta(hours=24) for a, b in itertools.pairwise(moments))
    measured = Counter(version for version, _ in week.world.sessions)
    assert set(measured) == planned


def what_was_made_again_is_not_measured(week: Week) -> None:
    _, made = week.stored()
    assert any(f"b{MADE_AGAIN}-bin-ubuntu-cuda" in text for text in week.told)
    other = hashlib.sha256(OTHER).hexdigest()
    assert other not in {run.artifact_sha256 for run in made}
    with week.world.station() as station, station.store.read() as db:
        assert artifacts.with_content(db, other) is None


def the_limit_is_obeyed(week: Week) -> str:
    github = week.github
    assert github.violations == []
    looks = len(github.asked("releases.atom"))
    assert looks >= DAYS * (timedelta(days=1) // week.every)
    assert github.busiest_hour() <= LIMIT // 4
    # One request for each build, one an hour to be sure, and what a young and incomplete one costs.
    assert github.counted() < DAYS * (A_DAY + 24) + 60
    return (
        f"{looks} looks, {github.counted()} requests that count, {github.busiest_hour()} in the busiest hour"
    )
