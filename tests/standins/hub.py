"""A model hub on loopback with one repository, `org/m`: commits, listings in pages, files on another host.

with HubServer() as hub:
    hub.move({"m.gguf": b"…"})   # its branch `main` goes on to another commit; the old one stays
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Self

from standins.loopback import Loopback

COMMIT = "a" * 40
WEIGHTS = bytes(range(256)) * 2000
CONFIG = b'{"model_type": "x"}'
_LARGE = 1000
"""Files of more bytes are listed with their sha256 and lie on the other host."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_id(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


@dataclass
class HubServer:
    """A hub with one repository: large files lie on a second host, listings come in two pages."""

    address: str = ""
    commit: str = COMMIT
    """What `main` stands for."""
    files: dict[str, bytes] = field(default_factory=lambda: {"config.json": CONFIG, "m.gguf": WEIGHTS})
    """Of that commit."""
    earlier: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Commit → its files, of those that `main` stood for before."""
    extra: list[dict[str, Any]] = field(default_factory=list)
    cut_after: list[int] = field(default_factory=list)
    """Bytes after which the next downloads of a large file break off."""
    serve_instead: dict[str, bytes] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    """Beginning of a path → the status it is answered with."""
    html: bool = False
    without_ranges: bool = False
    next_page: str | None = None
    seen: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    """(path, Authorization, Range)"""

    def move(self, files: dict[str, bytes]) -> str:
        """Let `main` stand for another commit with these files, and return it."""
        self.earlier[self.commit] = self.files
        self.commit, self.files = f"{len(self.earlier):040x}", files
        return self.commit

    def at(self, commit: str) -> dict[str, bytes] | None:
        return self.files if commit == self.commit else self.earlier.get(commit)

    def listing(self, commit: str) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = [{"type": "directory", "path": "x", "size": 0, "oid": "0"}]
        for name, content in (self.at(commit) or {}).items():
            entry = {"type": "file", "path": name, "size": len(content), "oid": git_id(content)}
            if len(content) > _LARGE:
                entry |= {"oid": "pointer", "lfs": {"oid": sha256(content), "size": len(content)}}
            listed.append(entry)
        return listed + self.extra

    def downloads(self) -> list[str]:
        return [path for path, _, _ in self.seen if "/resolve/" in path]

    def __enter__(self) -> Self:
        self._served = Loopback(type("Bound", (_Handler,), {"hub": self}))
        self.address = self._served.url
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._served.close()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer

    def do_GET(self) -> None:
        hub, path = self.hub, self.path
        hub.seen.append((path, self.headers["Authorization"], self.headers["Range"]))
        refusals = [status for beginning, status in hub.status.items() if path.startswith(beginning)]
        if refusals or hub.html:
            self.answer(b"<html>sign in</html>", status=refusals[0] if refusals else 200)
        elif path.startswith("/api/"):
            self.api(path.removeprefix("/api/models/org/m/"))
        else:
            self.file(path)

    def api(self, path: str) -> None:
        hub = self.hub
        what, _, rest = path.partition("/")
        commit, _, query = rest.partition("?")
        if path == "revision/main":
            self.answer(json.dumps({"sha": hub.commit}).encode())
        elif what != "tree" or hub.at(commit) is None:
            self.answer(b"no", status=404)
        elif query == "page=2":
            self.answer(json.dumps(hub.listing(commit)[2:]).encode())
        else:
            link = hub.next_page or f"{hub.address}/api/models/org/m/tree/{commit}?page=2"
            self.answer(json.dumps(hub.listing(commit)[:2]).encode(), {"Link": f'<{link}>; rel="next"'})

    def file(self, path: str) -> None:
        hub, name = self.hub, path.rpartition("/")[2]
        store = path.startswith("/store/")
        commit = path.split("/")[2 if store else 4]
        content = hub.serve_instead.get(name, (hub.at(commit) or {}).get(name))
        if content is None:
            self.answer(b"no", status=404)
        elif store:
            self.content(content)
        elif len(content) > _LARGE:
            other = hub.address.replace("127.0.0.1", "localhost")
            self.answer(b"", {"Location": f"{other}/store/{commit}/{name}"}, status=302)
        else:
            self.answer(content)

    def content(self, content: bytes) -> None:
        wanted = self.headers["Range"]
        if wanted and not self.hub.without_ranges:
            content, status = content[int(wanted.removeprefix("bytes=").rstrip("-")) :], 206
        else:
            status = 200
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        cut = self.hub.cut_after.pop(0) if self.hub.cut_after else len(content)
        self.wfile.write(content[:cut])
        if cut < len(content):
            self.close_connection = True

    def answer(self, content: bytes, headers: dict[str, str] | None = None, *, status: int = 200) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
