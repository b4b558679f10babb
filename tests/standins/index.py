"""A package index on loopback that keeps to the simple API, or breaks it in the way a test asks for.

with IndexServer() as index:
    index.add("demo", *wheel("demo", "1.0"), upload_time="2026-01-01T00:00:00Z")
    ...                                  # index.url is the address of its simple API
    index.fault = Fault.PORTAL           # from now on listings are a login page with status 200
    index.fault, index.on = Fault.BUSY, "files"
"""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote, unquote, urlsplit

from packaging.utils import canonicalize_name
from pypi_simple import UnparsableFilenameError, parse_filename

from standins.loopback import Loopback

JSON_TYPE = "application/vnd.pypi.simple.v1+json"


class Fault(StrEnum):
    PORTAL = "html with 200"
    TRUNCATED = "the beginning of the answer, with the length of that"
    CUT = "the connection ends in the middle"
    SERVER_ERROR = "500"
    HUGE = "without end, fast"
    DRIPPING = "byte by byte, without end"
    WRONG_HASH = "another content than the one listed"
    BUSY = "429 with Retry-After"
    GONE = "404"


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""


@dataclass
class _File:
    content: bytes
    fields: dict[str, Any]


@dataclass
class _Page:
    files: dict[str, _File] = field(default_factory=dict)
    versions: list[str] = field(default_factory=list)
    status: dict[str, str] | None = None
    """PEP 792's `project-status`."""


