"""The place where vLLM's wheels of every commit lie, on loopback.

with CommitPlace() as place:
    place.publish("a" * 40, 7)          # the newest commit: listed under `nightly`, and by itself
    place.keep("b" * 40, 3)             # an older one: listed by itself only
    place.faults.append(503)            # what the next request gets instead of an answer
"""

from __future__ import annotations

import hashlib
import json
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Self

from standins.loopback import Loopback
from standins.wheels import wheel

VARIANT = "cpu"


class CommitPlace:
    """What the server has: address → content; and the addresses it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.faults: list[int] = []

    @property
    def address(self) -> str:
        return self._server.url

    def publish(
        self, commit: str, number: int, *, base: str = "0.33.1", elsewhere: str = ""
    ) -> tuple[str, bytes]:
        """Let `commit` be the newest, with a wheel for here and one for another machine."""
        filename, content = self.keep(commit, number, base=base)
        self.files[f"/nightly/{VARIANT}/vllm/metadata.json"] = _listing(
            f"{elsewhere or '../../..'}/{commit}", filename
        )
        return filename, content

    def keep(
        self, commit: str, number: int, *, base: str = "0.33.1", elsewhere: str = ""
    ) -> tuple[str, bytes]:
        """Have the wheels of a commit, the `number`th since the version before `base`."""
        filename, content = wheel("vllm", f"{base}.dev{number}+g{commit[:9]}.{VARIANT}")
        self.files[f"/{commit}/{filename.replace('+', '%2B')}"] = content
        self.files[_of(commit)] = _listing(elsewhere or "../..", filename)
        return filename, content

    def drop(self, commit: str) -> None:
        """Have no wheel of a commit, as when it was never built."""
        self.files = {path: content for path, content in self.files.items() if f"/{commit}/" not in path}

    def sha256_of(self, commit: str) -> str:
        (content,) = (self.files[path] for path in self.files if path.startswith(f"/{commit}/vllm-"))
        return hashlib.sha256(content).hexdigest()

    def read(self) -> list[str]:
        """Return the commits whose wheels were read, as often as they were."""
        return [asked.split("/")[1] for asked in self.asked if asked.startswith("GET ") and ".whl" in asked]

    def looked_up(self) -> list[str]:
        """Return the commits whose list was asked for, as often as it was."""
        return [asked.split("/")[1] for asked in self.asked if asked.endswith("/metadata.json")]

    def __enter__(self) -> Self:
        place = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, *, body: bool) -> None:
                found = place.files.get(self.path)
                place.asked.append(f"{self.command} {self.path}")
                status = place.faults.pop(0) if place.faults else 200 if found is not None else 404
                content = (found or b"") if status == 200 else b""
                self.send_response(status)
                self.send_header("Last-Modified", "Sun, 01 Nov 2026 09:30:00 GMT")
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Content-Type", "application/octet-stream")
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def do_GET(self) -> None:
                self.answer(body=True)

            def do_HEAD(self) -> None:
                self.answer(body=False)

        self._server = Loopback(Handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()


def _of(commit: str) -> str:
    return f"/{commit}/{VARIANT}/vllm/metadata.json"


def _listing(folder: str, filename: str) -> bytes:
    other = filename.replace("-any.whl", "-win_arm64.whl")
    listed = [
        {"package_name": "vllm", "variant": VARIANT, "filename": name, "path": f"{folder}/{quoted}"}
        for name in (other, filename)
        for quoted in [name.replace("+", "%2B")]
    ]
    return json.dumps(listed).encode()
