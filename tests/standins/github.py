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
from collections.abc import Callable
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from monitor.settings_tables import GithubSettings
from standins.github_documents import DOWNLOADS, REPOSITORY, Documents, File, Release, feed
from standins.github_exchange import ANSWERS, PAUSES, Exchange, Fault, Request, Window, limits
from standins.loopback import Loopback


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
        self.branched: dict[str, int] = {}
        """Tag of a release on a branch of its own → how many commits of the default branch it has."""
        self._clock = clock
        self._releases: dict[int, Release] = {}
        self._numbers = itertools.count(1000)
        self._windows: dict[str, Window] = {}
        self._paused_until: datetime | None = None
        self._over = threading.Event()
        self._served: dict[str, Loopback] = {}

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
        made = Release(
            next(self._numbers), tag, prerelease, draft, body, created_at=created_at or now, published_at=now
        )
        self._releases[made.id] = made
        for name, content in (files or {}).items():
            self.upload(tag, name, content)

    def upload(self, tag: str, name: str, content: bytes, *, state: str = "uploaded") -> None:
        """Add a file to a release, or put another in its place: GitHub gives that a number of its own."""
        self._find(tag).files[name] = File(next(self._numbers), name, content, state, self._clock())

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

    def _find(self, tag: str) -> Release:
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
        self._served = {name: Loopback(self._handler(name)) for name in ("main", "files")}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for one in self._served.values():
            one.close()

    def _root(self, name: str) -> str:
        return self._served[name].url

    @property
    def _documents(self) -> Documents:
        return Documents(self.api, self.web)

    def _handler(self, name: str) -> type[BaseHTTPRequestHandler]:
        github = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                exchange = Exchange(self, unquote(parts.path), parse_qs(parts.query), github._clock())
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

        return Handler

    # -----------------------------------------------------------------------------------------
    # The API

    def _api(self, exchange: Exchange) -> None:
        exchange.place = "api"
        given = exchange.asked.get("authorization", "")
        identity = given.removeprefix("Bearer ")
        if given and identity != self.token:
            exchange.send_json(401, {"message": "Bad credentials"})
            return
        window, limit = self._window(identity, exchange.at), self.limits[identity]
        if exchange.path == "/rate_limit":
            exchange.headers |= limits(window, limit)
            core = {"limit": limit, "remaining": max(limit - window.used, 0), "used": window.used}
            exchange.send_json(200, {"resources": {"core": core}, "rate": core})
            return
        if self._paused_until is not None and exchange.at < self._paused_until:
            self.violations.append(f"{exchange.at}: {exchange.path} before {self._paused_until}")
        if window.used >= limit:
            if window.told:
                self.violations.append(f"{exchange.at}: {exchange.path} although nothing was left")
            exchange.headers |= limits(window, limit)
            exchange.send_json(403, {"message": "API rate limit exceeded for 127.0.0.1."})
        elif self.faults:
            self._break(exchange, self.faults.pop(0), window, limit)
        else:
            self._serve(exchange, identity, window, limit)

    def _serve(self, exchange: Exchange, identity: str, window: Window, limit: int) -> None:
        status, document, links = self._answer(exchange)
        etag = '"' + hashlib.sha256(json.dumps([document, identity]).encode()).hexdigest()[:32] + '"'
        unchanged = status == 200 and exchange.asked.get("if-none-match") == etag
        if not (unchanged and identity):
            window.used += 1
            exchange.counted = True
        exchange.headers |= limits(window, limit)
        if status == 200:
            exchange.headers |= {"ETag": etag, "Cache-Control": "public, max-age=60, s-maxage=60"}
        if links:
            exchange.headers["Link"] = ", ".join(f'<{url}>; rel="{rel}"' for rel, url in links.items())
        if unchanged:
            exchange.send(304, b"", "")
        else:
            exchange.send_json(status, document)

    def _window(self, identity: str, now: datetime) -> Window:
        window = self._windows.get(identity)
        if window is None or now >= window.begins + timedelta(hours=1):
            window = self._windows[identity] = Window(now)
        return window

    def _answer(self, exchange: Exchange) -> tuple[int, Any, dict[str, str]]:
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
                return self._paged(exchange, [self._documents.release(one) for one in listed])
            case ["releases", "latest"]:
                latest = [one for one in self._releases.values() if not one.draft and not one.prerelease]
                return (200, self._documents.release(latest[-1]), {}) if latest else missing
            case ["releases", "tags", tag]:
                found = [one for one in self._releases.values() if one.tag == tag and not one.draft]
                return (200, self._documents.release(found[-1]), {}) if found else missing
            case ["compare", span]:
                return self._compare(exchange, *span.split("..."))
        return missing

    def _paged(self, exchange: Exchange, entries: list[Any]) -> tuple[int, Any, dict[str, str]]:
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

    def _compare(self, exchange: Exchange, base: str, head: str) -> tuple[int, Any, dict[str, str]]:
        if base not in self.tags or head not in self.tags:
            return 404, {"message": "Not Found"}, {}
        old, new = self.branched.get(base, self.tags[base]), self.tags[head]
        between = [self._documents.commit(number, self.commits) for number in range(old + 1, new + 1)]
        straight = "identical" if old == new else "ahead" if new > old else "behind"
        status, page, links = self._paged(exchange, between)
        document = {
            "html_url": f"{self.web}/{REPOSITORY}/compare/{base}...{head}",
            "status": "diverged" if base in self.branched else straight,
            "merge_base_commit": self._documents.commit(min(old, new), self.commits),
            "ahead_by": max(new - old, 0),
            "behind_by": max(old - new, 0),
            "total_commits": max(new - old, 0),
            "commits": page,
        }
        return status, document, links

    def _break(self, exchange: Exchange, fault: Fault, window: Window, limit: int) -> None:
        window.used += 1
        exchange.counted = True
        exchange.headers |= limits(window, limit)
        if fault in PAUSES:
            self._paused_until = exchange.at + timedelta(seconds=PAUSES[fault])
            exchange.headers["Retry-After"] = str(PAUSES[fault])
        if fault is Fault.SECONDARY_BARE:
            self._paused_until = exchange.at + timedelta(minutes=1)
        if fault in ANSWERS:
            exchange.send(*ANSWERS[fault])
        elif fault is Fault.HUGE:
            exchange.slowly(itertools.repeat(b"[" * 2**20), 0.0, self._over)
        else:
            exchange.slowly(itertools.repeat(b" "), 0.1, self._over)

    # -----------------------------------------------------------------------------------------
    # The site

    def _web(self, exchange: Exchange) -> None:
        exchange.place = "web"
        if exchange.path == f"/{REPOSITORY}/releases.atom":
            if self.feed_is_down:
                exchange.send(503, b"", "text/plain")
            else:
                exchange.send(200, feed(self._releases.values()), "application/atom+xml; charset=utf-8")
            return
        tag, _, name = exchange.path.removeprefix(DOWNLOADS).partition("/")
        found = [one for one in self._releases.values() if one.tag == tag and name in one.files]
        if not exchange.path.startswith(DOWNLOADS) or not found:
            exchange.send(404, b"Not Found", "text/plain")
            return
        file = found[-1].files[name]
        exchange.headers["Location"] = f"{self._root('files')}/assets/{file.id}?sig=signed"
        exchange.send(302, b"", "text/html")

    def _file(self, exchange: Exchange) -> None:
        number = int(exchange.path.rpartition("/")[2])
        every = {file.id: file for one in self._releases.values() for file in one.files.values()}
        if "authorization" in exchange.asked:
            self.violations.append("a token was sent to the host of the files")
        if number not in every:
            exchange.send(404, b"", "text/plain")
        else:
            exchange.send(200, every[number].content, "application/octet-stream")
