"""vLLM's wheels of every commit, from a stand-in for the place where they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.domain import Package
from monitor.errors import ConfigurationError, SourceError, SourceLiedError
from monitor.net import Http
from monitor.releases.commit_wheels import CommitWheels
from monitor.settings_tables import SourceSettings
from standins.commit_place import CommitPlace
from standins.environments import made

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def place() -> Iterator[CommitPlace]:
    with CommitPlace() as made:
        yield made


def source(place: CommitPlace, folder: Path | None, *, hours: float = 0.0, **more: Any) -> CommitWheels:
    settings = SourceSettings(
        project="vllm",
        kind="commit-wheels",
        channel="nightly",
        variant="cpu",
        wheels_url=place.address,
        every_hours=24,
    )
    return CommitWheels(settings, Http(), folder=folder, clock=lambda: NOW + timedelta(hours=hours))


def test_the_newest_commits_wheel_is_a_release_with_the_hash_of_what_lies_there(
    place: CommitPlace, tmp_path: Path
) -> None:
    filename, content = place.publish("a" * 40, 7)
    (release,) = source(place, tmp_path).poll()
    (artifact,) = release.artifacts
    assert (release.version, release.channel) == ("0.33.1.dev7+gaaaaaaaaa.cpu", "nightly")
    assert (artifact.filename, artifact.size) == (filename, len(content))
    assert artifact.sha256 == hashlib.sha256(content).hexdigest()
    assert artifact.url == f"{place.address}/{'a' * 40}/{filename.replace('+', '%2B')}"
    assert artifact.uploaded_at == datetime(2026, 11, 1, 9, 30, tzinfo=UTC)
    assert not any("win_arm64" in asked for asked in place.asked), "only what fits is read"


def test_a_commit_is_read_once_and_the_next_one_when_a_day_has_passed(
    place: CommitPlace, tmp_path: Path
) -> None:
    place.publish("a" * 40, 7)
    source(place, tmp_path).poll()
    place.publish("b" * 40, 8)
    assert len(source(place, tmp_path, hours=5).poll()) == 1
    releases = source(place, tmp_path, hours=25).poll()
    assert [release.version[:13] for release in releases] == ["0.33.1.dev7+g", "0.33.1.dev8+g"]
    source(place, tmp_path, hours=60).poll()
    assert sum(asked.startswith("GET /") and asked.endswith(".whl") for asked in place.asked) == 2


def test_a_listing_that_leads_elsewhere_is_not_followed(place: CommitPlace, tmp_path: Path) -> None:
    place.publish("a" * 40, 7, elsewhere="https://elsewhere.example")
    with pytest.raises(SourceLiedError, match="no commit's folder there"):
        source(place, tmp_path).poll()


@pytest.mark.parametrize("content", [b"<html>", b"{}", b'[{"filename": 1}]'])
def test_what_is_no_listing_is_told(place: CommitPlace, tmp_path: Path, content: bytes) -> None:
    place.files["/nightly/cpu/vllm/metadata.json"] = content
    with pytest.raises(SourceLiedError, match="no listing of wheels"):
        source(place, tmp_path).poll()


def test_a_variant_that_is_not_there_is_a_source_that_cannot_be_read(
    place: CommitPlace, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match="404"):
        source(place, tmp_path).poll()


def test_nothing_for_this_machine_is_no_release(place: CommitPlace, tmp_path: Path) -> None:
    place.files["/nightly/cpu/vllm/metadata.json"] = b"[]"
    assert source(place, tmp_path).poll() == ()


def test_without_a_variant_nothing_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs variant"):
        SourceSettings(project="vllm", kind="commit-wheels", channel="nightly")
    with Http() as http, pytest.raises(ConfigurationError):
        CommitWheels(SourceSettings(project="vllm"), http, folder=None, clock=lambda: NOW)


# ---------------------------------------------------------------------------------------------
# Any commit


OLD, OTHER = "0123456789" * 4, "9876543210" * 4


def test_any_commit_is_read_once_and_then_a_release_like_those_of_a_look(
    place: CommitPlace, tmp_path: Path
) -> None:
    filename, content = place.keep(OLD, 3)
    place.publish("a" * 40, 7)
    found = source(place, tmp_path).of_commit(OLD)
    assert found is not None
    (artifact,) = found.artifacts
    assert (found.version, artifact.filename) == ("0.33.1.dev3+g012345678.cpu", filename)
    assert artifact.sha256 == hashlib.sha256(content).hexdigest()
    assert artifact.url == f"{place.address}/{OLD}/{filename.replace('+', '%2B')}"
    assert source(place, tmp_path).of_commit(OLD) == found
    # The next look is at the newest one all the same, and lists both.
    listed = source(place, tmp_path).poll()
    assert [release.version[:13] for release in listed] == ["0.33.1.dev3+g", "0.33.1.dev7+g"]
    assert place.read() == [OLD, "a" * 40]
    assert place.looked_up() == [OLD, "nightly"]


def test_a_commit_without_a_wheel_for_this_machine_is_none(place: CommitPlace, tmp_path: Path) -> None:
    asked = source(place, tmp_path)
    assert asked.of_commit(OLD) is None
    filename, _ = place.keep(OLD, 3)
    listed = place.files[f"/{OLD}/cpu/vllm/metadata.json"]
    place.files[f"/{OLD}/cpu/vllm/metadata.json"] = b"[]"
    assert asked.of_commit(OLD) is None
    # Still listed, but taken away.
    place.files[f"/{OLD}/cpu/vllm/metadata.json"] = listed
    del place.files[f"/{OLD}/{filename.replace('+', '%2B')}"]
    assert asked.of_commit(OLD) is None


def test_a_list_that_leads_to_another_host_or_commit_is_not_followed(
    place: CommitPlace, tmp_path: Path
) -> None:
    for elsewhere in (f"https://elsewhere.example/{OLD}", f"//elsewhere.example/{OLD}", f"../../../{OTHER}"):
        place.keep(OLD, 3, elsewhere=elsewhere)
        with pytest.raises(SourceLiedError, match="no commit's folder there"):
            source(place, tmp_path).of_commit(OLD)
    place.keep(OLD, 3)
    listing = f"/{OLD}/cpu/vllm/metadata.json"
    place.files[listing] = place.files[listing].replace(b"g012345678", b"g987654321")
    with pytest.raises(SourceLiedError, match="does not say that it is of this commit"):
        source(place, tmp_path).of_commit(OLD)
    assert place.read() == []


def test_a_place_that_does_not_answer_is_no_commit_without_a_wheel(
    place: CommitPlace, tmp_path: Path
) -> None:
    place.keep(OLD, 3)
    for faults in ([503], [200, 200, 502]):
        place.faults = faults
        with pytest.raises(SourceError):
            source(place, tmp_path).of_commit(OLD)


def test_two_processes_that_read_at_once_both_remember(place: CommitPlace, tmp_path: Path) -> None:
    for commit in (OLD, OTHER):
        place.keep(commit, 3)
    first = source(place, tmp_path)
    read = first._http.digest

    def meanwhile(*arguments: Any, **named: Any) -> tuple[str, int]:
        source(place, tmp_path).of_commit(OTHER)
        return read(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first._http, "digest", meanwhile)
        first.of_commit(OLD)
    place.publish("a" * 40, 7)
    assert len(source(place, tmp_path).poll()) == 3


def test_the_wheel_of_a_commit_installs_from_where_it_lies(place: CommitPlace, tmp_path: Path) -> None:
    place.keep(OLD, 3)
    found = source(place, tmp_path).of_commit(OLD)
    assert found is not None
    built = made(tmp_path).provision(found.artifacts[0], SourceSettings(project="vllm"))
    assert built.packages == (Package("vllm", found.version, found.artifacts[0].sha256),)
