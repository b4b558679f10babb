"""Releases on GitHub: what is read, and what goes wrong; from a stand-in on loopback."""

from __future__ import annotations

from datetime import timedelta

import pytest

from monitor.errors import ArtifactChangedError, SourceError, SourceLiedError
from monitor.releases.github import api as github_api
from monitor.releases.github.schema import Asset
from standins.desk import BEGIN, Desk, asset, publish
from standins.github import Fault

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