class IndexServer:
    """`.url` is the simple API. Attributes may be changed at any time, from the test's thread."""

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self.on: Literal["listings", "files"] = "listings"
        """What the fault strikes."""
        self.retry_after = "7"
        self.form: Literal["json", "html"] = "json"
        """`html` answers so whatever is asked for, like an index that knows no JSON."""
        self.relative_urls = False
        self.credentials: tuple[str, str] | None = None
        self.requests: list[Request] = []
        self._pages: dict[str, _Page] = {}
        self._over = threading.Event()
        self._served: Loopback | None = None

    # -----------------------------------------------------------------------------------------
    # What it lists

    def add(self, project: str, filename: str, content: bytes, **fields: Any) -> str:
        """List a file (again with other content: a re-upload at the same address); return its sha256.

        `fields` are those of the JSON API with `_` for `-` (`upload_time`, `yanked`, `requires_python`,
        `hashes`, `size`, `url`); None leaves one out.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        known = {
            "filename": filename,
            "hashes": {"sha256": sha256},
            "size": len(content),
            "upload-time": "2026-01-02T03:04:05.678901Z",
            "yanked": False,
        }
        given = {name.replace("_", "-"): value for name, value in fields.items()}
        kept = {name: value for name, value in (known | given).items() if value is not None}
        self._page(project).files[filename] = _File(content, kept)
        return sha256

    def remove(self, project: str, filename: str) -> None:
        """Take a file away, from the listing and from its address."""
        del self._page(project).files[filename]

    def add_version(self, project: str, version: str) -> None:
        """List a version without any file."""
        self._page(project).versions.append(version)

    def set_status(self, project: str, status: str, reason: str) -> None:
        """Mark the project, as with `quarantined` (PEP 792)."""
        self._page(project).status = {"status": status, "reason": reason}

    def _page(self, project: str) -> _Page:
        return self._pages.setdefault(str(canonicalize_name(project)), _Page())

    # -----------------------------------------------------------------------------------------
    # Serving

    def __enter__(self) -> Self:
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index._answer(self)

            do_HEAD = do_GET  # noqa: N815

        self._served = Loopback(Handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        assert self._served is not None
        self._served.close()

    @property
    def root(self) -> str:
        assert self._served is not None, "only inside `with`"
        return self._served.url

    @property
    def url(self) -> str:
        return f"{self.root}/simple/"

    def url_with(self, user: str, password: str) -> str:
        return self.url.replace("://", f"://{quote(user)}:{quote(password, safe='')}@")

    def asked(self, part: str) -> list[Request]:
        """Return the requests whose path holds `part`, in order."""
        return [request for request in self.requests if part in request.path]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(handler.path).path)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.requests.append(Request(handler.command, path, headers))
        try:
            self._route(handler, path, headers)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True  # the client has seen enough

    def _route(self, handler: BaseHTTPRequestHandler, path: str, headers: dict[str, str]) -> None:
        parts = path.strip("/").split("/")
        kind = "files" if parts[0] == "files" else "listings"
        if self.credentials and headers.get("authorization") != _basic(*self.credentials):
            _send(handler, 401, b"who are you?", extra={"WWW-Authenticate": 'Basic realm="index"'})
            return
        page = self._pages.get(parts[1]) if len(parts) > 1 else None
        if kind == "files":
            file = page.files.get(parts[2]) if page and len(parts) == 3 else None
            found = (file.content, "application/octet-stream") if file else None
        else:
            found = self._listing(parts[1], page) if page else None
        if self.fault is not None and self.on == kind:
            self._break(handler, *(found or (b"", "text/plain")))
        elif found is None:
            _send(handler, 404, b"not here")
        elif kind == "files":
            # As file hosts do, for whom a name never changes its content.
            _send(handler, 200, *found, extra={"Cache-Control": "max-age=31536000, immutable"})
        else:
            _send(handler, 200, *found)

    def _listing(self, name: str, page: _Page) -> tuple[bytes, str]:
        entries = [self._entry(name, file.fields) for file in page.files.values()]
        if self.form == "html":
            return _html(entries), "text/html; charset=utf-8"
        versions = {_version(entry["filename"], name) for entry in entries}
        document = {
            "meta": {"api-version": "1.1", "_last-serial": "42"},
            "name": name,
            # As indexes do: in the order of letters, not of versions.
            "versions": sorted({*filter(None, versions), *page.versions}),
            "files": entries,
            **({"project-status": page.status} if page.status else {}),
        }
        return json.dumps(document).encode(), JSON_TYPE

    def _entry(self, name: str, fields: dict[str, Any]) -> dict[str, Any]:
        path = f"/files/{name}/{quote(fields['filename'])}"
        return {"url": f"../..{path}" if self.relative_urls else self.root + path, **fields}

    def _break(self, handler: BaseHTTPRequestHandler, body: bytes, content_type: str) -> None:
        match self.fault:
            case Fault.PORTAL:
                page = b"<!doctype html><title>Log in</title><a href='/terms'>Terms</a>"
                _send(handler, 200, page, "text/html; charset=utf-8")
            case Fault.TRUNCATED:
                _send(handler, 200, body[: len(body) // 2], content_type)
            case Fault.CUT:
                _send(handler, 200, body[: len(body) // 2], content_type, length=len(body))
            case Fault.SERVER_ERROR:
                _send(handler, 500, b"oops")
            case Fault.WRONG_HASH:
                _send(handler, 200, body[:-1] + b"?", content_type)
            case Fault.BUSY:
                _send(handler, 429, b"slow down", extra={"Retry-After": self.retry_after})
            case Fault.GONE:
                _send(handler, 404, b"not here")
            case Fault.HUGE:
                self._slowly(handler, content_type, itertools.repeat(b"[" * 2**20), 0.0)
            case Fault.DRIPPING:
                drops = (bytes([byte]) for byte in itertools.chain(body, itertools.repeat(0x20)))
                self._slowly(handler, content_type, drops, 0.2)

    def _slowly(
        self, handler: BaseHTTPRequestHandler, content_type: str, chunks: Iterable[bytes], pause_s: float
    ) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", content_type)
        handler.end_headers()
        for chunk in chunks:
            if self._over.wait(pause_s):
                return
            handler.wfile.write(chunk)


def _send(
    handler: BaseHTTPRequestHandler,
    status: int,
    body: bytes,
    content_type: str = "text/plain",
    *,
    length: int | None = None,
    extra: dict[str, str] | None = None,
) -> None:
    handler.send_response(status)
    headers = {"Content-Type": content_type, "Content-Length": str(len(body) if length is None else length)}
    for name, value in (headers | (extra or {})).items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def _html(entries: list[dict[str, Any]]) -> bytes:
    links = []
    for entry in entries:
        attributes = ""
        if entry.get("requires-python"):
            attributes += f' data-requires-python="{html.escape(entry["requires-python"])}"'
        if entry.get("yanked"):
            reason = entry["yanked"] if isinstance(entry["yanked"], str) else ""
            attributes += f' data-yanked="{html.escape(reason)}"'
        sha256 = entry["hashes"].get("sha256")
        target = entry["url"] + (f"#sha256={sha256}" if sha256 else "")
        links.append(f'<a href="{html.escape(target)}"{attributes}>{entry["filename"]}</a><br>')
    return ("<!doctype html><html><body>" + "".join(links) + "</body></html>").encode()


def _version(filename: str, project: str) -> str | None:
    try:
        return parse_filename(filename, project)[1]
    except UnparsableFilenameError:
        return None


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
