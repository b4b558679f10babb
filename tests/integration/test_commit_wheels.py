"""vLLM's wheels of every commit, from a stand-in for the place where they lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from monitor.errors import ConfigurationError, SourceError, SourceLiedError
from monitor.net import Http
from monitor.releases.commit_wheels import CommitWheels
from monitor.settings_tables import SourceSettings
from standins.loopback import Loopback
from standins.wheels import wheel

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


class Place:
    """What the server has: address → content; and the addresses it was asked for."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []

    def publish(self, commit: str, number: int, *, elsewhere: bool = False) -> tuple[str, bytes]:
        """Let `commit` be the newest, with a wheel for here and one for another machine."""
        filename, content = wheel("vllm", f"0.33.1.dev{number}+g{commit[:9]}.cpu")
        other = filename.replace("-any.whl", "-win_arm64.whl")
        self.files[f"/{commit}/{filename.replace('+', '%2B')}"] = content
        host = "https://elsewhere.example" if elsewhere else "../../.."
        listing = [
            {"package_name": "vllm", "variant": "cpu", "filename": name, "path": f"{host}/{commit}/{quoted}"}
            for name in (other, filename)
            for quoted in [name.replace("+", "%2B")]
        ]
        self.files["/nightly/cpu/vllm/metadata.json"] = json.dumps(listing).encode()
        return filename, content


@pytest.fixture
def place() -> Iterator[Place]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self, *, body: bool) -> None:
            found = made.files.get(self.path)
            made.asked.append(f"{self.command} {self.path}")
            self.send_response(200 if found is not None else 404)
            self.send_header("Last-Modified", "Sun, 01 Nov 2026 09:30:00 GMT")
            self.send_header("Content-Length", str(len(found or b"")))
            self.send_header("Content-Type", "application/octet-stream")
            self.end_headers()
            if body:
                self.wfile.write(found or b"")

        def do_GET(self) -> None:
            self.answer(body=True)

        def do_HEAD(self) -> None:
            self.answer(body=False)

    with Loopback(Handler) as server:
        made = Place(server.url)
        yield made


def source(place: Place, folder: Path | None, *, hours: float = 0.0, **more: Any) -> CommitWheels:
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
    place: Place, tmp_path: Path
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


def test_a_commit_is_read_once_and_the_next_one_when_a_day_has_passed(place: Place, tmp_path: Path) -> None:
    place.publish("a" * 40, 7)
    source(place, tmp_path).poll()
    place.publish("b" * 40, 8)
    assert len(source(place, tmp_path, hours=5).poll()) == 1
    releases = source(place, tmp_path, hours=25).poll()
    assert [release.version[:13] for release in releases] == ["0.33.1.dev7+g", "0.33.1.dev8+g"]
    source(place, tmp_path, hours=60).poll()
    assert sum(asked.startswith("GET /") and asked.endswith(".whl") for asked in place.asked) == 2


def test_a_listing_that_leads_elsewhere_is_not_followed(place: Place, tmp_path: Path) -> None:
    place.publish("a" * 40, 7, elsewhere=True)
    with pytest.raises(SourceLiedError, match="no commit's folder there"):
        source(place, tmp_path).poll()


@pytest.mark.parametrize("content", [b"<html>", b"{}", b'[{"filename": 1}]'])
def test_what_is_no_listing_is_told(place: Place, tmp_path: Path, content: bytes) -> None:
    place.files["/nightly/cpu/vllm/metadata.json"] = content
    with pytest.raises(SourceLiedError, match="no listing of wheels"):
        source(place, tmp_path).poll()


def test_a_variant_that_is_not_there_is_a_source_that_cannot_be_read(place: Place, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="404"):
        source(place, tmp_path).poll()


def test_nothing_for_this_machine_is_no_release(place: Place, tmp_path: Path) -> None:
    place.files["/nightly/cpu/vllm/metadata.json"] = b"[]"
    assert source(place, tmp_path).poll() == ()


def test_without_a_variant_nothing_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs variant"):
        SourceSettings(project="vllm", kind="commit-wheels", channel="nightly")
    with Http() as http, pytest.raises(ConfigurationError):
        CommitWheels(SourceSettings(project="vllm"), http, folder=None, clock=lambda: NOW)
