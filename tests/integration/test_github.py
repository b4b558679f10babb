"""GitHub as a source: what is read, what it costs, and what its limits and troubles lead to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor import pipeline
from monitor.domain import Release
from monitor.errors import ArtifactChangedError, SourceError, SourceLiedError
from monitor.net import Http
from monitor.releases.assets import patterns_for
from monitor.releases.github import api as github_api
from monitor.releases.github.api import GithubApi
from monitor.releases.github.commits import CommitHistory, git_ref
from monitor.releases.github.schema import Asset
from monitor.releases.github.source import GithubReleases
from monitor.settings_tables import SourceSettings
from standins.github import PAUSES, REPOSITORY, Fault, GithubServer
from standins.service import PROJECT, World

BEGIN = datetime(2026, 11, 1, 12, tzinfo=UTC)


@dataclass
class Clock:
    now: datetime = BEGIN

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()

    def wait(self, **how_long: float) -> None:
        self.now += timedelta(**how_long)


@dataclass
class Desk:
    """A source that asks the stand-in, made anew for each poll: what it knows lies in the folder."""

    github: GithubServer
    clock: Clock
    folder: Path
    http: Http
    token: str | None = None
    source: dict[str, Any] = field(default_factory=dict)
    since: datetime | None = None

    def poll(self, channel: str = "nightly", **changes: Any) -> tuple[Release, ...]:
        given = {"project": "llama.cpp", "kind": "github", "channel": channel, **self.source, **changes}
        settings = SourceSettings(**given)
        github = self.github.settings(**({"token": self.token} if self.token else {}))
        api = GithubApi(github, self.http, folder=self.folder, clock=self.clock)
        source = GithubReleases(settings, api, patterns_for(settings, driver=None, machine="x86_64"))
        try:
            return source.poll()
        finally:
            self.since = source.since

    def builds(self, **changes: Any) -> dict[str, list[str]]:
        return {
            one.version: [artifact.filename for artifact in one.artifacts] for one in self.poll(**changes)
        }


@contextmanager
def open_desk(folder: Path, *, token: str = "", limit: int | None = None, **source: Any) -> Iterator[Desk]:
    clock = Clock()
    with GithubServer(clock, token=token, limit=limit) as github, Http(clock=clock.seconds) as http:
        yield Desk(github, clock, folder, http, token=token or None, source=source)
        assert not github.violations


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with open_desk(tmp_path) as opened:
        yield opened


def asset(build: int, label: str = "ubuntu-x64") -> str:
    return f"llama-b{build}-bin-{label}.tar.gz"


def publish(desk: Desk, *builds: int, minutes: float = 60) -> None:
    for build in builds:
        name = asset(build)
        desk.github.release(
            f"b{build}", files={name: name.encode(), asset(build, "macos-arm64"): b"mac"}, prerelease=True
        )
        desk.clock.wait(minutes=minutes)


# ---------------------------------------------------------------------------------------------
# What is read


def test_every_build_is_a_release_whose_artifact_is_the_file_for_this_machine(desk: Desk) -> None:
    publish(desk, 9300, 9301)
    older, newer = desk.poll()
    assert (older.version, newer.version) == ("9300", "9301")
    (artifact,) = newer.artifacts
    assert artifact.filename == asset(9301)
    assert artifact.uploaded_at == newer.published_at == BEGIN + timedelta(hours=1)
    assert artifact.size == len(asset(9301))
    found = desk.http.download(
        artifact.url,
        desk.folder / "file",
        sha256=artifact.sha256,
        max_bytes=1000,
        deadline_s=10,
        hosts=desk.github.settings().download_hosts,
    )
    assert found.read_bytes() == asset(9301).encode()


def test_builds_are_in_the_order_of_their_numbers_whenever_they_appear(desk: Desk) -> None:
    publish(desk, 9310, 9302, 10001, 9999)
    assert [one.version for one in desk.poll()] == ["9302", "9310", "9999", "10001"]


def test_a_file_counts_once_its_upload_is_over_and_not_by_how_many_there_are(desk: Desk) -> None:
    desk.github.release("b9300", prerelease=True)
    assert desk.builds() == {"9300": []}
    desk.clock.wait(minutes=15)
    for label in ("macos-arm64", "win-cpu-x64", "ubuntu-vulkan-x64"):
        desk.github.upload("b9300", asset(9300, label), b"other")
    desk.github.upload("b9300", asset(9300), b"mine", state="open")
    assert desk.builds() == {"9300": []}
    desk.clock.wait(minutes=15)
    desk.github.upload("b9300", asset(9300), b"mine")
    assert desk.builds() == {"9300": [asset(9300)]}


def test_drafts_and_what_is_deleted_are_not_listed(desk: Desk) -> None:
    publish(desk, 9300, 9301)
    desk.github.release("b9302", files={asset(9302): b"x"}, draft=True)
    assert list(desk.builds()) == ["9300", "9301"]
    desk.github.delete("b9300")
    desk.clock.wait(hours=25)
    assert list(desk.builds()) == ["9301"]


def test_the_stable_channel_holds_the_promoted_builds(desk: Desk) -> None:
    publish(desk, 9300, 9301, 9302)
    desk.github.promote("v0.5.0", "b9301")
    desk.clock.wait(minutes=1)
    (stable,) = desk.poll("stable")
    assert stable.version == "9301"
    assert [artifact.filename for artifact in stable.artifacts] == [asset(9301)]
    assert stable.notes == "v0.5.0 promotes b9301\n\nChanges of v0.5.0"
    assert stable.page.endswith("/releases/tag/v0.5.0")
    assert list(desk.builds()) == ["9300", "9301", "9302"]
    assert "v0.5.0" not in desk.builds()


def test_a_promotion_of_a_build_from_before_the_listing_is_looked_up_once(desk: Desk) -> None:
    publish(desk, 9300)
    desk.clock.wait(days=40)
    desk.github.promote("v0.5.0", "b9300")
    for _ in range(3):
        assert [one.version for one in desk.poll("stable")] == ["9300"]
        desk.clock.wait(minutes=70)
    assert len(desk.github.asked("/releases/tags/b9300")) == 1
    assert len(desk.github.asked("nightly-tag.txt")) == 1


def test_a_promotion_that_names_no_build_stays_visible_and_stops_no_other(desk: Desk) -> None:
    publish(desk, 9300)
    desk.github.promote("v0.5.0", "b9300")
    desk.clock.wait(minutes=1)
    desk.github.promote("v0.5.1", "<html>")
    desk.github.promote("v0.5.2", "b123456")
    found = {one.version: len(one.artifacts) for one in desk.poll("stable")}
    assert found == {"9300": 1, "v0.5.1 of what?": 0, "v0.5.2 of b123456?": 0}


def test_a_promotion_that_is_a_pre_release_itself_promotes_nothing(desk: Desk) -> None:
    publish(desk, 9300)
    desk.github.promote("v0.1.2", "b9300")
    desk.github.edit("v0.1.2", prerelease=True)
    assert desk.poll("stable") == ()


def test_a_digest_counts_only_of_what_is_there_wholly() -> None:
    known = {
        "id": 1,
        "name": "f",
        "digest": f"sha256:{'A' * 64}",
        "browser_download_url": "https://x.example",
    }
    assert Asset(**known, state="uploaded").sha256 == "a" * 64
    assert Asset(**known, state="open").sha256 is None
    assert Asset(**known | {"digest": None}, state="uploaded").sha256 is None


def test_notes_are_kept_as_bounded_plain_text(desk: Desk) -> None:
    desk.github.release("b9300", body="<script>alert(1)</script>\r\n\x1b[31mred\x00" + "x" * 30_000)
    notes = desk.poll()[0].notes
    assert notes.startswith("<script>alert(1)</script>\n[31mred")
    assert notes.endswith("\n[…]")
    assert len(notes) < 12_100


# ---------------------------------------------------------------------------------------------
# What it costs


def test_looks_while_nothing_is_new_cost_one_request_an_hour(desk: Desk) -> None:
    publish(desk, *range(9300, 9310), minutes=90)
    desk.clock.wait(hours=6)
    desk.poll()
    before = desk.github.counted()
    for _ in range(4 * 5):
        desk.clock.wait(minutes=15)
        desk.poll()
    assert desk.github.counted() - before == 5
    assert len(desk.github.asked("releases.atom")) == 21


def test_with_a_token_an_unchanged_page_costs_nothing(tmp_path: Path) -> None:
    with open_desk(tmp_path, token="ghp_secret") as desk:
        github, clock = desk.github, desk.clock
        publish(desk, *range(9300, 9310))
        clock.wait(hours=6)
        desk.poll()
        assert github.counted() == 1
        for _ in range(3):
            clock.wait(hours=1)
            desk.poll()
        assert [request.status for request in github.requests if request.place == "api"] == [
            200,
            304,
            304,
            304,
        ]
        assert github.counted() == 1
        # What one token was told is nothing to another, or to nobody.
        desk.token = None
        clock.wait(hours=1)
        desk.poll()
        assert github.requests[-1].status == 200
        assert "if-none-match" not in github.requests[-1].headers


def test_two_channels_share_a_look(desk: Desk) -> None:
    publish(desk, 9300)
    desk.github.promote("v0.5.0", "b9300")
    desk.poll("nightly")
    desk.poll("stable")
    assert desk.github.counted() == 1


def test_pages_are_followed_to_the_wanted_depth_and_then_only_to_what_is_known(desk: Desk) -> None:
    publish(desk, *range(9300, 9400), minutes=30)
    assert len(desk.poll()) == 100
    assert desk.github.counted() == 4
    publish(desk, *range(9400, 9410), minutes=30)
    assert len(desk.poll()) == 110
    assert desk.github.counted() == 5
    publish(desk, *range(9410, 9450), minutes=10)
    assert len(desk.poll()) == 150
    assert desk.github.counted() == 7, "ten of the second page were known"


def test_what_lies_further_back_is_not_listed_and_said_not_to_be(desk: Desk) -> None:
    publish(desk, 9300, 9301, minutes=24 * 60)
    desk.clock.wait(days=30)
    publish(desk, 9400)
    assert [one.version for one in desk.poll()] == ["9400"]
    assert desk.since == desk.clock.now - timedelta(days=30)


def test_a_feed_that_cannot_be_read_only_costs_requests(desk: Desk) -> None:
    publish(desk, 9300)
    desk.poll()
    desk.github.feed_is_down = True
    publish(desk, 9301, minutes=15)
    assert list(desk.builds()) == ["9300", "9301"]


# ---------------------------------------------------------------------------------------------
# Limits


@pytest.mark.parametrize("fault", [Fault.SECONDARY, Fault.BUSY])
def test_a_pause_that_was_asked_for_is_kept_to_the_second_also_by_the_next_process(
    desk: Desk, fault: Fault
) -> None:
    publish(desk, 9300)
    desk.github.faults = [fault]
    with pytest.raises(SourceError, match="limit is reached") as error:
        desk.poll()
    assert error.value.retry_after_s == PAUSES[fault]
    desk.clock.wait(seconds=PAUSES[fault] - 1)
    desk.http = Http(clock=desk.clock.seconds)
    with desk.http:
        with pytest.raises(SourceError, match="GitHub was not asked") as error:
            desk.poll()
        assert error.value.retry_after_s == pytest.approx(1)
        desk.clock.wait(seconds=1)
        assert list(desk.builds()) == ["9300"]


def test_a_refusal_that_names_no_moment_is_obeyed_for_longer_each_time(desk: Desk) -> None:
    publish(desk, 9300)
    desk.github.faults = [Fault.SECONDARY_BARE] * 4
    pauses = []
    for _ in range(4):
        with pytest.raises(SourceError) as error:
            desk.poll()
        pauses.append(error.value.retry_after_s)
        desk.clock.wait(seconds=error.value.retry_after_s or 0)
    assert pauses == [60, 120, 240, 480]
    assert list(desk.builds()) == ["9300"]
    desk.clock.wait(hours=2)
    desk.github.faults = [Fault.SECONDARY_BARE]
    with pytest.raises(SourceError) as error:
        desk.poll()
    assert error.value.retry_after_s == 60, "an answer in between begins the count anew"


def test_when_nothing_is_left_nothing_is_asked_until_the_reset(tmp_path: Path) -> None:
    with open_desk(tmp_path, limit=4, history_days=90) as desk:
        github, clock = desk.github, desk.clock
        publish(desk, *range(9300, 9500), minutes=30)
        begun = clock.now
        # A walk leaves some requests for looks, as far as there are any.
        for build in range(9600, 9604):
            desk.poll()
            clock.wait(minutes=2)
            github.release(f"b{build}", files={asset(build): b"x"}, prerelease=True)
        with pytest.raises(SourceError, match="used up until") as error:
            desk.poll()
        assert github.counted() == 4
        left_s = (begun + timedelta(hours=1) - clock.now).total_seconds()
        assert error.value.retry_after_s == pytest.approx(left_s, abs=2)
        clock.wait(seconds=error.value.retry_after_s)
        desk.poll()


def test_a_walk_that_the_limit_cuts_short_says_how_far_it_came_and_goes_on_later(tmp_path: Path) -> None:
    with open_desk(tmp_path, limit=8, history_days=90) as desk:
        github, clock = desk.github, desk.clock
        publish(desk, *range(9300, 9450), minutes=30)
        assert len(desk.poll()) == 90
        assert desk.since is not None
        assert desk.since > clock.now - timedelta(days=89)
        github.limits[""] = 60
        clock.wait(hours=3)
        assert len(desk.poll()) == 150
        assert desk.since == clock.now - timedelta(days=90)


def test_a_refused_token_and_a_closed_repository_are_no_limits(desk: Desk) -> None:
    desk.token = "ghp_wrong"
    with pytest.raises(SourceError, match="refuses the token") as error:
        desk.poll()
    assert error.value.permanent
    desk.token = None
    desk.github.faults = [Fault.FORBIDDEN]
    desk.clock.wait(minutes=2)
    with pytest.raises(SourceError, match="answered 403") as error:
        desk.poll()
    assert error.value.retry_after_s is None


# ---------------------------------------------------------------------------------------------
# Trouble


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        (Fault.SERVER_ERROR, SourceError, "answered 502"),
        (Fault.PORTAL, SourceLiedError, "no JSON"),
        (Fault.TRUNCATED, SourceLiedError, "not JSON"),
        (Fault.OTHER_JSON, SourceLiedError, "no list of releases"),
        (Fault.HUGE, SourceLiedError, "more than"),
        (Fault.DRIPPING, SourceError, "not answered completely"),
    ],
)
def test_an_answer_that_is_none_loses_nothing(
    desk: Desk, fault: Fault, kind: type[SourceError], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github_api, "MAX_ANSWER_BYTES", 2**21)
    monkeypatch.setattr(github_api, "DEADLINE_S", 1.0)
    publish(desk, 9300)
    desk.poll()
    publish(desk, 9301, minutes=15)
    desk.github.faults = [fault]
    with pytest.raises(kind, match=says):
        desk.poll()
    desk.clock.wait(minutes=15)
    assert list(desk.builds()) == ["9300", "9301"]


def test_a_memory_that_is_damaged_is_read_anew(desk: Desk) -> None:
    publish(desk, 9300)
    desk.poll()
    for file in desk.folder.glob("github-*.json"):
        file.write_bytes(file.read_bytes()[:100])
    desk.clock.wait(minutes=15)
    assert list(desk.builds()) == ["9300"]


def test_a_file_that_another_host_offers_is_not_fetched(desk: Desk) -> None:
    publish(desk, 9300)
    (release,) = desk.poll()
    (artifact,) = release.artifacts

    def fetch(hosts: set[str]) -> None:
        desk.http.download(
            artifact.url,
            desk.folder / "file",
            sha256=artifact.sha256,
            max_bytes=1000,
            deadline_s=10,
            hosts=hosts,
        )

    with pytest.raises(SourceLiedError, match="none of the hosts"):
        fetch({"127.0.0.1:1"})
    # The redirect leads to the host of the files, which is not the site's.
    site = desk.github.web.removeprefix("http://")
    with pytest.raises(SourceLiedError, match="none of the hosts"):
        fetch({site})
    assert not [request for request in desk.github.requests if request.place == "files"]
    desk.github.upload("b9300", artifact.filename, b"another content")
    with pytest.raises(ArtifactChangedError):
        fetch(set(desk.github.settings().download_hosts))


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
