"""What GitHub tells beside its releases: the commits between two builds, and notes of an index's releases."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor import pipeline
from monitor.errors import SourceError
from monitor.releases.github.api import GithubApi
from monitor.releases.github.commits import CommitHistory, git_ref
from monitor.settings_tables import SourceSettings
from standins.desk import Desk
from standins.github import REPOSITORY, GithubServer
from standins.service import PROJECT, World

# ---------------------------------------------------------------------------------------------
# Commits


def history(desk: Desk) -> CommitHistory:
    api = GithubApi(desk.github.settings(), desk.http, folder=desk.folder, clock=desk.clock)
    return CommitHistory(api, "ggml-org/llama.cpp")


def test_the_commits_between_two_builds_are_asked_for_once_and_in_their_order(desk: Desk) -> None:
    desk.github.tags = {"b9300": 9300, "b9420": 9420}
    found = history(desk).commits_between("b9300", "b9420")
    assert found.total == len(found.commits) == 120
    assert found.commits[0].title == "change 9301 (#9301)"
    assert found.commits[-1].title == "change 9420 (#9420)"
    assert found.commits[0].author == "A Developer"
    assert found.page.endswith("/ggml-org/llama.cpp/compare/b9300...b9420")
    assert desk.github.counted() == 2
    assert history(desk).commits_between("b9300", "b9420") == found
    assert history(desk).known("b9300", "b9420") == found
    assert history(desk).known("b9300", "b9400") is None
    assert desk.github.counted() == 2


def test_of_very_many_commits_the_first_are_fetched_and_all_are_counted(desk: Desk) -> None:
    desk.github.tags = {"b9300": 9300, "b11549": 11549}
    found = history(desk).commits_between("b9300", "b11549")
    assert (len(found.commits), found.total) == (500, 2249)


def test_all_of_very_many_commits_are_fetched_where_each_counts(desk: Desk) -> None:
    desk.github.tags = {"b9300": 9300, "b11549": 11549}
    history(desk).commits_between("b9300", "b11549")
    found = history(desk).commits_between("b9300", "b11549", whole=True)
    assert len(found.commits) == found.total == 2249
    assert [found.commits[n].title for n in (0, 500, -1)] == [
        f"change {n} (#{n})" for n in (9301, 9801, 11549)
    ]
    assert desk.github.counted() == 5 + 23
    # What is whole is enough for whoever wants the first of them, and is not asked for again.
    assert history(desk).commits_between("b9300", "b11549") == found
    assert history(desk).commits_between("b9300", "b11549", whole=True) == found
    assert desk.github.counted() == 5 + 23


def test_where_two_branches_part_is_told(desk: Desk) -> None:
    desk.github.tags, desk.github.branched = {"v0.32.0": 35, "v0.33.0": 60}, {"v0.32.0": 30}
    found = history(desk).commits_between("v0.32.0", "v0.33.0")
    assert not found.is_straight
    assert found.base is not None
    assert (found.base.title, found.commits[0].title) == ("change 30 (#30)", "change 31 (#31)")


def test_a_tag_that_is_not_there_is_said_to_be_missing(desk: Desk) -> None:
    desk.github.tags = {"b9300": 9300}
    with pytest.raises(SourceError, match="no tag or commit") as error:
        history(desk).commits_between("b9300", "b9301")
    assert error.value.permanent


@pytest.mark.parametrize(
    ("project", "version", "ref"),
    [
        ("llama.cpp", "9300", "b9300"),
        ("xllamacpp", "2026.10.11549", "b11549"),
        ("llama-cpp-python", "0.3.36", "v0.3.36"),
        ("vllm", "0.33.0", "v0.33.0"),
        ("vllm", "0.33.0+cu129", "v0.33.0"),
        ("vllm", "0.33.1.dev5+g0123abcdef.cu130", "0123abcdef"),
        ("xllamacpp", "0.2.0", None),
        ("nobody", "1.0", None),
    ],
)
def test_a_version_is_found_in_the_history(project: str, version: str, ref: str | None) -> None:
    assert git_ref(project, version) == ref


# ---------------------------------------------------------------------------------------------
# Notes of what a package index lists


def test_notes_of_an_index_s_releases_are_read_from_github_a_few_at_a_time(tmp_path: Path) -> None:
    world = World(tmp_path)
    with GithubServer(world.clock) as github:
        source = SourceSettings(project=PROJECT, repository=REPOSITORY, settle_minutes=0)
        world.settings = {"github": github.settings(), "sources": (source,)}
        for build in (9300, 9301):
            github.release(f"b{build}", body=f"What is new in b{build}")
        world.release("2026.6.9300")
        with world.station() as station:
            pipeline.look(station)
            world.wait(hours=1)
            world.release("2026.6.9301")
            world.release("2026.6.9302")
            for _ in range(3):
                pipeline.look(station)
            rows = {row.release.version: row.release for row in pipeline.listing(station)}
            assert rows["2026.6.9300"].notes == "What is new in b9300"
            assert rows["2026.6.9302"].notes == ""
            # The one without notes is asked for again the next day, when they may have been written.
            assert len(github.asked("tags/b9302")) == 1
            github.release("b9302", body="Late words")
            world.wait(hours=25)
            pipeline.look(station)
            rows = {row.release.version: row.release for row in pipeline.listing(station)}
            assert rows["2026.6.9302"].notes == "Late words"
            assert rows["2026.6.9302"].page.endswith("/releases/tag/b9302")


def test_a_github_that_is_down_stops_no_index(tmp_path: Path) -> None:
    world = World(tmp_path)
    with GithubServer(world.clock) as github:
        gone = github.settings()
    source = SourceSettings(project=PROJECT, repository=REPOSITORY, settle_minutes=0)
    world.settings = {"github": gone, "sources": (source,)}
    world.release("2026.6.9300")
    with world.station() as station:
        assert [poll.error for poll in pipeline.look(station)] == [None]
        assert len(pipeline.listing(station)) == 1
