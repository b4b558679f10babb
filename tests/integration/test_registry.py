"""Container registries: tags and digests, with a token that anybody is given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import pytest

from monitor.domain import Artifact, ReleaseState, is_image
from monitor.errors import SourceError, SourceLiedError
from monitor.net import Http
from monitor.releases.policy import decide
from monitor.releases.registry import NEWEST, Registry
from monitor.settings_tables import SourceSettings
from standins.loopback import Loopback

NAME = "ggml-org/llama.cpp"
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


class RegistryServer:
    """`tags`: tag → content of its manifest. It gives a token to everybody and wants one, as GHCR does."""

    def __init__(self) -> None:
        self.tags: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.page = 100
        self.is_busy = False

    @property
    def host(self) -> str:
        return self._served.host

    def __enter__(self) -> Self:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.answer(self)

            do_HEAD = do_GET  # noqa: N815

        self._served = Loopback(Handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._served.close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts, query = urlsplit(handler.path), parse_qs(urlsplit(handler.path).query)
        self.asked.append((handler.command, handler.path))
        realm = f"http://{self.host}/token"
        if parts.path == "/token":
            assert query == {"service": ["here"], "scope": [f"repository:{NAME}:pull"]}
            _send(handler, 200, json.dumps({"token": "anonymous"}).encode())
        elif self.is_busy:
            _send(handler, 429, b"{}", {"Retry-After": "60"})
        elif handler.headers.get("Authorization") != "Bearer anonymous":
            challenge = f'Bearer realm="{realm}",service="here",scope="repository:{NAME}:pull"'
            _send(handler, 401, b"{}", {"WWW-Authenticate": challenge})
        elif parts.path == f"/v2/{NAME}/tags/list":
            # https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-tags
            last = query.get("last", [""])[0]
            rest = sorted(tag for tag in self.tags if tag > last)
            page = rest[: self.page]
            link = f'</v2/{NAME}/tags/list?n=1000&last={page[-1]}>; rel="next"' if rest[self.page :] else ""
            _send(handler, 200, json.dumps({"name": NAME, "tags": page}).encode(), {"Link": link})
        else:
            content = self.tags.get(parts.path.removeprefix(f"/v2/{NAME}/manifests/"))
            digest = f"sha256:{hashlib.sha256(content or b'').hexdigest()}"
            if content is None:
                _send(handler, 404, b"{}")
            else:
                _send(handler, 200, content, {"Docker-Content-Digest": digest})


def _send(
    handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        if value:
            handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        yield server


def settings(registry: RegistryServer, **changes: Any) -> SourceSettings:
    given = {
        "project": "llama.cpp",
        "kind": "registry",
        "image": f"{registry.host}/{NAME}",
        "tag": "server-cuda-b{version}",
        **changes,
    }
    return SourceSettings(**given)


@pytest.fixture
def http() -> Iterator[Http]:
    with Http() as opened:
        yield opened


def test_versions_are_read_from_tags_and_pinned_by_digest(
    registry: RegistryServer, http: Http, tmp_path: Path
) -> None:
    registry.page = 2
    for tag in ("server-cuda-b9300", "server-cuda-b10001", "server-b9300", "server-cuda-bx", "latest"):
        registry.tags[tag] = tag.encode()
    found = Registry(settings(registry), http, folder=tmp_path, clock=lambda: NOW).poll()
    assert [one.version for one in found] == ["9300", "10001"]
    (image,) = found[0].artifacts
    digest = hashlib.sha256(b"server-cuda-b9300").hexdigest()
    assert image.sha256 == digest
    assert image.url == f"docker://{registry.host}/{NAME}@sha256:{digest}"
    assert is_image(image)
    assert image.filename == "server-cuda-b9300"
    assert [method for method, path in registry.asked if "manifests" in path] == ["HEAD", "HEAD"]
    assert sum(path.startswith("/token") for _, path in registry.asked) == 1


def test_the_age_of_an_image_counts_from_when_it_was_first_seen(
    registry: RegistryServer, http: Http, tmp_path: Path
) -> None:
    registry.tags["server-cuda-b9300"] = b"first"

    def look(now: datetime) -> tuple[ReleaseState, Artifact]:
        found = Registry(settings(registry), http, folder=tmp_path, clock=lambda: now).poll()
        (decision,) = decide(found, settings(registry), now=now, python_version="3.11")
        return decision.state, found[0].artifacts[0]

    assert look(NOW)[0] is ReleaseState.SETTLING
    state, image = look(NOW + timedelta(minutes=31))
    assert state is ReleaseState.AGED
    assert image.uploaded_at == NOW
    registry.tags["server-cuda-b9300"] = b"second"
    state, moved = look(NOW + timedelta(hours=2))
    assert state is ReleaseState.SETTLING
    assert moved.sha256 != image.sha256


def test_only_the_newest_of_many_tags_are_asked_about(
    registry: RegistryServer, http: Http, tmp_path: Path
) -> None:
    registry.tags = {f"server-cuda-b{build}": b"x" for build in range(9300, 9400)}
    read = Registry(settings(registry), http, folder=tmp_path, clock=lambda: NOW)
    assert [one.version for one in read.poll()] == [str(build) for build in range(9400 - NEWEST, 9400)]
    assert read.since == NOW


def test_a_registry_in_trouble_says_so(registry: RegistryServer, http: Http, tmp_path: Path) -> None:
    read = Registry(settings(registry), http, folder=tmp_path, clock=lambda: NOW)
    with pytest.raises(SourceLiedError, match="no tag of"):
        read.poll()
    registry.is_busy = True
    with pytest.raises(SourceError, match="answered 429") as error:
        read.poll()
    assert error.value.retry_after_s == 60
