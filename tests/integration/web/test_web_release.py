"""The page of a release, and HEAD as those ask who only want to know whether the service answers."""

from __future__ import annotations

from datetime import timedelta

import pytest

from factory_values import HOSTILE
from monitor.domain import Artifact, Release
from monitor.steps.station import Station
from monitor.store.queries import listings
from standins.web import Recorder
from standins.web_reading import client_of


def record(station: Station, *, name: str = "llama-b9300.tar.gz", notes: str = "") -> None:
    now = station.clock()
    sha256 = name.encode().hex()[:64].ljust(64, "0")
    file = Artifact(
        "llama.cpp",
        "9300",
        name,
        sha256,
        "https://x.example/f",
        3 * 2**20,
        uploaded_at=now - timedelta(hours=2),
    )
    page = "https://github.com/ggml-org/llama.cpp/releases/tag/b9300"
    made = [
        Release("llama.cpp", "9300", channel, (file,), now, notes, page) for channel in ("nightly", "stable")
    ]
    with station.store.write() as db:
        listings.record(db, made, source="https://github.com/ggml-org/llama.cpp/releases", now=now)


def test_a_release_shows_its_files_and_what_its_makers_say(quiet: Station) -> None:
    client = client_of(quiet, Recorder())
    record(quiet, name="older.tar.gz")
    record(quiet, notes="Faster **MTP**\n<script>alert(1)</script>" + HOSTILE)
    text = client.get("/releases/llama.cpp/9300").text
    assert "llama-b9300.tar.gz" in text
    assert "3.0 MiB" in text
    assert 'older.tar.gz <span class="tag">no longer listed</span>' in text
    assert "Faster **MTP**\n&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script>alert" not in text
    assert text.count('class="tag">nightly<') == text.count('class="tag">stable<') == 1
    assert "/releases/llama.cpp/9300" in client.get("/releases").text
    told = client.get("/api/v1/releases/llama.cpp/9300").json()
    assert told["page"] == "https://github.com/ggml-org/llama.cpp/releases/tag/b9300"
    assert len(told["files"]) == 2
    assert client.get("/releases/llama.cpp/1").status_code == 404


@pytest.mark.parametrize(
    "path", ["/", "/releases", "/healthz", "/metrics", "/api/v1/status", "/static/icon.svg"]
)
def test_head_is_answered_as_get_without_the_body(quiet: Station, path: str) -> None:
    client = client_of(quiet, Recorder())
    got, asked = client.get(path), client.head(path)
    assert asked.status_code == got.status_code != 405
    assert asked.content == b""
    assert asked.headers["content-type"] == got.headers["content-type"]
    assert client.head("/nothing").status_code == 404
