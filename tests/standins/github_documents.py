"""What GitHub says of a release, its files and the commits, as its documentation describes it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

REPOSITORY = "ggml-org/llama.cpp"
DOWNLOADS = f"/{REPOSITORY}/releases/download/"
_FEED_ENTRIES = 10


@dataclass
class File:
    id: int
    name: str
    content: bytes
    state: str
    at: datetime


@dataclass
class Release:
    id: int
    tag: str
    prerelease: bool
    draft: bool
    body: str
    created_at: datetime
    published_at: datetime
    files: dict[str, File] = field(default_factory=dict)


@dataclass(frozen=True)
class Documents:
    """The documents of a GitHub whose API and site have these addresses."""

    api: str
    web: str

    def release(self, one: Release) -> dict[str, Any]:
        address = f"{self.api}/repos/{REPOSITORY}/releases/{one.id}"
        return {
            "url": address,
            "assets_url": f"{address}/assets",
            "html_url": f"{self.web}/{REPOSITORY}/releases/tag/{one.tag}",
            "id": one.id,
            "node_id": f"RE_{one.id}",
            "tag_name": one.tag,
            "target_commitish": "0c1e57098",
            "name": one.tag,
            "draft": one.draft,
            "immutable": False,
            "prerelease": one.prerelease,
            "created_at": stamp(one.created_at),
            "published_at": stamp(one.published_at),
            "author": {"login": "github-actions[bot]", "id": 41898282, "type": "Bot"},
            "assets": [self._asset(one, file) for file in one.files.values()],
            "body": one.body,
        }

    def _asset(self, release: Release, file: File) -> dict[str, Any]:
        complete = file.state == "uploaded"
        return {
            "url": f"{self.api}/repos/{REPOSITORY}/releases/assets/{file.id}",
            "id": file.id,
            "node_id": f"RA_{file.id}",
            "name": file.name,
            "label": "",
            "content_type": "application/gzip",
            "state": file.state,
            "size": len(file.content) if complete else 0,
            "digest": f"sha256:{hashlib.sha256(file.content).hexdigest()}" if complete else None,
            "download_count": 3,
            "created_at": stamp(file.at),
            "updated_at": stamp(file.at),
            "browser_download_url": f"{self.web}{DOWNLOADS}{release.tag}/{quote(file.name)}",
        }

    def commit(self, number: int, titles: Sequence[str]) -> dict[str, Any]:
        sha = sha_of(number)
        title = titles[number - 1] if number <= len(titles) else f"change {number} (#{number})"
        who = {"name": "A Developer", "email": "dev@example.org", "date": "2026-11-01T12:00:00Z"}
        return {
            "sha": sha,
            "html_url": f"{self.web}/{REPOSITORY}/commit/{sha}",
            "commit": {"message": f"{title}\n\nlonger words", "author": who, "committer": who},
            "author": {"login": "developer"},
            "parents": [],
        }


def sha_of(number: int) -> str:
    """Return the id of the commit of the default branch that has so many behind it and itself."""
    return hashlib.sha1(str(number).encode(), usedforsecurity=False).hexdigest()


def feed(releases: Iterable[Release]) -> bytes:
    newest = sorted((one for one in releases if not one.draft), key=lambda one: one.published_at)
    entries = "".join(
        f"<entry><id>tag:github.com,2008:Repository/612354784/{one.tag}</id>"
        f"<updated>{stamp(one.published_at)}</updated><title>{one.tag}</title></entry>"
        for one in reversed(newest[-_FEED_ENTRIES:])
    )
    return f'<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom">{entries}</feed>'.encode()


def stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
