"""GitHub on loopback: releases, files, feed and commits as its documentation describes them, limits included.

with GithubServer(clock) as github:
    github.release("b9300", files={"llama-b9300-bin-ubuntu-x64.tar.gz": b"…"}, prerelease=True)
    github.settings()                    # how the monitor is told to ask it
    github.faults.append(Fault.SECONDARY)  # what the next request to the API gets instead of an answer

The schema: https://docs.github.com/en/rest/releases/releases, https://docs.github.com/en/rest/commits/commits.
The limits: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api. Every request
that comes while it is forbidden is a `violation`. Files are on a second host, as GitHub's are.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

from monitor.settings_tables import GithubSettings

REPOSITORY = "ggml-org/llama.cpp"
_FILES = f"/{REPOSITORY}/releases/download/"
_FEED_ENTRIES = 10


class Fault(StrEnum):
    SECONDARY = "403 with Retry-After"
    SECONDARY_BARE = "403 that names no moment"
    BUSY = "429 with Retry-After"
    FORBIDDEN = "403 that has nothing to do with limits"
    SERVER_ERROR = "500"
    PORTAL = "html with 200"
    TRUNCATED = "the beginning of the answer"
    OTHER_JSON = "JSON that is no list of releases"
    HUGE = "without end, fast"
    DRIPPING = "byte by byte, without end"


_JSON = "application/json; charset=utf-8"
_SECONDARY = b'{"message": "You have exceeded a secondary rate limit. Please wait a few minutes."}'
_ANSWERS = {
    Fault.SECONDARY: (403, _SECONDARY, _JSON),
    Fault.SECONDARY_BARE: (403, _SECONDARY, _JSON),
    Fault.BUSY: (429, _SECONDARY, _JSON),
    Fault.FORBIDDEN: (403, b'{"message": "Repository access blocked"}', _JSON),
    Fault.SERVER_ERROR: (502, b"<html>Unicorn!</html>", "text/html"),
    Fault.PORTAL: (200, b"<!doctype html><title>Log in</title>", "text/html; charset=utf-8"),
    Fault.TRUNCATED: (200, b'[{"id": 1, "tag_na', _JSON),
    Fault.OTHER_JSON: (200, b'{"hello": "world"}', _JSON),
}
PAUSES = {Fault.SECONDARY: 120, Fault.BUSY: 90}
"""Seconds that are named in Retry-After."""


@dataclass(frozen=True, slots=True)
class Request:
    place: str
    """`api`, `web` or `files`."""
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    at: datetime
    status: int
    counted: bool


@dataclass
class _File:
    id: int
    name: str
    content: bytes
    state: str
    at: datetime


@dataclass
class _Release:
    id: int
    tag: str
    prerelease: bool
    draft: bool
    body: str
    created_at: datetime
    published_at: datetime
    files: dict[str, _File] = field(default_factory=dict)


@dataclass
class _Window:
    """What one identity has used of its hour."""

    begins: datetime
    used: int = 0
    told: bool = False
    """An answer has said that nothing is left."""


class GithubServer:
    """`.api` counts against the limit, `.web` does not. Attributes may be changed at any time."""

    def __init__(self, clock: Callable[[], datetime], *, token: str = "", limit: int | None = None) -> None:
        self.token = token
        """The one that is accepted; with "" all are refused."""
        self.limits = {"": limit or 60, token: limit or 5000} if token else {"": limit or 60}
        self.faults: list[Fault] = []
        self.feed_is_down = False
        self.requests: list[Request] = []
        self.violations: list[str] = []
        self.commits: list[str] = []
        """Titles of the commits of the default branch, oldest first; the build number is the place + 1."""
        self.tags: dict[str, int] = {}
        """Tag or sha → how many commits it has behind it and itself."""
        self._clock = clock
        self._releases: dict[int, _Release] = {}
        self._numbers = itertools.count(1000)
        self._windows: dict[str, _Window] = {}
        self._paused_until: datetime | None = None
        self._over = threading.Event()
        self._servers: dict[str, ThreadingHTTPServer] = {}
        self._threads: list[threading.Thread] = []

    # -----------------------------------------------------------------------------------------
    # What is released

    def release(
        self,
        tag: str,
        *,
        files: dict[str, bytes] | None = None,
        prerelease: bool = False,
        draft: bool = False,
        body: str = "",
        created_at: datetime | None = None,
    ) -> None:
        """Publish a release now, with files that are complete."""
        now = self._clock()
        made = _Release(
            next(self._numbers), tag, prerelease, draft, body, created_at=created_at or now, published_at=now
        )
        self._releases[made.id] = made
        for name, content in (files or {}).items():
            self.upload(tag, name, content)

    def upload(self, tag: str, name: str, content: bytes, *, state: str = "uploaded") -> None:
        """Add a file to a release, or put another in its place: GitHub gives that a number of its own."""
        self._find(tag).files[name] = _File(next(self._numbers), name, content, state, self._clock())

    def promote(self, version: str, build: str) -> None:
        """Publish what llama.cpp calls a release: no files but the one that names a build."""
        self.release(version, files={"nightly-tag.txt": f"{build}\n".encode()}, body=f"Changes of {version}")

    def delete(self, tag: str) -> None:
        """Take a release away, with its files."""
        del self._releases[self._find(tag).id]

    def edit(self, tag: str, **changes: Any) -> None:
        """Change what is said of a release."""
        for name, value in changes.items():
            setattr(self._find(tag), name, value)

    def use_up(self) -> None:
        """Let others who ask from the same address use up the hour."""
        self._window("", self._clock()).used = self.limits[""]

    def _find(self, tag: str) -> _Release:
        return [release for release in self._releases.values() if release.tag == tag][-1]

    # -----------------------------------------------------------------------------------------
    # What a test asks

    @property
    def api(self) -> str:
        return f"{self._root('main')}/api/v3"

    @property
    def web(self) -> str:
        return self._root("main")

    def settings(self, **changes: Any) -> GithubSettings:
        """Return how the monitor is told to ask here."""
        hosts = (urlsplit(self._root("files")).netloc,)
        return GithubSettings(**{"api_url": self.api, "web_url": self.web, "file_hosts": hosts} | changes)

    def counted(self) -> int:
        """Return how many requests have counted against a limit."""
        return sum(request.counted for request in self.requests)

    def busiest_hour(self) -> int:
        """Return the most requests that counted within 60 minutes, wherever these begin."""
        moments = sorted(request.at for request in self.requests if request.counted)
        return max(
            (sum(begin <= at < begin + timedelta(hours=1) for at in moments) for begin in moments), default=0
        )

    def asked(self, part: str) -> list[Request]:
        """Return the requests whose path holds `part`, in order."""
        return [request for request in self.requests if part in request.path]

    # -----------------------------------------------------------------------------------------
    # Serving

    def __enter__(self) -> Self:
        for name in ("main", "files"):
            server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(name))
            # Joined on close: no thread outlives the test.
            server.daemon_threads = False
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            self._servers[name] = server
            self._threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for server in self._servers.values():
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()

    def _root(self, name: str) -> str:
        return f"http://127.0.0.1:{self._servers[name].server_port}"

    def _handler(self, name: str) -> type[BaseHTTPRequestHandler]:
        github = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                exchange = _Exchange(self, unquote(parts.path), parse_qs(parts.query), github._clock())
                exchange.requests = github.requests
                try:
                    if name == "files":
                        exchange.place = "files"
                        github._file(exchange)
                    elif exchange.path.startswith("/api/v3/"):
                        exchange.path = exchange.path.removeprefix("/api/v3")
                        github._api(exchange)
                    else:
                        github._web(exchange)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client has seen enough

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        return Handler

    # -----------------------------------------------------------------------------------------
    # The API

    def _api(self, exchange: _Exchange) -> None:
        exchange.place = "api"
        given = exchange.asked.get("authorization", "")
        identity = given.removeprefix("Bearer ")
        if given and identity != self.token:
            exchange.send_json(401, {"message": "Bad credentials"})
            return
        window, limit = self._window(identity, exchange.at), self.limits[identity]
        if exchange.path == "/rate_limit":
            exchange.headers |= _limits(window, limit)
            core = {"limit": limit, "remaining": max(limit - window.used, 0), "used": window.used}
            exchange.send_json(200, {"resources": {"core": core}, "rate": core})
            return
        if self._paused_until is not None and exchange.at < self._paused_until:
            self.violations.append(f"{exchange.at}: {exchange.path} before {self._paused_until}")
        if window.used >= limit:
            if window.told:
                self.violations.append(f"{exchange.at}: {exchange.path} although nothing was left")
            exchange.headers |= _limits(window, limit)
            exchange.send_json(403, {"message": "API rate limit exceeded for 127.0.0.1."})
        elif self.faults:
            self._break(exchange, self.faults.pop(0), window, limit)
        else:
            self._serve(exchange, identity, window, limit)

    def _serve(self, exchange: _Exchange, identity: str, window: _Window, limit: int) -> None:
        status, document, links = self._answer(exchange)
        etag = '"' + hashlib.sha256(json.dumps([document, identity]).encode()).hexdigest()[:32] + '"'
        unchanged = status == 200 and exchange.asked.get("if-none-match") == etag
        if not (unchanged and identity):
            window.used += 1
            exchange.counted = True
        exchange.headers |= _limits(window, limit)
        if status == 200:
            exchange.headers |= {"ETag": etag, "Cache-Control": "public, max-age=60, s-maxage=60"}
        if links:
            exchange.headers["Link"] = ", ".join(f'<{url}>; rel="{rel}"' for rel, url in links.items())
        if unchanged:
            exchange.send(304, b"", "")
        else:
            exchange.send_json(status, document)

    def _window(self, identity: str, now: datetime) -> _Window:
        window = self._windows.get(identity)
        if window is None or now >= window.begins + timedelta(hours=1):
            window = self._windows[identity] = _Window(now)
        return window

    def _answer(self, exchange: _Exchange) -> tuple[int, Any, dict[str, str]]:
        parts = exchange.path.strip("/").split("/")
        missing: tuple[int, Any, dict[str, str]] = (404, {"message": "Not Found"}, {})
        if parts[:1] != ["repos"] or "/".join(parts[1:3]) != REPOSITORY:
            return missing
        match parts[3:]:
            case ["releases"]:
                # By the date of the commit, newest first; drafts are seen by those who may write.
                listed = sorted(
                    (one for one in self._releases.values() if not one.draft),
                    key=lambda one: (one.created_at, one.id),
                    reverse=True,
                )
                return self._paged(exchange, [self._release_json(one) for one in listed])
            case ["releases", "latest"]:
                latest = [one for one in self._releases.values() if not one.draft and not one.prerelease]
                return (200, self._release_json(latest[-1]), {}) if latest else missing
            case ["releases", "tags", tag]:
                found = [one for one in self._releases.values() if one.tag == tag and not one.draft]
                return (200, self._release_json(found[-1]), {}) if found else missing
            case ["compare", span]:
                return self._compare(exchange, *span.split("..."))
        return missing

    def _paged(self, exchange: _Exchange, entries: list[Any]) -> tuple[int, Any, dict[str, str]]:
        page = int(exchange.query.get("page", ["1"])[0])
        size = min(int(exchange.query.get("per_page", ["30"])[0]), 100)
        last = max((len(entries) + size - 1) // size, 1)
        url = f"{self.api}{exchange.path}?per_page={size}&page="
        links = {}
        if page > 1:
            links |= {"prev": f"{url}{page - 1}", "first": f"{url}1"}
        if page < last:
            links |= {"next": f"{url}{page + 1}", "last": f"{url}{last}"}
        return 200, entries[(page - 1) * size : page * size], links

    def _release_json(self, one: _Release) -> dict[str, Any]:
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
            "created_at": _stamp(one.created_at),
            "published_at": _stamp(one.published_at),
            "author": {"login": "github-actions[bot]", "id": 41898282, "type": "Bot"},
            "assets": [self._asset_json(one, file) for file in one.files.values()],
            "body": one.body,
        }

    def _asset_json(self, release: _Release, file: _File) -> dict[str, Any]:
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
            "created_at": _stamp(file.at),
            "updated_at": _stamp(file.at),
            "browser_download_url": f"{self.web}{_FILES}{release.tag}/{quote(file.name)}",
        }

    def _compare(self, exchange: _Exchange, base: str, head: str) -> tuple[int, Any, dict[str, str]]:
        if base not in self.tags or head not in self.tags:
            return 404, {"message": "Not Found"}, {}
        old, new = self.tags[base], self.tags[head]
        between = [self._commit_json(number) for number in range(old + 1, new + 1)]
        status, page, links = self._paged(exchange, between)
        document = {
            "html_url": f"{self.web}/{REPOSITORY}/compare/{base}...{head}",
            "status": "identical" if old == new else "ahead" if new > old else "behind",
            "ahead_by": max(new - old, 0),
            "behind_by": max(old - new, 0),
            "total_commits": max(new - old, 0),
            "commits": page,
        }
        return status, document, links

    def _commit_json(self, number: int) -> dict[str, Any]:
        sha = hashlib.sha1(str(number).encode(), usedforsecurity=False).hexdigest()
        title = self.commits[number - 1] if number <= len(self.commits) else f"change {number} (#{number})"
        who = {"name": "A Developer", "email": "dev@example.org", "date": "2026-11-01T12:00:00Z"}
        return {
            "sha": sha,
            "html_url": f"{self.web}/{REPOSITORY}/commit/{sha}",
            "commit": {"message": f"{title}\n\nlonger words", "author": who, "committer": who},
            "author": {"login": "developer"},
            "parents": [],
        }

    def _break(self, exchange: _Exchange, fault: Fault, window: _Window, limit: int) -> None:
        window.used += 1
        exchange.counted = True
        exchange.headers |= _limits(window, limit)
        if fault in PAUSES:
            self._paused_until = exchange.at + timedelta(seconds=PAUSES[fault])
            exchange.headers["Retry-After"] = str(PAUSES[fault])
        if fault is Fault.SECONDARY_BARE:
            self._paused_until = exchange.at + timedelta(minutes=1)
        if fault in _ANSWERS:
            exchange.send(*_ANSWERS[fault])
        elif fault is Fault.HUGE:
            exchange.slowly(itertools.repeat(b"[" * 2**20), 0.0, self._over)
        else:
            exchange.slowly(itertools.repeat(b" "), 0.1, self._over)

    # -----------------------------------------------------------------------------------------
    # The site

    def _web(self, exchange: _Exchange) -> None:
        exchange.place = "web"
        if exchange.path == f"/{REPOSITORY}/releases.atom":
            if self.feed_is_down:
                exchange.send(503, b"", "text/plain")
            else:
                exchange.send(200, self._feed(), "application/atom+xml; charset=utf-8")
            return
        tag, _, name = exchange.path.removeprefix(_FILES).partition("/")
        found = [one for one in self._releases.values() if one.tag == tag and name in one.files]
        if not exchange.path.startswith(_FILES) or not found:
            exchange.send(404, b"Not Found", "text/plain")
            return
        file = found[-1].files[name]
        exchange.headers["Location"] = f"{self._root('files')}/assets/{file.id}?sig=signed"
        exchange.send(302, b"", "text/html")

    def _feed(self) -> bytes:
        newest = sorted(
            (one for one in self._releases.values() if not one.draft), key=lambda one: one.published_at
        )
        entries = "".join(
            f"<entry><id>tag:github.com,2008:Repository/612354784/{one.tag}</id>"
            f"<updated>{_stamp(one.published_at)}</updated><title>{one.tag}</title></entry>"
            for one in reversed(newest[-_FEED_ENTRIES:])
        )
        return f'<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom">{entries}</feed>'.encode()

    def _file(self, exchange: _Exchange) -> None:
        number = int(exchange.path.rpartition("/")[2])
        every = {file.id: file for one in self._releases.values() for file in one.files.values()}
        if "authorization" in exchange.asked:
            self.violations.append("a token was sent to the host of the files")
        if number not in every:
            exchange.send(404, b"", "text/plain")
        else:
            exchange.send(200, every[number].content, "application/octet-stream")


class _Exchange:
    """One request and its answer."""

    def __init__(
        self, handler: BaseHTTPRequestHandler, path: str, query: dict[str, list[str]], at: datetime
    ) -> None:
        self._handler = handler
        self.path, self.query, self.at = path, query, at
        self.asked = {name.lower(): value for name, value in handler.headers.items()}
        self.headers: dict[str, str] = {}
        self.place = "web"
        self.counted = False
        self.requests: list[Request] = []

    def send_json(self, status: int, document: Any) -> None:
        self.send(status, json.dumps(document).encode(), "application/json; charset=utf-8")

    def send(self, status: int, body: bytes, content_type: str) -> None:
        self._begin(status, {"Content-Type": content_type, "Content-Length": str(len(body))})
        if status != 304:
            self._handler.wfile.write(body)

    def slowly(self, chunks: Iterable[bytes], pause_s: float, over: threading.Event) -> None:
        self._begin(200, {"Content-Type": "application/json"})
        for chunk in chunks:
            if over.wait(pause_s):
                return
            self._handler.wfile.write(chunk)

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        # Before the answer: who has it may look.
        self.requests.append(
            Request(self.place, self._handler.path, self.asked, self.at, status, self.counted)
        )
        self._handler.send_response(status)
        for name, value in (headers | self.headers).items():
            if value:
                self._handler.send_header(name, value)
        self._handler.end_headers()


def _limits(window: _Window, limit: int) -> dict[str, str]:
    window.told = window.told or window.used >= limit
    return {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(max(limit - window.used, 0)),
        "X-RateLimit-Used": str(window.used),
        # A whole second, never before the hour is over.
        "X-RateLimit-Reset": str(int((window.begins + timedelta(hours=1)).timestamp()) + 1),
        "X-RateLimit-Resource": "core",
    }


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
