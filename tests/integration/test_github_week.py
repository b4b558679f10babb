"""A week of nightly builds, looked at every four hours; `make test-faults` looks every 15 minutes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor import pipeline
from monitor.domain import ReleaseState, RunState
from monitor.settings import Assignment, SourceSettings
from monitor.store.queries import releases, runs
from standins import nightly_week
from standins.index import IndexServer
from standins.nightly_week import Week
from standins.service import CHECK, World, check


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Week]:
    with nightly_week.lived(tmp_path_factory.mktemp("week"), timedelta(hours=4)) as lived:
        yield lived


def test_no_build_is_lost_and_each_says_what_became_of_it(week: Week) -> None:
    nightly_week.nothing_is_lost(week)


def test_a_build_a_day_and_each_promotion_are_measured_and_nothing_twice(week: Week) -> None:
    nightly_week.nothing_is_measured_twice(week)


def test_a_build_that_was_made_again_is_told_and_never_measured(week: Week) -> None:
    nightly_week.what_was_made_again_is_not_measured(week)


def test_the_limit_is_obeyed_and_hardly_used(week: Week) -> None:
    print(nightly_week.the_limit_is_obeyed(week))  # noqa: T201


def test_a_vllm_that_is_uploaded_again_with_a_build_tag_is_measured_as_a_file_of_its_own(
    tmp_path: Path,
) -> None:
    """0.20.1 came again as `-1-` after 26 hours, 0.23.0 as `-2-` after 44."""
    project, wheel = "vllm", "cp38-abi3-manylinux1_x86_64.whl"
    world = World(tmp_path, checks=(check(projects=(project,)),))
    world.now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    with IndexServer() as index:

        def upload(version: str, tag: str = "") -> str:
            name = f"{project}-{version}-{tag}{wheel}"
            return index.add(project, name, name.encode(), upload_time=f"{world.now:%Y-%m-%dT%H:%M:%SZ}")

        source = SourceSettings(project=project, index_url=index.url, settle_minutes=0)
        world.settings = {
            "sources": (source,),
            "assignments": (Assignment(project=project, checks=(CHECK,)),),
        }
        uploads = []
        for version, tag, hours in (
            ("0.20.1", "", 0),
            ("0.20.1", "1-", 26),
            ("0.23.0", "", 90),
            ("0.23.0", "2-", 44),
        ):
            world.wait(hours=hours)
            uploads.append(upload(version, tag))
            for _ in range(2):  # the second look brings nothing, also after a restart
                with world.station() as station:
                    pipeline.look(station)
                    pipeline.work(station)
                world.wait(minutes=15)
        with world.station() as station, station.store.read() as db:
            made = sorted(runs.recent(db, 100), key=lambda run: run.id)
            rows = releases.all_of(db, project)
    assert [run.artifact_sha256 for run in made] == uploads
    assert {run.state for run in made} == {RunState.DONE}
    assert [len(row.release.artifacts) for row in rows] == [2, 2]
    assert [row.state for row in rows] == [ReleaseState.PLANNED] * 2
