"""One request to the stand-in of GitHub and its answer, with planned faults and the limit of an hour."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from http.server import BaseHTTPRequestHandler
from typing import Any


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
ANSWERS = {
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
class Window:
    """What one identity has used of its hour."""

    begins: datetime
    used: int = 0
    told: bool = False
    """An answer has said that nothing is left."""


class Exchange:
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


def limits(window: Window, limit: int) -> dict[str, str]:
    window.told = window.told or window.used >= limit
    return {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(max(limit - window.used, 0)),
        "X-RateLimit-Used": str(window.used),
        # A whole second, never before the hour is over.
        "X-RateLimit-Reset": str(int((window.begins + timedelta(hours=1)).timestamp()) + 1),
        "X-RateLimit-Resource": "core",
    }
